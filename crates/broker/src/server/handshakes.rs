//! The handshakes under way. Their number is limited. When all places are taken,
//! an address that has fewer than another takes one of the other's, and among
//! equals the oldest gives way when it has had its time: peers that connect and
//! say nothing, however many, keep nobody out.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{peers::PeerKey, session::Session};

pub(super) struct Handshakes {
    running: JoinSet<Option<Session>>,
    /// In the order of their beginning; some may have ended.
    order: VecDeque<Handshake>,
    maximum: usize,
    grace: Duration,
}

struct Handshake {
    began: Instant,
    peer: PeerKey,
    task: AbortHandle,
}

impl Handshakes {
    /// At most this number at once; among peers with equally many, one that is older than
    /// `grace` gives way.
    pub(super) fn new(maximum: usize, grace: Duration) -> Self {
        Self { running: JoinSet::new(), order: VecDeque::new(), maximum, grace }
    }

    pub(super) fn full(&self) -> bool {
        self.running.len() >= self.maximum
    }

    /// Ends one, if there is one that has to give way to a new one of this peer:
    /// one of those who have the most, at once if that is more than the newcomer
    /// would have.
    pub(super) fn make_room(&mut self, now: Instant, newcomer: PeerKey) -> bool {
        self.order.retain(|handshake| !handshake.task.is_finished());
        let mut held: HashMap<PeerKey, usize> = HashMap::new();
        for handshake in &self.order {
            *held.entry(handshake.peer).or_default() += 1;
        }
        let most = held.values().copied().max().unwrap_or(0);
        let newcomers = held.get(&newcomer).map_or(1, |count| count + 1);
        let grace = if most > newcomers { Duration::ZERO } else { self.grace };
        let oldest = self.order.iter().position(|handshake| held.get(&handshake.peer) == Some(&most));
        let Some(index) = oldest else { return false };
        if now.saturating_duration_since(self.order[index].began) < grace {
            return false;
        }
        self.order.remove(index).inspect(|handshake| handshake.task.abort());
        true
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        peer: PeerKey,
        handshake: impl Future<Output = Option<Session>> + Send + 'static,
    ) {
        while self.order.front().is_some_and(|handshake| handshake.task.is_finished()) {
            self.order.pop_front();
        }
        // What ended in the middle goes when it is in front; this keeps the rest few.
        if self.order.len() > 2 * self.maximum {
            self.order.retain(|handshake| !handshake.task.is_finished());
        }
        let task = self.running.spawn(handshake);
        self.order.push_back(Handshake { began: now, peer, task });
    }

    /// The next that ends: its session, if one came of it. `None` when none is
    /// under way. A handshake that panicked has touched no other.
    pub(super) async fn next(&mut self) -> Option<Option<Session>> {
        let ended = self.running.join_next().await?;
        Some(ended.unwrap_or_else(|error| {
            if error.is_panic() {
                tracing::error!("a handshake ended abnormally");
            }
            None
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn peer(last: u8) -> PeerKey {
        PeerKey::of([10, 0, 0, last].into())
    }

    #[tokio::test]
    async fn among_equals_the_oldest_gives_way_when_it_has_had_its_time() {
        let grace = Duration::from_secs(1);
        let mut handshakes = Handshakes::new(3, grace);
        let start = Instant::now();
        handshakes.start(start, peer(1), async { None });
        handshakes.start(start, peer(2), pending());
        handshakes.start(start + grace / 2, peer(3), pending());
        assert!(handshakes.full());
        assert!(handshakes.next().await.is_some_and(|ended| ended.is_none()));
        assert!(!handshakes.full());
        handshakes.start(start + grace / 2, peer(4), pending());
        assert!(handshakes.full() && !handshakes.make_room(start + grace / 2, peer(5)));
        assert!(handshakes.make_room(start + grace, peer(5)));
        assert!(!handshakes.make_room(start + grace, peer(5)), "the next one is younger");
        assert!(handshakes.next().await.is_some_and(|ended| ended.is_none()));
        assert!(!handshakes.full());
    }

    #[tokio::test]
    async fn who_has_the_most_gives_way_to_who_has_fewer_at_once() {
        let grace = Duration::from_secs(1);
        let mut handshakes = Handshakes::new(6, grace);
        let start = Instant::now();
        // The oldest of all is a peer that has just this one.
        for last in [1, 2, 2, 2, 3, 3] {
            handshakes.start(start, peer(last), pending());
        }
        assert!(!handshakes.make_room(start, peer(2)), "it has the most itself");
        assert!(!handshakes.make_room(start, peer(3)), "it would have as many");
        assert!(handshakes.make_room(start, peer(4)));
        handshakes.start(start, peer(4), pending());
        // Nobody has more than two now, so a second one of a peer waits its time...
        assert!(!handshakes.make_room(start, peer(4)));
        // ... and a first one does not.
        assert!(handshakes.make_room(start, peer(5)));
        handshakes.start(start, peer(5), pending());
        let counts = |handshakes: &Handshakes| {
            [1, 2, 3, 4, 5].map(|last| handshakes.order.iter().filter(|one| one.peer == peer(last)).count())
        };
        assert_eq!(counts(&handshakes), [1, 1, 2, 1, 1]);
        // However old it is, one that is alone outlasts those who have more.
        assert!(handshakes.make_room(start + 10 * grace, peer(3)));
        assert_eq!(counts(&handshakes), [1, 1, 1, 1, 1]);
    }

    #[tokio::test]
    async fn the_order_of_many_that_ended_is_forgotten() {
        let mut handshakes = Handshakes::new(4, Duration::from_secs(1));
        handshakes.start(Instant::now(), peer(1), pending());
        for _ in 0..1000 {
            handshakes.start(Instant::now(), peer(1), async { None });
            handshakes.next().await.unwrap();
        }
        assert!(handshakes.order.len() <= 10, "{}", handshakes.order.len());
    }

    #[tokio::test]
    async fn a_panic_ends_one_and_no_other() {
        let mut handshakes = Handshakes::new(4, Duration::from_secs(1));
        handshakes.start(Instant::now(), peer(1), async { panic!("injected") });
        assert!(handshakes.next().await.is_some_and(|ended| ended.is_none()));
        handshakes.start(Instant::now(), peer(1), async { None });
        assert!(handshakes.next().await.is_some());
    }
}
