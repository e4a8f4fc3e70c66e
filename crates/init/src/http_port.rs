//! Plain HTTP for small answers, on ports that many may reach: it can't be made to hold much.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::timeout,
};

/// Connections at once. One more ends the oldest, so that silent peers can't keep
/// others waiting.
pub(crate) const CONNECTIONS: usize = 64;
/// How long one connection may take, from its first byte to its last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes; hyper takes no less.
pub(crate) const LONGEST_HEAD: usize = 8 * 1024;
/// After a failed accept (no file descriptors left, say) this long is waited.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers on a listener until it is dropped. `port` names it in logs.
pub(crate) async fn serve<A>(listener: TcpListener, port: &'static str, answer: A)
where
    A: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + 'static,
{
    let mut answering: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if answering.len() == CONNECTIONS
                    && let Some(oldest) = answering.pop_front()
                {
                    oldest.abort();
                }
                // A slow peer is cut off; there is nobody to inform.
                let answered = timeout(CONNECTION_LIMIT, answer_one(stream, port, answer.clone()));
                answering.push_back(tokio::spawn(answered).abort_handle());
                // So that in a burst each begins before it is the oldest.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, port, "accepting a connection failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer_one<A>(stream: TcpStream, port: &'static str, answer: A)
where
    A: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request);
        async { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_LIMIT)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, port, "a connection failed");
    }
}
