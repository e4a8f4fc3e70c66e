//! TCB recoveries as they come: the warning is there four weeks before the first refusal,
//! and no refusal is without an explanation.

use std::{sync::Arc, time::Duration};

use adytum_api::broker::{GetForecast, command};
use adytum_evidence::{
    claims::TcbStatus,
    clock::{Clock as _, Day, FixedClock, SystemClock, UnixSeconds, floor::FloorClock},
};
use adytum_governance::manifest::document::TcbGraceTable;
use adytum_sim::{EarlyEvaluation, Faults, Platform, PublishedTcbStatus};

use crate::{
    clock::notices,
    fixture::{Fixture, RunningBroker, apply, execute, fetch, stable},
    health::value,
};

const DAY: u64 = 86_400;

/// A fixture at a time that the test sets.
fn fixture() -> (Fixture, Arc<FixedClock>) {
    let mut fixture = Fixture::new(1, 1);
    let time = Arc::new(FixedClock::new(SystemClock.now()));
    fixture.platform = Platform::builder().clock(time.clone()).ephemeral().unwrap();
    fixture.clock = Arc::new(FloorClock::new(time.clone()));
    fixture.peers_clock = time.clone();
    (fixture, time)
}

/// What the vendor publishes: this evaluation counts, and the next one may be known.
fn publish(
    fixture: &Fixture,
    number: u32,
    status: PublishedTcbStatus,
    next: Option<(PublishedTcbStatus, Day)>,
) {
    let early =
        next.map(|(tcb_status, disclosed)| EarlyEvaluation { number: number + 1, tcb_status, disclosed });
    let faults = Faults { evaluation: Some(number), tcb_status: status, early, ..Faults::default() };
    fixture.platform.set_faults(faults).unwrap();
}

async fn replica_asks(fixture: &Fixture, running: &RunningBroker) -> Result<(), tonic::Status> {
    let session = fixture.tolerant_replica(fixture.attester("serving"), running.address).await.unwrap();
    fetch(&session, &["ssl_config"]).await.map(drop)
}

#[tokio::test]
async fn successive_recoveries_are_foreseen_four_weeks_ahead_and_every_refusal_is_explained() {
    use PublishedTcbStatus::{OutOfDate, UpToDate};
    let (fixture, time) = fixture();
    publish(&fixture, 17, UpToDate, None);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    // Nobody has come: nothing is known of the workload.
    let forecast = running.broker.forecast().await;
    assert_eq!(forecast.unseen.len(), 1);
    replica_asks(&fixture, &running).await.unwrap();
    let forecast = running.broker.forecast().await;
    assert!(forecast.unseen.is_empty() && forecast.refusals.is_empty(), "{forecast:?}");
    let [(source, (number, next))] = &forecast.sources.iter().collect::<Vec<_>>()[..] else { panic!() };
    assert!(source.starts_with("sgx-53494d000000"), "{source}");
    assert_eq!(*number, Some(17));
    assert!(
        format!("{next:?}").contains("no early collateral"),
        "no forecast, which is not no change: {next:?}"
    );

    let mut first_warned = None;
    // Two recoveries, of which the second one is about this platform.
    for (number, next) in [(17, UpToDate), (18, OutOfDate)] {
        let disclosed = Day::of(time.now());
        publish(&fixture, number, UpToDate, Some((next, disclosed)));
        for week in 0..6 {
            let forecast = running.broker.forecast().await;
            let warned = !forecast.refusals.is_empty();
            assert_eq!(warned, next == OutOfDate, "week {week}: {forecast:?}");
            if warned {
                let refusal = &forecast.refusals[0];
                assert_eq!(refusal.workload.as_str(), "serving");
                assert_eq!(refusal.platforms.len(), 1);
                assert!(refusal.from >= time.now());
                first_warned.get_or_insert(time.now());
            }
            replica_asks(&fixture, &running).await.unwrap();
            time.set(time.now().plus(Duration::from_secs(7 * DAY)));
        }
        publish(&fixture, number + 1, next, None);
    }
    let refused = replica_asks(&fixture, &running).await.unwrap_err();
    assert_eq!(stable(&refused).1, "tcb-not-accepted");
    for part in ["tcb_status", "OutOfDate", "firmware", "tcb_grace"] {
        assert!(refused.message().contains(part), "{part}: {refused:?}");
    }
    let ahead = time.now().0 - first_warned.unwrap().0;
    assert!(ahead >= 28 * DAY, "{} days", ahead / DAY);
    // Said to those who run it and to auditors, once.
    let found = notices(&running, "forecast-tcb-recovery");
    assert!(found.len() == 1 && found[0].contains("workload serving on 1 platform(s)"), "{found:?}");
    running.stop().await;
}

