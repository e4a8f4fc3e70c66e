//! Claims held against a policy: every rule that failed, wanted and got.

use std::{
    collections::BTreeSet,
    fmt::{self, Display},
};

use serde::{Deserialize, Serialize};

use super::{Policy, SgxPlatformRules, validation::pins};
use crate::{
    claims::{Claims, Measured, SgxPlatform, SnpEndorsement, SnpGuestClaims, TcbStatus, TeeKind},
    clock::Day,
    trust::Vendor,
};

/// One rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The rule's name: the field of [`Policy`].
    pub rule: String,
    /// What the policy wants.
    pub wanted: String,
    /// What the claims say.
    pub got: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: wanted {}, got {}", self.rule, self.wanted, self.got)
    }
}

/// A rule of the policy did not hold for the evidence. The failures list every rule that
/// failed; there is at least one.
///
/// Do: compare the failures with the policy: correct the workload, or change the policy
/// in the manifest if this code may run.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", join(.failures))]
pub struct PolicyRefusal {
    /// The rules, in the order of [`Policy`]'s fields.
    pub failures: Vec<Failure>,
}

impl PolicyRefusal {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        "policy-refused"
    }
}

fn join(failures: &[Failure]) -> String {
    failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("; ")
}

/// Where rules that fail go. To write down what was wanted and got takes much longer
/// than to find that they differ, so that is left to the implementations that show it.
trait Failures {
    fn add(&mut self, rule: impl Display, wanted: impl Display, got: impl Display);

    /// One of these; an empty set is any.
    fn one_of<T: Ord + Display>(&mut self, rule: impl Display, wanted: &BTreeSet<T>, got: &T) {
        if !wanted.is_empty() {
            self.member(rule, wanted, got);
        }
    }

    /// One of these; an empty set holds nothing.
    fn member<T: Ord + Display>(&mut self, rule: impl Display, wanted: &BTreeSet<T>, got: &T) {
        if !wanted.contains(got) {
            self.add(rule, alternatives(wanted), got);
        }
    }

    /// Exactly the wanted value; `None` accepts any. An unknown value does not agree.
    fn agrees(&mut self, rule: &'static str, wanted: Option<bool>, got: Option<bool>) {
        if let Some(wanted) = wanted.filter(|wanted| got != Some(*wanted)) {
            match got {
                Some(got) => self.add(rule, wanted, got),
                None => self.add(rule, wanted, "nothing"),
            }
        }
    }
}

#[derive(Default)]
struct Listed(Vec<Failure>);

impl Failures for Listed {
    fn add(&mut self, rule: impl Display, wanted: impl Display, got: impl Display) {
        self.0.push(Failure { rule: rule.to_string(), wanted: wanted.to_string(), got: got.to_string() });
    }
}

#[derive(Default)]
struct Counted(usize);

impl Failures for Counted {
    fn add(&mut self, _: impl Display, _: impl Display, _: impl Display) {
        self.0 += 1;
    }
}

fn alternatives<T: Display>(values: &BTreeSet<T>) -> impl Display {
    fmt::from_fn(move |f| {
        if values.is_empty() {
            return f.write_str("nothing");
        }
        f.write_str(if values.len() == 1 { "" } else { "one of " })?;
        values.iter().enumerate().try_for_each(|(index, value)| {
            f.write_str(if index == 0 { "" } else { ", " })?;
            value.fmt(f)
        })
    })
}

impl Policy {
    /// Judges claims by every rule.
    pub fn judge(&self, claims: &Claims) -> Result<(), PolicyRefusal> {
        let mut failures = Listed::default();
        self.hold(claims, &mut failures);
        if failures.0.is_empty() { Ok(()) } else { Err(PolicyRefusal { failures: failures.0 }) }
    }

    /// How many rules fail: 0 if the claims meet the policy.
    pub fn count_failures(&self, claims: &Claims) -> usize {
        let mut failures = Counted::default();
        self.hold(claims, &mut failures);
        failures.0
    }

    fn hold(&self, claims: &Claims, failures: &mut impl Failures) {
        failures.member("vendors", &self.vendors, &claims.vendor);
        failures.member("tee", &self.tee, &claims.tee());
        self.judge_identity(claims, failures);
        self.judge_measurements(claims, failures);
        match &claims.tcb_status {
            Some(status) => failures.member("tcb_status", &self.tcb_status, status),
            // A status that nobody states may be any.
            None if claims.vendor == Vendor::Azure
                && claims.tee() != TeeKind::Snp
                && self.tcb_status.len() < TcbStatus::ALL.len() =>
            {
                failures.add(
                    "tcb_status",
                    alternatives(&self.tcb_status),
                    "nothing: Azure Attestation does not state it of SGX; a policy that lists every status accepts that",
                );
            }
            None => {}
        }
        if let Some(allowed) = &self.advisories
            && !claims.advisory_ids.is_subset(allowed)
        {
            failures.add("advisories", alternatives(allowed), alternatives(&claims.advisory_ids));
        }
        self.judge_collateral(claims, failures);
        if claims.tee() != TeeKind::Snp {
            // An unknown value does not meet a rule.
            judge_sgx_platform(&self.sgx_platform, &claims.platform.sgx.unwrap_or_default(), failures);
        }
        if claims.debug && !self.allow_debug {
            failures.add("allow_debug", "a program that no debugger can read", "debug");
        }
        self.judge_machine(claims, failures);
    }

