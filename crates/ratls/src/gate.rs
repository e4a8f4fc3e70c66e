//! Where a server decides, during a handshake, whether it goes on.

use std::{sync::Arc, time::Duration};

use adytum_evidence::{attester::Attester, measurement::Sha256Digest};
use bytes::Bytes;

use crate::{error::Refusal, session::Peer};

/// The code of a refusal because of too many peers.
///
/// See: `ScheduleError::Overloaded`
pub const OVERLOADED: &str = "overloaded";

/// The refusal of a peer that should come back after this time.
pub fn overloaded(retry_after: Duration, message: impl Into<String>) -> Refusal {
    Refusal::outage(OVERLOADED, message).after(retry_after)
}

/// Decides for one connection. The peer learns why it is refused, and when to come back.
pub trait Gate: Send + Sync {
    /// After the TLS handshake and the client's first message, before this side makes
    /// evidence. `key` is the SHA-256 digest of the public key of the client's certificate,
    /// whose private key the client has proved to have; `None` without a certificate.
    /// Gives what makes this side's evidence, if it is not the acceptor's own attester.
    fn admit(&self, key: Option<&Sha256Digest>) -> Result<Option<Arc<dyn Attester>>, Refusal>;

    /// What this side announces in this session, if it is not what the acceptor announces in
    /// all. Asked once, after [`Gate::admit`].
    fn announcement(&self) -> Option<Bytes> {
        None
    }

    /// After the peer was accepted, before it learns so.
    fn open(&self, peer: &Peer, key: Option<&Sha256Digest>) -> Result<(), Refusal>;
}

/// Lets everybody through.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Gate for Open {
    fn admit(&self, _key: Option<&Sha256Digest>) -> Result<Option<Arc<dyn Attester>>, Refusal> {
        Ok(None)
    }

    fn open(&self, _peer: &Peer, _key: Option<&Sha256Digest>) -> Result<(), Refusal> {
        Ok(())
    }
}
