//! The acceptor's stream: overload, panics, failures of its own.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use adytum_evidence::attester::AttesterError;
use adytum_ratls::{
    acceptor::AttestedAcceptor, configuration::AcceptorConfiguration, error::SessionError, limits::Limits,
    session::LocalAttestation,
};
use adytum_testkit::tee::ScriptedTee;
use bytes::Bytes;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};
use tokio_stream::StreamExt;

use crate::{
    fixture::{BROKER, Fixture, GENESIS, Mirror, address, ask, broker_announcement, refusal_by_peer, serve},
    raw,
};

/// Defence: the bound on handshakes. The one beyond it is closed at once, with
/// nothing read; when one ends there is room again.
#[tokio::test]
async fn beyond_the_bound_connections_are_closed_at_once() {
    let fixture = Fixture::new();
    let limits = Limits { maximum_handshakes: 2, ..Limits::default() };
    let acceptor = AttestedAcceptor::new(AcceptorConfiguration { limits, ..fixture.accepting() });
    let (address, server) = serve(acceptor, Mirror::default()).await;
    let silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];

    let mut third = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    // An end or a reset, long before the handshake's limit: this read has none.
    assert!(matches!(third.read(&mut byte).await, Ok(0) | Err(_)));
    let error = fixture.tool().session(&address.to_string()).await.unwrap_err();
    assert!(error.retry(), "{error}");

    drop(silent);
    let session = loop {
        // The server notices the ends in its own time.
        match fixture.tool().session(&address.to_string()).await {
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
    let fixture = Fixture::new();
    let (address, server) = serve(fixture.acceptor(), Mirror::default()).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let replica = fixture.replica();
        asked.spawn(async move {
            let session = replica.session(&address.to_string()).await.unwrap();
            ask(session.channel, "who").await.unwrap().name
        });
    }
    assert!(asked.join_all().await.iter().all(|name| name == "replica"));
    drop(silent);
    server.abort();
}

/// Defence: a task for each handshake. A panic ends that connection only.
#[tokio::test]
async fn a_panic_in_one_handshake_touches_no_other() {
    let fixture = Fixture::new();
    let inner = fixture.local(BROKER, Bytes::new()).attester;
    let calls = Arc::new(AtomicUsize::new(0));
    let attester = ScriptedTee::new(move |report_data| {
        let (calls, inner) = (Arc::clone(&calls), Arc::clone(&inner));
        async move {
            assert!(calls.fetch_add(1, Ordering::SeqCst) > 0, "a bug in the attester");
            inner.evidence(report_data).await
        }
    });
    let local = LocalAttestation {
        attester: Arc::new(attester),
        announcement: Arc::new(|| broker_announcement(GENESIS)),
    };
    let acceptor = AttestedAcceptor::new(AcceptorConfiguration { local, ..fixture.accepting() });
    let (address, server) = serve(acceptor, Mirror::default()).await;
    let error = fixture.tool().session(&address.to_string()).await.unwrap_err();
    assert!(matches!(error, SessionError::Io { .. }), "{error:?}");
    fixture.tool().session(&address.to_string()).await.unwrap();
    server.abort();
}

/// A TEE that has stopped answering.
fn broken() -> ScriptedTee {
    ScriptedTee::new(|_| async {
        Err(AttesterError::Interface {
            interface: "/dev/attestation/quote".to_owned(),
            operation: "read",
            reason: "input/output error".to_owned(),
        })
    })
}

/// A server that can't attest says so, to try again, and nothing of why.
#[tokio::test]
async fn a_server_that_cannot_attest_says_so() {
    let fixture = Fixture::new();
    let huge: Arc<dyn Fn() -> Bytes + Send + Sync> = Arc::new(|| Bytes::from(vec![0; 48 * 1024 + 1]));
    for local in [
        LocalAttestation { attester: Arc::new(broken()), announcement: Arc::new(Bytes::new) },
        LocalAttestation { announcement: huge, ..fixture.local(BROKER, Bytes::new()) },
    ] {
        let acceptor = AttestedAcceptor::new(AcceptorConfiguration { local, ..fixture.accepting() });
        let tool = fixture.tool();
        let (ours, theirs) = raw::pipe();
        let (client, server) = tokio::join!(
            tool.connect_over(ours, "broker", address()),
            acceptor.accept_over(theirs, address())
        );
        assert!(matches!(server, Err(SessionError::Attester { .. } | SessionError::Local { .. })));
        let received = refusal_by_peer(client);
        assert_eq!((received.code.as_str(), received.retry), ("attestation-unavailable", true));
        assert!(!received.message.contains("/dev"), "{received}");
    }
}

/// Failed handshakes are not items of the stream: tonic would log them as its
/// own, and some servers end on an error.
#[tokio::test]
async fn failed_handshakes_are_not_in_the_stream() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = pin!(fixture.acceptor().incoming(listener));
    for _ in 0..5 {
        drop(TcpStream::connect(address).await.unwrap());
    }
    let tool = fixture.tool();
    let target = address.to_string();
    let (accepted, connected) = tokio::join!(incoming.next(), tool.connect(&target));
    assert_eq!(accepted.unwrap().unwrap().info().peer_address.ip(), address.ip());
    connected.unwrap();
}
