//! The workloads that a peer is not, and why: as many as somebody will read.

use adytum_evidence::{claims::Claims, policy::Failure, verifier::TrustRoot};

use super::{Obstacle, Rules, Workload};
use crate::trust;

/// A workload that the peer is not, and every rule that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub workload: Workload,
    /// Every rule that failed; never empty.
    pub failures: Vec<Failure>,
}

/// Workloads that the peer is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatches {
    /// Those that it is least unlike, the nearest first.
    pub nearest: Vec<Mismatch>,
    /// How many more there are.
    pub more: usize,
}

/// How many mismatches a refusal has. To describe each takes time that a stranger
/// must not cost a broker of many workloads.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    pub workloads: usize,
    /// Of those that may have a secret, for each secret that was asked for.
    pub each_secret: usize,
}

impl Listing {
    /// As many as find room in an answer, and in a record of the audit.
    pub const BRIEF: Self = Self { workloads: 32, each_secret: 8 };
    /// Every one.
    pub const WHOLE: Self = Self { workloads: usize::MAX, each_secret: usize::MAX };
}

/// The workloads that a peer is not, the nearest first, each with the number of rules
/// that say so.
pub(super) struct OtherWorkloads<'a> {
    rules: Rules<'a>,
    claims: &'a Claims,
    workloads: Vec<(usize, Workload)>,
}

impl<'a> OtherWorkloads<'a> {
    pub(super) fn of(rules: Rules<'a>, claims: &'a Claims) -> Self {
        let mut workloads = Vec::new();
        let mut add = |failures, workload: Workload| {
            if failures > 0 {
                workloads.push((failures, workload));
            }
        };
        if let Some(admitted) = rules.admitted {
            let untrusted = usize::from(!trust::accepts(&admitted.roots, claims));
            for (name, workload) in &admitted.manifest.workloads {
                let failures = match workload.admits(claims, rules.time) {
                    Some(_) => untrusted,
                    None => untrusted + workload.policy.count_failures(claims),
                };
                add(failures, Workload::Manifest(name.clone()));
            }
        }
        if let Some(occlum) = rules.occlum {
            let untrusted = usize::from(!trust::accepts(&occlum.roots, claims));
            for (name, entry) in &occlum.workloads {
                add(untrusted + entry.failures(claims).len(), Workload::Occlum(name.clone()));
            }
        }
        workloads.sort();
        Self { rules, claims, workloads }
    }

    /// All that keeps the peer from the workload that it is least unlike.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        let (_, Workload::Manifest(name)) = self.workloads.first()? else { return None };
        let workload = self.rules.admitted?.manifest.workloads.get(name)?;
        Obstacle::between(self.claims, &workload.policy)
    }

    /// Descriptions of at most the given number of the mismatches.
    pub(super) fn nearest(&self, number: usize, meant: impl Fn(&Workload) -> bool) -> Mismatches {
        let mut all = self.workloads.iter().map(|(_, workload)| workload).filter(|workload| meant(workload));
        let mismatch =
            |workload: &Workload| Mismatch { workload: workload.clone(), failures: self.failures(workload) };
        let nearest = all.by_ref().take(number).map(mismatch).collect();
        Mismatches { nearest, more: all.count() }
    }

    /// Every rule that says why the peer is not this workload.
    fn failures(&self, workload: &Workload) -> Vec<Failure> {
        let claims = self.claims;
        let (untrusted, failures) = match workload {
            Workload::Manifest(name) => {
                let admitted = self.rules.admitted;
                let found = admitted.and_then(|admitted| admitted.manifest.workloads.get(name));
                let failures = found.map(|workload| workload.failures(claims, self.rules.time));
                let untrusted = admitted.and_then(|admitted| untrusted_root(&admitted.roots, claims));
                (untrusted, failures.unwrap_or_default())
            }
            Workload::Occlum(name) => {
                let occlum = self.rules.occlum;
                let found = occlum.and_then(|occlum| occlum.workloads.get(name));
                let untrusted = occlum.and_then(|occlum| untrusted_root(&occlum.roots, claims));
                (untrusted, found.map(|entry| entry.failures(claims)).unwrap_or_default())
            }
        };
        untrusted.into_iter().chain(failures).collect()
    }
}

/// The rule that fails if the evidence chains to none of these roots.
fn untrusted_root(roots: &[TrustRoot], claims: &Claims) -> Option<Failure> {
    if trust::accepts(roots, claims) {
        return None;
    }
    let wanted: Vec<String> = roots.iter().map(|root| root.root_key_id().to_string()).collect();
    Some(Failure {
        rule: "root".to_owned(),
        wanted: format!("one of [{}]", wanted.join(", ")),
        got: format!("{} ({})", claims.root_key_id, claims.vendor),
    })
}
