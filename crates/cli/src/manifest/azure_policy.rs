//! `adytum manifest azure-policy`: a workload's policy as the release policy of a key in Azure
//! Key Vault. (Microsoft, "Azure Key Vault secure key release policy grammar"; "Azure
//! Attestation claim sets".)

use std::{collections::BTreeSet, fmt::Display, path::PathBuf};

use adytum_api::names::WorkloadName;
use adytum_evidence::{claims::TeeKind, policy::Policy, trust::Vendor};
use adytum_governance::manifest::Manifest;
use anyhow::Context;
use serde_json::{Value, json};

use super::read;
use crate::output;

/// The most alternatives: a vault takes no longer policy.
const MAXIMUM_ALTERNATIVES: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, as `adytum manifest new` drafts it
    file: PathBuf,
    /// The workload whose policy it is.
    #[arg(long, value_name = "NAME")]
    workload: WorkloadName,
    /// The attestation service of the release policy, such as `https://NAME.REGION.attest.azure.net`;
    /// may be given several times.
    #[arg(long = "authority", value_name = "URL", required = true)]
    authorities: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let manifest = Manifest::parse(&read(&args.file)?).with_context(|| args.file.display().to_string())?;
    let workload = manifest.workloads.get(&args.workload).ok_or_else(|| {
        let name = &args.workload;
        input_error!("the manifest has no workload {name}; `adytum manifest check` lists them")
    })?;
    for authority in &args.authorities {
        ensure_input!(
            authority.starts_with("https://"),
            "--authority {authority}: expected the URL of an attestation service, https://NAME.REGION.attest.azure.net"
        );
    }
    let Translation { policy, left_out } = Translation::of(&workload.policy, &args.authorities)?;
    for rule in &left_out {
        tracing::warn!("Azure Attestation has no claim for {rule}: the release policy does not check it");
    }
    if output::is_json() {
        return output::line(json!({"policy": policy, "not_checked": left_out}));
    }
    output::line(format_args!("{policy:#}"))
}

/// A release policy, and the rules that it can't express.
struct Translation {
    policy: Value,
    left_out: Vec<&'static str>,
}

/// Conditions that must hold together.
type Conditions = Vec<Value>;

/// Every combination of the conditions so far with one of these values; an empty set adds
/// nothing.
fn with_one_of<T: Display>(
    alternatives: Vec<Conditions>,
    claim: &str,
    values: impl IntoIterator<Item = T>,
) -> anyhow::Result<Vec<Conditions>> {
    let values: Vec<Value> =
        values.into_iter().map(|value| json!({"claim": claim, "equals": value.to_string()})).collect();
    if values.is_empty() {
        return Ok(alternatives);
    }
    let combined: Vec<Conditions> = alternatives
        .iter()
        .flat_map(|conditions| {
            values.iter().map(|value| conditions.iter().cloned().chain([value.clone()]).collect())
        })
        .collect();
    ensure_input!(
        combined.len() <= MAXIMUM_ALTERNATIVES,
        "the policy has more than {MAXIMUM_ALTERNATIVES} combinations of values, too many for a release policy; list fewer"
    );
    Ok(combined)
}

fn add(alternatives: &mut [Conditions], condition: &Value) {
    alternatives.iter_mut().for_each(|conditions| conditions.push(condition.clone()));
}

/// At least this, where Azure knows "greater" only.
fn at_least(claim: &str, minimum: u64) -> Option<Value> {
    minimum.checked_sub(1).map(|below| json!({"claim": claim, "greater": below}))
}

