//! Whether a loaded version still has its memory.
//!
//! The count of an `Arc` says less: it is zero when the last holder begins to drop the value,
//! on a busy machine long before the memory is free.

use std::sync::{Arc, Weak};

/// Kept by a value as its last field, which Rust drops after all others.
#[derive(Debug, Default)]
pub(super) struct Presence(Arc<()>);

impl Presence {
    pub(super) fn watch(&self) -> Absence {
        Absence(Arc::downgrade(&self.0))
    }
}

/// Knows when a version's memory is free.
#[derive(Clone, Debug)]
pub(crate) struct Absence(Weak<()>);

impl Absence {
    /// Whether everything that the version had is freed.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        mpsc::{Receiver, channel},
    };

    use super::*;

    /// Freed when a message comes.
    struct Slow(Mutex<Receiver<()>>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.get_mut().unwrap().recv();
        }
    }

    struct Version {
        _weights: Slow,
        presence: Presence,
    }

    #[test]
    fn a_version_is_absent_when_it_is_freed_and_not_when_it_begins_to_be() {
        let (free, message) = channel();
        let version =
            Arc::new(Version { _weights: Slow(Mutex::new(message)), presence: Presence::default() });
        let (absence, count) = (version.presence.watch(), Arc::downgrade(&version));
        let dropping = std::thread::spawn(move || drop(version));
        while count.strong_count() > 0 {
            std::thread::yield_now();
        }
        assert!(!absence.is_complete(), "its weights are still there");
        free.send(()).unwrap();
        dropping.join().unwrap();
        assert!(absence.is_complete());
    }
}
