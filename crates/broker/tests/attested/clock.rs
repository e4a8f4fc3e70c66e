//! A host that sets the broker's clock, or stops it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adytum_broker::clock::keep_floor;
use adytum_evidence::clock::{
    Clock, Day, FixedClock, SystemClock, UnixSeconds,
    floor::{FloorClock, Monotonic},
};
use adytum_governance::{
    announcement::BrokerAnnouncement,
    audit::record::{decode, describe},
    manifest::document::TcbGraceTable,
};
use adytum_ratls::session::Peer;
use adytum_sim::{Faults, Platform, PublishedTcbStatus};
use tempfile::TempDir;
use tonic::Code;

use crate::{
    fixture::{Fixture, RunningBroker, apply, eventually, execute, fetch, stable},
    health::value,
};

const DAY: u64 = 86_400;
const YEAR: u64 = 365 * DAY;

/// The time that passed, whatever the wall clock says.
#[derive(Default)]
pub(crate) struct Passed(AtomicU64);

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

/// A host's clock, the time that passed, and the broker's clock, of a program whose
/// sources have this date.
fn clocks(now: UnixSeconds, sources: UnixSeconds) -> (Arc<FixedClock>, Arc<Passed>, Arc<FloorClock>) {
    let (host, passed) = (Arc::new(FixedClock::new(now)), Arc::new(Passed::default()));
    let clock = Arc::new(FloorClock::with_monotonic(host.clone(), passed.clone(), sources));
    (host, passed, clock)
}

/// The texts of the broker's own notices of this code, as the audit log has them.
pub(crate) fn notices(running: &RunningBroker, code: &str) -> Vec<String> {
    let records = running.broker.store().records(1, 1000).unwrap();
    let notice = |bytes: &[u8]| {
        let record = describe(&decode(bytes).unwrap());
        let text = |name: &str| {
            let fields = record.fields();
            fields.into_iter().find(|(field, _)| field == name).map(|(_, value)| value)
        };
        (record.kind == "notice" && text("code").as_deref() == Some(code)).then(|| text("reason").unwrap())
    };
    records.iter().filter_map(|record| notice(&record.bytes)).collect()
}

#[tokio::test]
async fn a_clock_set_back_before_a_restart_stops_at_the_floor_that_was_kept() {
    let mut fixture = Fixture::new(1, 1);
    let directory = TempDir::new().unwrap();
    let (_, _, clock) = clocks(SystemClock.now(), UnixSeconds(0));
    fixture.clock = clock.clone();
    let running = fixture.start_in(directory.path()).await;
    let store = running.broker.store().clone();
    let keeping = tokio::spawn({
        let (clock, store) = (clock.clone(), store.clone());
        async move { keep_floor(&clock, &store).await }
    });
    fixture.provision(&running).await;
    assert_eq!(*clock.kept().borrow(), UnixSeconds(0), "nothing signed was seen yet");
    let commits = || {
        let metrics = running.broker.metrics_text();
        value(&metrics, "adytum_broker_store_commits_total").unwrap()
    };
    let before = commits();
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let floor = *clock.kept().borrow();
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
    let (host, _, clock) = clocks(UnixSeconds(0), UnixSeconds(0));
    clock.restore(floor);
    fixture.clock = clock.clone();
    let running = fixture.start_with((store, loaded)).await;
    assert_eq!(clock.now(), floor);
    // By the floor's date the collateral is valid.
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    // The audit log goes by it too: no record is older than what the broker has seen.
    let records = running.broker.store().records(1, 100).unwrap();
    let last = decode(&records.last().unwrap().bytes).unwrap();
    assert!(last.time >= floor.0, "{} {floor}", last.time);
    host.set(UnixSeconds(floor.0 - 1));
    assert_eq!(clock.now(), floor);
    running.stop().await;
}