    /// An unknown age does not meet a rule.
    fn judge_collateral(&self, claims: &Claims, failures: &mut impl Failures) {
        let got = claims.collateral;
        if let Some(minimum) = self.minimum_tcb_evaluation_data_number
            && claims.tee() != TeeKind::Snp
        {
            let rule = "minimum_tcb_evaluation_data_number";
            let wanted = format_args!("at least {minimum}");
            match got.and_then(|got| Some((got.tcb_evaluation_data_number?, got.issued))) {
                Some((number, _)) if number >= minimum => {}
                Some((number, issued)) => {
                    failures.add(
                        rule,
                        wanted,
                        format_args!("{number}, in collateral issued {}", Day::of(issued)),
                    );
                }
                None => failures.add(rule, wanted, "nothing"),
            }
        }
        if let Some(earliest) = self.collateral_not_before {
            let rule = "collateral_not_before";
            let wanted = format_args!("collateral issued on {earliest} or later");
            match got {
                Some(got) if got.issued >= earliest.start() => {}
                Some(got) => {
                    failures.add(rule, wanted, format_args!("collateral issued {}", Day::of(got.issued)))
                }
                None => failures.add(rule, wanted, "nothing"),
            }
        }
    }

    fn judge_machine(&self, claims: &Claims, failures: &mut impl Failures) {
        if self.platforms.is_empty() {
            return;
        }
        let got = claims.platform.id.to_ascii_lowercase();
        if let Measured::Snp {
            guest: SnpGuestClaims { endorsement: SnpEndorsement::Vlek { .. }, .. }, ..
        } = &claims.measured
        {
            // Only a policy put together in code gets here: deny by default.
            failures.add(
                "platforms",
                "a chip that its own key certifies",
                format_args!("the word of a VLEK: {got}"),
            );
        } else if !self.platforms.iter().any(|id| id.eq_ignore_ascii_case(&got)) {
            failures.add("platforms", alternatives(&self.platforms), got);
        }
    }

    fn judge_identity(&self, claims: &Claims, failures: &mut impl Failures) {
        let got = fmt::from_fn(|f| match (&claims.measured, claims.announced) {
            (Measured::Sgx { mr_enclave, .. }, None) => write!(f, "mr_enclave {mr_enclave}"),
            (Measured::Sgx { mr_enclave, .. }, Some(announced)) => {
                write!(f, "mr_enclave {mr_enclave}, which announces {announced}")
            }
            (Measured::Tdx { mr_config_id, .. }, _) => write!(f, "mr_config_id {mr_config_id}"),
            (Measured::Snp { host_data, .. }, _) => write!(f, "host_data {host_data}"),
        });
        // Anybody's enclave can announce anything: only the word of code that is pinned
        // by its measurement counts. MRENCLAVE itself is judged with the other rules.
        let announced = matches!(claims.measured, Measured::Sgx { .. })
            && !self.mr_enclave.is_empty()
            && claims.announced.is_some_and(|announced| self.identity.contains(&announced));
        if !self.identity.is_empty()
            && !announced
            && !self.identity.iter().any(|&identity| claims.carries(identity))
        {
            failures.add("identity", alternatives(&self.identity), got);
        } else if !self.pins_code(claims.tee()) {
            // Only a policy put together in code gets here: deny by default.
            failures.add(
                "identity",
                format_args!("a policy with {}", pins(claims.tee())),
                "a policy without",
            );
        }
    }

