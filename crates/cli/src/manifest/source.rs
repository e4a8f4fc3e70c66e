//! Where a drafted policy comes from: evidence, a replica that runs, or a program's files.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use adytum_evidence::{
    claims::{Claims, Measured, SnpEndorsement, TcbStatus, TeeKind},
    clock::{Day, UnixSeconds},
    measurement::{Endorser, WorkloadIdentity},
    policy::Policy,
    trust::Vendor,
};
use adytum_init::configuration::{MeasuredConfiguration, measure};
use anyhow::Context;

use crate::{evidence, replica::Replica, trusted::TrustedRoots};

/// How far the broker's source of collateral may be behind the one that a draft is made
/// with: a PCCS fetches once a week by default.
const PCCS_BEHIND: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a workload is known by.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["from_evidence", "address", "program"])))]
pub(crate) struct Source {
    /// Evidence of a replica, as `--write-evidence` and `adytum evidence collect`
    /// write it.
    #[arg(long, value_name = "FILE")]
    from_evidence: Option<PathBuf>,
    #[command(flatten)]
    replica: Replica,
    /// The workload's measured configuration: which secrets and bundles there are.
    #[arg(long, value_name = "FILE")]
    configuration: Option<PathBuf>,
    /// The workload's program, to be measured (simulated platforms only).
    #[arg(long, value_name = "FILE", requires = "configuration")]
    program: Option<PathBuf>,
    /// The init that starts it; the program itself by default.
    #[arg(long, value_name = "FILE", requires = "program")]
    init: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trusted: TrustedRoots,
}

impl Source {
    /// The measured configuration, if it was given.
    pub(crate) fn configuration(&self) -> anyhow::Result<Option<MeasuredConfiguration>> {
        Ok(self.configuration.as_deref().map(MeasuredConfiguration::load).transpose()?)
    }

    /// The policy that exactly this code meets, and what to say about it.
    pub(crate) async fn policy(&self) -> anyhow::Result<(Policy, Vec<String>)> {
        match self.program {
            None => {
                let file = self.from_evidence.as_deref();
                policy_of(&evidence::claims(file, &self.replica, &self.trusted).await?)
            }
            Some(_) => Ok((self.measured_policy()?, Vec::new())),
        }
    }

    /// The policy for what `adytum measure` computes.
    fn measured_policy(&self) -> anyhow::Result<Policy> {
        let (Some(configuration), Some(program)) = (&self.configuration, &self.program) else {
            bail_input!("give --from-evidence or --replica, or --configuration and --program");
        };
        require_simulation(&self.trusted)?;
        let measured = measure(configuration, self.init.as_ref().unwrap_or(program), program)?;
        Ok(Policy::for_identity(Vendor::Simulation, TeeKind::Sgx, measured.identity))
    }
}

/// Refuses to measure a program where that is not what the TEE shows.
pub(crate) fn require_simulation(trusted: &TrustedRoots) -> anyhow::Result<()> {
    if trusted.simulation() {
        return Ok(());
    }
    bail_input!(
        "only a simulated platform (--trust-simulation) shows the identity of a program as it is measured from its files; \
         on hardware MRENCLAVE or MRTD come from the build, so start the replica with `adytum-init --evidence-listen` and \
         give --replica, or with `adytum-init --write-evidence` and give --from-evidence"
    )
}

