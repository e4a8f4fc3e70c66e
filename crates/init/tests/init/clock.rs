//! The floor under a replica's clock.

use std::{sync::Arc, time::Duration};

use adytum_evidence::clock::{Clock, SystemClock, floor::FloorClock};

use crate::fixture::{Fixture, Workload};

/// A replica whose host's clock is behind what the attested broker has seen goes by the
/// broker's floor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_adopts_the_floor_that_its_broker_announces() {
    let Some(mut fixture) = Fixture::new() else { return };
    let later = SystemClock.now().plus(Duration::from_secs(5 * 86_400));
    for floor in [None, Some(later)] {
        let clock = FloorClock::new(Arc::new(SystemClock));
        floor.into_iter().for_each(|date| clock.restore(date));
        fixture.clock = Arc::new(clock);
        let configuration = fixture.configuration("workload", &Workload::default());
        let broker = fixture.broker(&configuration).await;
        let ended = fixture.init(&configuration, broker.address, "echo started").run().await;
        assert_eq!(ended.code(), 0, "{ended:?}");
        let adopted = ended.stderr.contains("clock-below-floor");
        assert_eq!(adopted, floor.is_some(), "{ended:?}");
        if adopted {
            assert!(ended.stderr.contains("the floor that the broker announced"), "{ended:?}");
        }
    }
}

/// The host says last year, and the configuration says which day the collateral may not be
/// before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_refuses_a_broker_that_is_verified_with_older_collateral_than_its_configuration_accepts() {
    let Some(fixture) = Fixture::new() else { return };
    let tomorrow = adytum_evidence::clock::Day::of(SystemClock.now().plus(Duration::from_secs(2 * 86_400)));
    let configuration = fixture.configuration("workload", &Workload::default());
    let broker = fixture.broker(&configuration).await;
    let text = std::fs::read_to_string(&configuration).unwrap();
    let rule = format!("[broker.policy]\ncollateral_not_before = \"{tomorrow}\"\n");
    let strict = fixture.directory.path().join("strict.toml");
    std::fs::write(&strict, text.replace("[broker.policy]\n", &rule)).unwrap();
    let ended = fixture.init(&strict, broker.address, "echo started").run().await;
    ended.assert_refused(77, "policy-refused");
    assert!(ended.stderr.contains("collateral_not_before"), "{ended:?}");
}
