//! Tests of who is let through.

use std::net::IpAddr;

use adytum_crowd::{bucket::Rate, places::Places};
use adytum_evidence::{
    attester::{AttesterError, SealingKey, TeePlatform},
    evidence::Evidence,
    measurement::ReportData,
};
use adytum_ratls::session::SessionInfo;
use async_trait::async_trait;

use super::*;

struct NoTee;

#[async_trait]
impl Attester for NoTee {
    async fn evidence(&self, _report_data: ReportData) -> Result<Evidence, AttesterError> {
        Err(AttesterError::NoTee { looked_for: "nothing".to_owned() })
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(None)
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}

struct Fixture {
    door: Arc<Door>,
    handshakes: Arc<Places>,
}

impl Fixture {
    fn new(rate: Rate) -> Self {
        let limits = ServerLimits { strangers: rate, maximum_sessions: 2, ..ServerLimits::default() };
        let door = Door::new(Arc::new(NoTee), Arc::new(Metrics::without_store()), &limits);
        Self { door: Arc::new(door), handshakes: Places::new(100, Duration::ZERO) }
    }

    /// A handshake from the one address that all have here.
    fn arrive(&self) -> AtTheDoor {
        let place = self.handshakes.take(IpAddr::from([10, 0, 0, 1]).into(), Instant::now()).unwrap();
        AtTheDoor::new(Arc::clone(&self.door), Arc::new(place))
    }
}

fn attested() -> Peer {
    let SessionInfo { peer, .. } = crate::fixture::workload_session(1);
    assert!(matches!(peer, Peer::Attested { .. }));
    peer
}

#[test]
fn strangers_use_the_bucket_up_and_those_with_evidence_do_not() {
    let fixture = Fixture::new(Rate { per_second: 1, burst: 3 });
    let key = Sha256Digest([7; 32]);
    // However often it comes: it shows evidence each time.
    for _ in 0..20 {
        let replica = fixture.arrive();
        replica.admit(Some(&key)).unwrap();
        replica.open(&attested(), Some(&key)).unwrap();
    }
    let strangers: Vec<_> = (0..3).map(|_| fixture.arrive()).collect();
    strangers.iter().for_each(|stranger| drop(stranger.admit(None).unwrap()));
    let turned_away = fixture.arrive();
    let refusal = turned_away.admit(None).err().unwrap();
    assert_eq!((refusal.code.as_str(), refusal.retry), ("overloaded", true));
    assert!(refusal.retry_after().is_some_and(|after| after >= SHORTEST_RETRY));
    assert_eq!(turned_away.refused(), Some(Overload::Strangers));
    // One that is known is let through, and gets quotes that strangers don't get.
    let attester = fixture.arrive().admit(Some(&key)).unwrap().unwrap();
    assert!(Arc::ptr_eq(&attester, &fixture.door.quotes.for_known));
    // Somebody else's key is no token.
    assert!(fixture.arrive().admit(Some(&Sha256Digest([8; 32]))).is_err());
}

#[test]
fn sessions_beyond_the_limit_are_refused_with_a_time() {
    let fixture = Fixture::new(Rate { per_second: 0, burst: 1 });
    let key = Sha256Digest([7; 32]);
    let open = || {
        let replica = fixture.arrive();
        replica.open(&attested(), Some(&key)).map(|()| replica.standing().unwrap())
    };
    let _held = [open().unwrap(), open().unwrap()];
    let refusal = open().err().unwrap();
    assert_eq!(refusal.code, "overloaded");
    assert!(refusal.retry_after().is_some_and(|after| after > SHORTEST_RETRY), "{refusal:?}");
}
