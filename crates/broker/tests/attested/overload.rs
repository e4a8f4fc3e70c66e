//! Peers that cost too much: what they get, and that nobody else pays for it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adytum_broker::audit::sink::{EventSink, LoggedEvents, RecordError};
use adytum_crowd::bucket::Rate;
use adytum_evidence::attester::Attester;
use adytum_governance::audit::events::Event;
use adytum_ratls::error::SessionError;
use adytum_testkit::tee::ScriptedTee;
use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    binary::BinaryFixture,
    fixture::{Fixture, apply, eventually, execute, fetch, identity, put, stable},
    health::{get, value},
};

/// A TEE that makes a quote only when it is let.
struct Slow {
    let_through: Semaphore,
    asked: AtomicUsize,
}

impl Slow {
    fn with(self: &Arc<Self>, attester: Arc<dyn Attester>) -> Arc<ScriptedTee> {
        let (slow, sealing) = (Arc::clone(self), Arc::clone(&attester));
        let evidence = move |report_data| {
            let (slow, attester) = (Arc::clone(&slow), Arc::clone(&attester));
            async move {
                slow.asked.fetch_add(1, Ordering::SeqCst);
                slow.let_through.acquire().await.unwrap().forget();
                attester.evidence(report_data).await
            }
        };
        Arc::new(ScriptedTee::new(evidence).sealing_as(sealing))
    }
}

#[tokio::test]
async fn more_quotes_than_may_wait_are_refused_at_once_and_the_others_come() {
    let mut fixture = Fixture::new(1, 1);
    let slow = Arc::new(Slow { let_through: Semaphore::new(0), asked: AtomicUsize::new(0) });
    fixture.attester = Some(slow.with(fixture.attester("broker")));
    fixture.limits.quotes.at_once = 2;
    fixture.limits.quotes.waiting = 1;
    let running = fixture.start().await;
    let address = running.address;
    let connect = || {
        let owner = fixture.connector(None, identity("broker"));
        tokio::spawn(async move { owner.session(&address.to_string()).await })
    };
    let admitted = [connect(), connect(), connect()];
    let in_flight = || running.broker.metrics_text();
    eventually("two are made, one waits", async || {
        let metrics = in_flight();
        let full = value(&metrics, "adytum_broker_quotes_in_flight") == Some(2.0)
            && value(&metrics, "adytum_broker_quotes_waiting") == Some(1.0);
        full.then_some(())
    })
    .await;
    let refused = timeout(Duration::from_secs(5), connect()).await.expect("at once").unwrap().unwrap_err();
    assert_eq!((refused.code(), refused.retry()), ("overloaded", true), "{refused}");
    assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
    slow.let_through.add_permits(3);
    for one in admitted {
        one.await.unwrap().unwrap();
    }
    assert_eq!(value(&in_flight(), "adytum_broker_quotes_in_flight"), Some(0.0));
    running.stop().await;
}

/// Panics when it is to record what is about this secret.
struct Panicking(&'static str);

#[async_trait]
impl EventSink for Panicking {
    async fn record(&self, events: &[Event]) -> Result<(), RecordError> {
        for event in events {
            if let Event::Refused { secret: Some(secret), .. } = event {
                assert_ne!(secret.to_string(), self.0, "injected");
            }
        }
        LoggedEvents::default().record(events).await
    }
}

/// A TEE that panics every other time.
fn faulty(attester: Arc<dyn Attester>) -> Arc<ScriptedTee> {
    let (calls, sealing) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&attester));
    let evidence = move |report_data| {
        let (calls, attester) = (Arc::clone(&calls), Arc::clone(&attester));
        async move {
            assert_eq!(calls.fetch_add(1, Ordering::SeqCst) % 2, 0, "injected");
            attester.evidence(report_data).await
        }
    };
    Arc::new(ScriptedTee::new(evidence).sealing_as(sealing))
}

