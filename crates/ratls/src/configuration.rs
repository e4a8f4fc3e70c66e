//! What each side of a session needs.

use std::sync::Arc;

use adytum_evidence::verifier::Verifier;

use crate::{judge::PeerJudge, limits::Limits, session::LocalAttestation};

/// What an accepting side needs.
#[derive(Clone)]
pub struct AcceptorConfiguration {
    pub verifier: Arc<Verifier>,
    /// Decides which clients with evidence may open a session at all. Clients
    /// without evidence always may; services tell them apart by
    /// [`crate::session::Peer`].
    pub judge: Arc<dyn PeerJudge>,
    /// What this side shows.
    pub local: LocalAttestation,
    pub limits: Limits,
}

/// What a connecting side needs.
#[derive(Clone)]
pub struct ConnectorConfiguration {
    /// Verifies the server's evidence.
    pub verifier: Arc<Verifier>,
    /// Decides whether it is the expected server.
    pub judge: Arc<dyn PeerJudge>,
    /// What this side shows; `None` for sides without a TEE.
    pub local: Option<LocalAttestation>,
    pub limits: Limits,
}
