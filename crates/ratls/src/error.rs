//! Why a session did not come about.

use std::{io, time::Duration};

use adytum_api::refusal::RefusalKind;
use adytum_evidence::{attester::AttesterError, verifier::VerificationError};

/// A refusal as it is told to the peer (message `Refusal`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// Stable code, such as "evidence-invalid", "policy-refused", "genesis-mismatch".
    pub code: String,
    /// What was expected, what was found, what to do.
    pub message: String,
    /// May the same request pass later?
    pub retry: bool,
    /// What it is about.
    pub kind: RefusalKind,
}

impl Refusal {
    /// The peer was judged, and is not accepted; trying again does not change that.
    pub fn verdict(code: &str, message: impl Into<String>) -> Self {
        Self::of(RefusalKind::Verdict, false, code, message)
    }

    /// This side is in trouble; the same request may pass later.
    pub fn outage(code: &str, message: impl Into<String>) -> Self {
        Self::of(RefusalKind::Outage, true, code, message)
    }

    /// The peer's request or message breaks the rules.
    pub fn request(code: &str, message: impl Into<String>) -> Self {
        Self::of(RefusalKind::Request, false, code, message)
    }

    fn of(kind: RefusalKind, retry: bool, code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retry, kind }
    }
}

impl From<&VerificationError> for Refusal {
    /// That collateral is missing, or that a clock is wrong, says nothing about the peer.
    fn from(error: &VerificationError) -> Self {
        let kind = match error {
            VerificationError::UntrustedRoot { .. }
            | VerificationError::Invalid { .. }
            | VerificationError::Revoked { .. }
            | VerificationError::TcbRevoked { .. }
            | VerificationError::TcbNotMatched { .. }
            | VerificationError::Configuration { .. } => RefusalKind::Verdict,
            VerificationError::Malformed { .. } | VerificationError::Unsupported { .. } => {
                RefusalKind::Request
            }
            _ => RefusalKind::Outage,
        };
        Self::of(kind, error.retry(), error.code(), error.to_string())
    }
}

/// Why a session did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection failed or broke off.
    #[error("connection to {peer}: {source}")]
    Io {
        /// The address.
        peer: String,
        /// What the system said.
        source: io::Error,
    },
    /// The handshake took too long.
    #[error("no attested session with {peer} within {limit:?} (stopped at: {step})")]
    Timeout {
        /// The address.
        peer: String,
        /// The limit.
        limit: Duration,
        /// Which step was waited for.
        step: &'static str,
    },
    /// The TLS handshake failed: most often the peer speaks something else.
    #[error(
        "{peer}: no TLS 1.3 session of protocol adytum-ra/1: {source}; check that the address is that of \
         an attested service"
    )]
    Tls {
        /// The address.
        peer: String,
        /// What TLS said.
        source: rustls::Error,
    },
    /// This side refuses the peer.
    #[error("{peer} was refused: {refusal}")]
    Refused {
        /// The address.
        peer: String,
        /// Why.
        refusal: Refusal,
    },
    /// The peer refuses this side.
    #[error("{peer} refused this side: {refusal}")]
    RefusedByPeer {
        /// The address.
        peer: String,
        /// Why, in the peer's words.
        refusal: Refusal,
        /// Had the peer proved before who it is? Else anybody may have said this.
        verified: bool,
    },
    /// This side's TEE gave no evidence.
    #[error("no evidence for the session with {peer}: {source}")]
    Attester {
        /// The address.
        peer: String,
        /// What went wrong.
        source: AttesterError,
    },
    /// This side could not prepare the session.
    #[error("preparing a session with {peer}: {reason}")]
    Local {
        /// The address.
        peer: String,
        /// What went wrong.
        reason: String,
    },
}

impl SessionError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &str {
        match self {
            Self::Io { .. } => "connection-failed",
            Self::Timeout { .. } => "handshake-timeout",
            Self::Tls { .. } => "tls-failed",
            Self::Refused { refusal, .. } | Self::RefusedByPeer { refusal, .. } => &refusal.code,
            Self::Attester { source, .. } => source.code(),
            Self::Local { .. } => "session-setup-failed",
        }
    }

    /// May the same attempt succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Timeout { .. } => true,
            Self::Tls { .. } | Self::Local { .. } => false,
            Self::Refused { refusal, .. } | Self::RefusedByPeer { refusal, .. } => refusal.retry,
            Self::Attester { source, .. } => !matches!(source, AttesterError::NoTee { .. }),
        }
    }

    /// An error of the stream under TLS, or of TLS itself: tokio-rustls reports
    /// both as I/O errors.
    pub(crate) fn from_stream(peer: &str, source: io::Error) -> Self {
        let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
        match tls {
            Some(source) => Self::Tls { peer: peer.to_owned(), source },
            None => Self::Io { peer: peer.to_owned(), source },
        }
    }
}
