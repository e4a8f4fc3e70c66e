//! A host that sets the broker's clock.

use std::sync::Arc;

use adytum_broker::clock::{FloorClock, keep_floor};
use adytum_evidence::clock::{Clock, FixedClock, SystemClock, UnixSeconds};
use tempfile::TempDir;

use crate::{
    fixture::{Fixture, eventually, fetch},
    health::value,
};

const YEAR: u64 = 365 * 86_400;

/// A host's clock, and the broker's above it.
fn clocks(now: UnixSeconds, floor: Option<UnixSeconds>) -> (Arc<FixedClock>, Arc<FloorClock>) {
    let host = Arc::new(FixedClock::new(now));
    let clock = Arc::new(FloorClock::new(host.clone(), floor));
    (host, clock)
}

#[tokio::test]
async fn a_clock_set_back_before_a_restart_stops_at_the_floor_that_was_kept() {
    let mut fixture = Fixture::new(1, 1);
    let directory = TempDir::new().unwrap();
    let (_, clock) = clocks(SystemClock.now(), None);
    fixture.clock = clock.clone();
    let running = fixture.start_in(directory.path()).await;
    let store = running.broker.store().clone();
    let keeping = tokio::spawn({
        let (clock, store) = (clock.clone(), store.clone());
        async move { keep_floor(&clock, &store).await }
    });
    fixture.provision(&running).await;
    assert_eq!(*clock.floor().borrow(), UnixSeconds(0), "nothing signed was seen yet");
    let commits = || {
        let metrics = running.broker.metrics_text();
        value(&metrics, "adytum_broker_store_commits_total").unwrap()
    };
    let before = commits();
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let floor = *clock.floor().borrow();
    assert!(floor > UnixSeconds(SystemClock.now().0 - YEAR), "the collateral's date of issue: {floor}");
    eventually("the floor is kept", async || (commits() > before).then_some(())).await;
    drop((replica, store));
    running.stop().await;
    keeping.abort();
    let _ = keeping.await;

    // The host starts it again, in 1970.
    let (store, loaded) =
        eventually("the directory is free", async || fixture.try_store(directory.path())).await;
    assert_eq!(loaded.clock_floor, Some(floor));
    let (host, clock) = clocks(UnixSeconds(0), loaded.clock_floor);
    fixture.clock = clock.clone();
    let running = fixture.start_with((store, loaded)).await;
    assert_eq!(clock.now(), floor);
    // By the floor's date the collateral is valid.
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    // The audit log goes by it too: no record is older than what the broker has seen.
    let records = running.broker.store().records(1, 100).unwrap();
    let last = adytum_governance::audit::record::decode(&records.last().unwrap().bytes).unwrap();
    assert!(last.time >= floor.0, "{} {floor}", last.time);
    host.set(UnixSeconds(floor.0 - 1));
    assert_eq!(clock.now(), floor);
    running.stop().await;
}

#[tokio::test]
async fn a_clock_set_forward_refuses_and_releases_nothing_until_it_is_right_again() {
    let mut fixture = Fixture::new(1, 1);
    let now = SystemClock.now();
    let (host, clock) = clocks(now, None);
    fixture.clock = clock;
    let running = fixture.start().await;
    fixture.provision(&running).await;
    fixture.replica("serving", running.address).await.unwrap();
    host.set(UnixSeconds(now.0 + 50 * YEAR));
    let refused = fixture.replica("serving", running.address).await.unwrap_err();
    assert!(
        ["collateral-expired", "evidence-outside-validity"].contains(&refused.code()),
        "{refused}: {}",
        refused.code()
    );
    host.set(now);
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    running.stop().await;
}