#[tokio::test]
async fn a_panic_in_one_connection_touches_no_other() {
    let mut fixture = Fixture::new(1, 1);
    fixture.events = Arc::new(Panicking("poison"));
    fixture.attester = Some(faulty(fixture.attester("broker")));
    fixture.limits.requests.release = 4;
    fixture.limits.maximum_sessions = 4;
    let running = fixture.start().await;
    fixture.provision(&running).await;
    // Every other handshake panics; the ones between them are served.
    for _ in 0..8 {
        fixture.replica("serving", running.address).await.unwrap_err();
        let victim = fixture.replica("serving", running.address).await.unwrap();
        fixture.replica("serving", running.address).await.unwrap_err();
        let other = fixture.replica("serving", running.address).await.unwrap();
        fetch(&victim, &["poison"]).await.unwrap_err();
        fetch(&other, &["ssl_config"]).await.unwrap();
    }
    // What the panics held was given back.
    eventually("nothing is in flight", async || {
        let metrics = running.broker.metrics_text();
        let empty = ["requests_in_flight", "handshakes_in_flight", "quotes_in_flight", "sessions"]
            .iter()
            .all(|gauge| value(&metrics, &format!("adytum_broker_{gauge}")) == Some(0.0));
        empty.then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn strangers_are_refused_readably_and_who_has_shown_evidence_is_not() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.strangers = Rate { per_second: 1, burst: 10 };
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let address = running.address.to_string();
    let replica = fixture.connector(Some(fixture.attester("serving")), identity("broker"));
    replica.session(&address).await.unwrap();
    // From the same address, as behind a NodePort.
    let stranger = fixture.connector(None, identity("broker"));
    let refused = eventually("a stranger is refused", async || stranger.session(&address).await.err()).await;
    let SessionError::RefusedByPeer { refusal, .. } = &refused else { panic!("{refused}") };
    assert_eq!((refusal.code.as_str(), refusal.retry), ("overloaded", true));
    assert!(refusal.retry_after().is_some_and(|after| after >= Duration::from_secs(1)), "{refusal:?}");
    // What strangers did does not concern one that was there before.
    for _ in 0..30 {
        let session = replica.session(&address).await.unwrap();
        fetch(&session, &["ssl_config"]).await.unwrap();
    }
    let metrics = running.broker.metrics_text();
    assert!(value(&metrics, "adytum_broker_handshakes_total{code=\"overloaded-strangers\"}") >= Some(1.0));
    running.stop().await;
}

#[tokio::test]
async fn replicas_that_come_for_the_first_time_use_up_nobodys_share() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.strangers = Rate { per_second: 1, burst: 8 };
    let running = fixture.start().await;
    fixture.provision(&running).await;
    for _ in 0..50 {
        // A key of its own each time.
        let replica = fixture.replica("serving", running.address).await.unwrap();
        fetch(&replica, &["ssl_config"]).await.unwrap();
    }
    running.stop().await;
}

#[tokio::test]
async fn sessions_without_evidence_are_few_and_short() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.maximum_unattested_sessions = 2;
    fixture.limits.unattested_lifetime = Duration::from_secs(2);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let all_gone = async || {
        let metrics = running.broker.metrics_text();
        (value(&metrics, "adytum_broker_unattested_sessions") == Some(0.0)).then_some(())
    };
    eventually("the owner's session has ended", all_gone).await;
    let first = fixture.owner(running.address).await;
    let second = fixture.owner(running.address).await;
    // The longest idle is displaced by the newest.
    let third = fixture.owner(running.address).await;
    assert_eq!(stable(&fetch(&third, &["any"]).await.unwrap_err()).1, "evidence-required");
    assert_eq!(stable(&fetch(&second, &["any"]).await.unwrap_err()).1, "evidence-required");
    let over = fetch(&first, &["any"]).await.unwrap_err();
    assert!(over.metadata().get("adytum-code").is_none(), "{over:?}");
    // Workloads are not concerned.
    let replica = fixture.replica("serving", running.address).await.unwrap();
    eventually("they end", all_gone).await;
    fetch(&replica, &["ssl_config"]).await.unwrap();
    drop((first, second, third));
    running.stop().await;
}

