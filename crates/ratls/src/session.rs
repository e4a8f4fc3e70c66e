//! What an accepted session is to the code above it.

use std::{fmt, net::SocketAddr, sync::Arc};

use adytum_evidence::{attester::Attester, claims::Claims};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What this side shows of itself.
#[derive(Clone)]
pub struct LocalAttestation {
    pub attester: Arc<dyn Attester>,
    /// Makes what this side says of itself, for each session again. The peer gets these
    /// bytes, and they are bound to the evidence.
    pub announcement: Arc<dyn Fn() -> Bytes + Send + Sync>,
}

/// The peer at the other end.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A TEE whose evidence verified and is bound to this session.
    Attested {
        /// What its evidence says.
        claims: Box<Claims>,
        /// What it says of itself; bound to the evidence.
        announcement: Bytes,
    },
    /// A peer without a TEE: an owner's tool or an inference client.
    Unattested,
}

/// An open session. tonic hands it to services as the connection's info: a
/// handler reads it with `request.extensions().get::<SessionInfo>()`.
#[derive(Clone)]
pub struct SessionInfo {
    /// The peer at the other end.
    pub peer: Peer,
    pub peer_address: SocketAddr,
    /// 32 bytes from the TLS exporter under a label of its own, equal on both
    /// sides and on no other connection: what requests are signed over.
    pub request_binding: Arc<Zeroizing<[u8; 32]>>,
}

/// A session's name in logs: random, and the same at both ends, so that their
/// logs can be put side by side. It is no secret and proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl SessionInfo {
    /// Its name in logs: half a digest of the request binding, which can't be
    /// found from it.
    pub fn id(&self) -> SessionId {
        let digest = Sha256::new()
            .chain_update(b"adytum session id v1")
            .chain_update(self.request_binding.as_slice())
            .finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        SessionId(id)
    }
}

impl fmt::Debug for SessionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the request binding: it comes out of the session's secrets.
        f.debug_struct("SessionInfo")
            .field("id", &self.id())
            .field("peer", &self.peer)
            .field("peer_address", &self.peer_address)
            .finish_non_exhaustive()
    }
}
