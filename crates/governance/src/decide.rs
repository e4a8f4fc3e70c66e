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
use adytum_evidence::claims::Claims;
use adytum_sealed::rule::ModelRule;

use self::mismatch::OtherWorkloads;
pub use self::mismatch::{Listing, Mismatch, Mismatches};
use crate::{
    manifest::{DEFAULT_LEASE, Lease, SecretRule},
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
    /// For how long all of it may be used: the least of every secret's.
    pub lease: Lease,
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
            Reason::NoWorkload
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
        return Ok(Grant { secrets, matched: judged.matched, models, lease });
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
    let Judged { trusted, matched } = judged;
    Err(Refusal { verdicts, matched, mismatches, untrusted: !trusted })
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
}

impl Judged {
    fn matching(rules: Rules<'_>, claims: &Claims) -> Self {
        let mut judged = Self { trusted: false, matched: Vec::new() };
        if let Some(admitted) = rules.admitted
            && trust::accepts(&admitted.roots, claims)
        {
            judged.trusted = true;
            let workloads = &admitted.manifest.workloads;
            let accepts = |name: &&WorkloadName| {
                workloads.get(*name).is_some_and(|workload| workload.policy.count_failures(claims) == 0)
            };
            let matched = admitted.candidates.of(claims).filter(accepts);
            judged.matched.extend(matched.cloned().map(Workload::Manifest));
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
