//! What a workload's policy lets in that it did not let in before.

use std::collections::BTreeSet;

use adytum_evidence::{
    claims::{TcbStatus, TeeKind},
    measurement::Endorser,
    policy::Policy,
};

/// Every way in which the policy after is weaker than the one before, if there was one.
/// A new workload's rules that are weak by name are named too.
pub(super) fn weaker_policy(before: Option<&Policy>, after: &Policy) -> Vec<String> {
    let mut reasons = given_up_by_name(before, after);
    reasons.extend(worse_platforms(before, after));
    if let Some(before) = before {
        reasons.extend(lower_minimums(before, after));
        for ((tee, rule, held), (_, _, holds)) in pins(before).into_iter().zip(pins(after)) {
            if held && !holds && tee.is_none_or(|tee| after.tee.contains(&tee)) {
                reasons.push(format!("{rule} is no longer checked"));
            }
        }
        if after.accepts_any_machine() && !before.accepts_any_machine() {
            reasons.push("any machine of the vendors is accepted, where platforms named some".to_owned());
        }
        for ((rule, was), (_, is)) in answers(before).into_iter().zip(answers(after)) {
            match (was, is) {
                (Some(was), None) => reasons.push(format!("{rule} may be anything, it had to be {was}")),
                (Some(was), Some(is)) if was != is => {
                    reasons.push(format!("{rule} must be {is}, it had to be {was}"));
                }
                _ => {}
            }
        }
    }
    reasons
}

/// Whether a policy accepts something.
type Allows = fn(&Policy) -> bool;

/// What a policy accepts by name only.
fn given_up_by_name(before: Option<&Policy>, after: &Policy) -> Vec<String> {
    let names: [(Allows, &str); 6] = [
        (|policy| policy.allow_debug, "programs that a debugger can read are accepted"),
        (|policy| policy.allow_any_program, "any program of the signer is accepted"),
        (
            |policy| policy.allow_any_acpi,
            "any ACPI tables that the host gives a guest are accepted, whose kernel runs the code in them",
        ),
        (|policy| policy.allow_any_kernel, "any kernel that the guest's firmware loads is accepted"),
        (
            |policy| policy.snp_platform.allow_unchecked_aliases,
            "platforms whose memory was not checked for aliases (BadRAM) are accepted",
        ),
        (
            |policy| policy.tee.contains(&TeeKind::Snp) && policy.endorser.contains(&Endorser::Vlek),
            "reports that a cloud provider's key signs (VLEK) are accepted, and no machine is distinguished from another in them",
        ),
    ];
    let new = |given_up: fn(&Policy) -> bool| given_up(after) && !before.is_some_and(given_up);
    names.into_iter().filter(|(given_up, _)| new(*given_up)).map(|(_, reason)| reason.to_owned()).collect()
}

fn worse_platforms(before: Option<&Policy>, after: &Policy) -> Vec<String> {
    let mut reasons = Vec::new();
    for status in &after.tcb_status {
        if *status != TcbStatus::UpToDate && !before.is_some_and(|before| before.tcb_status.contains(status))
        {
            reasons.push(format!("platforms with the TCB status {status} are accepted"));
        }
    }
    match (before.map(|before| &before.advisories), &after.advisories) {
        (Some(Some(_)), None) => {
            reasons.push("platforms are accepted whatever security advisories apply to them".to_owned());
        }
        (Some(Some(before)), Some(after)) => {
            for advisory in after.difference(before) {
                reasons.push(format!("platforms to which {advisory} applies are accepted"));
            }
        }
        _ => {}
    }
    reasons
}

fn lower_minimums(before: &Policy, after: &Policy) -> Vec<String> {
    let mut reasons = Vec::new();
    if let (Some(before), Some(after)) = (before.minimum_snp_tcb, after.minimum_snp_tcb)
        && (!after.reaches(&before) || after.fmc < before.fmc)
    {
        reasons.push(format!("older firmware is accepted, {after}, where the minimum was {before}"));
    }
    let mut lower = |rule: &str, was: Option<String>, is: Option<String>| {
        if let Some(was) = was {
            let is = is.unwrap_or_else(|| "anything".to_owned());
            reasons.push(format!("{rule} falls from {was} to {is}"));
        }
    };
    let text = |number: Option<u32>| number.map(|number| number.to_string());
    for (rule, was, is) in [
        ("minimum_isv_svn", before.minimum_isv_svn.map(u32::from), after.minimum_isv_svn.map(u32::from)),
        ("minimum_guest_svn", before.minimum_guest_svn, after.minimum_guest_svn),
    ] {
        if is < was {
            lower(rule, text(was), text(is));
        }
    }
    let (was, is) = (before.snp_guest_policy.minimum_abi, after.snp_guest_policy.minimum_abi);
    if is < was {
        lower("snp_guest_policy.minimum_abi", was.map(|abi| abi.to_string()), is.map(|abi| abi.to_string()));
    }
    reasons
}

