//! One bounded HTTP GET. Collateral is fetched a few times a month, so each
//! request has a connection of its own and nothing is pooled.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::error::CollateralError;

/// From the first byte to the last of one request, its connection included.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// Intel's largest answer, a TCB info of TDX, has about 20 KiB; CRLs grow.
const BODY_LIMIT: usize = 512 * 1024;
/// Issuer chains travel in headers, percent-encoded, about 5 KiB each.
const HEADER_LIMIT: usize = 64 * 1024;
/// Of the place that a redirection names, this many characters are repeated.
const LONGEST_PLACE: usize = 200;

/// An answer read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether it is a page for people, by its type or by its beginning.
    fn is_html(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body).trim_ascii_start();
        begins_with(kind, b"text/html")
            || [&b"<!doctype html"[..], b"<html"].iter().any(|start| begins_with(body, start))
    }
}

fn begins_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// A service's address, as somebody gave it.
pub(crate) struct Base {
    /// Scheme, host, port and a path, which does not end in a slash.
    pub(crate) url: String,
    pub(crate) host: String,
}

impl Base {
    pub(crate) fn new(url: &str) -> Result<Self, CollateralError> {
        if has_no_scheme(url) {
            return Err(CollateralError::NoScheme { found: url.to_owned() });
        }
        let malformed = |reason: String| CollateralError::Url { found: url.to_owned(), reason };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| malformed(error.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(malformed("it is neither http nor https".to_owned()));
        }
        if uri.query().is_some() {
            return Err(malformed("it has a query".to_owned()));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| malformed("it has no host".to_owned()))?;
        Ok(Self { host: host.to_owned(), url: url.trim_end_matches('/').to_owned() })
    }
}

/// Whether the text is a host, perhaps with a port and a path, and nothing before it.
fn has_no_scheme(text: &str) -> bool {
    let schemes = ["http:", "https:", "file:"];
    !text.is_empty() && !text.contains("://") && !schemes.iter().any(|scheme| text.starts_with(scheme))
}

/// Fetches `what` from `url`; any other answer is an error.
pub(crate) async fn fetch(what: &str, url: &str) -> Result<Answer, CollateralError> {
    let unreachable = |reason: String| CollateralError::Unreachable { origin: url.to_owned(), reason };
    let gateway = |answer: String| CollateralError::Gateway { origin: url.to_owned(), answer };
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| unreachable(error.to_string()))?;
    let answer = get(&uri).await.map_err(unreachable)?;
    let status = answer.status;
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(unreachable(format!("it answered {status}")));
    }
    match status.as_u16() {
        // Sources of collateral answer with JSON, PEM, DER or plain text.
        200 | 400 | 404 if answer.is_html() => {
            Err(gateway(format!("it answered {status} with an HTML page")))
        }
        200 => Ok(answer),
        // A PCCS answers 404 for an unknown FMSPC, Intel's PCS and AMD's KDS as well;
        // 400 where it finds the FMSPC malformed; 461, 462 and 463 where the platform
        // or its cache is unknown.
        400 | 404 | 461..=463 => {
            Err(CollateralError::Missing { origin: url.to_owned(), what: format!("{what} ({status})") })
        }
        401 | 407 => Err(gateway(format!("it answered {status}: it wants credentials"))),
        403 => Err(gateway(format!("it answered {status}: it refuses this client"))),
        300..=399 => {
            let place = answer.headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
            let place: String = place.unwrap_or("elsewhere").chars().take(LONGEST_PLACE).collect();
            Err(gateway(format!("it answered {status}: a redirection to {place:?}, which is not followed")))
        }
        _ => Err(gateway(format!("it answered {status}"))),
    }
}

/// An answer that is not what was asked for.
pub(crate) fn malformed(url: &str, what: &str, reason: String) -> CollateralError {
    CollateralError::Malformed { origin: url.to_owned(), what: what.to_owned(), reason }
}

/// Fetches `uri`; the error says what went wrong on the way.
async fn get(uri: &Uri) -> Result<Answer, String> {
    match tokio::time::timeout(TIME_LIMIT, connect_and_get(uri)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no complete answer within {} s", TIME_LIMIT.as_secs())),
    }
}

async fn connect_and_get(uri: &Uri) -> Result<Answer, String> {
    let authority = uri.authority().ok_or("the URL has no host")?;
    let host = authority.host();
    let secure = uri.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let address = (host.trim_start_matches('[').trim_end_matches(']'), port);
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    if !secure {
        return exchange(stream, uri).await;
    }
    let name = ServerName::try_from(address.0.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(tls()?))
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    exchange(stream, uri).await
}

async fn exchange<S>(stream: S, uri: &Uri) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let (head, body) =
            sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| format!("{error} (at most {BODY_LIMIT} bytes are read)"))?
            .to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    // The connection is driven here, not in a task: it ends with the request.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        closed = connection => match closed {
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

/// TLS 1.3 or 1.2: a PCCS is often an old one.
fn tls() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let configuration = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(schemes)))
        .with_no_client_auth();
    Ok(configuration)
}

/// Accepts any certificate. Collateral is signed by its vendor and dated; the
/// source does not matter (the PCCS is not trusted), and a
/// local PCCS has a self-signed certificate as a rule. What a man in the middle
/// can do, withhold collateral or serve the still-valid issue before the latest,
/// the PCCS and the host's network can do as well.
///
/// So the handshake's signature is not looked at either: it would say that the peer has the
/// key of a certificate that anybody can make. The certificate is not parsed, and one of
/// X.509 version 1, as the PCCS's own guide makes it, is as good as any.
#[derive(Debug)]
struct AnyCertificate(Vec<SignatureScheme>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
