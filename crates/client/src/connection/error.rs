//! Why there is no connection.

use std::io;

use rustls::AlertDescription;

use super::TrustError;

/// Why a connection could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host name has no address.
    #[error("{server}: the host name can't be resolved ({problem}); is it spelt right?")]
    Resolve {
        /// The server.
        server: String,
        /// The resolver's words.
        problem: String,
    },
    /// Nobody listens there.
    #[error("{server}: connection refused; is the server running, and is that its port?")]
    Refused {
        /// The server.
        server: String,
    },
    /// The network said no.
    #[error("{server}: can't connect: {problem}")]
    Network {
        /// The server.
        server: String,
        /// The system's words.
        problem: String,
    },
    /// Neither yes nor no in time.
    #[error("{server}: no connection within {seconds} s; is the server reachable from here?")]
    TimedOut {
        /// The server.
        server: String,
        /// The time allowed, in seconds.
        seconds: u64,
    },
    /// The server's certificate is not acceptable.
    #[error("{server}: {reason}")]
    Certificate {
        /// The server.
        server: String,
        /// Why.
        reason: TrustError,
    },
    /// What answered does not speak TLS.
    #[error(
        "{server}: the server does not speak TLS here ({problem}); leave the certificate out if that is meant"
    )]
    NotTls {
        /// The server.
        server: String,
        /// What it sent.
        problem: String,
    },
    /// The server has no TLS 1.3, or nothing else in common.
    #[error("{server}: no common version or algorithms: {problem}; TLS 1.3 is needed")]
    Incompatible {
        /// The server.
        server: String,
        /// What is missing.
        problem: String,
    },
    /// The handshake failed otherwise.
    #[error("{server}: the TLS handshake failed: {problem}")]
    Handshake {
        /// The server.
        server: String,
        /// Why.
        problem: String,
    },
}

impl ConnectError {
    /// A stable name of the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "name-not-resolved",
            Self::Refused { .. } => "connection-refused",
            Self::Network { .. } => "connection-failed",
            Self::TimedOut { .. } => "connection-timed-out",
            Self::Certificate { reason, .. } => reason.code(),
            Self::NotTls { .. } => "not-tls",
            Self::Incompatible { .. } => "tls-incompatible",
            Self::Handshake { .. } => "tls-failed",
        }
    }

    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. } | Self::Refused { .. } | Self::Network { .. } | Self::TimedOut { .. }
        )
    }

    /// May another attempt find another server behind the same address? One that
    /// ends may still take a connection and close it in the handshake.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_transient() || matches!(self, Self::Handshake { .. })
    }

    /// From the error of a TCP connection.
    pub(crate) fn from_tcp(server: String, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { server },
            _ => Self::Network { server, problem: error.to_string() },
        }
    }

    /// From the error of a TLS handshake, which wraps rustls's own.
    pub(crate) fn from_handshake(server: String, error: &io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            let problem = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
                _ => error.to_string(),
            };
            return Self::Handshake { server, problem };
        };
        if let Some(reason) = TrustError::find(tls) {
            return Self::Certificate { server, reason: reason.clone() };
        }
        let problem = tls.to_string();
        match tls {
            rustls::Error::InvalidMessage(_) => Self::NotTls { server, problem },
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(
                AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure,
            ) => Self::Incompatible { server, problem },
            _ => Self::Handshake { server, problem },
        }
    }
}
