//! The decision: claims and rules in, secrets or a refusal out. Nothing here
//! waits, writes or looks anything up, so that a decision can be explained
//! without a running broker.
//!
//! Deny by default: a secret goes to a peer only if the manifest names the
//! secret, and names for it a workload whose policy the peer's claims meet.

mod explanation;
mod mismatch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use adytum_api::names::{SecretName, WorkloadName};
use adytum_evidence::{
    claims::{Claims, TcbStatus},
    clock::{Day, UnixSeconds},
    policy::Policy,
};
use adytum_sealed::rule::ModelRule;

use self::mismatch::OtherWorkloads;
pub use self::mismatch::{Listing, Mismatch, Mismatches};
use crate::{
    manifest::{Admission, DEFAULT_LEASE, Lease, SecretRule},
    occlum::OcclumConfiguration,
    rules::AdmittedManifest,
    secrets::{SecretKind, SecretValue, StoredSecret},
    trust,
};

/// The rules in force.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The manifest, if there is one yet.
    pub admitted: Option<&'a AdmittedManifest>,
    /// The Occlum configuration, if one was loaded.
    pub occlum: Option<&'a OcclumConfiguration>,
    /// The time at which `tcb_grace` lasts or does not. Nothing else depends on it.
    pub time: UnixSeconds,
}

/// A workload, and which rules name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// The manifest's.
    Manifest(WorkloadName),
    /// The Occlum configuration's.
    Occlum(WorkloadName),
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(name) => write!(f, "workload {name}"),
            Self::Occlum(name) => write!(f, "workload {name} of the Occlum configuration"),
        }
    }
}

/// Secrets that the peer may have.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// In the order asked for.
    pub secrets: Vec<GrantedSecret<'a>>,
    /// The workloads that the peer is.
    pub matched: Vec<Workload>,
    /// The models that those may load.
    pub models: Vec<&'a ModelRule>,
    /// For how long all of it may be used: the least of every secret's, and no longer than
    /// the grace.
    pub lease: Lease,
    /// The last day of the grace that the peer's platform needs; `None` if it needs none.
    pub in_grace_until: Option<Day>,
}

/// One secret that the peer may have.
#[derive(Clone, Debug)]
pub struct GrantedSecret<'a> {
    pub name: SecretName,
    pub kind: SecretKind,
    pub value: &'a SecretValue,
    pub version: u64,
    /// The manifest's rule; `None` for what the Occlum configuration has.
    pub rule: Option<&'a SecretRule>,
    /// As which workload the peer gets it.
    pub by: Workload,
}

/// The outcome for one name of a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would have been released, had the others been.
    Withheld { by: Workload },
    /// It would have been released, and has no value yet.
    NoValue { by: Workload },
    /// It would have been released, and an owner took its value away.
    Removed { by: Workload },
    /// No workload that may have it is this peer.
    Refused {
        /// Those that may, and why they are not this peer.
        mismatches: Mismatches,
    },
    /// No rule names it.
    Unknown,
}

/// Why nothing is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Each name asked for, and what became of it.
    pub verdicts: Vec<(SecretName, Verdict)>,
    /// The workloads that the peer is.
    pub matched: Vec<Workload>,
    /// The workloads that the peer is not.
    pub mismatches: Mismatches,
    /// The evidence chains to no root that is trusted now.
    pub untrusted: bool,
    /// All that keeps the peer from the workload that it is least unlike.
    pub obstacle: Option<Obstacle>,
}

/// All that keeps a peer from being a workload, where that is not what it is but how its
/// platform was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The collateral that it was verified with is too old.
    Collateral,
    /// Its platform's TCB is not accepted, by the collateral: it is out of date as a rule.
    Tcb,
}

impl Obstacle {
    fn between(claims: &Claims, policy: &Policy) -> Option<Self> {
        let mut relaxed = policy.clone();
        (relaxed.minimum_tcb_evaluation_data_number, relaxed.collateral_not_before) = (None, None);
        if relaxed.count_failures(claims) == 0 {
            return Some(Self::Collateral);
        }
        (relaxed.tcb_status, relaxed.advisories) = (TcbStatus::ALL.into(), None);
        (relaxed.count_failures(claims) == 0).then_some(Self::Tcb)
    }
}

