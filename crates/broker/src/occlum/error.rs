//! Why nothing is answered over Occlum's protocol.

use adytum_evidence::{
    attester::{AttesterError, TeePlatform},
    ra_tls::RaTlsError,
};

/// Why the broker does not listen for Occlum's protocol.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OcclumListenError {
    /// The broker is in no SGX enclave, and the clients verify quotes of SGX only.
    ///
    /// Do: start the broker without `--occlum-listen`, or under Occlum or Gramine.
    #[error(
        "--occlum-listen: Occlum's clients verify a broker in an SGX enclave only, and this one's TEE is {platform}"
    )]
    NotSgx { platform: TeePlatform },
    /// The TEE makes no quote for the certificate.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// No key or certificate could be made.
    ///
    /// Do: start the broker again; if it fails again, read the reason in the message.
    ///
    /// Retry: yes
    #[error("--occlum-listen: no RSA key with a certificate could be made: {reason}")]
    Identity { reason: String },
}

impl OcclumListenError {
    /// Stable code for logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSgx { .. } => "occlum-listen-not-sgx",
            Self::Attester(error) => error.code(),
            Self::Identity { .. } => "occlum-identity-failed",
        }
    }
}

/// Why a connection of Occlum's protocol did not become a session.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// The TLS handshake with a client of Occlum's protocol failed.
    ///
    /// Do: check that the client speaks TLS 1.3 and shows a certificate.
    #[error("TLS: {0}")]
    Tls(#[source] std::io::Error),
    /// The client's certificate, or the evidence in it, is not accepted.
    #[error(transparent)]
    Certificate(#[from] RaTlsError),
    /// Its time was up, or there is no place for it.
    ///
    /// See: `ScheduleError::Overloaded`
    #[error("as many connections are open as the broker takes, or this one took too long")]
    Overloaded,
}

impl PeerError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Tls(_) => "occlum-tls-failed",
            Self::Certificate(error) => error.code(),
            Self::Overloaded => "overloaded",
        }
    }
}
