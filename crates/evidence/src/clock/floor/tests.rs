use super::*;
use crate::clock::FixedClock;

const START: u64 = 1_750_000_000;
const DAY: u64 = 86_400;

#[derive(Default)]
struct Passed(AtomicU64);

impl Passed {
    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Monotonic for Passed {
    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A host's clock, the time that passed, and the clock above a floor, of a program whose
/// sources are from the day before.
fn clock() -> (Arc<FixedClock>, Arc<Passed>, FloorClock) {
    let host = Arc::new(FixedClock::new(UnixSeconds(START)));
    let passed = Arc::new(Passed::default());
    let clock = FloorClock::with_monotonic(host.clone(), passed.clone(), UnixSeconds(START - DAY));
    (host, passed, clock)
}

#[test]
fn a_clock_set_back_does_not_go_below_the_latest_date_that_was_signed() {
    let (host, _, clock) = clock();
    assert_eq!(clock.now(), UnixSeconds(START));
    host.set(UnixSeconds(0));
    assert_eq!(clock.now(), UnixSeconds(START - DAY), "the date of the sources");
    clock.saw(UnixSeconds(START - 100));
    clock.saw(UnixSeconds(START - 200));
    assert_eq!(clock.now(), UnixSeconds(START - 100));
    assert_eq!(
        clock.floor_and_origin(),
        Floor { date: UnixSeconds(START - 100), origin: FloorOrigin::Collateral }
    );
    clock.adopt(UnixSeconds(START - 50));
    assert_eq!((clock.now(), clock.floor()), (UnixSeconds(START - 50), UnixSeconds(START - 50)));
    host.set(UnixSeconds(START + 5));
    assert_eq!(clock.now(), UnixSeconds(START + 5));
}

#[test]
fn a_clock_that_stops_is_left_behind() {
    let (host, passed, clock) = clock();
    clock.saw(UnixSeconds(START - 100));
    passed.set(30 * DAY);
    assert_eq!(clock.now(), UnixSeconds(START - 100 + 30 * DAY));
    assert!(clock.is_below());
    // The date itself is announced: the time since is not signed.
    assert_eq!(clock.floor(), UnixSeconds(START - 100));
    host.set(UnixSeconds(START + 30 * DAY));
    assert_eq!(clock.now(), UnixSeconds(START + 30 * DAY));
    assert!(!clock.is_below());
}

#[test]
fn a_floor_that_was_kept_counts_from_the_first_moment() {
    let (_, _, clock) = clock();
    clock.restore(UnixSeconds(START + 1000));
    assert_eq!(clock.now(), UnixSeconds(START + 1000));
    assert_eq!(*clock.kept().borrow(), UnixSeconds(START + 1000));
}

#[test]
fn only_dates_that_were_seen_are_kept() {
    let (_, _, clock) = clock();
    let mut kept = clock.kept();
    clock.states(FloorOrigin::Manifest, Some(UnixSeconds(START + DAY)));
    clock.adopt(UnixSeconds(START + DAY));
    assert!(!kept.has_changed().unwrap(), "these come again from where they are written");
    clock.saw(UnixSeconds(START));
    assert_eq!(*kept.borrow_and_update(), UnixSeconds(START));
    clock.saw(UnixSeconds(START - 1));
    assert!(!kept.has_changed().unwrap());
}

#[test]
fn those_who_stated_a_date_by_mistake_can_take_it_back() {
    let (_, _, clock) = clock();
    let mistake = UnixSeconds(START + 3650 * DAY);
    clock.states(FloorOrigin::Manifest, Some(mistake));
    assert_eq!(clock.now(), mistake);
    clock.states(FloorOrigin::Manifest, Some(UnixSeconds(START - 5)));
    assert_eq!(clock.now(), UnixSeconds(START));
    clock.states(FloorOrigin::Manifest, None);
    assert_eq!(clock.floor(), UnixSeconds(START - DAY));
}

#[test]
fn a_clock_that_was_set_forward_for_a_while_moves_the_floor_no_further_than_the_margin() {
    let (host, _, clock) = clock();
    // Nothing was signed by a vendor yet: a time of the host's alone is no floor.
    clock.used(UnixSeconds(START + 3650 * DAY));
    assert_eq!(clock.floor(), UnixSeconds(START - DAY));
    clock.saw(UnixSeconds(START - 100));
    clock.used(UnixSeconds(START));
    assert_eq!(clock.floor(), UnixSeconds(START));
    clock.used(UnixSeconds(START + 3650 * DAY));
    let most = UnixSeconds(START - 100).plus(GRANT_MARGIN);
    assert_eq!(clock.floor(), most);
    host.set(UnixSeconds(START));
    assert_eq!(clock.now(), most);
    assert_eq!(*clock.kept().borrow(), most);
}

#[test]
fn jumps_are_reported_once_and_time_that_passes_is_none() {
    let (host, passed, clock) = clock();
    for hour in 1..=24 {
        passed.set(hour * 3600);
        host.set(UnixSeconds(START + hour * 3600 + hour % 3));
        assert_eq!(clock.look(), None);
    }
    let now = START + DAY;
    host.set(UnixSeconds(now + 7200));
    let Some(ClockWarning::Forward { expected, found }) = clock.look() else { panic!() };
    assert_eq!((expected.0, found.0), (now, now + 7200));
    assert_eq!(clock.look(), None);
    host.set(UnixSeconds(now));
    assert_eq!(clock.look().map(|warning| warning.code()), Some("clock-back"));
    assert_eq!(clock.look(), None);
    host.set(UnixSeconds(1));
    let warning = clock.look().unwrap();
    assert_eq!(warning.code(), "clock-below-floor");
    assert!(warning.to_string().contains("the date of this program's sources"), "{warning}");
    assert_eq!(clock.look(), None);
    assert_eq!(*clock.warnings().borrow(), Some(warning));
    // A suspended machine: the wall clock goes on, and the monotonic one stops.
    host.set(UnixSeconds(now + 10_000));
    assert_eq!(clock.look().map(|warning| warning.code()), Some("clock-forward"));
}

#[test]
fn a_clock_that_is_a_little_behind_is_no_fault() {
    let (_, _, clock) = clock();
    clock.saw(UnixSeconds(START + 30));
    assert_eq!(clock.now(), UnixSeconds(START + 30));
    assert_eq!(clock.look(), None);
    assert!(!clock.is_below());
}
