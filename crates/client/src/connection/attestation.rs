//! Attested sessions with the replicas of a service.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use adytum_evidence::{
    claims::Claims,
    clock::Clock,
    collateral::{Collateral, CollateralError, CollateralRequest, CollateralSource},
    trust::{TrustRoot, Vendor},
    verifier::Verifier,
};
use adytum_governance::{
    announcement::ServingAnnouncement,
    service::{Service, ServiceError},
};
use adytum_ratls::{
    AttestedStream,
    configuration::ConnectorConfiguration,
    connector::AttestedConnector,
    error::{Refusal, SessionError},
    limits::Limits,
    session::Peer,
};
use async_trait::async_trait;
use tokio::net::TcpStream;

use super::ConnectError;

/// How replicas are verified.
pub struct AttestationOptions {
    /// Where collateral comes from; without it, the collateral counts that a replica sends along.
    /// Its vendor has signed either.
    pub collateral: Option<Arc<dyn CollateralSource>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Simulated platforms that are trusted, if the service is of one of them.
    pub simulation_roots: Vec<TrustRoot>,
}

/// What a server must prove on each connection, before the first byte of a request: that it is a
/// replica of this service. Clones are the same.
#[derive(Clone)]
pub struct Attestation {
    service: Arc<Service>,
    connector: AttestedConnector,
    last: Arc<Mutex<Option<Replica>>>,
}

/// A replica that was accepted.
#[derive(Clone, Debug)]
pub struct Replica {
    /// What its evidence says.
    pub claims: Claims,
    /// What it says of itself: its identity and its models.
    pub announced: ServingAnnouncement,
}

impl fmt::Debug for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attestation({})", self.service.name)
    }
}

impl Attestation {
    /// By this service, which somebody has verified. One of a simulated platform needs that
    /// platform's root among the options: nothing is trusted by a file alone that protects nothing.
    pub fn new(service: Service, options: AttestationOptions) -> Result<Self, ServiceError> {
        let AttestationOptions { collateral, clock, simulation_roots } = options;
        let is_trusted =
            |root: &&TrustRoot| root.vendor() != Vendor::Simulation || simulation_roots.contains(root);
        let roots: Vec<TrustRoot> = service.roots.iter().filter(is_trusted).cloned().collect();
        if roots.is_empty() {
            return Err(ServiceError::Simulation { name: service.name });
        }
        let takes_collateral = collateral.is_none();
        let source = collateral.unwrap_or_else(|| Arc::new(AlongWithEvidence));
        let service = Arc::new(service);
        let judging = Arc::clone(&service);
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: Arc::new(Verifier::new(roots, source, clock)),
            judge: Arc::new(move |claims: &Claims, announcement: &[u8]| {
                judging.judge(claims, announcement).map(drop).map_err(|error| Refusal {
                    retry: error.retry(),
                    ..Refusal::verdict(error.code(), error.to_string())
                })
            }),
            local: None,
            limits: Limits::default(),
        });
        let connector = if takes_collateral { connector.taking_collateral() } else { connector };
        Ok(Self { service, connector, last: Arc::default() })
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The replica that was accepted last, on any connection.
    pub fn last(&self) -> Option<Replica> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects to `address` (`host:port`) and verifies. Nothing of a request has been sent.
    pub async fn connect(&self, address: &str) -> Result<(AttestedStream, Replica), ConnectError> {
        let stream = self.connector.connect(address).await.map_err(|error| refused(address, &error))?;
        self.note(address, stream)
    }

    /// The same on a TCP connection that is there already.
    pub async fn attest(
        &self,
        stream: TcpStream,
        address: &str,
    ) -> Result<(AttestedStream, Replica), ConnectError> {
        let peer = stream.peer_addr().map_err(|error| ConnectError::from_tcp(address.to_owned(), &error))?;
        let stream = self.connector.connect_over(stream, address, peer).await;
        self.note(address, stream.map_err(|error| refused(address, &error))?)
    }

    fn note(&self, address: &str, stream: AttestedStream) -> Result<(AttestedStream, Replica), ConnectError> {
        let replica = match &stream.info().peer {
            Peer::Attested { claims, announcement } => ServingAnnouncement::decode(announcement)
                .map(|announced| Replica { claims: (**claims).clone(), announced })
                .map_err(|error| (error.code().to_owned(), error.to_string())),
            // The connector opens no session with a server that does not attest.
            Peer::Unattested => Err(("attested-tls-failed".to_owned(), "it gave no evidence".to_owned())),
        };
        match replica {
            Ok(replica) => {
                self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(replica.clone());
                Ok((stream, replica))
            }
            Err((code, reason)) => {
                Err(ConnectError::Attestation { server: address.to_owned(), code, reason, retry: false })
            }
        }
    }
}

/// A session that did not come about, as an error of a connection.
fn refused(server: &str, error: &SessionError) -> ConnectError {
    let server = server.to_owned();
    match error {
        SessionError::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            ConnectError::Refused { server }
        }
        other => ConnectError::Attestation {
            server,
            code: other.code().to_owned(),
            reason: match other {
                SessionError::Refused { refusal, .. } => refusal.message.clone(),
                other => other.to_string(),
            },
            retry: other.retry(),
        },
    }
}

/// No source: collateral comes along with evidence, or there is none.
struct AlongWithEvidence;

#[async_trait]
impl CollateralSource for AlongWithEvidence {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        Err(CollateralError::NoSource { what: format!("{request}, and the replica sent none along") })
    }
}
