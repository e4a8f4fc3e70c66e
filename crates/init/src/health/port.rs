//! The port for probes: plain HTTP, status only. It is open to everybody in the
//! cluster, so it says nothing that an attacker could use, takes no input but a
//! path, and can't be made to hold much.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Health, Readiness};
use crate::http_port;

/// The port for probes can't be opened.
///
/// Do: give `--health-port` another port, or 0 for none.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[error("health port {port}: {source}; choose another, or 0 for none")]
pub struct HealthPortError {
    pub port: u16,
    /// What the system said.
    pub source: io::Error,
}

impl HealthPortError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        "health-port"
    }
}

/// A page that the port shows next to the probes' own, such as metrics. Everybody who reaches
/// the port can read it.
#[derive(Clone)]
pub struct Page {
    /// Its path, such as `/metrics`.
    pub path: String,
    /// Its text, as Prometheus reads it.
    pub text: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("path", &self.path).finish_non_exhaustive()
    }
}

/// An open port for probes; it closes when this is dropped.
#[derive(Debug)]
pub struct HealthPort {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HealthPort {
    /// Opens the port on all interfaces and answers on it from a task of this
    /// runtime. No port for 0.
    pub async fn open(port: u16, health: Health) -> Result<Option<Self>, HealthPortError> {
        Self::open_with(None, port, health, None).await
    }

    /// As [`Self::open`], at this address if one is given, and with a page.
    pub async fn open_with(
        address: Option<IpAddr>,
        port: u16,
        health: Health,
        page: Option<Page>,
    ) -> Result<Option<Self>, HealthPortError> {
        if port == 0 {
            return Ok(None);
        }
        let listener = TcpListener::bind((address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port))
            .await
            .map_err(|source| HealthPortError { port, source })?;
        Self::on_with(listener, health, page).map(Some).map_err(|source| HealthPortError { port, source })
    }

    /// Answers on a listener that is there already.
    pub fn on(listener: TcpListener, health: Health) -> io::Result<Self> {
        Self::on_with(listener, health, None)
    }

    fn on_with(listener: TcpListener, health: Health, page: Option<Page>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let answer = move |request: &Request<Incoming>| {
            answer(request.method(), request.uri().path(), health.readiness(), page.as_ref())
        };
        Ok(Self { address, task: tokio::spawn(http_port::serve(listener, "health", answer)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HealthPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(method: &Method, path: &str, readiness: Readiness, page: Option<&Page>) -> Response<Full<Bytes>> {
    let page = page.filter(|page| page.path == path);
    let is_there = matches!(path, "/healthz" | "/readyz") || page.is_some();
    let (status, text) = match (path, readiness) {
        _ if is_there && method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned())
        }
        ("/healthz", _) => (StatusCode::OK, "alive\n".to_owned()),
        ("/readyz", Readiness::Ready) => (StatusCode::OK, "ready\n".to_owned()),
        ("/readyz", other) => (StatusCode::SERVICE_UNAVAILABLE, format!("{other}\n")),
        _ => match page {
            Some(page) => (StatusCode::OK, (page.text)()),
            None => (StatusCode::NOT_FOUND, "there are /healthz and /readyz\n".to_owned()),
        },
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use crate::{
        health::{DrainReason, port::*},
        http_port::{CONNECTIONS, LONGEST_HEAD},
    };

    async fn open(health: &Health) -> HealthPort {
        HealthPort::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), health.clone()).unwrap()
    }

    async fn exchange(port: &HealthPort, request: &str) -> String {
        let mut stream = TcpStream::connect(port.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(port: &HealthPort, path: &str) -> String {
        exchange(port, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
    }

    #[tokio::test]
    async fn readiness_is_told_as_it_is() {
        let health = Health::default();
        let port = open(&health).await;
        let alive = get(&port, "/healthz").await;
        assert!(alive.starts_with("HTTP/1.1 200 ") && alive.ends_with("\r\n\r\nalive\n"), "{alive}");
        let starting = get(&port, "/readyz").await;
        assert!(starting.starts_with("HTTP/1.1 503 ") && starting.ends_with("starting\n"), "{starting}");
        health.set_ready();
        assert!(get(&port, "/readyz").await.starts_with("HTTP/1.1 200 "));
        health.drain(DrainReason::Revoked);
        let draining = get(&port, "/readyz").await;
        assert!(draining.starts_with("HTTP/1.1 503 ") && draining.contains("no longer grants"), "{draining}");
        assert!(get(&port, "/healthz").await.starts_with("HTTP/1.1 200 "), "it drains, and lives");
    }

    #[tokio::test]
    async fn nothing_else_is_offered() {
        let port = open(&Health::default()).await;
        for path in ["/", "/metrics", "/readyz/", "/healthz/../readyz"] {
            assert!(get(&port, path).await.starts_with("HTTP/1.1 404 "), "{path}");
        }
        let posted = exchange(&port, "POST /readyz HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
        assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
        let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(2 * LONGEST_HEAD));
        let mut stream = TcpStream::connect(port.address()).await.unwrap();
        // The port may close before all of it was sent.
        let _ = stream.write_all(long.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn a_page_is_shown_as_it_is_now() {
        let page = Page { path: "/metrics".to_owned(), text: Arc::new(|| "runs 1\n".to_owned()) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = HealthPort::on_with(listener, Health::default(), Some(page)).unwrap();
        assert!(get(&port, "/metrics").await.ends_with("\r\n\r\nruns 1\n"));
        assert!(get(&port, "/healthz").await.starts_with("HTTP/1.1 200 "));
        assert!(get(&port, "/metric").await.starts_with("HTTP/1.1 404 "));
        let posted = exchange(&port, "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
        assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    }

    #[tokio::test]
    async fn a_probe_is_answered_while_silent_peers_hold_connections() {
        let health = Health::default();
        let port = open(&health).await;
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            silent.push(TcpStream::connect(port.address()).await.unwrap());
        }
        assert!(get(&port, "/healthz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn port_0_means_none() {
        assert!(HealthPort::open(0, Health::default()).await.unwrap().is_none());
    }
}