/// The policy that exactly this code on an up-to-date platform meets, and what to
/// say about it.
pub(crate) fn policy_of(claims: &Claims) -> anyhow::Result<(Policy, Vec<String>)> {
    if claims.debug {
        bail_input!(
            "the evidence is of a program that a debugger can read: it must have no secrets; start it without debug"
        );
    }
    let mut policy = Policy::without_code(claims.vendor, claims.tee());
    let mut notes = Vec::new();
    match &claims.measured {
        Measured::Sgx { mr_enclave, enclave, .. } => {
            policy.mr_enclave.insert(*mr_enclave);
            policy.identity.extend(claims.announced);
            if !enclave.config_id.is_zero() {
                policy.config_id.insert(enclave.config_id);
            }
        }
        Measured::Tdx { mr_td, mr_config_id, rtmr, td } => {
            policy.td_attributes.insert(td.attributes);
            notes.push(
                "Register 0 of rtmr covers the ACPI tables, which change with a guest's size (processors, memory, \
                 devices): add the value of each size."
                    .to_owned(),
            );
            policy.mr_td.insert(*mr_td);
            policy.rtmr = Some(rtmr.map(|register| BTreeSet::from([register])));
            if let Some(identity) = mr_config_id.0.first_chunk::<32>().filter(|bytes| **bytes != [0; 32]) {
                let identity = WorkloadIdentity(*identity);
                if claims.carries(identity) {
                    policy.identity.insert(identity);
                }
            }
        }
        Measured::Snp { measurement, host_data, tcb, guest, .. } => {
            policy.snp_measurement.insert(*measurement);
            if let SnpEndorsement::Vlek { csp_id } = &guest.endorsement {
                policy.endorser = BTreeSet::from([Endorser::Vlek]);
                policy.csp_id.insert(csp_id.clone());
                notes.push(format!(
                    "A key of the cloud provider {csp_id} signed the report (VLEK), so the policy accepts that and \
                     cannot name machines."
                ));
            }
            if !guest.platform.alias_check_complete {
                bail_input!(
                    "the platform has not checked its memory for aliases (ALIAS_CHECK_COMPLETE), so a memory module \
                     may open every guest on it (BadRAM, CVE-2024-21944): update its firmware and collect evidence \
                     again"
                );
            }
            policy.minimum_snp_tcb = Some(*tcb);
            if host_data.0 != [0; 32] {
                policy.identity.insert(WorkloadIdentity(host_data.0));
            }
        }
    }
    if let Some(status) = claims.tcb_status.filter(|status| *status != TcbStatus::UpToDate) {
        policy.tcb_status.insert(status);
        policy.advisories = Some(claims.advisory_ids.clone());
        notes.push(format!(
            "The platform's TCB is {status}, so the policy accepts that, with the advisories that apply now. Update the platform, \
             or know why not."
        ));
    }
    if let Some(collateral) = claims.collateral {
        let oldest = Day::of(UnixSeconds(collateral.issued.0.saturating_sub(PCCS_BEHIND.as_secs())));
        policy.minimum_tcb_evaluation_data_number = collateral.tcb_evaluation_data_number;
        policy.collateral_not_before = Some(oldest);
        let number = collateral.tcb_evaluation_data_number;
        let evaluation = number.map_or(String::new(), |number| format!(" and is of evaluation {number}"));
        notes.push(format!(
            "The collateral in force was issued on {}{evaluation}. The policy accepts none of an older evaluation, and \
             none from before {oldest}: a PCCS may be a week behind. Raise both with each new manifest.",
            Day::of(collateral.issued),
        ));
    }
    if let Some(minimum) = policy.minimum_snp_tcb {
        notes.push(format!(
            "The platform's firmware is {minimum}, so the policy accepts that and newer. AMD's security bulletins say \
             what is new enough."
        ));
    }
    notes.push(
        "Any machine of the vendor is accepted: see \"Machines\" in docs/manifest.md for platforms."
            .to_owned(),
    );
    let policy = policy.validated().context("the evidence gives no policy that pins its code")?;
    Ok((policy, notes))
}

#[cfg(test)]
mod tests {
    use adytum_evidence::{
        claims::{CollateralClaims, SnpGuestClaims},
        measurement::{HostData, SnpMeasurement, TdxMeasurement, WorkloadIdentity},
        snp::SnpTcb,
    };
    use adytum_testkit::claims::{self as claims_of, checked_for_aliases};

    use super::*;

    fn enclave() -> Measured {
        claims_of::enclave([2; 32], [3; 32])
    }

    fn guest(identity: [u8; 32]) -> Measured {
        claims_of::tdx_guest([8; 48], WorkloadIdentity(identity))
    }

    #[test]
    fn a_draft_accepts_what_it_was_made_from_and_no_other_code() {
        let identity = [9; 32];
        for measured in [enclave(), guest([0; 32]), guest(identity)] {
            let claims = claims_of::of(measured);
            let (policy, notes) = policy_of(&claims).unwrap();
            policy.judge(&claims).unwrap();
            assert!(notes.last().unwrap().contains("Any machine"), "{notes:?}");
            let mut other_kernel = guest(identity);
            if let Measured::Tdx { rtmr, .. } = &mut other_kernel {
                rtmr[3] = TdxMeasurement([0xee; 48]);
            }
            let others = [
                claims_of::enclave([9; 32], [3; 32]),
                claims_of::tdx_guest([9; 48], WorkloadIdentity(identity)),
                other_kernel,
            ];
            for other in others {
                let other = Claims { measured: other, ..claims.clone() };
                assert!(policy.judge(&other).is_err(), "{other:?}");
            }
        }
        let (policy, _) = policy_of(&claims_of::of(guest(identity))).unwrap();
        assert!(policy.judge(&claims_of::of(guest([0; 32]))).is_err(), "the identity is pinned too");
    }

    #[test]
    fn a_draft_accepts_no_collateral_that_is_older_than_a_pccs_may_be() {
        let issued = "2026-10-08".parse::<Day>().unwrap().start();
        let of = |number, issued| {
            let collateral = CollateralClaims { tcb_evaluation_data_number: Some(number), issued };
            Claims { collateral: Some(collateral), ..claims_of::sgx([2; 32]) }
        };
        let (policy, notes) = policy_of(&of(20, issued)).unwrap();
        assert!(notes.iter().any(|note| note.contains("evaluation 20")), "{notes:?}");
        let week = UnixSeconds(issued.0 - PCCS_BEHIND.as_secs());
        for (claims, accepted) in [
            (of(20, issued), true),
            (of(21, issued), true),
            (of(20, week), true),
            (of(19, issued), false),
            (of(20, UnixSeconds(week.0 - 1)), false),
        ] {
            assert_eq!(policy.judge(&claims).is_ok(), accepted, "{:?}", claims.collateral);
        }
    }

