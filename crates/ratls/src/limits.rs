//! What a peer may cost before it is accepted.

use std::time::Duration;

/// Limits of one side's handshakes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The whole handshake: name resolution, connection, TLS and attestation.
    pub handshake_timeout: Duration,
    /// The largest attestation message, in bytes.
    pub maximum_message_length: usize,
    /// Acceptor only: handshakes in flight at once. A connection beyond it is
    /// closed at once, so that its peer knows at once and tries again.
    pub maximum_handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            maximum_message_length: 128 * 1024,
            maximum_handshakes: 256,
        }
    }
}
