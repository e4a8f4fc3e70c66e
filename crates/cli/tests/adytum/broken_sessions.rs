//! A broker that breaks off sessions in the middle of the handshake, as one does that just got its
//! root key.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    spawn,
    task::JoinHandle,
};

use crate::fixture::*;

/// The way to a broker. It cuts connections.
struct Way {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Way {
    /// The first connection is cut after the first number of the broker's bytes, and so on; those
    /// after the last number stay whole.
    async fn to(broker: String, cuts: impl IntoIterator<Item = u64, IntoIter: Send + 'static>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (seen, mut cuts) = (Arc::clone(&connections), cuts.into_iter());
        let task = spawn(async move {
            loop {
                let (mut front, _) = listener.accept().await.unwrap();
                seen.fetch_add(1, Ordering::SeqCst);
                let mut back = TcpStream::connect(&broker).await.unwrap();
                match cuts.next() {
                    Some(length) => cut(front, back, length).await,
                    None => drop(spawn(async move { copy_bidirectional(&mut front, &mut back).await })),
                }
            }
        });
        Self { address, connections, task }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards this many of the broker's bytes, which must not be all that it says, and ends both
/// connections.
async fn cut(front: TcpStream, back: TcpStream, length: u64) {
    let (mut from_tool, mut to_tool) = front.into_split();
    let (from_broker, mut to_broker) = back.into_split();
    let forward = spawn(async move {
        let _ = tokio::io::copy(&mut from_tool, &mut to_broker).await;
    });
    let mut from_broker = from_broker.take(length);
    let forwarded = tokio::io::copy(&mut from_broker, &mut to_tool).await.unwrap();
    assert_eq!(forwarded, length, "the broker said less");
    to_tool.shutdown().await.unwrap();
    forward.abort();
}

/// In the broker's TLS handshake, and in its evidence.
const CUTS: [u64; 3] = [0, 100, 2000];

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_broker_broke_off_is_begun_again() {
    let fixture = Fixture::new(1, 1).await;
    let way = Way::to(fixture.address(), CUTS).await;
    let verify = fixture.pinned_to(&way.address.to_string(), "heads.json", &["broker", "verify"]);
    assert!(succeeds(verify).contains("is the expected broker"));
    assert_eq!(way.connections(), CUTS.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_breaks_off_all_sessions_is_unreachable() {
    let fixture = Fixture::new(1, 1).await;
    let way = Way::to(fixture.address(), std::iter::repeat(100)).await;
    let verify = fixture.pinned_to(&way.address.to_string(), "heads.json", &["broker", "verify"]);
    let message = fails(69, verify);
    assert!(message.contains("connection-failed"), "{message}");
    assert_eq!(way.connections(), 4);
}

/// Another attempt would only hide it.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_final() {
    let fixture = Fixture::new(1, 1).await;
    for (cuts, connections) in [(&[][..], 1), (&[100], 2)] {
        let way = Way::to(fixture.address(), cuts.iter().copied()).await;
        let verify = fixture.pinned_to(&way.address.to_string(), "heads.json", &["broker", "verify"]);
        let message = fails(77, with(verify, "--broker-measurement", &"b1".repeat(32)));
        assert!(message.contains("policy-refused"), "{message}");
        assert_eq!(way.connections(), connections);
    }
}
