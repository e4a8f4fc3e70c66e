//! Accepts connections for the KBS protocol: plain HTTP/1.1, since what is secret in it is
//! encrypted to the TEE's key.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use adytum_crowd::{
    bucket::Buckets,
    places::{Place, Places},
};
use axum::body::Body;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{answers::Kbs, sessions::Sessions};
use crate::{broker::Broker, server::ServerLimits, telemetry::log_limiter::LogLimiter};

/// How long a connection is idle before it is displaced by one of an address with as many.
const GRACE: Duration = Duration::from_millis(500);
/// The longest that a connection lives.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long a request's head may take, and how long a connection may wait for one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head in bytes, at least what hyper asks for.
const MAXIMUM_HEAD_LENGTH: usize = 16 * 1024;
/// Fields in a request's head.
const MAXIMUM_HEADERS: usize = 64;
/// How long no connection is accepted after accepting one failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on this port until `shutdown` is done; then connections have the time of `limits.drain`
/// for the request that they are at.
pub async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) {
    let Ok(sessions) = Sessions::new(limits.maximum_sessions, std::time::Instant::now()) else {
        tracing::error!(code = "start-random", "no random numbers, so nothing is answered over KBS");
        return;
    };
    let kbs = Arc::new(Kbs {
        broker,
        limits,
        sessions,
        working: Arc::new(Semaphore::new(limits.requests.release)),
        strangers: Buckets::new(limits.strangers),
        log_limiter: LogLimiter::default(),
    });
    let places = Places::new(limits.handshakes.maximum_handshakes, GRACE);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let Ok(place) = places.take(address.ip().into(), Instant::now().into_std()) else {
                        kbs.broker.metrics().turned_away("overloaded-kbs");
                        continue;
                    };
                    connections.spawn(connection(stream, address, place, Arc::clone(&kbs)));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection for KBS failed");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    // A client tries again elsewhere.
    let _ = timeout(limits.drain, async {
        while kbs.working.available_permits() < limits.requests.release {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn connection(stream: TcpStream, address: SocketAddr, place: Place, kbs: Arc<Kbs>) {
    // An answer goes out at once.
    let _ = stream.set_nodelay(true);
    let place = Arc::new(place);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (kbs, place) = (Arc::clone(&kbs), Arc::clone(&place));
        async move {
            let at_work = AtWork::begin(place);
            let response = kbs.answer(address, request.map(Body::new)).await;
            drop(at_work);
            Ok::<_, Infallible>(response)
        }
    });
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAXIMUM_HEAD_LENGTH)
        .max_headers(MAXIMUM_HEADERS);
    let served = protocol.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = timeout(LIFETIME, served) => {
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "a connection for KBS failed");
            }
        }
        () = place.displaced() => {}
    }
}

/// A request in progress: its connection is displaced last.
struct AtWork(Arc<Place>);

impl AtWork {
    fn begin(place: Arc<Place>) -> Self {
        place.begin_work(Instant::now().into_std());
        Self(place)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.end_work(Instant::now().into_std());
    }
}
