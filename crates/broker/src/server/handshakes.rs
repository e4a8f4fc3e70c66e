//! The handshakes under way. Their number is limited, and one that has taken
//! long gives way to a new one: peers that connect and say nothing, whoever they
//! are, keep nobody out who is quick.

use std::{collections::VecDeque, future::Future, time::Duration};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::session::Session;

pub(super) struct Handshakes {
    running: JoinSet<Option<Session>>,
    /// In the order of their beginning; some may have ended.
    order: VecDeque<(Instant, AbortHandle)>,
    maximum: usize,
    grace: Duration,
}

impl Handshakes {
    /// So many at once; one that is older than `grace` gives way.
    pub(super) fn new(maximum: usize, grace: Duration) -> Self {
        Self { running: JoinSet::new(), order: VecDeque::new(), maximum, grace }
    }

    pub(super) fn full(&self) -> bool {
        self.running.len() >= self.maximum
    }

    /// Ends the oldest, if it has had its time.
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        while let Some((began, handshake)) = self.order.front() {
            if handshake.is_finished() {
                self.order.pop_front();
                continue;
            }
            if now.saturating_duration_since(*began) < self.grace {
                return false;
            }
            handshake.abort();
            self.order.pop_front();
            return true;
        }
        false
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        handshake: impl Future<Output = Option<Session>> + Send + 'static,
    ) {
        while self.order.front().is_some_and(|(_, handshake)| handshake.is_finished()) {
            self.order.pop_front();
        }
        // What ended in the middle goes when it is in front; this keeps the rest few.
        if self.order.len() > 2 * self.maximum {
            self.order.retain(|(_, handshake)| !handshake.is_finished());
        }
        let handle = self.running.spawn(handshake);
        self.order.push_back((now, handle));
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

    #[tokio::test]
    async fn the_oldest_gives_way_when_it_has_had_its_time() {
        let grace = Duration::from_secs(1);
        let mut handshakes = Handshakes::new(3, grace);
        let start = Instant::now();
        handshakes.start(start, async { None });
        handshakes.start(start, pending());
        handshakes.start(start + grace / 2, pending());
        assert!(handshakes.full());
        assert!(handshakes.next().await.is_some_and(|ended| ended.is_none()));
        assert!(!handshakes.full());
        handshakes.start(start + grace / 2, pending());
        assert!(handshakes.full() && !handshakes.make_room(start + grace / 2));
        assert!(handshakes.make_room(start + grace));
        assert!(!handshakes.make_room(start + grace), "the next one is younger");
        assert!(handshakes.next().await.is_some_and(|ended| ended.is_none()));
        assert!(!handshakes.full());
    }

    #[tokio::test]
    async fn the_order_of_many_that_ended_is_forgotten() {
        let mut handshakes = Handshakes::new(4, Duration::from_secs(1));
        handshakes.start(Instant::now(), pending());
        for _ in 0..1000 {
            handshakes.start(Instant::now(), async { None });
            handshakes.next().await.unwrap();
        }
        assert!(handshakes.order.len() <= 10, "{}", handshakes.order.len());
    }

    #[tokio::test]
    async fn a_panic_ends_one_and_no_other() {
        let mut handshakes = Handshakes::new(4, Duration::from_secs(1));
        handshakes.start(Instant::now(), async { panic!("injected") });
        assert!(handshakes.next().await.is_some_and(|ended| ended.is_none()));
        handshakes.start(Instant::now(), async { None });
        assert!(handshakes.next().await.is_some());
    }
}
