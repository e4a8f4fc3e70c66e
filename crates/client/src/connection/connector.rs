//! Opens TCP and TLS connections for tonic's channel.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Attestation, ClientIdentity, ConnectError, ServerAddress, TargetError, TrustedCertificates};

/// How long TCP and TLS together may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A TCP connection, or TLS on one.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens connections to one server, always the same way.
#[derive(Clone)]
pub(crate) struct Connector {
    server: ServerAddress,
    security: Security,
}

/// What a connection is, before the first byte of a request.
#[derive(Clone)]
enum Security {
    Plain,
    Tls(TlsConnector, ServerName<'static>),
    Attested(Attestation),
}

impl Connector {
    /// With `certificate` TLS 1.3 that trusts this file only, else plain TCP. `identity` is shown
    /// if the server asks for it.
    pub(crate) fn new(
        server: ServerAddress,
        certificate: Option<&Path>,
        identity: Option<&ClientIdentity>,
        server_name: Option<&str>,
    ) -> Result<Self, TargetError> {
        let security = match certificate {
            None => Security::Plain,
            Some(path) => {
                let name = server_name.unwrap_or_else(|| server.host());
                let name = ServerName::try_from(name.to_owned()).map_err(|_| TargetError::Address {
                    text: name.to_owned(),
                    problem: "its host is not a name that a certificate can have",
                })?;
                Security::Tls(TlsConnector::from(Arc::new(tls_config(path, identity)?)), name)
            }
        };
        Ok(Self { server, security })
    }

    /// With attested sessions, and nothing else.
    pub(crate) fn attested(server: ServerAddress, attestation: Attestation) -> Self {
        Self { server, security: Security::Attested(attestation) }
    }

    async fn connect(self) -> Result<TokioIo<Box<dyn Stream>>, ConnectError> {
        let server = self.server.to_string();
        match timeout(CONNECT_LIMIT, self.connect_unlimited()).await {
            Ok(result) => result.map(TokioIo::new),
            Err(_) => Err(ConnectError::TimedOut { server, seconds: CONNECT_LIMIT.as_secs() }),
        }
    }

    async fn connect_unlimited(self) -> Result<Box<dyn Stream>, ConnectError> {
        let server = self.server.to_string();
        let addresses: Vec<_> = tokio::net::lookup_host((self.server.host(), self.server.port()))
            .await
            .map_err(|error| ConnectError::Resolve { server: server.clone(), problem: error.to_string() })?
            .collect();
        if addresses.is_empty() {
            return Err(ConnectError::Resolve { server, problem: "it has no address".to_owned() });
        }
        let tcp = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(|error| ConnectError::from_tcp(server.clone(), &error))?;
        tcp.set_nodelay(true).map_err(|error| ConnectError::from_tcp(server.clone(), &error))?;
        match self.security {
            Security::Plain => Ok(Box::new(tcp)),
            Security::Tls(connector, name) => match connector.connect(name, tcp).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(ConnectError::from_handshake(server, &error)),
            },
            Security::Attested(attestation) => {
                let (stream, _) = attestation.attest(tcp, &server).await?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

fn tls_config(certificate: &Path, identity: Option<&ClientIdentity>) -> Result<ClientConfig, TargetError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trusted = TrustedCertificates::read(certificate, &provider)?;
    let shown = identity.map(|identity| identity.read(&provider)).transpose()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TargetError::CertificateFile {
            path: certificate.to_owned(),
            problem: format!("TLS can't be set up: {error}"),
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trusted))
        .with_no_client_auth();
    if let Some(shown) = shown {
        config.client_auth_cert_resolver = shown;
    }
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
