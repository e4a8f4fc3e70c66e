//! A simulated platform, a broker on it, and those who talk to it.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use adytum_api::broker::{
    ApplyManifest, CommandResult, GetSecretsRequest, GetSecretsResponse, PutSecret, SignedCommand,
    broker_administration_client::BrokerAdministrationClient, command, key_broker_client::KeyBrokerClient,
};
use adytum_broker::{
    Broker, ServerLimits,
    audit::sink::{EventSink, LoggedEvents},
    store::{LoadedState, LockedStore, Store},
};
use adytum_evidence::{
    attester::Attester,
    claims::Claims,
    clock::{Clock, SystemClock},
    collateral::{ByVendor, CollateralSource},
    measurement::{Sha256Digest, WorkloadIdentity},
    policy::Policy,
    trust::Vendor,
    verifier::Verifier,
};
use adytum_governance::{
    announcement::BrokerAnnouncement,
    approval::OwnerApproval,
    confirmation::{Confirmation, SignedConfirmation},
    genesis::Genesis,
    head::StateHead,
    manifest::{
        SignedManifest,
        document::{Document, RecoveryTable, SecretTable, WorkloadTable},
    },
    occlum::OcclumConfiguration,
    pin::BrokerPin,
    secrets::SecretKind,
};
use adytum_ratls::{
    configuration::ConnectorConfiguration,
    connector::{AttestedConnector, AttestedSession},
    error::{Refusal, SessionError},
    limits::Limits,
    session::{LocalAttestation, Peer},
};
use adytum_signing::OwnerSigningKey;
use adytum_sim::{Platform, SimAttester, snp::SnpPlatform};
pub(crate) use adytum_testkit::broker::RunningBroker;
use adytum_testkit::{broker, manifest::simulated_policy, owners};
use bytes::Bytes;
use tonic::{Code, Request, Status};

/// The identity of a program with these bytes.
pub(crate) fn identity(program: &str) -> WorkloadIdentity {
    let digest = Sha256Digest::of_bytes(program.as_bytes());
    WorkloadIdentity::of(digest, digest, b"test")
}

/// A policy for one program on a simulated platform.
pub(crate) fn policy(identity: WorkloadIdentity) -> Policy {
    toml::from_str(&simulated_policy(identity)).unwrap()
}

pub(crate) struct Fixture {
    pub(crate) platform: Arc<Platform>,
    pub(crate) owners: Vec<OwnerSigningKey>,
    pub(crate) genesis: Genesis,
    pub(crate) limits: ServerLimits,
    pub(crate) occlum: Option<OcclumConfiguration>,
    /// The one that replicas and owners pin.
    pub(crate) pinned_occlum: Option<Sha256Digest>,
    pub(crate) events: Arc<dyn EventSink>,
    /// The broker's.
    pub(crate) clock: Arc<dyn Clock>,
    /// The broker's, if it is not to be the platform's.
    pub(crate) attester: Option<Arc<dyn Attester>>,
    /// A machine of the other vendor.
    pub(crate) snp: Option<Arc<SnpPlatform>>,
}

impl Fixture {
    pub(crate) fn new(owners: usize, threshold: usize) -> Self {
        let owners = owners::owners(owners);
        let genesis = Genesis::create(owners.iter().map(OwnerSigningKey::public_key), threshold).unwrap();
        let platform = Platform::ephemeral().unwrap();
        let (limits, events) = (ServerLimits::default(), Arc::new(LoggedEvents::default()));
        Self {
            platform,
            owners,
            genesis,
            limits,
            occlum: None,
            pinned_occlum: None,
            events,
            clock: Arc::new(SystemClock),
            attester: None,
            snp: None,
        }
    }

    pub(crate) fn attester(&self, program: &str) -> Arc<dyn Attester> {
        Arc::new(SimAttester::new(self.platform.clone(), identity(program)))
    }

    pub(crate) async fn start(&self) -> RunningBroker {
        self.start_with(broker::in_memory(&self.genesis)).await
    }

    /// A broker whose state lies in this directory, sealed on the platform.
    pub(crate) async fn start_in(&self, directory: &Path) -> RunningBroker {
        self.start_with(self.store(directory)).await
    }

    /// [`Self::start_in`], unless another broker still has the directory.
    pub(crate) async fn try_start_in(&self, directory: &Path) -> Option<RunningBroker> {
        Some(self.start_with(self.try_store(directory)?).await)
    }

