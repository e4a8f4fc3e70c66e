//! Evidence of the workloads that came in this run, to be judged again by what is to come.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use adytum_evidence::{
    claims::Claims,
    evidence::Evidence,
    measurement::{ReportData, WorkloadIdentity},
    verifier::EvidenceObserver,
};
use adytum_governance::decide::Workload;

/// How much evidence is held until its session asks for secrets: a session does so at once.
const MAXIMUM_RECENT: usize = 128;
/// How many machines and workloads are remembered. A quote has about 5 KiB.
const MAXIMUM_GRANTED: usize = 1024;

/// Evidence that verified, and that of peers which were granted something.
#[derive(Default)]
pub(crate) struct SeenEvidence(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// The report data is another one in each session.
    recent: VecDeque<(ReportData, Arc<Evidence>)>,
    granted: BTreeMap<Key, SeenPeer>,
    /// Counts the grants that were seen.
    turn: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    platform: String,
    workloads: Vec<Workload>,
}

/// A peer that was granted something, as it was seen last.
#[derive(Clone)]
pub(crate) struct SeenPeer {
    pub(crate) evidence: Arc<Evidence>,
    /// What it announced besides.
    pub(crate) announced: Option<WorkloadIdentity>,
    turn: u64,
}

impl SeenEvidence {
    /// A peer with these claims was granted something, as these workloads.
    pub(crate) fn granted(&self, claims: &Claims, workloads: &[Workload]) {
        let mut memory = self.memory();
        let position = memory.recent.iter().position(|(data, _)| *data == claims.report_data);
        let Some((_, evidence)) = position.and_then(|position| memory.recent.remove(position)) else {
            return;
        };
        let key = Key { platform: claims.platform.id.clone(), workloads: workloads.to_vec() };
        memory.turn += 1;
        let turn = memory.turn;
        if memory.granted.len() >= MAXIMUM_GRANTED && !memory.granted.contains_key(&key) {
            let oldest = memory.granted.iter().min_by_key(|(_, seen)| seen.turn).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| memory.granted.remove(&oldest));
        }
        memory.granted.insert(key, SeenPeer { evidence, announced: claims.announced, turn });
    }

    /// Everybody who was granted something.
    pub(crate) fn all(&self) -> Vec<SeenPeer> {
        self.memory().granted.values().cloned().collect()
    }

    /// Nothing in here is left half-changed by a panic.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EvidenceObserver for SeenEvidence {
    fn verified(&self, evidence: &Evidence, claims: &Claims) {
        let entry = (claims.report_data, Arc::new(evidence.clone()));
        let mut memory = self.memory();
        if memory.recent.len() >= MAXIMUM_RECENT {
            memory.recent.pop_front();
        }
        memory.recent.push_back(entry);
    }
}
