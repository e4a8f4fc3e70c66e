//! TLS from TensorFlow Serving's `SSLConfig`.

pub mod ssl_config;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};

use tokio::sync::watch;

use crate::text_format::TextError;
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
pub struct TlsSwitch(Arc<watch::Sender<Arc<ServerConfig>>>);

impl TlsSwitch {
    /// With this to begin with.
    pub fn new(configuration: Arc<ServerConfig>) -> Self {
        Self(Arc::new(watch::Sender::new(configuration)))
    }

    /// What the next connection gets.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.borrow())
    }

    /// From now on new connections get this.
    pub fn replace(&self, configuration: Arc<ServerConfig>) {
        self.0.send_replace(configuration);
    }
}

/// The configuration of a server: TLS 1.3 only, HTTP/2 only, no resumption, no
/// early data; client certificates are required and verified against
/// `custom_ca` if `client_verify` says so.
pub fn server_configuration(ssl: &SslConfig) -> Result<ServerConfig, TlsError> {
    let certificates = certificates("server_cert", &ssl.server_cert)?;
    let key = PrivateKeyDer::from_pem_slice(ssl.server_key.as_bytes()).map_err(|error| TlsError::Pem {
        field: "server_key",
        expected: "a private key",
        found: describe(&ssl.server_key, &error),
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |what| move |reason: String| TlsError::Unusable { what, reason };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("protocol version")(error.to_string()))?;
    let builder = if ssl.client_verify {
        let mut roots = RootCertStore::empty();
        for certificate in self::certificates("custom_ca", &ssl.custom_ca)? {
            roots.add(certificate).map_err(|error| unusable("custom_ca")(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| unusable("custom_ca")(error.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut configuration = builder
        .with_single_cert(certificates, key)
        .map_err(|error| unusable("server_key and server_cert")(error.to_string()))?;
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    configuration.send_tls13_tickets = 0;
    configuration.session_storage = Arc::new(NoServerSessionStorage {});
    configuration.max_early_data_size = 0;
    Ok(configuration)
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