#[tokio::test]
async fn owners_ask_for_the_forecast_and_metrics_have_it() {
    let (fixture, time) = fixture();
    let running = fixture.start().await;
    fixture.provision(&running).await;
    replica_asks(&fixture, &running).await.unwrap();
    publish(
        &fixture,
        20,
        PublishedTcbStatus::UpToDate,
        Some((PublishedTcbStatus::Revoked, Day::of(time.now()))),
    );
    let owner = fixture.owner(running.address).await;
    let ask = || command::Command::GetForecast(GetForecast {});
    let answer = execute(&owner, fixture.command(&owner, 1, ask())).await.unwrap().forecast.unwrap();
    let [refusal] = &answer.refusals[..] else { panic!("{answer:?}") };
    assert_eq!((refusal.workload.as_str(), refusal.code.as_str()), ("serving", "forecast-tcb-recovery"));
    assert!(refusal.expected && refusal.reason.contains("evoked"), "{refusal:?}");
    assert_eq!(Day::of(UnixSeconds(refusal.from)), Day::of(time.now().plus(Duration::from_secs(42 * DAY))));
    let [source] = &answer.sources[..] else { panic!("{answer:?}") };
    assert_eq!((source.number, source.next_number, source.no_forecast.as_str()), (20, 21, ""));
    let metrics = running.broker.metrics_text();
    assert_eq!(value(&metrics, "adytum_broker_forecast_refusals"), Some(1.0));
    assert_eq!(
        value(&metrics, "adytum_broker_forecast_earliest_timestamp_seconds"),
        Some(refusal.from as f64)
    );
    assert!(!metrics.contains("serving"), "no metric names a workload");
    // A stranger, or a workload, gets none: it names workloads.
    let unsigned = adytum_governance::command::sign(
        &owner.info.request_binding,
        fixture.genesis.digest(),
        1,
        ask(),
        &[],
    );
    assert!(execute(&owner, unsigned).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn a_grace_accepts_for_a_while_and_its_end_is_foreseen() {
    let (fixture, time) = fixture();
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let mut document = fixture.document(2);
    let until = Day::of(time.now().plus(Duration::from_secs(20 * DAY)));
    document.workloads[0].tcb_grace = Some(TcbGraceTable {
        from: Day::of(time.now()),
        until,
        advisories: ["ADYTUM-SIMULATION-00001".to_owned()].into(),
        tcb_status: [TcbStatus::OutOfDate].into(),
    });
    execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&document)))).await.unwrap();
    publish(&fixture, 18, PublishedTcbStatus::OutOfDate, None);
    replica_asks(&fixture, &running).await.unwrap();
    let records = running.broker.store().records(1, 1000).unwrap();
    let last = String::from_utf8_lossy(&records.last().unwrap().bytes).into_owned();
    assert!(last.contains(&format!("within tcb_grace until {until}")), "{last}");
    let forecast = running.broker.forecast().await;
    assert_eq!(forecast.refusals[0].from, until.end(), "{forecast:?}");
    assert_eq!(notices(&running, "forecast-grace-ends").len(), 1);
    // A lease never outlasts it.
    time.set(UnixSeconds(until.end().0 - 60));
    let session = fixture.tolerant_replica(fixture.attester("serving"), running.address).await.unwrap();
    let granted = fetch(&session, &["ssl_config"]).await.unwrap();
    assert!(granted.lease_seconds <= 60 && granted.grace_seconds == 0, "{}", granted.lease_seconds);
    time.set(until.end());
    let refused = replica_asks(&fixture, &running).await.unwrap_err();
    assert!(refused.message().contains("tcb_grace (wanted a time from"), "{refused:?}");
    running.stop().await;
}
