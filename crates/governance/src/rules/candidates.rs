//! Which workloads a peer can be at all: by the code that their policies pin. Judging
//! a peer by every policy would take longer than all the rest of a release.

use std::collections::{BTreeMap, HashMap};

use adytum_api::names::WorkloadName;
use adytum_evidence::{
    claims::{Claims, Measured, TeeKind},
    policy::Policy,
};

use crate::manifest::Workload;

/// The measurements that every policy that accepts this kind of TEE pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Code {
    /// SGX: MRENCLAVE.
    Enclave([u8; 32]),
    /// TDX: MRTD.
    Guest([u8; 48]),
    /// SEV-SNP: the launch measurement.
    Launch([u8; 48]),
}

/// Workloads by the code that they pin.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    by_code: HashMap<Code, Vec<WorkloadName>>,
    /// SGX: those that accept whatever a signer signed.
    any_enclave: Vec<WorkloadName>,
}

impl Candidates {
    /// Of these workloads.
    pub fn new(workloads: &BTreeMap<WorkloadName, Workload>) -> Self {
        let mut candidates = Self::default();
        for (name, Workload { policy, .. }) in workloads {
            for tee in &policy.tee {
                candidates.add(name, policy, *tee);
            }
        }
        candidates
    }

    fn add(&mut self, name: &WorkloadName, policy: &Policy, tee: TeeKind) {
        let codes: Vec<Code> = match tee {
            TeeKind::Sgx if !policy.mr_enclave.is_empty() => {
                policy.mr_enclave.iter().map(|pinned| Code::Enclave(pinned.0)).collect()
            }
            // On SGX the workload identity is MRENCLAVE.
            TeeKind::Sgx if !policy.identity.is_empty() => {
                policy.identity.iter().map(|pinned| Code::Enclave(pinned.0)).collect()
            }
            TeeKind::Sgx => {
                self.any_enclave.push(name.clone());
                return;
            }
            // Without these a policy accepts nothing of the kind.
            TeeKind::Tdx => policy.mr_td.iter().map(|pinned| Code::Guest(pinned.0)).collect(),
            TeeKind::Snp => policy.snp_measurement.iter().map(|pinned| Code::Launch(pinned.0)).collect(),
            // A kind that this broker doesn't know: nobody can be a candidate by it.
            _ => return,
        };
        for code in codes {
            self.by_code.entry(code).or_default().push(name.clone());
        }
    }

    /// All workloads that a program with these claims may be, each once; no other can
    /// be it.
    pub fn of(&self, claims: &Claims) -> impl Iterator<Item = &WorkloadName> {
        let (code, any) = match &claims.measured {
            Measured::Sgx { mr_enclave, .. } => (Code::Enclave(mr_enclave.0), self.any_enclave.as_slice()),
            Measured::Tdx { mr_td, .. } => (Code::Guest(mr_td.0), &[][..]),
            Measured::Snp { measurement, .. } => (Code::Launch(measurement.0), &[][..]),
        };
        self.by_code.get(&code).into_iter().flatten().chain(any)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use adytum_evidence::{
        measurement::{MrEnclave, MrSigner, SnpMeasurement, TdxMeasurement, WorkloadIdentity},
        trust::Vendor,
    };
    use adytum_testkit::claims::{self as claims_of, SNP_TCB};
    use proptest::prelude::*;

    use super::*;

    /// Few values, so that they meet.
    fn byte() -> impl Strategy<Value = u8> {
        0u8..3
    }

    fn set<T: Ord + std::fmt::Debug>(make: impl Fn(u8) -> T) -> impl Strategy<Value = BTreeSet<T>> {
        proptest::collection::vec(byte(), 0..3).prop_map(move |bytes| bytes.into_iter().map(&make).collect())
    }

    fn tees() -> impl Strategy<Value = BTreeSet<TeeKind>> {
        proptest::sample::subsequence(vec![TeeKind::Sgx, TeeKind::Tdx, TeeKind::Snp], 0..=3)
            .prop_map(|kinds| kinds.into_iter().collect())
    }

    /// Also policies that would not parse.
    fn policy() -> impl Strategy<Value = Policy> {
        (
            tees(),
            set(|byte| WorkloadIdentity([byte; 32])),
            set(|byte| MrEnclave([byte; 32])),
            set(|byte| MrSigner([byte; 32])),
            set(|byte| TdxMeasurement([byte; 48])),
            set(|byte| SnpMeasurement([byte; 48])),
            any::<bool>(),
        )
            .prop_map(
                |(tee, identity, mr_enclave, mr_signer, mr_td, snp_measurement, allow_any_program)| {
                    let vendor = Vendor::Intel;
                    Policy {
                        tee,
                        identity,
                        mr_enclave,
                        mr_signer,
                        mr_td,
                        snp_measurement,
                        allow_any_program,
                        allow_any_acpi: true,
                        allow_any_kernel: true,
                        minimum_snp_tcb: Some(SNP_TCB),
                        ..Policy::for_identity(vendor, TeeKind::Sgx, WorkloadIdentity([0; 32]))
                    }
                },
            )
    }

    fn claims() -> impl Strategy<Value = Claims> {
        (0u8..3, byte(), byte()).prop_map(|(kind, code, other)| {
            let identity = WorkloadIdentity([other; 32]);
            let measured = match kind {
                0 => claims_of::enclave([code; 32], [other; 32]),
                1 => claims_of::tdx_guest([code; 48], identity),
                _ => claims_of::snp_guest([code; 48], identity),
            };
            Claims { vendor: Vendor::Intel, ..claims_of::of(measured) }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn whoever_a_policy_accepts_is_a_candidate_once(
            policies in proptest::collection::vec(policy(), 1..5),
            claims in claims(),
        ) {
            let name = |number: usize| format!("workload-{number}").parse::<WorkloadName>().unwrap();
            let workloads = policies
                .into_iter()
                .enumerate()
                .map(|(number, policy)| (name(number), Workload { policy, models: BTreeSet::new() }))
                .collect();
            let found: Vec<_> = Candidates::new(&workloads).of(&claims).cloned().collect();
            let distinct: BTreeSet<_> = found.iter().collect();
            prop_assert_eq!(distinct.len(), found.len());
            for (name, workload) in &workloads {
                prop_assert!(workload.policy.judge(&claims).is_err() || found.contains(name), "{}", name);
            }
        }
    }
}