/// The reason that decides the answer, the gravest first.
///
/// Retry: no
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The peer's evidence chains to no root that the manifest in force trusts.
    ///
    /// Do: run the workload on a platform that `[trust]` of the manifest names, or add the
    /// platform's vendor there and apply the manifest.
    EvidenceNotTrusted,
    /// The peer is none of the workloads. Whether the names exist makes no difference to the
    /// answer.
    ///
    /// See: `PolicyRefusal`
    NoWorkload,
    /// The peer is one of the workloads but for the collateral, which is older than the policy
    /// accepts. The source of collateral is at fault, not the peer.
    ///
    /// Do: refresh the PCCS or the collateral directory that the broker uses, then send the broker
    /// SIGHUP; `adytum broker forecast` says which source serves what.
    ///
    /// Retry: later
    CollateralTooOld,
    /// The peer is one of the workloads but for its platform, whose TCB is not one that the policy
    /// accepts: firmware or microcode is out of date, or advisories apply to it.
    ///
    /// Do: update the firmware of the platform. If that takes time, the owners can accept the
    /// advisories for a while with `[workload.tcb_grace]` in the manifest (docs/manifest.md).
    TcbNotAccepted,
    /// The peer is a workload, and the manifest gives the secret to other workloads only.
    ///
    /// Do: if the workload should have the secret, add it to the secret's `workloads` in the
    /// manifest and apply that.
    SecretRefused,
    /// The manifest in force has no secret of that name.
    ///
    /// Do: correct the name in the workload's configuration, or add the secret to the manifest
    /// and apply that.
    SecretUnknown,
    /// An owner removed the value of the secret.
    ///
    /// Do: give it a value again with `adytum secret put`, or with `adytum secret rotate` if the
    /// broker makes its values.
    SecretRemoved,
    /// The manifest names the secret, and the secret has no value.
    ///
    /// Do: give it a value with `adytum secret put`.
    ///
    /// Retry: later
    SecretHasNoValue,
}

impl Reason {
    /// Stable code for logs and answers.
    pub fn code(self) -> &'static str {
        match self {
            Self::EvidenceNotTrusted => "evidence-not-trusted",
            Self::NoWorkload => "policy-refused",
            Self::CollateralTooOld => "collateral-too-old",
            Self::TcbNotAccepted => "tcb-not-accepted",
            Self::SecretRefused => "secret-refused",
            Self::SecretUnknown => "secret-unknown",
            Self::SecretRemoved => "secret-removed",
            Self::SecretHasNoValue => "secret-has-no-value",
        }
    }
}

impl Refusal {
    /// The reason that decides the answer.
    pub fn reason(&self) -> Reason {
        let any = |test: fn(&Verdict) -> bool| self.verdicts.iter().any(|(_, verdict)| test(verdict));
        if self.untrusted {
            Reason::EvidenceNotTrusted
        } else if self.matched.is_empty() {
            match self.obstacle {
                Some(Obstacle::Collateral) => Reason::CollateralTooOld,
                Some(Obstacle::Tcb) => Reason::TcbNotAccepted,
                None => Reason::NoWorkload,
            }
        } else if any(|verdict| matches!(verdict, Verdict::Refused { .. })) {
            Reason::SecretRefused
        } else if any(|verdict| *verdict == Verdict::Unknown) {
            Reason::SecretUnknown
        } else if any(|verdict| matches!(verdict, Verdict::Removed { .. })) {
            Reason::SecretRemoved
        } else {
            Reason::SecretHasNoValue
        }
    }
}

/// Decides whether a peer with these claims may have all of these secrets.
/// `held` are the values that the broker holds under the manifest's names; a refusal
/// names the workloads that `listing` asks for.
pub fn decide<'a>(
    rules: Rules<'a>,
    held: &'a BTreeMap<SecretName, StoredSecret>,
    claims: &Claims,
    names: &[SecretName],
    listing: Listing,
) -> Result<Grant<'a>, Refusal> {
    let judged = Judged::matching(rules, claims);
    if let Some(secrets) = judged.secrets(rules, held, names) {
        let models = judged.models(rules);
        let otherwise = rules.admitted.map_or(DEFAULT_LEASE, |admitted| admitted.manifest.lease);
        let leases = secrets.iter().map(|secret| secret.rule.map_or(otherwise, |rule| rule.lease));
        let lease = leases.reduce(Lease::least).unwrap_or(otherwise);
        let in_grace_until = judged.in_grace_until;
        let lease = in_grace_until.map_or(lease, |day| lease.ending_by(rules.time, day.end()));
        return Ok(Grant { secrets, matched: judged.matched, models, lease, in_grace_until });
    }
    let others = OtherWorkloads::of(rules, claims);
    let verdict = |name| match judged.verdict(rules, held, name) {
        Ok(may) => Verdict::Withheld { by: may.by },
        Err(Denial::Refused(rule)) => {
            let may = |workload: &Workload| may_have(rule, workload);
            Verdict::Refused { mismatches: others.nearest(listing.each_secret, may) }
        }
        Err(Denial::NoValue { by }) => Verdict::NoValue { by },
        Err(Denial::Removed { by }) => Verdict::Removed { by },
        Err(Denial::Unknown) => Verdict::Unknown,
    };
    let verdicts = names.iter().map(|name| (name.clone(), verdict(name))).collect();
    let mismatches = others.nearest(listing.workloads, |_| true);
    let Judged { trusted, matched, .. } = judged;
    let obstacle = if matched.is_empty() { others.obstacle() } else { None };
    Err(Refusal { verdicts, matched, mismatches, untrusted: !trusted, obstacle })
}

