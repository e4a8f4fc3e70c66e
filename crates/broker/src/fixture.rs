//! What the unit tests of administration and release share: a broker without a
//! network, and sessions as an acceptor would hand them over.

use std::sync::{Arc, Mutex};

use adytum_api::broker::{Command, CommandResult, GetSecretsRequest, SignedCommand, command};
use adytum_evidence::clock::SystemClock;
use adytum_governance::{
    audit::events::Event,
    confirmation::{Confirmation, SignedConfirmation},
    genesis::{Genesis, GenesisDigest},
    manifest::SignedManifest,
    occlum::OcclumConfiguration,
};
use adytum_ratls::session::SessionInfo;
use adytum_signing::OwnerSigningKey;
use adytum_testkit::{
    claims,
    manifest::{Manifest, enclave_policy},
    owners, session,
    tee::Nothing,
};
use async_trait::async_trait;
use prost::Message;
use tokio::sync::oneshot;

use crate::{
    audit::{
        AuditLimits,
        sink::{EventSink, RecordError, RecordErrorKind},
    },
    broker::{Broker, BrokerConfiguration, administration::AdministrationError},
    store::{LoadedState, Store},
};

/// Keeps events, or refuses them.
#[derive(Default)]
pub(crate) struct Events {
    pub(crate) recorded: Mutex<Vec<Event>>,
    /// Holds the next grant up: tells that it is there, then waits.
    pub(crate) hold: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
    pub(crate) full: Mutex<bool>,
}

impl Events {
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.recorded.lock().unwrap())
    }
}

#[async_trait]
impl EventSink for Events {
    async fn record(&self, events: &[Event]) -> Result<(), RecordError> {
        if *self.full.lock().unwrap() {
            return Err(RecordError { kind: RecordErrorKind::Unavailable, reason: "full".into() });
        }
        if events.iter().any(|event| matches!(event, Event::Granted { .. })) {
            let held = self.hold.lock().unwrap().take();
            if let Some((there, go_on)) = held {
                let _ = there.send(());
                let _ = go_on.await;
            }
        }
        self.recorded.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
}

pub(crate) struct Fixture {
    pub(crate) broker: Arc<Broker>,
    pub(crate) owners: Vec<OwnerSigningKey>,
    pub(crate) events: Arc<Events>,
}

pub(crate) fn broker(owners: usize, threshold: usize) -> Fixture {
    broker_with(owners, threshold, in_memory, None)
}

pub(crate) fn in_memory(genesis: GenesisDigest) -> (Store, LoadedState) {
    Store::in_memory(genesis).unwrap()
}

pub(crate) fn broker_with(
    owners: usize,
    threshold: usize,
    store: impl FnOnce(GenesisDigest) -> (Store, LoadedState),
    occlum: Option<OcclumConfiguration>,
) -> Fixture {
    broker_limited(owners, threshold, store, occlum, AuditLimits::default())
}

pub(crate) fn broker_limited(
    owners: usize,
    threshold: usize,
    store: impl FnOnce(GenesisDigest) -> (Store, LoadedState),
    occlum: Option<OcclumConfiguration>,
    limits: AuditLimits,
) -> Fixture {
    let owners = owners::owners(owners);
    let genesis = Genesis::create(owners.iter().map(OwnerSigningKey::public_key), threshold).unwrap();
    start(genesis, owners, store, occlum, limits)
}

fn start(
    genesis: Genesis,
    owners: Vec<OwnerSigningKey>,
    store: impl FnOnce(GenesisDigest) -> (Store, LoadedState),
    occlum: Option<OcclumConfiguration>,
    limits: AuditLimits,
) -> Fixture {
    let events = Arc::new(Events::default());
    let store = store(genesis.digest());
    let configuration = BrokerConfiguration {
        genesis,
        attester: Arc::new(Nothing),
        collateral: Arc::new(Nothing),
        clock: Arc::new(SystemClock),
        store,
        events: events.clone(),
        occlum,
    };
    let broker = Broker::start_with(configuration, limits).unwrap();
    Fixture { broker, owners, events }
}

/// The session of an owner's tool. Sessions with different bindings are different.
pub(crate) use adytum_testkit::session::unattested as owner_session;

/// A request for these secrets and no certificate.
pub(crate) fn names(names: &[&str]) -> GetSecretsRequest {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    GetSecretsRequest { names, ..GetSecretsRequest::default() }
}

/// The session of a workload on Intel's hardware.
pub(crate) fn workload_session(mr_enclave: u8) -> SessionInfo {
    session::attested(200, claims::sgx([mr_enclave; 32]))
}

impl Fixture {
    /// A manifest with the workload "serving" (MRENCLAVE 01..) and the secrets
    /// "model_key" and "ssl_config" for it, and "spare" for "other" (02..).
    pub(crate) fn manifest(&self, version: u64) -> SignedManifest {
        let mut signed = SignedManifest::unsigned(
            workloads(&self.broker, version)
                .secret("model_key", "age-identity", &["serving"])
                .secret("ssl_config", "opaque", &["serving"])
                .secret("spare", "opaque", &["other"])
                .text(),
        );
        self.owners.iter().for_each(|owner| signed.sign(owner).unwrap());
        signed
    }

