//! One broker: its genesis, its state, and what it needs to serve. What it does is in the
//! modules of its verbs:
//!
//! - [`release`] gives secrets, [`administration`] carries out owners' commands, each to
//!   its end (`detached`) and once in a session (`executed`); `owner_sessions` knows which
//!   sessions have shown an owner's signature.
//! - [`confirmation`] is what happens when nobody here can know which state is the
//!   newest.
//! - `arranging` prepares recovery, `handing` hands the root key to the next broker.
//! - `forecast` is what it will refuse, of what is `seen`; `grace` counts how long it
//!   accepts what is out of date.
//! - `observation` is what the operator sees.
//!
//! [`state`] is what it holds.

pub mod administration;
mod arranging;
pub mod confirmation;
mod detached;
mod executed;
pub mod forecast;
mod grace;
pub mod handing;
mod observation;
pub(crate) mod owner_sessions;
pub mod release;
mod seen;
pub mod state;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use adytum_api::broker as wire;
use adytum_evidence::{
    attester::{Attester, AttesterError},
    clock::{Clock, UnixSeconds},
    collateral::CollateralSource,
    measurement::Sha256Digest,
    verifier::{EvidenceObserver, TrustRoot, Verifier},
};
use adytum_governance::{
    announcement::BrokerAnnouncement,
    audit::events::Event,
    confirmation::Challenge,
    genesis::{Genesis, GenesisDigest},
    manifest::Manifest,
    occlum::OcclumConfiguration,
};
use adytum_ratls::session::LocalAttestation;
use tokio::sync::watch;

use self::{
    executed::ExecutedCommands,
    forecast::Foreseen,
    grace::GraceClock,
    owner_sessions::OwnerSessions,
    seen::SeenEvidence,
    state::{Confirmation, RestoreError, State},
};
use crate::{
    audit::{
        AuditLimits, AuditLog,
        sink::{EventSink, RecordError},
    },
    start::fence::Succession,
    store::{Change, CommittedChange, LoadedState, Store, StoreError},
    telemetry::metrics::Metrics,
};

/// What a broker is made of.
pub struct BrokerConfiguration {
    pub genesis: Genesis,
    pub attester: Arc<dyn Attester>,
    /// Where collateral for workloads' evidence comes from.
    pub collateral: Arc<dyn CollateralSource>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where its state is kept, and what lay there.
    pub store: (Store, LoadedState),
    /// Where events are recorded.
    pub events: Arc<dyn EventSink>,
    /// The Occlum configuration, if one was asked for.
    pub occlum: Option<OcclumConfiguration>,
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its state can't be read or written.
    #[error("the broker's state: {0}")]
    Store(#[from] StoreError),
    /// The contents of its store are no state of this broker.
    #[error(transparent)]
    State(#[from] RestoreError),
    /// Its TEE fails.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// The system's random generator failed.
    ///
    /// Do: look at the machine's log, and start the broker again.
    ///
    /// Retry: later
    #[error("the system's random generator failed, so nobody could confirm the broker's state")]
    Random,
}

impl StartError {
    /// Stable code for logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::State(error) => error.code(),
            Self::Attester(error) => error.code(),
            Self::Random => "start-random",
        }
    }
}

/// One running broker.
pub struct Broker {
    genesis: Genesis,
    digest: GenesisDigest,
    attester: Arc<dyn Attester>,
    collateral: Arc<dyn CollateralSource>,
    clock: Arc<dyn Clock>,
    store: Store,
    events: Arc<dyn EventSink>,
    occlum: Option<OcclumConfiguration>,
    state: RwLock<Arc<State>>,
    verifier: watch::Sender<Arc<Verifier>>,
    /// Held while a change is decided, committed and published: changes follow
    /// one another.
    changes: tokio::sync::Mutex<()>,
    executed: Mutex<ExecutedCommands>,
    confirmation: Confirmation,
    succession: Succession,
    audit: AuditLog,
    metrics: Arc<Metrics>,
    owner_sessions: Arc<OwnerSessions>,
    draining: AtomicBool,
    seen: Arc<SeenEvidence>,
    foreseen: Foreseen,
    grace: GraceClock,
}

impl Broker {
    /// Takes up the state that the store had. Opening the store has counted this
    /// start in the epoch.
    pub fn start(configuration: BrokerConfiguration) -> Result<Arc<Self>, StartError> {
        Self::start_with(configuration, AuditLimits::default())
    }

    /// [`Self::start`] with an audit log of this size.
    pub fn start_with(
        configuration: BrokerConfiguration,
        limits: AuditLimits,
    ) -> Result<Arc<Self>, StartError> {
        let BrokerConfiguration { genesis, attester, collateral, clock, store, events, occlum } =
            configuration;
        let (store, loaded) = store;
        let state = State::restore(&genesis, loaded.snapshot.clone(), &store)?;
        let mut challenge = [0; 32];
        aws_lc_rs::rand::fill(&mut challenge).map_err(|_| StartError::Random)?;
        let confirmation = Confirmation::after(&loaded, &state, Challenge(Sha256Digest(challenge)));
        if !store.durable() {
            tracing::warn!(
                "the broker's state is in memory only: manifest and secrets are gone when this process ends"
            );
        }
        clock.owners_state(state.manifest().and_then(Manifest::not_before));
        let seen = Arc::new(SeenEvidence::default());
        let first = verifier(&state, occlum.as_ref(), &collateral, &clock, &seen);
        let grace = GraceClock::resume(&store, &state, &*clock)?;
        let digest = genesis.digest();
        let audit = AuditLog::open(store.clone(), Arc::clone(&clock), digest, state.epoch, limits)?;
        let metrics = Arc::new(Metrics::new(store.activity()));
        let broker = Self {
            digest,
            genesis,
            attester,
            collateral,
            clock,
            store,
            events,
            occlum,
            state: RwLock::new(Arc::new(state)),
            verifier: watch::Sender::new(Arc::new(first)),
            changes: tokio::sync::Mutex::new(()),
            executed: Mutex::new(ExecutedCommands::default()),
            confirmation,
            succession: Succession::default(),
            audit,
            metrics,
            owner_sessions: Arc::default(),
            draining: AtomicBool::new(false),
            seen,
            foreseen: Foreseen::default(),
            grace,
        };
        Ok(Arc::new(broker))
    }

