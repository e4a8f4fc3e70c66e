//! One bounded exchange over HTTP/1.1, with TLS up to given roots. Sources are asked when a
//! replica starts, so each request has a connection of its own and nothing is pooled.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// The largest answer. A token has a few KiB, a released key with its certificates less than
/// 64.
const BODY_LIMIT: usize = 256 * 1024;
/// The longest head of an answer.
const HEAD_LIMIT: usize = 32 * 1024;

/// An answer read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
pub(crate) enum ExchangeError {
    /// The URL can't be used.
    Url(String),
    /// The service can't be reached, or broke off.
    Unreachable(String),
    /// The answer has more bytes than any answer.
    TooLarge,
}

/// Makes exchanges; clones share the roots.
#[derive(Clone)]
pub(crate) struct HttpClient {
    tls: Arc<ClientConfig>,
}

impl HttpClient {
    /// A client that trusts servers under these roots.
    pub(crate) fn new(roots: &[CertificateDer<'static>]) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Sends a request whose URI is a whole URL. `address` is where to connect to, if not where
    /// the URL says; the certificate must be for the URL's host all the same.
    pub(crate) async fn send(
        &self,
        request: Request<String>,
        address: Option<&str>,
    ) -> Result<Answer, ExchangeError> {
        let unusable = |reason: &str| ExchangeError::Url(reason.to_owned());
        let lost = |error: &dyn std::error::Error| ExchangeError::Unreachable(error.to_string());
        let uri = request.uri().clone();
        let authority = uri.authority().ok_or_else(|| unusable("it has no host"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(unusable("it is neither http nor https")),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let stream = match address {
            Some(address) => TcpStream::connect(address).await,
            None => {
                let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
                TcpStream::connect((host, port)).await
            }
        };
        let stream = stream.map_err(|error| lost(&error))?;
        if !secure {
            return exchange(stream, request, &uri).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| unusable(&error.to_string()))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(|error| lost(&error))?;
        exchange(stream, request, &uri).await
    }
}

async fn exchange<S>(stream: S, mut request: Request<String>, uri: &Uri) -> Result<Answer, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lost = |error: hyper::Error| ExchangeError::Unreachable(error.to_string());
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_LIMIT).handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let malformed = |error: String| ExchangeError::Url(error);
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.parse().map_err(|_| malformed("its host is no header".to_owned()))?;
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    *request.uri_mut() = uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .parse()
        .map_err(|error: http::uri::InvalidUri| malformed(error.to_string()))?;
    let request = request.map(|body| Full::new(Bytes::from(body)));
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(lost)?.into_parts();
        let body = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(ExchangeError::TooLarge);
            }
            Err(error) => return Err(ExchangeError::Unreachable(error.to_string())),
        };
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    // The connection is driven here, not in a task: it ends with the request.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        closed = connection => match closed {
            Ok(()) => answer.await,
            Err(error) => Err(lost(error)),
        },
    }
}