    pub(crate) fn try_store(&self, directory: &Path) -> Option<(Store, LoadedState)> {
        let locked = LockedStore::open(directory, self.genesis.digest()).ok()?;
        Some(self.unsealed(locked))
    }

    pub(crate) fn store(&self, directory: &Path) -> (Store, LoadedState) {
        self.unsealed(LockedStore::open(directory, self.genesis.digest()).unwrap())
    }

    fn unsealed(&self, locked: LockedStore) -> (Store, LoadedState) {
        broker::unsealed(locked, self.attester("broker").as_ref())
    }

    pub(crate) async fn start_with(&self, store: (Store, LoadedState)) -> RunningBroker {
        self.start_program("broker", store).await
    }

    /// A broker of this code.
    pub(crate) async fn start_program(&self, program: &str, store: (Store, LoadedState)) -> RunningBroker {
        let mut configuration =
            broker::configuration(&self.platform, identity(program), &self.genesis, store);
        configuration.collateral = self.collateral();
        configuration.clock = Arc::clone(&self.clock);
        configuration.events = Arc::clone(&self.events);
        configuration.occlum = self.occlum.clone();
        if let Some(attester) = &self.attester {
            configuration.attester = Arc::clone(attester);
        }
        self.serve(Broker::start(configuration).unwrap()).await
    }

    fn collateral(&self) -> Arc<dyn CollateralSource> {
        let intel = Arc::new(self.platform.collateral_source());
        match &self.snp {
            Some(platform) => Arc::new(ByVendor { intel, amd: Arc::clone(platform) as _ }),
            None => intel,
        }
    }

    pub(crate) async fn serve(&self, broker: Arc<Broker>) -> RunningBroker {
        RunningBroker::serve(broker, self.limits).await
    }

    pub(crate) fn verifier(&self) -> Arc<Verifier> {
        Arc::new(Verifier::new(
            vec![self.platform.trust_root().unwrap()],
            Arc::new(self.platform.collateral_source()),
            Arc::new(SystemClock),
        ))
    }

    pub(crate) fn connector(
        &self,
        attester: Option<Arc<dyn Attester>>,
        broker: WorkloadIdentity,
    ) -> AttestedConnector {
        self.connector_announcing(attester, broker, Bytes::new())
    }

    fn connector_announcing(
        &self,
        attester: Option<Arc<dyn Attester>>,
        broker: WorkloadIdentity,
        announcement: Bytes,
    ) -> AttestedConnector {
        let announcement: Arc<dyn Fn() -> Bytes + Send + Sync> = Arc::new(move || announcement.clone());
        let occlum = self.pinned_occlum.iter().copied().collect();
        let pin = BrokerPin { policy: policy(broker), genesis: self.genesis.digest(), occlum };
        AttestedConnector::new(ConnectorConfiguration {
            verifier: self.verifier(),
            judge: Arc::new(move |claims: &Claims, announcement: &[u8]| {
                let judged = pin.judge(claims, announcement).map(drop);
                judged.map_err(|error| Refusal::verdict(error.code(), error.to_string()))
            }),
            local: attester.map(|attester| LocalAttestation { attester, announcement }),
            limits: Limits::default(),
        })
    }

    /// An owner's tool.
    pub(crate) async fn owner(&self, address: SocketAddr) -> AttestedSession {
        self.connector(None, identity("broker")).session(&address.to_string()).await.unwrap()
    }

    /// A replica that runs this program.
    pub(crate) async fn replica(
        &self,
        program: &str,
        address: SocketAddr,
    ) -> Result<AttestedSession, SessionError> {
        self.replica_with(self.attester(program), address).await
    }

    pub(crate) async fn replica_with(
        &self,
        attester: Arc<dyn Attester>,
        address: SocketAddr,
    ) -> Result<AttestedSession, SessionError> {
        self.connector(Some(attester), identity("broker")).session(&address.to_string()).await
    }

    /// A replica of this program that announces this.
    pub(crate) async fn announcing(
        &self,
        program: &str,
        announcement: Bytes,
        address: SocketAddr,
    ) -> AttestedSession {
        let connector =
            self.connector_announcing(Some(self.attester(program)), identity("broker"), announcement);
        connector.session(&address.to_string()).await.unwrap()
    }

