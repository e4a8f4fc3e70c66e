//! Sessions with a broker. The broker proves which code it is and who founded
//! it before anything is sent to it.

mod owners;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_api::broker::{
    CommandResult, GetStatusRequest, GetStatusResponse,
    broker_administration_client::BrokerAdministrationClient, command,
};
use adytum_broker::{command::sign, genesis::Genesis};
use adytum_evidence::{
    claims::{Claims, TeeKind},
    clock::SystemClock,
    measurement::WorkloadIdentity,
    policy::Policy,
    trust::{TrustRoot, Vendor},
    verifier::Verifier,
};
use adytum_ratls::{
    claims::{BrokerClaims, BrokerPin, StateHead},
    connector::{AttestedConnector, AttestedSession, ConnectorConfiguration},
    heads::{HeadMemory, follows},
    limits::Limits,
    session::Peer,
};
use adytum_sealed::signing::OwnerSigningKey;
use anyhow::{Context, anyhow, bail};
use tonic::{Request, Status, transport::Channel};

pub(crate) use self::owners::signed_manifest;
use crate::{collateral, key_file};

/// More than any genesis document or policy has, in bytes.
const MAXIMUM_DOCUMENT_LENGTH: u64 = 1024 * 1024;

/// What a broker must prove.
#[derive(Debug, clap::Args)]
pub(crate) struct Pin {
    /// The genesis document of the broker that is meant: who founded it.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Which code it may be: a policy in TOML.
    #[arg(long, visible_alias = "policy", value_name = "FILE", required_unless_present = "measurements")]
    broker_policy: Option<PathBuf>,
    /// Which code it may be: an SGX enclave of this identity, as `adytum measure
    /// --broker` prints it; may be given several times.
    #[arg(
        long = "broker-measurement",
        visible_alias = "measurement",
        value_name = "HEX",
        conflicts_with = "broker_policy"
    )]
    measurements: Vec<WorkloadIdentity>,
    /// Where to get what vendors publish to verify evidence: a PCCS (URL) or a
    /// directory.
    #[arg(long, env = "PCCS_URL", value_name = "URL|DIRECTORY")]
    collateral: Option<String>,
    /// Where the highest state seen of each broker is remembered, so that an older
    /// one that somebody puts back is noticed. By default adytum/heads.json in
    /// $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, env = "ADYTUM_HEADS", value_name = "FILE")]
    heads: Option<PathBuf>,
    /// Trust this simulated platform too: its root certificate. It protects
    /// nothing.
    #[cfg(feature = "simulation")]
    #[arg(long, value_name = "ROOT.pem")]
    trust_simulation: Option<PathBuf>,
}

/// Which broker, and what it must prove.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// The broker's address.
    #[arg(long, value_name = "HOST:PORT", env = "ADYTUM_BROKER")]
    broker: String,
    #[command(flatten)]
    pin: Pin,
}

/// Which broker, and in whose name.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// An owner's key; as many as must agree. For what only reads, one owner's or
    /// auditor's.
    #[arg(long = "owner", visible_alias = "auditor", value_name = "FILE", required = true)]
    owners: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// What the flags of [`Pin`] say, for a verb that knows it from elsewhere.
#[derive(Debug)]
pub(crate) struct PinFiles {
    pub(crate) genesis: PathBuf,
    pub(crate) broker_policy: PathBuf,
    pub(crate) collateral: Option<String>,
    pub(crate) heads: PathBuf,
    #[cfg(feature = "simulation")]
    pub(crate) trust_simulation: Option<PathBuf>,
}

impl From<PinFiles> for Pin {
    fn from(files: PinFiles) -> Self {
        Self {
            genesis: files.genesis,
            broker_policy: Some(files.broker_policy),
            measurements: Vec::new(),
            collateral: files.collateral,
            heads: Some(files.heads),
            #[cfg(feature = "simulation")]
            trust_simulation: files.trust_simulation,
        }
    }
}

impl Access {
    /// Access by an owner's files instead of flags.
    pub(crate) fn from_files(owners: Vec<PathBuf>, broker: String, pin: PinFiles) -> Self {
        Self { owners, target: Target { broker, pin: pin.into() } }
    }