/// Rules that name values: the only TEE that they apply to, and whether they name any.
/// Without one, everything passes.
fn pins(policy: &Policy) -> [(Option<TeeKind>, &'static str, bool); 19] {
    fn some<T>(values: &BTreeSet<T>) -> bool {
        !values.is_empty()
    }
    let [sgx, tdx, snp] = [TeeKind::Sgx, TeeKind::Tdx, TeeKind::Snp].map(Some);
    let register =
        |number: usize| policy.rtmr.as_ref().and_then(|registers| registers.get(number)).is_some_and(some);
    [
        (None, "identity", some(&policy.identity)),
        (sgx, "mr_enclave", some(&policy.mr_enclave)),
        (sgx, "mr_signer", some(&policy.mr_signer)),
        (sgx, "isv_prod_id", policy.isv_prod_id.is_some()),
        (sgx, "config_id", some(&policy.config_id)),
        (sgx, "xfrm", some(&policy.xfrm)),
        (tdx, "mr_td", some(&policy.mr_td)),
        (tdx, "rtmr[0]", register(0)),
        (tdx, "rtmr[1]", register(1)),
        (tdx, "rtmr[2]", register(2)),
        (tdx, "rtmr[3]", register(3)),
        (tdx, "td_attributes", some(&policy.td_attributes)),
        (tdx, "xfam", some(&policy.xfam)),
        (None, "sgx_platform.sgx_type", some(&policy.sgx_platform.sgx_type)),
        (snp, "snp_measurement", some(&policy.snp_measurement)),
        (snp, "host_data", some(&policy.host_data)),
        (snp, "id_key_digest", some(&policy.id_key_digest)),
        (snp, "author_key_digest", some(&policy.author_key_digest)),
        (snp, "minimum_snp_tcb", policy.minimum_snp_tcb.is_some()),
    ]
}

/// Rules that ask one question, and the answer that they want.
fn answers(policy: &Policy) -> [(&'static str, Option<bool>); 10] {
    let Policy { sgx_platform, snp_guest_policy, snp_platform, .. } = policy;
    [
        ("sgx_platform.dynamic_platform", sgx_platform.dynamic_platform),
        ("sgx_platform.cached_keys", sgx_platform.cached_keys),
        ("sgx_platform.smt", sgx_platform.smt),
        ("snp_guest_policy.smt", snp_guest_policy.smt),
        ("snp_guest_policy.single_socket", snp_guest_policy.single_socket),
        ("snp_guest_policy.cxl", snp_guest_policy.cxl),
        ("snp_platform.smt", snp_platform.smt),
        ("snp_platform.ciphertext_hiding", snp_platform.ciphertext_hiding),
        ("snp_platform.rapl_disabled", snp_platform.rapl_disabled),
        ("snp_platform.tio", snp_platform.tio),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TDX: &str = "vendors = [\"intel\"]\ntee = [\"tdx\"]\nmr_td = [\"MR\"]\nrtmr = [[\"MR\"], [\"MR\"], [\"MR\"], []]\n";
    const SNP: &str = "vendors = [\"amd\"]\ntee = [\"snp\"]\nsnp_measurement = [\"MR\"]\n\
                       minimum_snp_tcb = { bootloader = 3, tee = 0, snp = 8, microcode = 210 }\n";
    const SGX: &str = "vendors = [\"intel\"]\ntee = [\"sgx\"]\nidentity = [\"ID\"]\n";

    fn policy(base: &str, rest: &str) -> Policy {
        let text = format!("{base}{rest}");
        toml::from_str(
            &text
                .replace("MR", &"5a".repeat(48))
                .replace("CONFIGURATION", &"5c".repeat(64))
                .replace("ID", &"5b".repeat(32)),
        )
        .unwrap()
    }

    #[test]
    fn every_rule_that_is_given_up_is_named_alone_and_one_that_is_added_is_not() {
        for (base, strict, loose, expected) in [
            (TDX, "", "allow_any_acpi = true", "any ACPI tables"),
            (TDX, "", "allow_any_kernel = true", "any kernel"),
            (TDX, "td_attributes = [\"0x10000000\"]", "", "td_attributes is no longer checked"),
            (TDX, "xfam = [\"0xe7\"]", "", "xfam is no longer checked"),
            (TDX, "platforms = [\"ab\"]", "", "any machine of the vendors is accepted"),
            (
                TDX,
                "sgx_platform = { smt = false }",
                "",
                "sgx_platform.smt may be anything, it had to be false",
            ),
            (TDX, "sgx_platform = { cached_keys = false }", "", "sgx_platform.cached_keys"),
            (TDX, "sgx_platform = { dynamic_platform = false }", "", "sgx_platform.dynamic_platform"),
            (TDX, "sgx_platform = { sgx_type = [\"standard\"] }", "", "sgx_platform.sgx_type"),
            (TDX, "advisories = []", "advisories = [\"INTEL-SA-00837\"]", "INTEL-SA-00837 applies"),
            (TDX, "advisories = []", "", "whatever security advisories"),
            (SGX, "config_id = [\"CONFIGURATION\"]", "", "config_id is no longer checked"),
            (SGX, "xfrm = [\"0x7\"]", "", "xfrm is no longer checked"),
            (SGX, "minimum_isv_svn = 3", "minimum_isv_svn = 2", "minimum_isv_svn falls from 3 to 2"),
            (SGX, "minimum_isv_svn = 3", "", "minimum_isv_svn falls from 3 to anything"),
            (SNP, "", "snp_platform = { allow_unchecked_aliases = true }", "BadRAM"),
            (SNP, "", "endorser = [\"vcek\", \"vlek\"]\ncsp_id = [\"cloud\"]", "VLEK"),
            (SNP, "host_data = [\"ID\"]", "", "host_data is no longer checked"),
            (SNP, "id_key_digest = [\"MR\"]", "", "id_key_digest is no longer checked"),
            (SNP, "author_key_digest = [\"MR\"]", "", "author_key_digest is no longer checked"),
            (SNP, "minimum_guest_svn = 2", "minimum_guest_svn = 1", "minimum_guest_svn falls from 2 to 1"),
            (SNP, "snp_guest_policy = { smt = false }", "", "snp_guest_policy.smt"),
            (SNP, "snp_guest_policy = { single_socket = true }", "", "snp_guest_policy.single_socket"),
            (SNP, "snp_guest_policy = { cxl = false }", "", "snp_guest_policy.cxl"),
            (
                SNP,
                "snp_guest_policy = { minimum_abi = \"1.55\" }",
                "snp_guest_policy = { minimum_abi = \"1.9\" }",
                "minimum_abi falls from 1.55 to 1.9",
            ),
            (SNP, "snp_platform = { smt = false }", "", "snp_platform.smt"),
            (SNP, "snp_platform = { ciphertext_hiding = true }", "", "snp_platform.ciphertext_hiding"),
            (SNP, "snp_platform = { rapl_disabled = true }", "", "snp_platform.rapl_disabled"),
            (SNP, "snp_platform = { tio = false }", "", "snp_platform.tio"),
        ] {
            let (strict, loose) = (policy(base, strict), policy(base, loose));
            let reasons = weaker_policy(Some(&strict), &loose);
            assert!(reasons.len() == 1 && reasons[0].contains(expected), "{expected}: {reasons:?}");
            assert_eq!(weaker_policy(Some(&loose), &strict), [""; 0], "{expected}");
            assert_eq!(weaker_policy(Some(&loose), &loose), [""; 0], "{expected}");
        }
    }

    #[test]
    fn another_answer_is_a_weaker_one_and_a_new_workload_is_read_for_what_it_accepts_by_name() {
        let (off, on) = ("snp_platform = { smt = false }", "snp_platform = { smt = true }");
        for (was, is) in [(off, on), (on, off)] {
            let reasons = weaker_policy(Some(&policy(SNP, was)), &policy(SNP, is));
            assert!(reasons.len() == 1 && reasons[0].contains("it had to be"), "{reasons:?}");
        }
        // A rule that says nothing of the remaining TEE was not given up.
        assert_eq!(weaker_policy(Some(&policy(TDX, "xfam = [\"0xe7\"]")), &policy(SNP, "")), [""; 0]);
        let new = policy(
            SNP,
            "endorser = [\"vlek\"]\ncsp_id = [\"cloud\"]\nsnp_platform = { allow_unchecked_aliases = true }",
        );
        assert_eq!(weaker_policy(None, &new).len(), 2);
        assert_eq!(weaker_policy(None, &policy(SNP, "")), [""; 0]);
    }
}
