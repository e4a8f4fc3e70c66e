//! Sessions as an acceptor hands them over, without a network.

use std::sync::Arc;

use adytum_evidence::claims::Claims;
use adytum_ratls::session::{Peer, SessionInfo};
use zeroize::Zeroizing;

/// The session of a peer without evidence, such as an owner's tool. Each byte of its
/// binding is this one, so sessions with different bytes are different.
pub fn unattested(binding: u8) -> SessionInfo {
    SessionInfo {
        peer: Peer::Unattested,
        peer_address: ([127, 0, 0, 1], 1).into(),
        request_binding: Arc::new(Zeroizing::new([binding; 32])),
    }
}

/// The session of a peer whose evidence says this.
pub fn attested(binding: u8, claims: Claims) -> SessionInfo {
    SessionInfo {
        peer: Peer::Attested { claims: Box::new(claims), announcement: Default::default() },
        ..unattested(binding)
    }
}
