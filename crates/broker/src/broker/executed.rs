//! Commands already carried out. A signed command is good for one session; one
//! of several owners who share a session could still send what another signed
//! twice, and so bring an older value back.

use std::collections::{HashSet, VecDeque};

use adytum_evidence::measurement::Sha256Digest;

/// The most that are remembered. Only owners can add one, and a session ends long
/// before there are this many.
const REMEMBERED: usize = 16 * 1024;

/// The commands last carried out.
#[derive(Debug, Default)]
pub(crate) struct ExecutedCommands {
    known: HashSet<Sha256Digest>,
    order: VecDeque<Sha256Digest>,
}

impl ExecutedCommands {
    /// Was this command carried out?
    pub(crate) fn contains(&self, command: &Sha256Digest) -> bool {
        self.known.contains(command)
    }

    /// Remembers a command that was carried out.
    pub(crate) fn insert(&mut self, command: Sha256Digest) {
        if !self.known.insert(command) {
            return;
        }
        self.order.push_back(command);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_and_memory_is_bounded() {
        let digest = |n: usize| Sha256Digest::of_bytes(&n.to_be_bytes());
        let mut executed = ExecutedCommands::default();
        assert!(!executed.contains(&digest(0)));
        for n in 0..=REMEMBERED {
            executed.insert(digest(n));
            executed.insert(digest(n));
            assert!(executed.contains(&digest(n)));
        }
        assert_eq!(executed.known.len(), REMEMBERED);
        assert_eq!(executed.order.len(), REMEMBERED);
    }
}
