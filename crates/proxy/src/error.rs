//! Why a client got no answer of a replica.

use std::{io, net::SocketAddr};

use adytum_client::ConnectError;

/// Why the proxy does not run, or why a client got no answer of a replica.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The port for local clients can't be opened.
    ///
    /// Do: give `--listen` an address HOST:PORT of this machine with a port that is free.
    #[error("--listen {address}: {source}; give an address of this machine with a port that is free")]
    Listen {
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No replica may have the request, or none can be reached. The request was sent to
    /// nobody.
    #[error("the request was sent to nobody: {0}")]
    NoReplica(ConnectError),
    /// More requests are in progress than the proxy carries at once.
    ///
    /// Do: send the request again after a pause, or run another proxy.
    ///
    /// Retry: yes
    #[error("the proxy carries {limit} requests already; try again")]
    Overloaded { limit: usize },
    /// The connection with the replica broke while the request was on it. The replica may have
    /// answered it.
    ///
    /// Do: send the request again, if asking twice does no harm: a prediction has no effects.
    ///
    /// Retry: yes
    #[error("the connection with the replica broke while the request was on it: {0}")]
    Broken(hyper::Error),
    /// The client wants a protocol that the proxy does not carry: CONNECT or an upgrade.
    ///
    /// Do: send gRPC over HTTP/2, or plain HTTP requests.
    ///
    /// Retry: no
    #[error("{method} is not carried here; send gRPC over HTTP/2, or plain HTTP requests")]
    Method { method: String },
}

impl ProxyError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &str {
        match self {
            Self::Listen { .. } => "proxy-listen",
            Self::NoReplica(error) => error.code(),
            Self::Overloaded { .. } => "proxy-overloaded",
            Self::Broken(_) => "replica-connection-broken",
            Self::Method { .. } => "proxy-method",
        }
    }

    /// May the same request succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::NoReplica(error) => error.retry(),
            Self::Overloaded { .. } | Self::Broken(_) => true,
            Self::Listen { .. } | Self::Method { .. } => false,
        }
    }
}
