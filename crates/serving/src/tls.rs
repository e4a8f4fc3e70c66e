//! TLS from TensorFlow Serving's `SSLConfig`.

mod certificate;
mod clients;
pub mod ssl_config;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use tokio::sync::watch;

use crate::text_format::TextError;
use certificate::Certificate;
use clients::Clients;
use ssl_config::SslConfig;

/// The reason why no TLS can be served with an `SSLConfig`.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text of the `SSLConfig` is not valid.
    #[error(transparent)]
    SslConfig(#[from] TextError),
    /// A field of the `SSLConfig` does not hold the PEM that it should.
    ///
    /// Do: put the PEM that the message expects into the field.
    #[error("{field} of the SSLConfig: expected {expected} in PEM, found {found}")]
    Pem {
        field: &'static str,
        /// What it should hold.
        expected: &'static str,
        found: String,
    },
    /// The key, the certificate or the roots of the `SSLConfig` can't be used.
    ///
    /// Do: check that the key belongs to the certificate and that the roots are CA
    /// certificates; `adytum ssl-config new` makes a matching pair.
    #[error("the {what} of the SSLConfig can't be used: {reason}")]
    Unusable { what: &'static str, reason: String },
}

impl TlsError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SslConfig(error) => error.code(),
            Self::Pem { .. } => "ssl-config-pem",
            Self::Unusable { .. } => "ssl-config-unusable",
        }
    }
}

/// What new connections of a server get, which may be replaced while it runs;
/// those that are open keep what they have. Clones are the same.
#[derive(Clone, Debug)]
pub struct TlsSwitch(Arc<watch::Sender<Configurations>>);

/// The same configuration for each kind of listener: only the protocols differ that the handshake
/// offers (ALPN).
#[derive(Debug)]
struct Configurations {
    grpc: Arc<ServerConfig>,
    web: Arc<ServerConfig>,
}

impl Configurations {
    fn new(configuration: Arc<ServerConfig>) -> Self {
        let mut web = configuration.as_ref().clone();
        web.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { grpc: configuration, web: web.into() }
    }
}

impl TlsSwitch {
    /// With this to begin with.
    pub fn new(configuration: Arc<ServerConfig>) -> Self {
        Self(Arc::new(watch::Sender::new(Configurations::new(configuration))))
    }

    /// What the next connection gets.
    pub(crate) fn current(&self, alpn: Alpn) -> Arc<ServerConfig> {
        let configurations = self.0.borrow();
        Arc::clone(match alpn {
            Alpn::Http2 => &configurations.grpc,
            Alpn::Any => &configurations.web,
        })
    }

    /// From now on new connections get this.
    pub fn replace(&self, configuration: Arc<ServerConfig>) {
        self.0.send_replace(Configurations::new(configuration));
    }
}

/// What a handshake offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// HTTP/2 only.
    Http2,
    /// HTTP/2 and HTTP/1.1.
    Any,
}

/// The lowest version of TLS that plain clients may speak. Attested sessions are another matter:
/// they have TLS 1.3 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), of which forward secret key exchange with AEAD ciphers is spoken only.
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[default]
    #[value(name = "1.3")]
    Tls13,
}

impl TlsVersion {
    /// This version and all later ones.
    fn and_later(self) -> &'static [&'static SupportedProtocolVersion] {
        static FROM_1_2: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        static FROM_1_3: [&SupportedProtocolVersion; 1] = [&TLS13];
        match self {
            Self::Tls12 => &FROM_1_2,
            Self::Tls13 => &FROM_1_3,
        }
    }
}

/// The configuration of a server: TLS of that version or a later one, HTTP/2 only, no
/// resumption, no early data; client certificates are required and verified against
/// `custom_ca` if `client_verify` says so.
pub fn server_configuration(ssl: &SslConfig, minimum: TlsVersion) -> Result<ServerConfig, TlsError> {
    let certificates = certificates("server_cert", &ssl.server_cert)?;
    let key = PrivateKeyDer::from_pem_slice(ssl.server_key.as_bytes()).map_err(|error| TlsError::Pem {
        field: "server_key",
        expected: "a private key",
        found: describe(&ssl.server_key, &error),
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |what| move |reason: String| TlsError::Unusable { what, reason };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(minimum.and_later())
        .map_err(|error| unusable("protocol version")(error.to_string()))?;
    let builder = if ssl.client_verify {
        let known = self::certificates("custom_ca", &ssl.custom_ca)?;
        let clients = Clients::new(known, &provider).map_err(unusable("custom_ca"))?;
        builder.with_client_cert_verifier(Arc::new(clients))
    } else {
        builder.with_no_client_auth()
    };
    let pair = pair(certificates, key, &provider).map_err(unusable("server_key and server_cert"))?;
    let mut configuration = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    configuration.send_tls13_tickets = 0;
    configuration.session_storage = Arc::new(NoServerSessionStorage {});
    configuration.max_early_data_size = 0;
    Ok(configuration)
}

/// The server's certificates and the key of the first one, which may be of any version.
fn pair(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let key = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    let first = certificates.first().ok_or("there is no certificate")?;
    let certificate = Certificate::read(first).map_err(|error| error.to_string())?;
    if key.public_key().is_some_and(|public| public != certificate.public_key()) {
        return Err("the certificate is of another key".to_owned());
    }
    Ok(CertifiedKey::new(certificates, key))
}

fn certificates(field: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |found| TlsError::Pem { field, expected: "a certificate", found };
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(describe(text, &error)))?;
    if found.is_empty() {
        return Err(wrong(describe(text, &rustls::pki_types::pem::Error::NoItemsFound)));
    }
    Ok(found)
}

/// Says what is wrong without repeating any of the text, which may be a key.
fn describe(text: &str, error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        _ if text.is_empty() => "nothing: the field is missing or empty".to_owned(),
        Error::NoItemsFound => format!("none in {} bytes", text.len()),
        Error::MissingSectionEnd { .. } => "a section without its END line".to_owned(),
        Error::IllegalSectionStart { .. } => "a malformed BEGIN line".to_owned(),
        Error::Base64Decode(_) => "a section that is not base64".to_owned(),
        _ => "a malformed section".to_owned(),
    }
}
