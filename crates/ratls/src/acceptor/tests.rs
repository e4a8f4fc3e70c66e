use std::{cell::RefCell, future::poll_fn};

use adytum_evidence::{clock::SystemClock, measurement::WorkloadIdentity, verifier::Verifier};
use adytum_sim::{Platform, SimAttester};
use bytes::Bytes;

use super::*;
use crate::{judge::AnyEvidence, limits::Limits, session::LocalAttestation};

fn acceptor() -> AttestedAcceptor {
    let platform = Platform::ephemeral().unwrap();
    let verifier = Verifier::new(
        vec![platform.trust_root().unwrap()],
        Arc::new(platform.collateral_source()),
        Arc::new(SystemClock),
    );
    let attester = SimAttester::new(platform, WorkloadIdentity([1; 32]));
    AttestedAcceptor::new(AcceptorConfiguration {
        verifier: Arc::new(verifier),
        judge: Arc::new(AnyEvidence),
        local: LocalAttestation { attester: Arc::new(attester), announcement: Arc::new(Bytes::new) },
        limits: Limits::default(),
    })
}

/// Fails as often as it has errors, then waits for ever; notes when it was asked.
struct Failing {
    errors: RefCell<Vec<io::Error>>,
    asked: RefCell<Vec<Duration>>,
    started: Instant,
}

impl Listener for Failing {
    fn poll_accept(&self, _cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.asked.borrow_mut().push(self.started.elapsed());
        match self.errors.borrow_mut().pop() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }
}

async fn ask(errors: Vec<io::Error>) -> Vec<Duration> {
    let listener =
        Failing { errors: RefCell::new(errors), asked: RefCell::default(), started: Instant::now() };
    let mut incoming = acceptor().incoming_from(listener);
    let next = poll_fn(|cx| Pin::new(&mut incoming).poll_next(cx));
    // Neither an item nor an end in a long time.
    assert!(tokio::time::timeout(Duration::from_secs(60), next).await.is_err());
    // The timeout asks once more at its end.
    let mut asked = incoming.listener.asked.take();
    asked.retain(|at| *at < Duration::from_secs(60));
    asked
}

/// Defence: errors of accept() (no file descriptors: EMFILE is 24) pause the
/// stream, longer each time up to a second, and never end it or spin.
#[tokio::test(start_paused = true)]
async fn accept_errors_pause_and_never_end_the_stream() {
    let errors = (0..12).map(|_| io::Error::from_raw_os_error(24)).collect();
    let asked = ask(errors).await;
    assert_eq!(asked.len(), 13);
    let pauses: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    let expected = [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000];
    for (pause, expected) in pauses.iter().zip(expected) {
        assert!((expected..expected + 2).contains(pause), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_gone_before_it_was_accepted_costs_no_pause() {
    let errors = (0..3).map(|_| io::Error::from(io::ErrorKind::ConnectionAborted)).collect();
    assert_eq!(ask(errors).await, [Duration::ZERO; 4]);
}

/// Defence: a server's key lives in memory and not for ever.
#[tokio::test(start_paused = true)]
async fn the_key_changes_every_hour() {
    let acceptor = acceptor();
    let first = acceptor.identity().unwrap().tls.key_digest();
    assert_eq!(acceptor.clone().identity().unwrap().tls.key_digest(), first);
    tokio::time::advance(KEY_LIFETIME).await;
    let second = acceptor.identity().unwrap().tls.key_digest();
    assert_ne!(first, second);
    assert_ne!(super::tests::acceptor().identity().unwrap().tls.key_digest(), second);
}
