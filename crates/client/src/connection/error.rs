//! Why there is no connection.

use std::io;

use rustls::AlertDescription;

use super::TrustError;

/// The reason why a connection could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server's host name can't be resolved to an address.
    ///
    /// Do: check the spelling of the host name and this machine's resolver.
    #[error("{server}: the host name can't be resolved ({problem}); is it spelt right?")]
    Resolve { server: String, problem: String },
    /// No program listens at the server's address.
    ///
    /// Do: start the server, or correct the port.
    #[error("{server}: connection refused; is the server running, and is that its port?")]
    Refused { server: String },
    /// The network connection to the server failed.
    ///
    /// Do: check that the server runs and listens at that address, and check the route and
    /// the firewall to it. The message has the system's reason.
    #[error("{server}: can't connect: {problem}")]
    Network { server: String, problem: String },
    /// The server did not accept the connection in time.
    ///
    /// Do: check that the server can be reached from here, and that it is not overloaded.
    #[error("{server}: no connection within {seconds} s; is the server reachable from here?")]
    TimedOut {
        server: String,
        /// The time allowed, in seconds.
        seconds: u64,
    },
    /// The server's certificate is not acceptable.
    #[error("{server}: {reason}")]
    Certificate { server: String, reason: TrustError },
    /// The server answered with something other than TLS.
    ///
    /// Do: leave the certificate out for a server without TLS, or correct the port.
    #[error(
        "{server}: the server does not speak TLS here ({problem}); leave the certificate out for a server without TLS, or correct the port"
    )]
    NotTls { server: String, problem: String },
    /// The server and this client have no TLS version or algorithms in common.
    ///
    /// Do: let the server offer TLS 1.3.
    #[error("{server}: no common version or algorithms: {problem}; TLS 1.3 is needed")]
    Incompatible { server: String, problem: String },
    /// The server has not proved to be a replica of the service. Nothing was sent to it.
    #[error(
        "{server} has not proved to be a replica of the service, and nothing was sent to it: {code}: {reason}"
    )]
    Attestation {
        server: String,
        /// The stable code of the reason.
        code: String,
        reason: String,
        /// May the same attempt succeed later?
        retry: bool,
    },
    /// The TLS handshake with the server failed.
    ///
    /// Do: read the reason in the message; check that the server's certificate and key
    /// belong together.
    #[error("{server}: the TLS handshake failed: {problem}")]
    Handshake { server: String, problem: String },
}

impl ConnectError {
    /// A stable name of the kind of error.
    pub fn code(&self) -> &str {
        match self {
            Self::Resolve { .. } => "name-not-resolved",
            Self::Refused { .. } => "connection-refused",
            Self::Network { .. } => "connection-failed",
            Self::TimedOut { .. } => "connection-timed-out",
            Self::Certificate { reason, .. } => reason.code(),
            Self::NotTls { .. } => "not-tls",
            Self::Incompatible { .. } => "tls-incompatible",
            Self::Handshake { .. } => "tls-failed",
            Self::Attestation { code, .. } => code,
        }
    }

    /// May the same attempt succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Refused { .. } | Self::Network { .. } | Self::TimedOut { .. } => {
                true
            }
            Self::Attestation { retry, .. } => *retry,
            _ => false,
        }
    }

    /// May another attempt find another server behind the same address? One that
    /// ends may still take a connection and close it in the handshake.
    pub(crate) fn may_pass(&self) -> bool {
        self.retry() || matches!(self, Self::Handshake { .. })
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
