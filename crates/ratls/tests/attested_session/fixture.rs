//! A simulated platform, the two sides' configurations and a small service.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adytum_api::broker::{
    GetSecretsRequest, GetSecretsResponse, Secret,
    key_broker_client::KeyBrokerClient,
    key_broker_server::{KeyBroker, KeyBrokerServer},
};
use adytum_evidence::{
    claims::{Claims, TeeKind},
    clock::SystemClock,
    evidence::Evidence,
    measurement::{ReportData, Sha256Digest, WorkloadIdentity},
    policy::Policy,
    trust::Vendor,
    verifier::Verifier,
};
use adytum_governance::{
    announcement::BrokerAnnouncement, genesis::GenesisDigest, head::StateHead, pin::BrokerPin,
};
use adytum_ratls::{
    acceptor::AttestedAcceptor,
    configuration::{AcceptorConfiguration, ConnectorConfiguration},
    connector::AttestedConnector,
    error::{Refusal, SessionError},
    judge::{AnyEvidence, PeerJudge},
    limits::Limits,
    session::{LocalAttestation, Peer, SessionInfo},
};
use adytum_sim::{Platform, Program, SimAttester};
use bytes::Bytes;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tonic::{Request, Response, Status, transport::Server};

pub const BROKER: WorkloadIdentity = WorkloadIdentity([0xb0; 32]);
pub const REPLICA: WorkloadIdentity = WorkloadIdentity([0x4e; 32]);
pub const GENESIS: GenesisDigest = GenesisDigest(Sha256Digest([0x6e; 32]));
pub const OTHER_GENESIS: GenesisDigest = GenesisDigest(Sha256Digest([0x07; 32]));
pub const LIMIT: Duration = Duration::from_secs(10);

pub fn address() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

pub struct Fixture {
    pub platform: Arc<Platform>,
    pub verifier: Arc<Verifier>,
}

impl Fixture {
    pub fn new() -> Self {
        let platform = Platform::ephemeral().unwrap();
        let root = platform.trust_root().unwrap();
        let verifier =
            Verifier::new(vec![root], Arc::new(platform.collateral_source()), Arc::new(SystemClock));
        Self { platform, verifier: Arc::new(verifier) }
    }

    pub fn local(&self, identity: WorkloadIdentity, announcement: Bytes) -> LocalAttestation {
        LocalAttestation {
            attester: Arc::new(SimAttester::new(self.platform.clone(), identity)),
            announcement: Arc::new(move || announcement.clone()),
        }
    }

    /// A broker.
    pub fn accepting(&self) -> AcceptorConfiguration {
        AcceptorConfiguration {
            verifier: self.verifier.clone(),
            judge: Arc::new(AnyEvidence),
            local: self.local(BROKER, broker_announcement(GENESIS)),
            limits: Limits::default(),
        }
    }

    pub fn acceptor(&self) -> AttestedAcceptor {
        AttestedAcceptor::new(self.accepting())
    }

    /// A replica.
    pub fn connecting(&self) -> ConnectorConfiguration {
        ConnectorConfiguration {
            verifier: self.verifier.clone(),
            judge: Arc::new(pin(GENESIS)),
            local: Some(self.local(REPLICA, Bytes::new())),
            limits: Limits::default(),
        }
    }

    pub fn replica(&self) -> AttestedConnector {
        AttestedConnector::new(self.connecting())
    }

    /// An owner's tool: no TEE.
    pub fn tool(&self) -> AttestedConnector {
        AttestedConnector::new(ConnectorConfiguration { local: None, ..self.connecting() })
    }

    /// What an attacker with a TEE of the same platform can make.
    pub fn quote(&self, identity: WorkloadIdentity, report_data: ReportData) -> Evidence {
        Evidence::dcap_quote(self.platform.quote(&Program::of(identity), report_data).unwrap())
    }
}

pub fn broker_announcement(genesis: GenesisDigest) -> Bytes {
    let head = StateHead { epoch: 1, manifest_version: 0, audit_size: 0, audit_hash: None };
    BrokerAnnouncement { genesis, head, occlum: None }.encode()
}

pub fn pin(genesis: GenesisDigest) -> impl PeerJudge {
    pinned(BrokerPin {
        policy: Policy::for_identity(Vendor::Simulation, TeeKind::Sgx, BROKER),
        genesis,
        occlum: Default::default(),
    })
}

/// Accepts the pinned broker.
pub fn pinned(pin: BrokerPin) -> impl PeerJudge {
    move |claims: &Claims, announcement: &[u8]| {
        let judged = pin.judge(claims, announcement).map(drop);
        judged.map_err(|error| Refusal::verdict(error.code(), error.to_string()))
    }
}

/// The refusal of an attempt that this side refused.
#[track_caller]
pub fn refusal<T>(result: Result<T, SessionError>) -> Refusal {
    match result {
        Err(SessionError::Refused { refusal, .. }) => refusal,
        Err(other) => panic!("expected a refusal by this side, found {other:?}"),
        Ok(_) => panic!("expected a refusal by this side, found a session"),
    }
}

/// The refusal of an attempt that the peer refused.
#[track_caller]
pub fn refusal_by_peer<T>(result: Result<T, SessionError>) -> Refusal {
    match result {
        Err(SessionError::RefusedByPeer { refusal, .. }) => refusal,
        Err(other) => panic!("expected a refusal by the peer, found {other:?}"),
        Ok(_) => panic!("expected a refusal by the peer, found a session"),
    }
}

/// A service that tells what the session is to it: asked for "hang" it says so
/// to `hanging` and never answers, asked for "panic" it panics.
#[derive(Clone, Default)]
pub struct Mirror {
    pub hanging: Arc<Notify>,
}

#[tonic::async_trait]
impl KeyBroker for Mirror {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Status> {
        let info = request
            .extensions()
            .get::<SessionInfo>()
            .cloned()
            .ok_or_else(|| Status::internal("no session info"))?;
        if request.into_inner().names == ["hang"] {
            self.hanging.notify_one();
            std::future::pending::<()>().await;
        }
        let name = match &info.peer {
            Peer::Unattested => "unattested".to_owned(),
            Peer::Attested { claims, .. } if claims.carries(REPLICA) => "replica".to_owned(),
            Peer::Attested { .. } => "other".to_owned(),
        };
        let secret =
            Secret { name, kind: 1, value: info.request_binding.to_vec(), version: 1, ..Default::default() };
        Ok(Response::new(GetSecretsResponse { secrets: vec![secret], ..Default::default() }))
    }
}

/// Runs the service on a port that the system chooses, until the test ends.
pub async fn serve(acceptor: AttestedAcceptor, mirror: Mirror) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(KeyBrokerServer::new(mirror));
    let task = tokio::spawn(async move {
        server.serve_with_incoming(acceptor.incoming(listener)).await.unwrap();
    });
    (address, task)
}

pub async fn ask(channel: tonic::transport::Channel, name: &str) -> Result<Secret, Status> {
    let request = GetSecretsRequest { names: vec![name.to_owned()], ..Default::default() };
    let response = KeyBrokerClient::new(channel).get_secrets(request).await?;
    Ok(response.into_inner().secrets.remove(0))
}
