//! The health port: plain HTTP, three pages, limits of its own, so that neither
//! port can starve the other.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, yield_now},
    time::timeout,
};

use super::Health;
use crate::telemetry::metrics::MEDIA_TYPE;

/// Connections at once. One more ends the oldest, so that silent peers can't keep
/// a probe waiting.
const MAXIMUM_CONNECTIONS: usize = 64;
/// The longest that a connection lives: probes and scrapes are short.
const LIFETIME: Duration = Duration::from_secs(10);
/// How long a request's head may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// A request's head in bytes, at least what hyper asks for.
const MAXIMUM_HEAD_LENGTH: usize = 8 * 1024;
/// Fields in a request's head.
const MAXIMUM_HEADERS: usize = 32;
/// How long no connection is accepted after accepting one failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, health: Health) -> Infallible {
    let pages = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    let mut served = VecDeque::with_capacity(MAXIMUM_CONNECTIONS);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection on the health port failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        make_room(&mut served);
        served.push_back(tokio::spawn(connection(stream, pages.clone())).abort_handle());
        // Each has its turn before the next is accepted: a probe that has asked is
        // answered, however many wait behind it.
        yield_now().await;
    }
}

/// Leaves room for one connection more: forgets those that have ended, and ends
/// the oldest if that is not enough.
fn make_room(served: &mut VecDeque<AbortHandle>) {
    if served.len() < MAXIMUM_CONNECTIONS {
        return;
    }
    served.retain(|connection| !connection.is_finished());
    if served.len() < MAXIMUM_CONNECTIONS {
        return;
    }
    if let Some(oldest) = served.pop_front() {
        tracing::debug!(maximum = MAXIMUM_CONNECTIONS, "too many connections on the health port");
        oldest.abort();
    }
}

async fn connection(stream: TcpStream, pages: Router) {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAXIMUM_HEAD_LENGTH)
        .max_headers(MAXIMUM_HEADERS);
    let served = protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    match timeout(LIFETIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection on the health port failed"),
        Err(_) => tracing::trace!("a connection on the health port lived long enough"),
    }
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(health): State<Health>) -> Response {
    match health.readiness() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}: {reason}\n", reason.code())).into_response()
        }
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], health.metrics_text()).into_response()
}
