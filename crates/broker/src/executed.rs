//! Commands already carried out. A signed command is good for one session; one
//! of several owners who share a session could still send what another signed
//! twice, and so bring an older value back.

use std::collections::{HashSet, VecDeque};

use adytum_evidence::measurement::Sha256Digest;

/// So many are remembered. Only owners can add one, and a session does not last
/// for so many.
const REMEMBERED: usize = 16 * 1024;

/// The commands last carried out.
#[derive(Debug, Default)]
pub(crate) struct Executed {
    known: HashSet<Sha256Digest>,
    order: VecDeque<Sha256Digest>,
}

impl Executed {
    /// Remembers a command; false if it is known.
    pub(crate) fn insert(&mut self, command: Sha256Digest) -> bool {
        if !self.known.insert(command) {
            return false;
        }
        self.order.push_back(command);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_new_once_and_memory_is_bounded() {
        let digest = |n: usize| Sha256Digest::of_bytes(&n.to_be_bytes());
        let mut executed = Executed::default();
        assert!(executed.insert(digest(0)));
        assert!(!executed.insert(digest(0)));
        for n in 1..=REMEMBERED {
            assert!(executed.insert(digest(n)));
        }
        assert_eq!(executed.known.len(), REMEMBERED);
        assert!(!executed.insert(digest(REMEMBERED)));
    }
}