/// The attack of the review: strangers hold all sessions and keep owners out, so that nobody
/// can revoke.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_from_three_addresses_keep_no_owner_out() {
    let mut fixture = Fixture::new(1, 1);
    fixture.limits.maximum_unattested_sessions = 12;
    fixture.limits.requests.large = 2;
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let address = running.address;
    // An owner who is there before, and one who comes in the crowd. All three share the
    // addresses with strangers.
    let before = fixture.owner(address).await;
    execute(&before, fixture.command(&before, 1, put("ssl_config", b"one"))).await.unwrap();
    let (opened, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let crowd: Vec<_> = (0..12)
        .map(|n| {
            let (stranger, stop) = (fixture.connector(None, identity("broker")), Arc::clone(&stop));
            let opened = Arc::clone(&opened);
            tokio::spawn(async move {
                let mut held = VecDeque::new();
                while !stop.load(Ordering::SeqCst) {
                    let Ok(stream) = from(&format!("127.0.0.{}", 1 + n % 3), address).await else { continue };
                    let session = stranger.connect_over(stream, "broker", address).await;
                    held.extend(session.ok());
                    opened.fetch_add(1, Ordering::SeqCst);
                    if held.len() > 20 {
                        held.pop_front();
                    }
                }
            })
        })
        .collect();
    eventually("the crowd is there", async || (opened.load(Ordering::SeqCst) > 24).then_some(())).await;
    let large = vec![b'x'; 70 * 1024];
    for round in 0..10 {
        let value = format!("open {round}");
        let coming = eventually("an owner comes in", async || {
            let tool = fixture.connector(None, identity("broker"));
            let coming = tool.session(&address.to_string()).await.ok()?;
            let command = fixture.command(&coming, 1, put("ssl_config", value.as_bytes()));
            execute(&coming, command).await.ok().map(|_| coming)
        })
        .await;
        // From then on nobody displaces it.
        let value = format!("open {round} again");
        execute(&coming, fixture.command(&coming, 1, put("ssl_config", value.as_bytes()))).await.unwrap();
        execute(&before, fixture.command(&before, 1, put("ssl_config", format!("and {round}").as_bytes())))
            .await
            .unwrap();
        // Long commands have places too.
        let refused = execute(&before, fixture.command(&before, 1, put("ssl_config", &large))).await;
        assert!(!matches!(refused, Err(status) if stable(&status).1 == "overloaded"));
    }
    stop.store(true, Ordering::SeqCst);
    for stranger in crowd {
        stranger.await.unwrap();
    }
    let metrics = running.broker.metrics_text();
    assert!(value(&metrics, "adytum_broker_handshakes_total{code=\"displaced\"}") > Some(10.0), "{metrics}");
    running.stop().await;
}

/// Connects from this address of the loopback network.
async fn from(local: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(local.parse().unwrap(), 0))?;
    socket.connect(to).await
}