    fn judge_measurements(&self, claims: &Claims, failures: &mut impl Failures) {
        match &claims.measured {
            Measured::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, config_svn: _, enclave } => {
                failures.one_of("mr_enclave", &self.mr_enclave, mr_enclave);
                failures.one_of("mr_signer", &self.mr_signer, mr_signer);
                if let Some(wanted) = self.isv_prod_id.filter(|wanted| wanted != isv_prod_id) {
                    failures.add("isv_prod_id", wanted, isv_prod_id);
                }
                if let Some(wanted) = self.minimum_isv_svn.filter(|wanted| isv_svn < wanted) {
                    failures.add("minimum_isv_svn", format_args!("at least {wanted}"), isv_svn);
                }
                failures.one_of("config_id", &self.config_id, &enclave.config_id);
                failures.one_of("xfrm", &self.xfrm, &enclave.xfrm);
            }
            Measured::Tdx { mr_td, rtmr, mr_config_id: _, td } => {
                failures.one_of("mr_td", &self.mr_td, mr_td);
                for (index, (wanted, got)) in self.rtmr.iter().flatten().zip(rtmr).enumerate() {
                    failures.one_of(format_args!("rtmr[{index}]"), wanted, got);
                }
                failures.one_of("td_attributes", &self.td_attributes, &td.attributes);
                failures.one_of("xfam", &self.xfam, &td.xfam);
            }
            Measured::Snp { measurement, host_data, vmpl, tcb, guest } => {
                failures.one_of("snp_measurement", &self.snp_measurement, measurement);
                failures.one_of("host_data", &self.host_data, host_data);
                match &self.minimum_snp_tcb {
                    Some(minimum) if tcb.reaches(minimum) => {}
                    Some(minimum) => failures.add("minimum_snp_tcb", format_args!("at least {minimum}"), tcb),
                    // Only a policy put together in code gets here: deny by default.
                    None => failures.add("minimum_snp_tcb", "a policy that has it", tcb),
                }
                // Another level is not the guest's kernel (AMD 56860, VMPL).
                if *vmpl != 0 {
                    failures.add("vmpl", 0, vmpl);
                }
                self.judge_snp_guest(guest, failures);
            }
        }
    }

    fn judge_snp_guest(&self, guest: &SnpGuestClaims, failures: &mut impl Failures) {
        failures.member("endorser", &self.endorser, &guest.endorsement.endorser());
        if let SnpEndorsement::Vlek { csp_id } = &guest.endorsement {
            failures.one_of("csp_id", &self.csp_id, csp_id);
        }
        for (rule, wanted, got) in [
            ("id_key_digest", &self.id_key_digest, guest.id_key_digest),
            ("author_key_digest", &self.author_key_digest, guest.author_key_digest),
        ] {
            match got {
                Some(got) => failures.one_of(rule, wanted, &got),
                None if wanted.is_empty() => {}
                None => failures.add(rule, alternatives(wanted), "none"),
            }
        }
        if let Some(wanted) = self.minimum_guest_svn.filter(|wanted| guest.guest_svn < *wanted) {
            failures.add("minimum_guest_svn", format_args!("at least {wanted}"), guest.guest_svn);
        }
        let (wanted, got) = (&self.snp_guest_policy, &guest.policy);
        failures.agrees("snp_guest_policy.smt", wanted.smt, Some(got.smt));
        failures.agrees("snp_guest_policy.single_socket", wanted.single_socket, Some(got.single_socket));
        failures.agrees("snp_guest_policy.cxl", wanted.cxl, Some(got.cxl));
        if let Some(minimum) = wanted.minimum_abi.filter(|minimum| got.minimum_abi < *minimum) {
            failures.add("snp_guest_policy.minimum_abi", format_args!("at least {minimum}"), got.minimum_abi);
        }
        let (wanted, got) = (&self.snp_platform, &guest.platform);
        if !got.alias_check_complete && !wanted.allow_unchecked_aliases {
            failures.add(
                "snp_platform.allow_unchecked_aliases",
                "a platform whose firmware has checked its memory for aliases (ALIAS_CHECK_COMPLETE)",
                "one that has not: its firmware is too old, or a memory module lies",
            );
        }
        failures.agrees("snp_platform.smt", wanted.smt, Some(got.smt));
        failures.agrees(
            "snp_platform.ciphertext_hiding",
            wanted.ciphertext_hiding,
            Some(got.ciphertext_hiding),
        );
        failures.agrees("snp_platform.rapl_disabled", wanted.rapl_disabled, Some(got.rapl_disabled));
        failures.agrees("snp_platform.tio", wanted.tio, Some(got.tio));
    }
}

fn judge_sgx_platform(wanted: &SgxPlatformRules, got: &SgxPlatform, failures: &mut impl Failures) {
    match &got.sgx_type {
        Some(got) => failures.one_of("sgx_platform.sgx_type", &wanted.sgx_type, got),
        None if wanted.sgx_type.is_empty() => {}
        None => failures.add("sgx_platform.sgx_type", alternatives(&wanted.sgx_type), "nothing"),
    }
    failures.agrees("sgx_platform.dynamic_platform", wanted.dynamic_platform, got.dynamic_platform);
    failures.agrees("sgx_platform.cached_keys", wanted.cached_keys, got.cached_keys);
    match got.smt {
        None if wanted.smt.is_some() => failures.add(
            "sgx_platform.smt",
            wanted.smt.unwrap_or_default(),
            "nothing: the certificate of a machine with one package (Processor CA) does not say it, only those of \
             the Platform CA do",
        ),
        got => failures.agrees("sgx_platform.smt", wanted.smt, got),
    }
}
