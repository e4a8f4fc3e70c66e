//! Counting instead of recording, so that strangers can't fill the disk.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use adytum_api::broker::{AuditCount, AuditSummary};
use adytum_evidence::clock::UnixSeconds;

/// The most codes that are counted apart: a summary stays within a record's length.
const MAXIMUM_CODES: usize = 40;
/// Where a further code is counted.
const OTHER: &str = "other";

/// Counts by code since the last summary.
#[derive(Debug, Default)]
pub(super) struct EventCounts(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    since: Option<UnixSeconds>,
    by_code: BTreeMap<String, u64>,
}

impl EventCounts {
    pub(super) fn add(&self, code: &str, count: u64, now: UnixSeconds) {
        let mut counts = self.lock();
        counts.since = Some(counts.since.map_or(now, |since| since.min(now)));
        let room = counts.by_code.len() < MAXIMUM_CODES || counts.by_code.contains_key(code);
        let code: String = if room { code.chars().take(64).collect() } else { OTHER.to_owned() };
        let counted = counts.by_code.entry(code).or_default();
        *counted = counted.saturating_add(count);
    }

    /// All that was counted since the last call; `None` when that is nothing.
    pub(super) fn take(&self, now: UnixSeconds) -> Option<AuditSummary> {
        let Counts { since, by_code } = std::mem::take(&mut *self.lock());
        let counts = by_code.into_iter().map(|(code, count)| AuditCount { code, count }).collect();
        Some(AuditSummary { since: since?.0, until: now.0, counts })
    }

    /// Takes a summary back that could not be recorded.
    pub(super) fn put_back(&self, summary: AuditSummary) {
        for AuditCount { code, count } in summary.counts {
            self.add(&code, count, UnixSeconds(summary.since));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded_and_survive_a_failure() {
        let counted = EventCounts::default();
        assert_eq!(counted.take(UnixSeconds(1)), None);
        for n in 0..1000 {
            counted.add(&format!("code-{n}-{}", "x".repeat(1000)), 1, UnixSeconds(5 + n));
        }
        let summary = counted.take(UnixSeconds(2000)).unwrap();
        assert_eq!((summary.since, summary.until, summary.counts.len()), (5, 2000, MAXIMUM_CODES + 1));
        assert_eq!(summary.counts.iter().map(|one| one.count).sum::<u64>(), 1000);
        assert!(summary.counts.iter().all(|one| one.code.len() <= 64));
        assert_eq!(counted.take(UnixSeconds(2001)), None);
        counted.add("other", 1, UnixSeconds(2002));
        counted.put_back(summary);
        let again = counted.take(UnixSeconds(3000)).unwrap();
        assert_eq!(again.since, 5);
        assert_eq!(again.counts.iter().map(|one| one.count).sum::<u64>(), 1001);
    }
}
