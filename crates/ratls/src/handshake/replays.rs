//! Evidence that was accepted before. Showing it again is refused like all evidence
//! that is bound to something else; only the code tells a replay from a mistake.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use adytum_evidence::measurement::ReportData;

/// The most that are remembered, of 64 bytes each (twice).
const REMEMBERED: usize = 4096;

/// What the evidence last accepted was bound to.
#[derive(Debug, Default)]
pub(crate) struct Replays(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    known: HashSet<[u8; 64]>,
    order: VecDeque<[u8; 64]>,
}

impl Replays {
    /// Evidence bound to this was accepted.
    pub(crate) fn remember(&self, bound: &ReportData) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !remembered.known.insert(bound.0) {
            return;
        }
        remembered.order.push_back(bound.0);
        if remembered.order.len() > REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.known.remove(&oldest);
        }
    }

    /// Was evidence bound to this accepted before?
    pub(crate) fn knows(&self, bound: &ReportData) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.contains(&bound.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_known_and_memory_is_bounded() {
        let bound = |number: usize| {
            let mut bytes = [0; 64];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            ReportData(bytes)
        };
        let replays = Replays::default();
        for number in 0..=REMEMBERED {
            assert!(!replays.knows(&bound(number)));
            replays.remember(&bound(number));
            replays.remember(&bound(number));
            assert!(replays.knows(&bound(number)));
        }
        assert!(!replays.knows(&bound(0)) && replays.knows(&bound(1)));
        assert_eq!(replays.0.lock().unwrap().known.len(), REMEMBERED);
    }
}
