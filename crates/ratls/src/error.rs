//! Why a session did not come about.

use std::{io, time::Duration};

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
    },
}