    /// The document that created it.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The digest of its genesis.
    pub fn genesis_digest(&self) -> GenesisDigest {
        self.digest
    }

    /// The open sessions, and which of them have shown an owner's signature.
    pub(crate) fn owner_sessions(&self) -> &Arc<OwnerSessions> {
        &self.owner_sessions
    }

    /// What it holds now.
    pub fn state(&self) -> Arc<State> {
        // A panic elsewhere can't have left a state half replaced: it is one pointer.
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What time it is, by the broker's clock.
    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// The Occlum configuration, if one was loaded.
    pub fn occlum(&self) -> Option<&OcclumConfiguration> {
        self.occlum.as_ref()
    }

    /// What it says of itself in a session.
    pub fn announcement(&self) -> BrokerAnnouncement {
        let occlum = self.occlum.as_ref().map(OcclumConfiguration::digest);
        let clock_floor = self.clock.floor();
        BrokerAnnouncement { genesis: self.digest, head: self.store.head(), occlum, clock_floor }
    }

    /// What it shows in sessions: its TEE's evidence and its announcement, made
    /// for each again.
    pub fn local_attestation(self: &Arc<Self>) -> LocalAttestation {
        let broker = Arc::clone(self);
        LocalAttestation {
            attester: Arc::clone(&self.attester),
            announcement: Arc::new(move || broker.announcement().encode()),
        }
    }

    /// The verifier of workloads' evidence; another one follows when a manifest
    /// changes whom the broker trusts.
    pub fn verifier(&self) -> watch::Receiver<Arc<Verifier>> {
        self.verifier.subscribe()
    }

    /// Public facts. The manifest is not among them: a peer without evidence learns
    /// nothing about which names exist (ARCHITECTURE.md); owners get it by a signed
    /// command.
    pub fn status(&self) -> wire::GetStatusResponse {
        let state = self.state();
        wire::GetStatusResponse {
            genesis: self.genesis.to_toml().into_bytes(),
            manifest_version: state.manifest_version(),
            epoch: state.epoch,
            certificate_authority: state
                .authority
                .as_ref()
                .map(|authority| authority.bundle(self.now()).into_bytes())
                .unwrap_or_default(),
            awaiting_confirmation: self.awaiting_confirmation(),
            confirmation_challenge: self.challenge().0.0.to_vec(),
            audit_checkpoint_key: self.audit.checkpoint_key().map(|key| key.0.to_vec()).unwrap_or_default(),
            recovery: None,
        }
    }

    /// Its TEE.
    pub(crate) fn attester(&self) -> &dyn Attester {
        &*self.attester
    }

    pub(crate) fn succession(&self) -> &Succession {
        &self.succession
    }

    pub(crate) fn confirmation(&self) -> &Confirmation {
        &self.confirmation
    }

    /// Where its state is kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its audit log.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Does it end, and take nothing new?
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// From now on it ends.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Records these events, all or none. The broker does nothing that it can't record.
    pub(crate) async fn record(&self, events: &[Event]) -> Result<(), RecordError> {
        self.audit.record(events).await?;
        self.events.record(events).await
    }

    /// To be called when an event's record was committed with what it is about.
    pub(crate) async fn recorded(
        &self,
        committed: &CommittedChange,
        event: Event,
    ) -> Result<(), RecordError> {
        self.audit.committed(&committed.head).await;
        self.events.record(&[event]).await
    }

    pub(crate) async fn lock_changes(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changes.lock().await
    }

    /// Commits the change that leads to this state, then makes it the one in force. The
    /// caller holds the lock of [`Broker::lock_changes`].
    pub(crate) async fn replace_state(
        &self,
        next: State,
        change: Change,
    ) -> Result<CommittedChange, StoreError> {
        let committed = self.store.commit(change).await?;
        let next = Arc::new(next);
        let trust_changed = self.state().roots() != next.roots();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        self.clock.owners_state(next.manifest().and_then(Manifest::not_before));
        self.grace.begin(next.manifest_version(), &*self.clock);
        if trust_changed {
            let verifier = verifier(&next, self.occlum.as_ref(), &self.collateral, &self.clock, &self.seen);
            self.verifier.send_replace(Arc::new(verifier));
        }
        Ok(committed)
    }

    /// The commands carried out so far.
    pub(crate) fn executed(&self) -> MutexGuard<'_, ExecutedCommands> {
        self.executed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Trusts what the manifest and the Occlum configuration trust; which of
/// them counts for which workload is decided for each request.
fn verifier(
    state: &State,
    occlum: Option<&OcclumConfiguration>,
    collateral: &Arc<dyn CollateralSource>,
    clock: &Arc<dyn Clock>,
    seen: &Arc<SeenEvidence>,
) -> Verifier {
    let mut roots: Vec<TrustRoot> = state.roots().to_vec();
    for root in occlum.map_or(&[][..], |occlum| &occlum.roots) {
        if !roots.contains(root) {
            roots.push(root.clone());
        }
    }
    let observer: Arc<dyn EvidenceObserver> = Arc::<SeenEvidence>::clone(seen);
    Verifier::new(roots, Arc::clone(collateral), Arc::clone(clock)).observed_by(observer)
}
