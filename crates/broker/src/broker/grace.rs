//! The time by which a `tcb_grace` of the manifest ends. It goes on with the monotonic
//! clock, through restarts too: a host that stops its clock, or starts the broker again and
//! again at one date, prolongs nothing.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use adytum_evidence::clock::{Clock, UnixSeconds};
use zeroize::Zeroizing;

use super::{Broker, state::State};
use crate::store::{Change, Item, Store, StoreError};

/// Where the time that passed lies in the store.
pub(super) const ITEM: &str = "grace/uptime";

/// How often it is kept. So much is kept in advance: a broker that is killed and started
/// again has lost up to this, and gained nothing.
const KEPT_EVERY: Duration = Duration::from_secs(600);

/// Counts the time since a manifest came into force.
pub(super) struct GraceClock(Mutex<Counted>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    manifest_version: u64,
    /// When the manifest came into force, by the broker's clock.
    since: UnixSeconds,
    /// How much time passed in former runs.
    before: Duration,
    /// The monotonic clock when this run began to count.
    begun: Duration,
}

impl Counted {
    /// A manifest that comes into force now.
    fn new(manifest_version: u64, clock: &dyn Clock) -> Self {
        Self { manifest_version, since: clock.now(), before: Duration::ZERO, begun: clock.elapsed() }
    }

    fn passed(&self, clock: &dyn Clock) -> Duration {
        self.before.saturating_add(clock.elapsed().saturating_sub(self.begun))
    }

    /// Three numbers, big-endian: the manifest's version, when it came into force, and the
    /// seconds since.
    fn item(&self, passed: Duration) -> Item {
        let numbers = [self.manifest_version, self.since.0, passed.as_secs()];
        Item(Zeroizing::new(numbers.iter().flat_map(|number| number.to_be_bytes()).collect()))
    }

    fn read(bytes: &[u8], clock: &dyn Clock) -> Option<Self> {
        let mut numbers = bytes.chunks_exact(8).map(|chunk| chunk.try_into().map_or(0, u64::from_be_bytes));
        let (manifest_version, since, seconds) = (numbers.next()?, numbers.next()?, numbers.next()?);
        (bytes.len() == 24).then(|| Self {
            manifest_version,
            since: UnixSeconds(since),
            before: Duration::from_secs(seconds),
            begun: clock.elapsed(),
        })
    }
}

impl GraceClock {
    /// Goes on counting, if the manifest in force is the one that was counted for. Blocks
    /// on the disk.
    pub(super) fn resume(store: &Store, state: &State, clock: &dyn Clock) -> Result<Self, StoreError> {
        let version = state.manifest_version();
        let kept = store.item(ITEM)?.and_then(|bytes| Counted::read(&bytes, clock));
        let counted = kept.filter(|kept| kept.manifest_version == version);
        Ok(Self(Mutex::new(counted.unwrap_or_else(|| Counted::new(version, clock)))))
    }

    /// A manifest is in force from now on.
    pub(super) fn begin(&self, manifest_version: u64, clock: &dyn Clock) {
        let mut counted = self.counted();
        if counted.manifest_version != manifest_version {
            *counted = Counted::new(manifest_version, clock);
        }
    }

    /// The time that counts: not before the time that passed since the manifest came into
    /// force.
    pub(super) fn time(&self, clock: &dyn Clock) -> UnixSeconds {
        let counted = *self.counted();
        clock.now().max(counted.since.plus(counted.passed(clock)))
    }

    fn to_keep(&self, clock: &dyn Clock) -> Item {
        let counted = *self.counted();
        counted.item(counted.passed(clock).saturating_add(KEPT_EVERY))
    }

    /// Nothing in here is left half-changed by a panic.
    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// The time by which a grace lasts or does not.
    pub(crate) fn grace_time(&self) -> UnixSeconds {
        self.grace.time(&*self.clock)
    }

    /// Keeps how much time has passed under the manifest in force, if it has a grace.
    pub async fn keep_grace(&self) -> Result<(), StoreError> {
        if !self.state().manifest().is_some_and(adytum_governance::manifest::Manifest::has_grace) {
            return Ok(());
        }
        let item = self.grace.to_keep(&*self.clock);
        let change = Change { items: vec![(ITEM, Some(item))], ..Change::default() };
        self.store().commit(change).await.map(drop)
    }

    /// Keeps it now, and again and again.
    pub async fn keep_counting_grace(&self) {
        loop {
            if let Err(error) = self.keep_grace().await {
                tracing::warn!(code = error.code(), %error, "the time that passed of tcb_grace was not kept");
            }
            tokio::time::sleep(KEPT_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use adytum_evidence::clock::{
        FixedClock,
        floor::{FloorClock, Monotonic},
    };

    use super::*;

    #[derive(Default)]
    struct Passed(AtomicU64);

    impl Monotonic for Passed {
        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    const START: u64 = 1_795_000_000;

    fn clock() -> (Arc<Passed>, FloorClock) {
        let passed = Arc::new(Passed::default());
        let host = Arc::new(FixedClock::new(UnixSeconds(START)));
        // Without a floor, so that only the count is looked at.
        (passed.clone(), FloorClock::with_monotonic(host, passed, UnixSeconds(0)))
    }

    #[test]
    fn a_stopped_clock_and_restarts_prolong_nothing() {
        let (passed, clock) = clock();
        let grace = GraceClock(Mutex::new(Counted::new(3, &clock)));
        assert_eq!(grace.time(&clock), UnixSeconds(START));
        passed.0.store(86_400, Ordering::SeqCst);
        assert_eq!(grace.time(&clock), UnixSeconds(START + 86_400), "the host's clock has stopped");
        let kept = grace.to_keep(&clock);
        // Another process, whose monotonic clock begins again.
        let (passed, clock) = self::clock();
        let resumed = Counted::read(&kept.0, &clock).unwrap();
        let grace = GraceClock(Mutex::new(resumed));
        let after = START + 86_400 + KEPT_EVERY.as_secs();
        assert_eq!(grace.time(&clock), UnixSeconds(after));
        passed.0.store(60, Ordering::SeqCst);
        assert_eq!(grace.time(&clock), UnixSeconds(after + 60));
        // The same manifest goes on; another one begins again.
        grace.begin(3, &clock);
        assert_eq!(grace.time(&clock), UnixSeconds(after + 60));
        grace.begin(4, &clock);
        assert_eq!(grace.time(&clock), UnixSeconds(START));
    }

    #[test]
    fn what_is_no_count_is_not_read() {
        let (_, clock) = clock();
        for length in [0, 1, 8, 23, 25, 32] {
            assert_eq!(Counted::read(&vec![1; length], &clock), None);
        }
    }
}