    /// Reads the keys, then opens a session: see [`Pin::open`].
    pub(crate) async fn open(&self) -> anyhow::Result<(Session, Vec<OwnerSigningKey>)> {
        let owners =
            self.owners.iter().map(|path| key_file::owner_key(path)).collect::<Result<Vec<_>, _>>()?;
        Ok((self.target.open().await?, owners))
    }

    /// Opens a session whatever is remembered of the broker's state.
    pub(crate) async fn open_any_state(&self) -> anyhow::Result<(Session, Vec<OwnerSigningKey>)> {
        let owners =
            self.owners.iter().map(|path| key_file::owner_key(path)).collect::<Result<Vec<_>, _>>()?;
        Ok((self.target.pin.open_any_state(&self.target.broker).await?, owners))
    }

    /// Sends one command.
    pub(crate) async fn execute(&self, command: command::Command) -> anyhow::Result<CommandResult> {
        let (mut session, owners) = self.open().await?;
        session.execute(command, &owners).await
    }
}

impl Target {
    /// Opens a session: see [`Pin::open`].
    pub(crate) async fn open(&self) -> anyhow::Result<Session> {
        self.pin.open(&self.broker).await
    }
}

impl Pin {
    /// Connects and verifies; nothing but the handshake has been sent when this
    /// returns.
    ///
    /// The broker's state must be the newest that was seen of it, and continue it.
    pub(crate) async fn open(&self, address: &str) -> anyhow::Result<Session> {
        let mut session = self.open_any_state(address).await?;
        if let Some(seen) = &session.seen {
            follows(seen, &session.broker.head)?;
            session.status().await?;
        }
        let head = session.broker.head.clone();
        session.remember(&head)?;
        Ok(session)
    }

    /// Opens a session whatever is remembered of the broker's state.
    pub(crate) async fn open_any_state(&self, address: &str) -> anyhow::Result<Session> {
        let genesis = read_genesis(&self.genesis)?;
        let memory = self.memory();
        // Before the session: another tool may see a higher head meanwhile.
        let seen = match &memory {
            Some(memory) => memory.seen(genesis.digest())?,
            None => None,
        };
        let simulation = self.simulation_root()?;
        let pin = BrokerPin { policy: self.policy(simulation.is_some())?, genesis: genesis.digest() };
        let roots = [TrustRoot::intel()].into_iter().chain(simulation).collect();
        let source = collateral::source(self.collateral.as_deref(), self.simulation_path())?;
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: Arc::new(Verifier::new(roots, source, Arc::new(SystemClock))),
            judge: Arc::new(pin),
            local: None,
            limits: Limits::default(),
        });
        let session = connector.session(address).await?;
        Session::new(session, genesis, memory, seen)
    }

    fn memory(&self) -> Option<HeadMemory> {
        let path = self.heads.clone().or_else(|| {
            let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            let state =
                variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
            Some(state.join("adytum").join("heads.json"))
        });
        if path.is_none() {
            tracing::warn!(
                "neither --heads nor HOME is set: an older state of the broker that somebody puts back goes unnoticed"
            );
        }
        path.map(HeadMemory::new)
    }

    fn policy(&self, simulation: bool) -> anyhow::Result<Policy> {
        let Some(path) = &self.broker_policy else {
            let vendor = if simulation { Vendor::Simulation } else { Vendor::Intel };
            let [first, ..] = self.measurements.as_slice() else {
                bail!("give --broker-policy or --broker-measurement");
            };
            let mut policy = Policy::for_identity(vendor, TeeKind::Sgx, *first);
            policy.identity.extend(&self.measurements);
            return Ok(policy);
        };
        let text = key_file::read_text(path, MAXIMUM_DOCUMENT_LENGTH)?;
        let policy: Policy =
            toml::from_str(&text).with_context(|| format!("{} is not a policy", path.display()))?;
        if policy.vendors.contains(&Vendor::Simulation) && !simulation {
            bail!(
                "{} accepts simulation, but no simulated platform is trusted; name one with \
                 --trust-simulation, or take simulation out of the policy",
                path.display()
            );
        }
        Ok(policy)
    }

    #[cfg(feature = "simulation")]
    fn simulation_path(&self) -> Option<&Path> {
        self.trust_simulation.as_deref()
    }

    #[cfg(not(feature = "simulation"))]
    fn simulation_path(&self) -> Option<&Path> {
        None
    }

    #[cfg(feature = "simulation")]
    fn simulation_root(&self) -> anyhow::Result<Option<TrustRoot>> {
        let Some(path) = &self.trust_simulation else { return Ok(None) };
        let text = key_file::read_text(path, MAXIMUM_DOCUMENT_LENGTH)?;
        let certificate =
            pem::parse(text.as_str()).with_context(|| format!("{} is not PEM", path.display()))?;
        let root = TrustRoot::simulation(certificate.contents())
            .with_context(|| format!("{} is no simulated platform's root", path.display()))?;
        Ok(Some(root))
    }

    #[cfg(not(feature = "simulation"))]
    fn simulation_root(&self) -> anyhow::Result<Option<TrustRoot>> {
        Ok(None)
    }
}

