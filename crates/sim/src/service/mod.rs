//! A simulated platform over HTTP: its collateral as a PCCS serves it, and
//! quotes. For replicas that can't share the platform's directory.
//!
//! No authentication: each program that reaches it can have any quote signed.

mod pccs;
mod quotes;
mod refusal;

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use refusal::Refusal;

use crate::platform::Platform;

/// The largest request body, in bytes; a quote request has less than 500.
pub const MAXIMUM_REQUEST_LENGTH: usize = 4096;

/// How long one request may take beyond the quote latency.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests are waited for at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Service {
    platform: Arc<Platform>,
    quote_latency: Duration,
}

/// The routes of the service.
pub fn router(platform: Arc<Platform>, quote_latency: Duration) -> Router {
    let service = Service { platform, quote_latency };
    Router::new()
        .nest("/sgx/certification/v4", pccs::router())
        .nest("/simulation", quotes::router().route("/root.pem", get(root_certificate)))
        .fallback(|| async { Refusal::Path })
        .layer(DefaultBodyLimit::max(MAXIMUM_REQUEST_LENGTH))
        .layer(middleware::from_fn_with_state(service.clone(), limit_time))
        .with_state(service)
}

/// Serves until `shutdown` resolves, then finishes what was begun, for at most
/// five seconds.
pub async fn serve(
    listener: TcpListener,
    platform: Arc<Platform>,
    quote_latency: Duration,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (ended, end) = tokio::sync::oneshot::channel();
    let server = axum::serve(listener, router(platform, quote_latency)).with_graceful_shutdown(async {
        shutdown.await;
        let _ = ended.send(());
    });
    tokio::select! {
        result = server => result,
        () = async {
            if end.await.is_ok() {
                tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
            } else {
                std::future::pending::<()>().await;
            }
        } => Ok(()),
    }
}

async fn limit_time(State(service): State<Service>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT + service.quote_latency, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::Timeout.into_response(),
    }
}

async fn root_certificate(State(service): State<Service>) -> Response {
    ([("content-type", "application/x-pem-file")], service.platform.root_certificate_pem().to_owned())
        .into_response()
}
