//! What an accepted session is to the code above it.

use std::{net::SocketAddr, sync::Arc};

use adytum_evidence::{attester::Attester, claims::Claims};
use bytes::Bytes;
use zeroize::Zeroizing;

/// What this side shows of itself.
#[derive(Clone)]
pub struct LocalAttestation {
    /// The TEE.
    pub attester: Arc<dyn Attester>,
    /// Makes the encoded claims of this side's role, anew for each session.
    pub claims: Arc<dyn Fn() -> Bytes + Send + Sync>,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A TEE whose evidence verified and is bound to this session.
    Attested {
        /// What its evidence says.
        claims: Box<Claims>,
        /// What it says itself; bound to the evidence.
        session_claims: Bytes,
    },
    /// A peer without a TEE: an owner's tool or an inference client.
    Unattested,
}

/// An open session. tonic hands it to services as the connection's info.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Who is at the other end.
    pub peer: Peer,
    /// Where it is.
    pub peer_address: SocketAddr,
    /// 32 bytes from the TLS exporter under a label of its own, equal on both
    /// sides and on no other connection: what requests are signed over.
    pub request_binding: Arc<Zeroizing<[u8; 32]>>,
}
