//! Why a session did not come about.

use std::{io, num::NonZeroU32, time::Duration};

use adytum_api::refusal::RefusalKind;
use adytum_evidence::{attester::AttesterError, verifier::VerificationError};

/// A refusal as it is sent to the peer (message `Refusal`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// Stable code, such as "evidence-invalid", "policy-refused", "genesis-mismatch".
    pub code: String,
    /// The facts and the next step: expected, found, what to do.
    pub message: String,
    /// May the same request pass later?
    pub retry: bool,
    /// What it is about.
    pub kind: RefusalKind,
    /// After how many milliseconds the same request is worth trying again, if the refusing
    /// side knows: see [`Refusal::retry_after`].
    pub retry_after_ms: Option<NonZeroU32>,
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

    /// The same, to be tried again after this time.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self { retry_after_ms: NonZeroU32::new(milliseconds), ..self }
    }

    /// When the same request is worth trying again, if the refusing side knows.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(|milliseconds| Duration::from_millis(milliseconds.get().into()))
    }

    fn of(kind: RefusalKind, retry: bool, code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retry, kind, retry_after_ms: None }
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
    ///
    /// See: ConnectError::Network.
    #[error("connection to {peer}: {source}")]
    Io {
        peer: String,
        /// What the system said.
        source: io::Error,
    },
    /// The attested session was not ready in time.
    ///
    /// Do: check that the peer runs and is not overloaded; the message names the step
    /// that took too long.
    #[error("no attested session with {peer} within {limit:?} (stopped at: {step})")]
    Timeout {
        peer: String,
        limit: Duration,
        /// Which step was waited for.
        step: &'static str,
    },
    /// The peer at this address opened no attested session: its TLS handshake failed.
    ///
    /// Do: check the address and port: they must be of a broker, of a replica's
    /// `--evidence-listen` of `adytum-init`, or of a model server that answers attested sessions
    /// (`--attested_sessions`; it needs a measured configuration).
    #[error(
        "{peer}: no attested session (TLS 1.3, protocol adytum-ra/1): {source}; check the port: it must be a broker's, the \
         one that a replica opens with --evidence-listen of adytum-init, or that of a model server that answers attested \
         sessions"
    )]
    Tls { peer: String, source: rustls::Error },
    /// This side refuses the peer.
    #[error("{peer} was refused: {refusal}")]
    Refused { peer: String, refusal: Refusal },
    /// The peer refuses this side.
    #[error("{peer} refused this side: {refusal}")]
    RefusedByPeer {
        peer: String,
        /// Why, in the peer's words.
        refusal: Refusal,
        /// Had the peer proved before who it is? Else anybody may have said this.
        verified: bool,
    },
    /// The TEE of this side gave no evidence.
    #[error("no evidence for the session with {peer}: {source}")]
    Attester { peer: String, source: AttesterError },
    /// This side could not prepare the session.
    ///
    /// Do: read the reason in the message; if it is not in your configuration, report it
    /// with the log.
    #[error("preparing a session with {peer}: {reason}")]
    Local { peer: String, reason: String },
}

impl SessionError {
    /// Whether the peer, or something between, ended the connection before there was a session.
    pub fn broke_off(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        ))
    }

    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &str {
        match self {
            Self::Io { .. } => "connection-failed",
            Self::Timeout { .. } => "handshake-timeout",
            Self::Tls { .. } => "attested-tls-failed",
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
            Self::Attester { source: AttesterError::Service { retry, .. }, .. } => *retry,
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