#[tokio::test]
async fn a_clock_set_forward_refuses_and_releases_nothing_until_it_is_right_again() {
    let mut fixture = Fixture::new(1, 1);
    let now = SystemClock.now();
    let (host, _, clock) = clocks(now, UnixSeconds(0));
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

/// The host serves what was valid last year, and sets the clock to last year.
#[tokio::test]
async fn last_years_collateral_at_last_years_time_is_expired_by_the_date_of_the_sources() {
    let mut fixture = Fixture::new(1, 1);
    let last_year = UnixSeconds(SystemClock.now().0 - YEAR);
    let then = Arc::new(FixedClock::new(last_year));
    fixture.platform = Platform::builder().clock(then.clone()).ephemeral().unwrap();
    fixture.peers_clock = then;
    // Without a floor it would pass.
    let (_, _, clock) = clocks(last_year, UnixSeconds(0));
    fixture.clock = clock;
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    running.stop().await;

    let sources = UnixSeconds(SystemClock.now().0 - 90 * DAY);
    let (_, _, clock) = clocks(last_year, sources);
    fixture.clock = clock.clone();
    let running = fixture.start().await;
    let noticing = tokio::spawn({
        let (broker, warnings) = (Arc::clone(&running.broker), clock.warnings());
        async move { broker.notice_clock(warnings).await }
    });
    fixture.provision(&running).await;
    let refused = fixture.replica("serving", running.address).await.unwrap_err();
    assert_eq!(refused.code(), "collateral-expired", "{refused}");
    // It is seen by those who run it, and recorded once.
    let metrics = running.broker.metrics_text();
    assert_eq!(value(&metrics, "adytum_broker_clock_below_floor"), Some(1.0));
    assert_eq!(value(&metrics, "adytum_broker_clock_floor_timestamp_seconds"), Some(sources.0 as f64));
    noticing.await.unwrap();
    fixture.replica("serving", running.address).await.unwrap_err();
    let found = notices(&running, "clock-below-floor");
    assert!(found.len() == 1 && found[0].contains("sources"), "{found:?}");
    running.stop().await;
}

#[tokio::test]
async fn owners_say_how_old_collateral_may_be_and_the_refusal_says_so() {
    let mut fixture = Fixture::new(1, 1);
    let now = SystemClock.now();
    let (_, _, clock) = clocks(now, UnixSeconds(0));
    fixture.clock = clock.clone();
    fixture.platform.set_faults(Faults { evaluation: Some(17), ..Faults::default() }).unwrap();
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let mut document = fixture.document(2);
    document.workloads[0].policy.minimum_tcb_evaluation_data_number = Some(20);
    document.workloads[0].policy.collateral_not_before = Some(Day::of(UnixSeconds(now.0 - 10 * DAY)));
    execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&document)))).await.unwrap();
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    // The source is at fault, not the peer: it may come again, and keeps its lease.
    assert_eq!(stable(&refused), (Code::Unavailable, "collateral-too-old".to_owned(), true));
    let text = refused.message();
    assert!(text.contains("wanted at least 20, got 17") && text.contains("PCCS"), "{text}");
    fixture.platform.set_faults(Faults { evaluation: Some(20), ..Faults::default() }).unwrap();
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    // The date in the manifest is a floor, and sessions announce the latest one.
    let Peer::Attested { announcement, .. } = &replica.info.peer else { panic!() };
    let announced = BrokerAnnouncement::decode(announcement).unwrap().clock_floor;
    assert!(announced >= Day::of(UnixSeconds(now.0 - 10 * DAY)).start() && announced <= now, "{announced}");
    running.stop().await;
}

/// A grace ends by the time that passes, whatever the host's clock says and however often
/// it starts the broker.
#[tokio::test]
async fn a_stopped_clock_prolongs_no_grace() {
    let mut fixture = Fixture::new(1, 1);
    let now = SystemClock.now();
    let stopped = Arc::new(FixedClock::new(now));
    fixture.platform = Platform::builder().clock(stopped.clone()).ephemeral().unwrap();
    let outdated = Faults { tcb_status: PublishedTcbStatus::OutOfDate, ..Faults::default() };
    let (_, passed, clock) = clocks(now, UnixSeconds(0));
    fixture.clock = clock;
    let directory = TempDir::new().unwrap();
    let running = fixture.start_in(directory.path()).await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let mut document = fixture.document(2);
    document.restart.unplanned = adytum_governance::manifest::document::UnplannedRestart::Serve;
    document.workloads[0].tcb_grace = Some(TcbGraceTable {
        from: Day::of(now),
        until: Day::of(now.plus(Duration::from_secs(9 * DAY))),
        advisories: ["ADYTUM-SIMULATION-00001".to_owned()].into(),
        tcb_status: [adytum_evidence::claims::TcbStatus::OutOfDate].into(),
    });
    execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&document)))).await.unwrap();
    drop(owner);
    // Owners' tools verify the broker, which is on the same platform: this is for replicas.
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fixture.platform.set_faults(outdated).unwrap();
    drop(replica);
    let attester = fixture.attester("serving");
    let ask = async |fixture: &Fixture, address| {
        let session = fixture.tolerant_replica(attester.clone(), address).await.unwrap();
        fetch(&session, &["ssl_config"]).await
    };
    let granted = ask(&fixture, running.address).await.unwrap();
    assert!(granted.lease_seconds <= 3600 && granted.lease_seconds > 0);
    passed.set(8 * DAY);
    ask(&fixture, running.address).await.unwrap();
    running.broker.keep_grace().await.unwrap();
    running.stop().await;

    // The monotonic clock of the next process begins again; the wall clock has not moved.
    let (store, loaded) =
        eventually("the directory is free", async || fixture.try_store(directory.path())).await;
    let (_, passed, clock) = clocks(now, UnixSeconds(0));
    fixture.clock = clock;
    let running = fixture.start_with((store, loaded)).await;
    ask(&fixture, running.address).await.unwrap();
    passed.set(2 * DAY);
    let refused = ask(&fixture, running.address).await.unwrap_err();
    assert_eq!(stable(&refused), (Code::PermissionDenied, "tcb-not-accepted".to_owned(), false));
    assert!(refused.message().contains("tcb_grace"), "{refused:?}");
    running.stop().await;
}
