//! The health port: it tells the truth, it tells no names, and it has limits.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adytum_broker::telemetry::health::{Health, NotReady, server};
use adytum_evidence::claims::Claims;
use adytum_ratls::{
    configuration::ConnectorConfiguration, connector::AttestedConnector, error::Refusal, judge::PeerJudge,
    limits::Limits,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::fixture::{Fixture, eventually, fetch, put};

/// Asks a page; the status and all that came after the head.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(head);
    (status, body.to_owned())
}

/// The value of a series.
pub(crate) fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

async fn port(health: &Health) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve(listener, health.clone()));
    address
}

#[tokio::test]
async fn readiness_follows_the_broker_from_its_start_to_its_end() {
    let health = Health::default();
    let address = port(&health).await;
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(get(address, "/readyz").await, (503, "starting: the broker is starting\n".into()));
    assert_eq!(get(address, "/metrics").await, (200, "# EOF\n".into()));

    let fixture = Fixture::new(1, 1);
    let directory = TempDir::new().unwrap();
    let running = fixture.start_in(directory.path()).await;
    health.of(Arc::clone(&running.broker));
    fixture.provision(&running).await;
    assert_eq!(get(address, "/readyz").await, (200, "ok\n".into()));
    let metrics = get(address, "/metrics").await.1;
    assert_eq!(value(&metrics, "adytum_broker_ready"), Some(1.0));
    assert_eq!(value(&metrics, "adytum_broker_manifest_version"), Some(1.0));
    assert_eq!(value(&metrics, "adytum_broker_handshakes_total{code=\"accepted\"}"), Some(1.0));
    let commands = "adytum_broker_requests_total{service=\"administration\",code=\"ok\"}";
    assert_eq!(value(&metrics, commands), Some(2.0), "{metrics}");
    assert!(value(&metrics, "adytum_broker_store_commits_total").unwrap() >= 3.0);
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    fetch(&replica, &["ssl_config", "model_key"]).await.unwrap_err();
    let metrics = get(address, "/metrics").await.1;
    assert_eq!(value(&metrics, "adytum_broker_sessions"), Some(1.0), "{metrics}");
    for code in ["ok", "secret-has-no-value"] {
        let series = format!("adytum_broker_requests_total{{service=\"release\",code=\"{code}\"}}");
        assert_eq!(value(&metrics, &series), Some(1.0), "{metrics}");
    }
    assert_eq!(value(&metrics, "adytum_broker_release_seconds_count"), Some(2.0), "{metrics}");
    running.crash().await;
    assert_eq!(health.readiness(), Err(NotReady::Draining));
    assert_eq!(get(address, "/healthz").await.0, 200);

    // The restart was unplanned.
    health.waits(NotReady::Starting);
    drop(replica);
    let running =
        eventually("the directory is free", async || fixture.try_start_in(directory.path()).await).await;
    health.of(Arc::clone(&running.broker));
    let (status, reason) = get(address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(reason.starts_with("awaiting-confirmation: ") && reason.lines().count() == 1, "{reason}");
    assert_eq!(value(&get(address, "/metrics").await.1, "adytum_broker_ready"), Some(0.0));
    running.stop().await;
}

/// Refuses each broker with words of its own.
struct Hostile(String);

impl PeerJudge for Hostile {
    fn judge(&self, _: &Claims, _: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::verdict(&self.0, "hostile"))
    }
}

#[tokio::test]
async fn hostile_peers_add_no_series_and_no_secret_is_named() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let health = Health::default();
    health.of(Arc::clone(&running.broker));
    let address = port(&health).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let stranger = fixture.owner(running.address).await;
    let hostile = async |round: usize| {
        let refused = AttestedConnector::new(ConnectorConfiguration {
            verifier: fixture.verifier(),
            judge: Arc::new(Hostile(format!("hostile-code-{round}"))),
            local: None,
            limits: Limits::default(),
        });
        refused.session(&running.address.to_string()).await.unwrap_err();
        let name = format!("hostile_name_{round}");
        fetch(&replica, &[&name]).await.unwrap_err();
        fetch(&replica, &["Hostile NAME\n", &name]).await.unwrap_err();
        fetch(&stranger, &[&name]).await.unwrap_err();
        crate::fixture::execute(&stranger, fixture.command(&stranger, 1, put(&name, b"value")))
            .await
            .unwrap_err();
        let mut garbage = TcpStream::connect(running.address).await.unwrap();
        garbage.write_all(format!("hostile bytes {round}").as_bytes()).await.unwrap();
        assert_eq!(get(address, &format!("/hostile-path-{round}")).await.0, 404);
    };
    let series = |metrics: &str| -> BTreeSet<String> {
        let series = metrics.lines().filter(|line| !line.starts_with('#'));
        series.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
    };
    hostile(0).await;
    eventually("the garbage is noticed", async || {
        let metrics = get(address, "/metrics").await.1;
        metrics.contains("code=\"attested-tls-failed\"").then_some(())
    })
    .await;
    let before = series(&get(address, "/metrics").await.1);
    for round in 1..12 {
        hostile(round).await;
    }
    let metrics = get(address, "/metrics").await.1;
    let after = series(&metrics);
    let new: Vec<_> = after.difference(&before).filter(|new| !new.contains("connection-failed")).collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(after.len() < 150, "{}", after.len());
    let lower = metrics.to_lowercase();
    for word in ["hostile", "ssl_config", "model_key", "open sesame", "127.0.0.1"] {
        assert!(!lower.contains(word), "{word} in {metrics}");
    }
    assert!(metrics.contains("code=\"refused-by-peer\""), "{metrics}");
    running.stop().await;
}

#[tokio::test]
async fn the_health_port_outlives_those_who_hold_its_connections() {
    let health = Health::default();
    let address = port(&health).await;
    // More than it takes; the oldest are closed, the other silent ones time out.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
    // An endless head is refused.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let flood = async {
        let line = format!("x-{}: {}\r\n", "a".repeat(20), "b".repeat(1000));
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await?;
        for _ in 0..100_000 {
            stream.write_all(line.as_bytes()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), flood).await;
    assert!(matches!(ended, Ok(Err(_))), "{ended:?}");
}

/// A liveness probe that fails has the broker restarted.
#[tokio::test]
async fn probes_are_answered_while_somebody_takes_every_place_again_and_again() {
    let health = Health::default();
    let address = port(&health).await;
    let closed = Arc::new(AtomicUsize::new(0));
    let mut holders = JoinSet::<()>::new();
    for _ in 0..80 {
        let closed = Arc::clone(&closed);
        holders.spawn(async move {
            loop {
                if let Ok(mut silent) = TcpStream::connect(address).await {
                    let mut nothing = Vec::new();
                    let _ = silent.read_to_end(&mut nothing).await;
                    closed.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    eventually("every place is taken", async || (closed.load(Ordering::Relaxed) > 80).then_some(())).await;
    let probes = async {
        while closed.load(Ordering::Relaxed) < 1000 {
            assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), probes).await.unwrap();
}