/// What one hostile connection does, and how it ends.
async fn attack(kind: usize, address: SocketAddr) {
    let local = format!("127.0.0.{}", 2 + kind / 4 % 8);
    let Ok(mut stream) = from(&local, address).await else { return };
    let _ = match kind % 4 {
        // Says nothing.
        0 => Ok(()),
        // Something else than TLS.
        1 => stream.write_all(&[b'A'; 4096]).await,
        // The beginning of a TLS record, and no end.
        2 => stream.write_all(&[22, 3, 1, 64, 0, 1, 0]).await,
        // Byte by byte.
        _ => {
            async {
                for byte in [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3] {
                    stream.write_all(&[byte]).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            .await
        }
    };
    // The broker ends it; but a connection that the kernel lost in the crowd has
    // nobody who would.
    let _ = timeout(Duration::from_secs(20), stream.read(&mut [0; 64])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_hostile_connections_cost_little_and_an_honest_peer_is_served() {
    const CONNECTIONS: usize = 4000;
    const AT_ONCE: usize = 600;
    const LINES_A_SECOND: u64 = 20;
    let (_, maximum) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, maximum, maximum).unwrap();
    let (binary, began) = (BinaryFixture::new(), std::time::Instant::now());
    let flags = [
        "--health-listen=127.0.0.1:0",
        "--max-handshakes=256",
        "--handshake-timeout=10",
        "--handshake-grace=500",
        "--peer-rate=100",
        "--peer-burst=200",
    ];
    let process = binary.start(&flags).await;
    let (address, health) = (process.address, process.health.unwrap());
    let fixture = &binary.fixture;
    let owner_connector = fixture.connector(None, binary.identity(None));
    let owner = owner_connector.session(&address.to_string()).await.unwrap();
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&fixture.document(1))))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    let before = get(health, "/metrics").await.1;

    let (next, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let attackers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (next, stop) = (Arc::clone(&next), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    attack(next.fetch_add(1, Ordering::SeqCst), address).await;
                }
            })
        })
        .collect();
    // Meanwhile, again and again, a replica, from an address that has fewer
    // handshakes under way than any of theirs.
    let connector = fixture.connector(Some(fixture.attester("serving")), binary.identity(None));
    let (mut served, mut files, mut resident) = (0, 0f64, 0f64);
    let crowd = async {
        while served < 5 || next.load(Ordering::SeqCst) < CONNECTIONS {
            let flow = async {
                let session = connector.session(&address.to_string()).await.ok()?;
                fetch(&session, &["ssl_config"]).await.ok()
            };
            // One that is turned away in the crowd tries again, as replicas do.
            served += usize::from(flow.await.is_some());
            let metrics = get(health, "/metrics").await.1;
            files = files.max(value(&metrics, "process_open_fds").unwrap());
            resident = resident.max(value(&metrics, "process_resident_memory_bytes").unwrap());
        }
    };
    timeout(Duration::from_secs(180), crowd).await.expect("honest flows end in the crowd");
    stop.store(true, Ordering::SeqCst);
    // The broker ends each, also those whose peers hold on.
    eventually("nothing hostile is left", async || {
        let metrics = get(health, "/metrics").await.1;
        let left = |gauge: &str| value(&metrics, &format!("adytum_broker_{gauge}")).unwrap();
        (left("handshakes_in_flight") == 0.0 && left("sessions") <= 1.0).then_some(())
    })
    .await;
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    let resident_before = value(&before, "process_resident_memory_bytes").unwrap();
    assert!(files < 460.0, "{files} open files");
    assert!(resident - resident_before < 64e6, "{resident_before} bytes became {resident}");
    // The one who was there before was never disturbed, and new ones are served.
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open barley"))).await.unwrap();
    let session = connector.session(&address.to_string()).await.unwrap();
    fetch(&session, &["ssl_config"]).await.unwrap();
    assert_eq!(get(health, "/readyz").await.0, 200);
    let output = process.terminate().await;
    assert!(output.status.success());
    // Of what strangers cause, some lines a second are written and the others counted.
    let log = String::from_utf8_lossy(&output.stderr);
    let caused = || {
        log.lines().filter(|line| {
            line.contains("no attested session") || line.contains("too many connections: closed")
        })
    };
    let most = LINES_A_SECOND * (began.elapsed().as_secs() + 2);
    assert!((caused().count() as u64) <= most, "{} lines, at most {most}", caused().count());
    let counted = |line: &str| line.split_once("suppressed=")?.1.split(' ').next()?.parse::<u64>().ok();
    let suppressed: u64 = caused().map(|line| counted(line).expect(line)).sum();
    assert!(suppressed > 0, "nothing was held back: {} lines", caused().count());
}
