//! Connections that break under a session.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};
use tonic::Code;

use crate::fixture::{Fixture, Mirror, ask, serve};

/// Somebody on the path: forwards connections, counts them and can cut them.
struct Path {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    current: Arc<Mutex<Vec<AbortHandle>>>,
    task: JoinHandle<()>,
}

impl Path {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let current = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let (connections, current) = (connections.clone(), current.clone());
            async move {
                loop {
                    let (mut front, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let forward = tokio::spawn(async move {
                        let mut back = TcpStream::connect(target).await.unwrap();
                        let _ = copy_bidirectional(&mut front, &mut back).await;
                    });
                    current.lock().unwrap().push(forward.abort_handle());
                }
            }
        });
        Self { address, connections, current, task }
    }

    fn cut(&self) {
        self.current.lock().unwrap().drain(..).for_each(|forward| forward.abort());
    }
}

/// Defence: the channel has one connection to give (`OneConnection`). Cut in
/// mid-call, the call fails, and so do all later ones: nothing reconnects, with
/// or without attestation, behind the caller's back.
#[tokio::test]
async fn a_connection_cut_in_mid_call_is_an_error_and_never_replaced() {
    let fixture = Fixture::new();
    let mirror = Mirror::default();
    let (address, server) = serve(fixture.acceptor(), mirror.clone()).await;
    let path = Path::to(address).await;
    let session = fixture.replica().session(&path.address.to_string()).await.unwrap();
    ask(session.channel.clone(), "who").await.unwrap();

    let call = tokio::spawn(ask(session.channel.clone(), "hang"));
    mirror.hanging.notified().await;
    path.cut();
    let status = call.await.unwrap().unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{status:?}");

    for _ in 0..3 {
        let status = ask(session.channel.clone(), "who").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("is over"), "{status:?}");
    }
    assert_eq!(path.connections.load(Ordering::SeqCst), 1);

    // A new session is a new attestation: another binding.
    let again = fixture.replica().session(&path.address.to_string()).await.unwrap();
    assert_ne!(again.info.request_binding, session.info.request_binding);
    assert_eq!(ask(again.channel, "who").await.unwrap().name, "replica");
    assert_eq!(path.connections.load(Ordering::SeqCst), 2);
    path.task.abort();
    server.abort();
}

/// Defence: as above. A peer that takes the server's place after the cut gets no message.
#[tokio::test]
async fn an_impostor_in_the_servers_place_after_a_cut_hears_nothing() {
    let fixture = Fixture::new();
    let (address, server) = serve(fixture.acceptor(), Mirror::default()).await;
    let path = Path::to(address).await;
    let session = fixture.tool().session(&path.address.to_string()).await.unwrap();
    ask(session.channel.clone(), "who").await.unwrap();
    path.cut();
    path.task.abort();
    let _ = path.task.await;
    let impostor = TcpListener::bind(path.address).await.unwrap();
    assert!(ask(session.channel.clone(), "who").await.is_err());
    // A peer that had come before would be accepted before this one.
    let marker = TcpStream::connect(path.address).await.unwrap();
    let (_, visitor) = impostor.accept().await.unwrap();
    assert_eq!(visitor, marker.local_addr().unwrap(), "somebody reconnected");
    server.abort();
}
