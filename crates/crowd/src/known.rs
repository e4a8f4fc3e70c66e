//! Peers that have shown accepted evidence, by the key that they show in TLS. A peer that
//! comes back proves in the TLS handshake that it has the private key, so it is known
//! before it is asked for evidence again: nobody else can show that key, and no token has
//! to be kept secret. To be known gives no right. It only says that a peer is no stranger.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The SHA-256 digest of a public key.
pub type KeyDigest = [u8; 32];

/// Keys that are remembered for a time.
#[derive(Debug)]
pub struct Known {
    limit: usize,
    lifetime: Duration,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    keys: HashMap<KeyDigest, Instant>,
    /// In the order in which they were shown. A key that was shown again is there twice.
    order: VecDeque<(Instant, KeyDigest)>,
}

impl Known {
    /// Remembers at most `limit` keys, each for `lifetime` after it was shown.
    pub fn new(limit: usize, lifetime: Duration) -> Self {
        Self { limit, lifetime, memory: Mutex::default() }
    }

    /// A peer with this key has shown accepted evidence.
    pub fn remember(&self, key: KeyDigest, now: Instant) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let before = memory.keys.get(&key);
        // A peer that comes often is written down now and then only.
        if before.is_some_and(|shown| now.saturating_duration_since(*shown) < self.lifetime / 4) {
            return;
        }
        memory.keys.insert(key, now);
        memory.order.push_back((now, key));
        while let Some((shown, key)) = memory.order.front().copied() {
            let latest = memory.keys.get(&key) == Some(&shown);
            let fresh = now.saturating_duration_since(shown) < self.lifetime;
            if latest && fresh && memory.keys.len() <= self.limit {
                break;
            }
            memory.order.pop_front();
            if latest {
                memory.keys.remove(&key);
            }
        }
    }

    /// Whether this key was shown with accepted evidence.
    pub fn knows(&self, key: &KeyDigest, now: Instant) -> bool {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.keys.get(key).is_some_and(|shown| now.saturating_duration_since(*shown) < self.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_key_is_known_for_a_time_after_it_was_shown() {
        let (known, start) = (Known::new(10, HOUR), Instant::now());
        assert!(!known.knows(&[1; 32], start));
        known.remember([1; 32], start);
        assert!(known.knows(&[1; 32], start + HOUR / 2) && !known.knows(&[2; 32], start));
        known.remember([1; 32], start + HOUR / 2);
        assert!(known.knows(&[1; 32], start + HOUR));
        assert!(!known.knows(&[1; 32], start + 2 * HOUR));
    }

    #[test]
    fn the_longest_unseen_are_forgotten_first_and_nothing_grows() {
        let (known, start) = (Known::new(10, HOUR), Instant::now());
        for round in 0..1000_u32 {
            let now = start + Duration::from_secs(u64::from(round) * 60);
            known.remember([u8::try_from(round % 200).unwrap(); 32], now);
            assert!(known.knows(&[u8::try_from(round % 200).unwrap(); 32], now));
        }
        let memory = known.memory.lock().unwrap();
        assert!(memory.keys.len() <= 10 && memory.order.len() <= 50, "{}", memory.order.len());
    }
}