    #[test]
    fn a_draft_from_a_report_pins_guest_host_data_and_firmware() {
        let tcb = SnpTcb { fmc: None, bootloader: 10, tee: 0, snp: 23, microcode: 84 };
        let of = |measurement, host_data, tcb| Claims {
            tcb_status: None,
            ..claims_of::of(Measured::Snp {
                measurement: SnpMeasurement([measurement; 48]),
                host_data: HostData([host_data; 32]),
                vmpl: 0,
                tcb,
                guest: checked_for_aliases(),
            })
        };
        let (policy, notes) = policy_of(&of(4, 9, tcb)).unwrap();
        policy.judge(&of(4, 9, tcb)).unwrap();
        policy.judge(&of(4, 9, SnpTcb { microcode: 85, ..tcb })).unwrap();
        assert!(notes.len() == 2 && notes[0].contains("microcode 84"), "{notes:?}");
        for other in [of(5, 9, tcb), of(4, 8, tcb), of(4, 9, SnpTcb { snp: 22, ..tcb })] {
            assert!(policy.judge(&other).is_err(), "{other:?}");
        }
        // A guest that was given nothing: nothing is pinned that the host would say.
        policy_of(&of(4, 0, tcb)).unwrap().0.judge(&of(4, 0, tcb)).unwrap();
    }

    #[test]
    fn evidence_in_which_nothing_was_measured_gives_no_draft() {
        let refused = |measured: Measured| policy_of(&claims_of::of(measured)).map(drop).unwrap_err();
        let nothing = TdxMeasurement([0; 48]);
        for register in 0..3 {
            let mut measured = guest([0; 32]);
            if let Measured::Tdx { rtmr, .. } = &mut measured {
                rtmr[register] = nothing;
            }
            let error = format!("{:#}", refused(measured));
            assert!(error.contains(&format!("rtmr[{register}] is all zeros")), "{error}");
        }
        let mut measured = guest([0; 32]);
        if let Measured::Tdx { mr_td, .. } = &mut measured {
            *mr_td = nothing;
        }
        assert!(format!("{:#}", refused(measured)).contains("mr_td is all zeros"));
        let tcb = SnpTcb { fmc: None, bootloader: 0, tee: 0, snp: 0, microcode: 0 };
        let snp = |measurement, tcb, guest| Measured::Snp {
            measurement: SnpMeasurement([measurement; 48]),
            host_data: HostData([9; 32]),
            vmpl: 0,
            tcb,
            guest,
        };
        let error = format!("{:#}", refused(snp(4, tcb, checked_for_aliases())));
        assert!(error.contains("minimum_snp_tcb is all zeros"), "{error}");
        let tcb = SnpTcb { snp: 23, ..tcb };
        let error = format!("{:#}", refused(snp(0, tcb, checked_for_aliases())));
        assert!(error.contains("snp_measurement is all zeros"), "{error}");
        let error = refused(snp(4, tcb, SnpGuestClaims::default())).to_string();
        assert!(error.contains("BadRAM"), "{error}");
        // A guest that measures nothing later is whole.
        let mut measured = guest([0; 32]);
        if let Measured::Tdx { rtmr, .. } = &mut measured {
            rtmr[3] = nothing;
        }
        policy_of(&claims_of::of(measured)).unwrap();
    }

    #[test]
    fn a_draft_under_a_clouds_key_names_the_cloud() {
        let of = |csp_id: &str| {
            let endorsement = SnpEndorsement::Vlek { csp_id: csp_id.to_owned() };
            claims_of::of(Measured::Snp {
                measurement: SnpMeasurement([4; 48]),
                host_data: HostData([9; 32]),
                vmpl: 0,
                tcb: SnpTcb { fmc: None, bootloader: 10, tee: 0, snp: 23, microcode: 84 },
                guest: SnpGuestClaims { endorsement, ..checked_for_aliases() },
            })
        };
        let (policy, notes) = policy_of(&of("a cloud")).unwrap();
        policy.judge(&of("a cloud")).unwrap();
        assert!(policy.judge(&of("another")).is_err());
        assert!(notes.iter().any(|note| note.contains("a cloud")), "{notes:?}");
    }

    #[test]
    fn a_debugger_is_refused_and_an_old_platform_is_spoken_of() {
        let debug = Claims { debug: true, ..claims_of::of(enclave()) };
        assert!(policy_of(&debug).unwrap_err().to_string().contains("debugger"));
        let advisory_ids = BTreeSet::from(["INTEL-SA-00615".to_owned()]);
        let old = Claims { tcb_status: Some(TcbStatus::OutOfDate), advisory_ids, ..claims_of::of(enclave()) };
        let (policy, notes) = policy_of(&old).unwrap();
        policy.judge(&old).unwrap();
        assert!(notes[0].contains("OutOfDate"), "{notes:?}");
        let older = Claims { advisory_ids: BTreeSet::from(["INTEL-SA-00837".to_owned()]), ..old };
        assert_eq!(policy.judge(&older).unwrap_err().failures[0].rule, "advisories");
    }
}
