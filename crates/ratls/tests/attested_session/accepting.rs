//! The acceptor's stream: overload, panics, failures of its own.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    evidence::Evidence,
    measurement::ReportData,
};
use adytum_ratls::{
    acceptor::AttestedAcceptor, configuration::AcceptorConfiguration, error::SessionError, limits::Limits,
    session::LocalAttestation,
};
use bytes::Bytes;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};
use tokio_stream::StreamExt;

use crate::{
    raw,
    world::{BROKER, GENESIS, Mirror, World, address, ask, broker_announcement, refusal_by_peer, serve},
};

/// Defence: the bound on handshakes. The one beyond it is closed at once, with
/// nothing read; when one ends there is room again.
#[tokio::test]
async fn beyond_the_bound_connections_are_closed_at_once() {
    let world = World::new();
    let limits = Limits { maximum_handshakes: 2, ..Limits::default() };
    let acceptor = AttestedAcceptor::new(AcceptorConfiguration { limits, ..world.accepting() });
    let (address, server) = serve(acceptor, Mirror::default()).await;
    let silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];

    let mut third = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    // An end or a reset, long before the handshake's limit: this read has none.
    assert!(matches!(third.read(&mut byte).await, Ok(0) | Err(_)));
    let error = world.tool().session(&address.to_string()).await.unwrap_err();
    assert!(error.retry(), "{error}");

    drop(silent);
    let session = loop {
        // The server notices the ends in its own time.
        match world.tool().session(&address.to_string()).await {
            Ok(session) => break session,
            Err(error) => assert!(error.retry(), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(ask(session.channel, "who").await.unwrap().name, "unattested");
    server.abort();
}

/// Stalled handshakes do not stop others.
#[tokio::test]
async fn handshakes_run_side_by_side() {
    let world = World::new();
    let (address, server) = serve(world.acceptor(), Mirror::default()).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let replica = world.replica();
        asked.spawn(async move {
            let session = replica.session(&address.to_string()).await.unwrap();
            ask(session.channel, "who").await.unwrap().name
        });
    }
    assert!(asked.join_all().await.iter().all(|name| name == "replica"));
    drop(silent);
    server.abort();
}

/// Panics the first time.
struct Shaky {
    calls: AtomicUsize,
    inner: Arc<dyn Attester>,
}

#[async_trait::async_trait]
impl Attester for Shaky {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        assert!(self.calls.fetch_add(1, Ordering::SeqCst) > 0, "a bug in the attester");
        self.inner.evidence(report_data).await
    }
    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(None)
    }
    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}

/// Defence: a task for each handshake. A panic ends that connection only.
#[tokio::test]
async fn a_panic_in_one_handshake_touches_no_other() {
    let world = World::new();
    let attester = Shaky { calls: AtomicUsize::new(0), inner: world.local(BROKER, Bytes::new()).attester };
    let local = LocalAttestation {
        attester: Arc::new(attester),
        announcement: Arc::new(|| broker_announcement(GENESIS)),
    };
    let acceptor = AttestedAcceptor::new(AcceptorConfiguration { local, ..world.accepting() });
    let (address, server) = serve(acceptor, Mirror::default()).await;
    let error = world.tool().session(&address.to_string()).await.unwrap_err();
    assert!(matches!(error, SessionError::Io { .. }), "{error:?}");
    world.tool().session(&address.to_string()).await.unwrap();
    server.abort();
}

/// A TEE that has stopped answering.
struct Broken;

#[async_trait::async_trait]
impl Attester for Broken {
    async fn evidence(&self, _report_data: ReportData) -> Result<Evidence, AttesterError> {
        Err(AttesterError::Interface {
            interface: "/dev/attestation/quote".to_owned(),
            operation: "read",
            reason: "input/output error".to_owned(),
        })
    }
    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(None)
    }
    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}

/// A server that can't attest says so, to try again, and nothing of why.
#[tokio::test]
async fn a_server_that_cannot_attest_says_so() {
    let world = World::new();
    let huge: Arc<dyn Fn() -> Bytes + Send + Sync> = Arc::new(|| Bytes::from(vec![0; 16 * 1024 + 1]));
    for local in [
        LocalAttestation { attester: Arc::new(Broken), announcement: Arc::new(Bytes::new) },
        LocalAttestation { announcement: huge, ..world.local(BROKER, Bytes::new()) },
    ] {
        let acceptor = AttestedAcceptor::new(AcceptorConfiguration { local, ..world.accepting() });
        let tool = world.tool();
        let (ours, theirs) = raw::pipe();
        let (client, server) = tokio::join!(
            tool.connect_over(ours, "broker", address()),
            acceptor.accept_over(theirs, address())
        );
        assert!(matches!(server, Err(SessionError::Attester { .. } | SessionError::Local { .. })));
        let told = refusal_by_peer(client);
        assert_eq!((told.code.as_str(), told.retry), ("attestation-unavailable", true));
        assert!(!told.message.contains("/dev"), "{told}");
    }
}

/// Failed handshakes are not items of the stream: tonic would log them as its
/// own, and some servers end on an error.
#[tokio::test]
async fn failed_handshakes_are_not_in_the_stream() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = pin!(world.acceptor().incoming(listener));
    for _ in 0..5 {
        drop(TcpStream::connect(address).await.unwrap());
    }
    let tool = world.tool();
    let target = address.to_string();
    let (accepted, connected) = tokio::join!(incoming.next(), tool.connect(&target));
    assert_eq!(accepted.unwrap().unwrap().info().peer_address.ip(), address.ip());
    connected.unwrap();
}