/// That a peer may have a secret, and as whom.
struct Entitlement<'a> {
    by: Workload,
    stored: &'a StoredSecret,
    rule: Option<&'a SecretRule>,
}

/// Why a peer may not have a secret.
enum Denial<'a> {
    /// None of the workloads that it is may; the manifest's rule, or `None` for what
    /// the Occlum configuration has.
    Refused(Option<&'a SecretRule>),
    Removed {
        by: Workload,
    },
    NoValue {
        by: Workload,
    },
    Unknown,
}

/// May this workload have the secret of this rule? Without one it is the Occlum
/// configuration's.
fn may_have(rule: Option<&SecretRule>, workload: &Workload) -> bool {
    match (rule, workload) {
        (Some(rule), Workload::Manifest(name)) => rule.workloads.contains(name),
        (None, Workload::Occlum(_)) => true,
        _ => false,
    }
}

/// The workloads that the peer is.
struct Judged {
    trusted: bool,
    matched: Vec<Workload>,
    /// The earliest end of a grace that one of them needs.
    in_grace_until: Option<Day>,
}

impl Judged {
    fn matching(rules: Rules<'_>, claims: &Claims) -> Self {
        let mut judged = Self { trusted: false, matched: Vec::new(), in_grace_until: None };
        if let Some(admitted) = rules.admitted
            && trust::accepts(&admitted.roots, claims)
        {
            judged.trusted = true;
            let workloads = &admitted.manifest.workloads;
            for name in admitted.candidates.of(claims) {
                let admission = workloads.get(name).and_then(|workload| workload.admits(claims, rules.time));
                let Some(admission) = admission else { continue };
                if let Admission::InGrace { until } = admission {
                    let earliest = judged.in_grace_until.map_or(until, |other| other.min(until));
                    judged.in_grace_until = Some(earliest);
                }
                judged.matched.push(Workload::Manifest(name.clone()));
            }
        }
        if let Some(occlum) = rules.occlum
            && trust::accepts(&occlum.roots, claims)
        {
            judged.trusted = true;
            let matched = occlum.workloads.iter().filter(|(_, entry)| entry.failures(claims).is_empty());
            judged.matched.extend(matched.map(|(name, _)| Workload::Occlum(name.clone())));
        }
        judged.matched.sort();
        judged
    }

    /// The secrets, if the peer may have all of them and the broker holds them.
    fn secrets<'a>(
        &self,
        rules: Rules<'a>,
        held: &'a BTreeMap<SecretName, StoredSecret>,
        names: &[SecretName],
    ) -> Option<Vec<GrantedSecret<'a>>> {
        if self.matched.is_empty() {
            return None;
        }
        let one = |name: &SecretName| {
            let Entitlement { by, stored, rule } = self.verdict(rules, held, name).ok()?;
            let (value, version) = (stored.value.as_ref()?, stored.version);
            Some(GrantedSecret { name: name.clone(), kind: stored.kind, value, version, rule, by })
        };
        names.iter().map(one).collect()
    }

    /// `Ok` if the peer may have this secret and the broker holds it.
    fn verdict<'a>(
        &self,
        rules: Rules<'a>,
        held: &'a BTreeMap<SecretName, StoredSecret>,
        name: &SecretName,
    ) -> Result<Entitlement<'a>, Denial<'a>> {
        // A name that the manifest has is the manifest's alone.
        if let Some(rule) = rules.admitted.and_then(|admitted| admitted.manifest.secrets.get(name)) {
            let by = self.find(Some(rule))?;
            // A value of another kind was accepted under another rule.
            return match held.get(name).filter(|stored| stored.kind == rule.kind()) {
                Some(stored) if stored.value.is_some() => Ok(Entitlement { by, stored, rule: Some(rule) }),
                Some(_) => Err(Denial::Removed { by }),
                None => Err(Denial::NoValue { by }),
            };
        }
        let stored = rules.occlum.and_then(|occlum| occlum.secrets.get(name));
        let stored = stored.ok_or(Denial::Unknown)?;
        Ok(Entitlement { by: self.find(None)?, stored, rule: None })
    }

    fn find<'a>(&self, rule: Option<&'a SecretRule>) -> Result<Workload, Denial<'a>> {
        let may = |workload: &&Workload| may_have(rule, workload);
        self.matched.iter().find(may).cloned().ok_or(Denial::Refused(rule))
    }

    fn models<'a>(&self, rules: Rules<'a>) -> Vec<&'a ModelRule> {
        let Some(admitted) = rules.admitted else { return Vec::new() };
        let manifest = &admitted.manifest;
        let may_load = |workload: &Workload| match workload {
            Workload::Manifest(name) => manifest.workloads.get(name).map(|workload| &workload.models),
            Workload::Occlum(_) => None,
        };
        let names: BTreeSet<_> = self.matched.iter().filter_map(may_load).flatten().collect();
        names.into_iter().filter_map(|name| manifest.models.get(name)).collect()
    }
}

#[cfg(test)]
mod tests;
