//! The side that connects.

use std::sync::Arc;

use adytum_evidence::verifier::Verifier;
use tonic::transport::Channel;

use crate::{
    claims::PeerJudge,
    error::{Refusal, SessionError},
    limits::Limits,
    session::{LocalAttestation, SessionInfo},
};

/// What a connecting side needs.
#[derive(Clone)]
pub struct ConnectorConfiguration {
    /// Verifies the server's evidence.
    pub verifier: Arc<Verifier>,
    /// Decides whether it is the server that was meant.
    pub judge: Arc<dyn PeerJudge>,
    /// What this side shows; `None` for sides without a TEE.
    pub local: Option<LocalAttestation>,
    /// Limits.
    pub limits: Limits,
}

/// Opens attested sessions.
#[derive(Clone)]
pub struct AttestedConnector {
    configuration: Arc<ConnectorConfiguration>,
}

/// One open session with a gRPC channel on it. The channel never reconnects: a
/// broken session is an error, and a new one attests anew.
pub struct AttestedSession {
    /// For tonic's generated clients.
    pub channel: Channel,
    /// Who answered.
    pub info: SessionInfo,
}

impl AttestedConnector {
    /// A connector with this configuration.
    pub fn new(configuration: ConnectorConfiguration) -> Self {
        Self { configuration: Arc::new(configuration) }
    }

    /// Connects to `address` (`host:port`) and attests.
    pub async fn session(&self, address: &str) -> Result<AttestedSession, SessionError> {
        let _ = &self.configuration;
        Err(SessionError::Refused {
            peer: address.to_owned(),
            refusal: Refusal { code: "skeleton".to_owned(), message: String::new(), retry: false },
        })
    }
}