    /// "model_key" and "ssl_config" for the program "serving", trusting the
    /// platform.
    pub(crate) fn document(&self, version: u64) -> Document {
        let mut document = Document::new(self.genesis.digest(), version);
        document.trust.vendors = vec![Vendor::Simulation];
        document.trust.simulation_roots = vec![self.platform.root_certificate_pem().to_owned()];
        document.workloads = vec![WorkloadTable {
            name: "serving".parse().unwrap(),
            models: Vec::new(),
            policy: policy(identity("serving")),
        }];
        let secret = |name: &str, kind| {
            SecretTable::new(name.parse().unwrap(), kind, vec!["serving".parse().unwrap()])
        };
        document.secrets =
            vec![secret("model_key", SecretKind::AgeIdentity), secret("ssl_config", SecretKind::Opaque)];
        document.recovery = Some(RecoveryTable::unrecoverable());
        document
    }

    pub(crate) fn signed(&self, document: &Document) -> SignedManifest {
        let mut signed = SignedManifest::unsigned(document.to_toml().unwrap());
        self.owners.iter().for_each(|owner| signed.sign(owner).unwrap());
        signed
    }

    pub(crate) fn command(
        &self,
        session: &AttestedSession,
        version: u64,
        command: command::Command,
    ) -> SignedCommand {
        let keys: Vec<_> = self.owners.iter().collect();
        let genesis = self.genesis.digest();
        adytum_governance::command::sign(&session.info.request_binding, genesis, version, command, &keys)
    }

    /// The word of these owners for the state of the session's head. The tool of each
    /// remembers a head, or none.
    pub(crate) fn confirmation(
        &self,
        running: &RunningBroker,
        head: &StateHead,
        given_up: Option<&StateHead>,
        signers: &[(&OwnerSigningKey, Option<&StateHead>)],
    ) -> command::Command {
        let (challenge, head) = (running.broker.challenge(), head.clone());
        let confirmation = Confirmation { challenge, head, given_up: given_up.cloned() };
        let mut signed = SignedConfirmation::unsigned(confirmation);
        for (key, seen) in signers {
            signed.sign(self.genesis.digest(), key, seen.cloned());
        }
        command::Command::ConfirmState(signed.to_wire())
    }

    /// All owners confirm the state; their tools remember nothing.
    pub(crate) async fn confirm(&self, running: &RunningBroker) {
        let owner = self.owner(running.address).await;
        let signers: Vec<_> = self.owners.iter().map(|key| (key, None)).collect();
        let confirm = self.confirmation(running, &head(&owner), None, &signers);
        let version = running.broker.state().manifest_version();
        execute(&owner, self.command(&owner, version, confirm)).await.unwrap();
    }

    /// With the manifest in force and "ssl_config" set.
    pub(crate) async fn provision(&self, running: &RunningBroker) {
        let owner = self.owner(running.address).await;
        let apply = apply(&self.signed(&self.document(1)));
        execute(&owner, self.command(&owner, 0, apply)).await.unwrap();
        execute(&owner, self.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    }
}

pub(crate) fn apply(manifest: &SignedManifest) -> command::Command {
    command::Command::ApplyManifest(ApplyManifest {
        manifest: manifest.text.clone().into_bytes(),
        signatures: manifest.approvals.iter().map(OwnerApproval::to_wire).collect(),
    })
}

pub(crate) fn put(name: &str, value: &[u8]) -> command::Command {
    command::Command::PutSecret(PutSecret { name: name.to_owned(), value: value.to_vec() })
}

pub(crate) async fn execute(
    session: &AttestedSession,
    command: SignedCommand,
) -> Result<CommandResult, Status> {
    let mut client = BrokerAdministrationClient::new(session.channel.clone());
    client.execute(Request::new(command)).await.map(tonic::Response::into_inner)
}

pub(crate) async fn fetch(session: &AttestedSession, names: &[&str]) -> Result<GetSecretsResponse, Status> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let mut client = KeyBrokerClient::new(session.channel.clone());
    client
        .get_secrets(Request::new(GetSecretsRequest { names, ..Default::default() }))
        .await
        .map(tonic::Response::into_inner)
}

/// The head that the broker showed in a session.
pub(crate) fn head(session: &AttestedSession) -> StateHead {
    let Peer::Attested { announcement, .. } = &session.info.peer else { panic!("no evidence") };
    BrokerAnnouncement::decode(announcement).unwrap().head
}

/// What a refusal says to a machine.
pub(crate) fn stable(status: &Status) -> (Code, String, bool) {
    let text = |key: &str| match status.metadata().get(key) {
        Some(value) => value.to_str().unwrap().to_owned(),
        None => panic!("no {key} in {status:?}"),
    };
    (status.code(), text("adytum-code"), text("adytum-retry") == "true")
}

/// Asks until it is so; for events that happen while the test runs.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("not within 20 s: {what}"))
}