impl Translation {
    fn of(policy: &Policy, authorities: &[String]) -> anyhow::Result<Self> {
        let mut left_out = BTreeSet::new();
        let mut alternatives = Vec::new();
        for tee in &policy.tee {
            alternatives.extend(match tee {
                TeeKind::Sgx if policy.vendors.contains(&Vendor::Intel) => sgx(policy, &mut left_out)?,
                TeeKind::Tdx if policy.vendors.contains(&Vendor::Intel) => tdx(policy, &mut left_out)?,
                TeeKind::Snp if policy.vendors.contains(&Vendor::Amd) => snp(policy, &mut left_out)?,
                _ => continue,
            });
        }
        if alternatives.is_empty() {
            bail_input!("the policy accepts no hardware of Intel or AMD, and Azure attests nothing else");
        }
        for (set, rule) in [
            (!policy.platforms.is_empty(), "platforms"),
            (policy.advisories.is_some(), "advisories"),
            (policy.minimum_tcb_evaluation_data_number.is_some(), "minimum_tcb_evaluation_data_number"),
            (policy.collateral_not_before.is_some(), "collateral_not_before"),
        ] {
            if set {
                left_out.insert(rule);
            }
        }
        let any: Vec<Value> = authorities
            .iter()
            .flat_map(|authority| {
                alternatives.iter().map(move |all| json!({"authority": authority, "allOf": all}))
            })
            .collect();
        let policy = json!({"version": "1.0.0", "anyOf": any});
        Ok(Self { policy, left_out: left_out.into_iter().collect() })
    }
}

fn kind(name: &str) -> Vec<Conditions> {
    vec![vec![json!({"claim": "x-ms-attestation-type", "equals": name})]]
}

fn sgx(policy: &Policy, left_out: &mut BTreeSet<&'static str>) -> anyhow::Result<Vec<Conditions>> {
    ensure_input!(
        !policy.mr_enclave.is_empty() || (policy.allow_any_program && !policy.mr_signer.is_empty()),
        "the policy pins no enclave by mr_enclave, and Azure's tokens have no identity; add mr_enclave, as `adytum \
         manifest new --replica` writes it"
    );
    let mut all = with_one_of(kind("sgx"), "x-ms-sgx-mrenclave", &policy.mr_enclave)?;
    all = with_one_of(all, "x-ms-sgx-mrsigner", &policy.mr_signer)?;
    all = with_one_of(all, "x-ms-sgx-config-id", &policy.config_id)?;
    all = with_one_of(all, "x-ms-sgx-product-id", policy.isv_prod_id)?;
    if let Some(condition) = policy.minimum_isv_svn.and_then(|svn| at_least("x-ms-sgx-svn", svn.into())) {
        add(&mut all, &condition);
    }
    if !policy.allow_debug {
        add(&mut all, &json!({"claim": "x-ms-sgx-is-debuggable", "equals": "false"}));
    }
    // The service has a policy of its own about the TCB.
    left_out.insert("tcb_status");
    for (set, rule) in [(!policy.identity.is_empty(), "identity"), (!policy.xfrm.is_empty(), "xfrm")] {
        if set {
            left_out.insert(rule);
        }
    }
    Ok(all)
}

fn tdx(policy: &Policy, left_out: &mut BTreeSet<&'static str>) -> anyhow::Result<Vec<Conditions>> {
    let mut all = with_one_of(kind("tdxvm"), "tdx_mrtd", &policy.mr_td)?;
    for (index, register) in policy.rtmr.iter().flatten().enumerate() {
        all = with_one_of(all, &format!("tdx_rtmr{index}"), register)?;
    }
    // 32 bytes of the 48.
    let identities = policy.identity.iter().map(|identity| format!("{identity}{}", "00".repeat(16)));
    all = with_one_of(all, "tdx_mrconfigid", identities)?;
    if !policy.allow_debug {
        add(&mut all, &json!({"claim": "tdx_td_attributes_debug", "equals": "false"}));
    }
    all = with_one_of(all, "attester_tcb_status", &policy.tcb_status)?;
    for (set, rule) in
        [(!policy.td_attributes.is_empty(), "td_attributes"), (!policy.xfam.is_empty(), "xfam")]
    {
        if set {
            left_out.insert(rule);
        }
    }
    Ok(all)
}