    pub(crate) fn sign(
        &self,
        session: &SessionInfo,
        version: u64,
        command: command::Command,
        keys: &[&OwnerSigningKey],
    ) -> SignedCommand {
        let genesis = self.broker.genesis_digest();
        adytum_governance::command::sign(&session.request_binding, genesis, version, command, keys)
    }

    /// Every owner signs a command for this session and the state in force.
    pub(crate) async fn execute(
        &self,
        session: &SessionInfo,
        command: command::Command,
    ) -> Result<CommandResult, AdministrationError> {
        let version = self.broker.state().manifest_version();
        let keys: Vec<_> = self.owners.iter().collect();
        let signed = self.sign(session, version, command, &keys);
        self.broker.execute(session, signed).await
    }

    /// A broker that takes up what this one, which ends, has left.
    pub(crate) fn restarted(self, store: impl FnOnce(GenesisDigest) -> (Store, LoadedState)) -> Self {
        let Self { broker, owners, .. } = self;
        let genesis = broker.genesis().clone();
        drop(broker);
        start(genesis, owners, store, None, AuditLimits::default())
    }

    /// The owners confirm the state after an unplanned restart.
    pub(crate) async fn confirm(&self) {
        let confirm = self.confirmation(&self.owners.iter().collect::<Vec<_>>());
        self.execute(&owner_session(90), confirm).await.unwrap();
    }

    /// The word of these owners, whose tools remember nothing, for the present state.
    pub(crate) fn confirmation(&self, keys: &[&OwnerSigningKey]) -> command::Command {
        let (challenge, head) = (self.broker.challenge(), self.broker.store().head());
        let mut signed = SignedConfirmation::unsigned(Confirmation { challenge, head, given_up: None });
        keys.iter().for_each(|key| signed.sign(self.broker.genesis_digest(), key, None));
        command::Command::ConfirmState(signed.to_wire())
    }

    /// A manifest with the workloads "serving" and "other" and these tables.
    pub(crate) fn text(&self, version: u64, body: &str) -> String {
        workloads(&self.broker, version).table(body).text()
    }

    /// Every owner signs and applies [`Self::text`].
    pub(crate) async fn install(
        &self,
        version: u64,
        body: &str,
    ) -> Result<CommandResult, AdministrationError> {
        self.install_text(&self.text(version, body)).await
    }

    pub(crate) async fn install_text(&self, text: &str) -> Result<CommandResult, AdministrationError> {
        let mut signed = SignedManifest::unsigned(text);
        self.owners.iter().for_each(|owner| signed.sign(owner).unwrap());
        self.execute(&owner_session(91), apply(&signed)).await
    }

    /// With manifest 1 in force.
    pub(crate) async fn with_manifest(self) -> Self {
        self.execute(&owner_session(1), apply(&self.manifest(1))).await.unwrap();
        self
    }
}

/// A manifest with the workloads "serving" (MRENCLAVE 01..) and "other" (02..).
fn workloads(broker: &Broker, version: u64) -> Manifest {
    Manifest::intel(broker.genesis_digest(), version)
        .unrecoverable()
        .workload("serving", &enclave_policy(1), &[])
        .workload("other", &enclave_policy(2), &[])
}

pub(crate) fn apply(manifest: &SignedManifest) -> command::Command {
    command::Command::ApplyManifest(adytum_api::broker::ApplyManifest {
        manifest: manifest.text.clone().into_bytes(),
        signatures: manifest
            .approvals
            .iter()
            .map(adytum_governance::approval::OwnerApproval::to_wire)
            .collect(),
    })
}

pub(crate) fn put(name: &str, value: &[u8]) -> command::Command {
    let (name, value) = (name.to_owned(), value.to_vec());
    command::Command::PutSecret(adytum_api::broker::PutSecret { name, value })
}

pub(crate) fn remove(name: &str) -> command::Command {
    command::Command::RemoveSecret(adytum_api::broker::RemoveSecret { name: name.to_owned() })
}

pub(crate) fn list() -> command::Command {
    command::Command::ListSecrets(adytum_api::broker::ListSecrets {})
}

pub(crate) fn encoded(command: command::Command) -> Vec<u8> {
    Command { command: Some(command) }.encode_to_vec()
}