/// Reads a genesis document.
pub(crate) fn read_genesis(path: &Path) -> anyhow::Result<Genesis> {
    let text = key_file::read_text(path, MAXIMUM_DOCUMENT_LENGTH)?;
    Genesis::parse(&text).with_context(|| path.display().to_string())
}

/// An open session with the broker that was meant.
pub(crate) struct Session {
    client: BrokerAdministrationClient<Channel>,
    request_binding: Arc<zeroize::Zeroizing<[u8; 32]>>,
    genesis: Genesis,
    memory: Option<HeadMemory>,
    /// The highest head seen before.
    seen: Option<StateHead>,
    /// What its evidence says.
    pub(crate) claims: Claims,
    /// What it says itself.
    pub(crate) broker: BrokerClaims,
}

impl Session {
    fn new(
        session: AttestedSession,
        genesis: Genesis,
        memory: Option<HeadMemory>,
        seen: Option<StateHead>,
    ) -> anyhow::Result<Self> {
        let Peer::Attested { claims, session_claims } = session.info.peer else {
            bail!("the broker gave no evidence");
        };
        // The pin has read them already.
        let broker = BrokerClaims::decode(&session_claims).context("the broker's claims")?;
        Ok(Self {
            client: BrokerAdministrationClient::new(session.channel),
            request_binding: session.info.request_binding,
            genesis,
            memory,
            seen,
            claims: *claims,
            broker,
        })
    }

    /// Which broker this is.
    pub(crate) fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    fn remember(&mut self, head: &StateHead) -> anyhow::Result<()> {
        if let Some(memory) = &self.memory {
            memory.remember(self.genesis.digest(), head)?;
        }
        self.seen = Some(head.clone());
        Ok(())
    }

    /// Takes the broker's state for the newest, whatever was seen before.
    pub(crate) fn accept_rollback(&mut self) -> anyhow::Result<()> {
        if let Some(memory) = &self.memory {
            memory.replace(self.genesis.digest(), &self.broker.head)?;
        }
        self.seen = Some(self.broker.head.clone());
        Ok(())
    }

    /// The broker's public facts. It refuses if its state does not continue the one
    /// that was seen.
    pub(crate) async fn status(&mut self) -> anyhow::Result<GetStatusResponse> {
        let seen = self.seen.as_ref().map(Into::into);
        let answer = self.client.get_status(Request::new(GetStatusRequest { seen })).await;
        Ok(answer.map_err(|status| explain(&status))?.into_inner())
    }

    /// Has these owners sign a command for this session and sends it. Whether they are
    /// owners, the broker says: a manifest may have replaced those of the genesis.
    pub(crate) async fn execute(
        &mut self,
        command: command::Command,
        owners: &[OwnerSigningKey],
    ) -> anyhow::Result<CommandResult> {
        let version = self.status().await?.manifest_version;
        let keys: Vec<&OwnerSigningKey> = owners.iter().collect();
        let signed = sign(&self.request_binding, self.genesis.digest(), version, command, &keys);
        let answer = self.client.execute(Request::new(signed)).await;
        let answer = answer.map_err(|status| explain(&status))?.into_inner();
        if let Some(head) = answer.head.clone() {
            self.remember(&StateHead::try_from(head).context("the head in the broker's answer")?)?;
        }
        Ok(answer)
    }
}

/// The broker's refusal in its own words.
fn explain(status: &Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow!("the broker refused: {}", status.code()),
        message => anyhow!("the broker refused ({:?}): {message}", status.code()),
    }
}