fn snp(policy: &Policy, left_out: &mut BTreeSet<&'static str>) -> anyhow::Result<Vec<Conditions>> {
    let claim = |name: &str| format!("x-ms-sevsnpvm-{name}");
    let mut all = with_one_of(kind("sevsnpvm"), &claim("launchmeasurement"), &policy.snp_measurement)?;
    // Both are rules about the same field.
    let host_data: BTreeSet<String> = if policy.identity.is_empty() {
        policy.host_data.iter().map(ToString::to_string).collect()
    } else {
        policy.identity.iter().map(ToString::to_string).collect()
    };
    all = with_one_of(all, &claim("hostdata"), host_data)?;
    all = with_one_of(all, &claim("idkeydigest"), &policy.id_key_digest)?;
    all = with_one_of(all, &claim("authorkeydigest"), &policy.author_key_digest)?;
    let tcb = policy.minimum_snp_tcb;
    let levels = [
        ("bootloader-svn", tcb.map(|tcb| u64::from(tcb.bootloader))),
        ("tee-svn", tcb.map(|tcb| u64::from(tcb.tee))),
        ("snpfw-svn", tcb.map(|tcb| u64::from(tcb.snp))),
        ("microcode-svn", tcb.map(|tcb| u64::from(tcb.microcode))),
        ("guestsvn", policy.minimum_guest_svn.map(u64::from)),
    ];
    for (name, minimum) in levels {
        if let Some(condition) = minimum.and_then(|minimum| at_least(&claim(name), minimum)) {
            add(&mut all, &condition);
        }
    }
    if !policy.allow_debug {
        add(&mut all, &json!({"claim": claim("is-debuggable"), "equals": "false"}));
    }
    left_out.extend(["snp_guest_policy", "snp_platform"]);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "2222222222222222222222222222222222222222222222222222222222222222";
    const OTHER: &str = "3333333333333333333333333333333333333333333333333333333333333333";

    fn policy(text: &str) -> Policy {
        toml::from_str(text).unwrap()
    }

    fn translated(text: &str) -> Translation {
        Translation::of(&policy(text), &["https://a.attest.azure.net".to_owned()]).unwrap()
    }

    #[test]
    fn an_enclaves_policy_is_a_release_policy() {
        let found = translated(&format!(
            "vendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{DIGEST}\", \"{OTHER}\"]\nisv_prod_id = 4\n\
             minimum_isv_svn = 3\nidentity = [\"{OTHER}\"]\n"
        ));
        let all = |enclave: &str| {
            json!({"authority": "https://a.attest.azure.net", "allOf": [
                {"claim": "x-ms-attestation-type", "equals": "sgx"},
                {"claim": "x-ms-sgx-mrenclave", "equals": enclave},
                {"claim": "x-ms-sgx-product-id", "equals": "4"},
                {"claim": "x-ms-sgx-svn", "greater": 2},
                {"claim": "x-ms-sgx-is-debuggable", "equals": "false"},
            ]})
        };
        assert_eq!(found.policy, json!({"version": "1.0.0", "anyOf": [all(DIGEST), all(OTHER)]}));
        assert_eq!(found.left_out, ["identity", "tcb_status"]);
    }

    #[test]
    fn guests_are_pinned_by_what_azure_states_of_them() {
        let measurement = "44".repeat(48);
        let found = translated(&format!(
            "vendors = [\"amd\"]\ntee = [\"snp\"]\nsnp_measurement = [\"{measurement}\"]\nidentity = [\"{DIGEST}\"]\n\
             minimum_snp_tcb = {{ bootloader = 4, tee = 0, snp = 22, microcode = 213 }}\n"
        ));
        let all = &found.policy["anyOf"][0]["allOf"];
        assert_eq!(all[1], json!({"claim": "x-ms-sevsnpvm-launchmeasurement", "equals": measurement}));
        assert_eq!(all[2], json!({"claim": "x-ms-sevsnpvm-hostdata", "equals": DIGEST}));
        assert_eq!(all[3], json!({"claim": "x-ms-sevsnpvm-bootloader-svn", "greater": 3}));
        assert_eq!(all.as_array().unwrap().len(), 7, "no condition for a level of 0: {all}");
    }

    #[test]
    fn what_azure_can_not_pin_is_refused() {
        let refused = |text: &str| Translation::of(&policy(text), &[]).err().unwrap().to_string();
        let identity = format!("vendors = [\"intel\"]\ntee = [\"sgx\"]\nidentity = [\"{DIGEST}\"]\n");
        assert!(refused(&identity).contains("mr_enclave"));
        let simulated = identity.replace("intel", "simulation");
        assert!(refused(&simulated).contains("Azure attests nothing else"));
        let digests: Vec<String> =
            (10..75).map(|number| format!("\"{}\"", number.to_string().repeat(32))).collect();
        let many = format!("vendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [{}]\n", digests.join(", "));
        assert!(refused(&many).contains("combinations"));
    }
}
