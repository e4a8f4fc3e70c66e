//! Sessions with a broker. The broker proves its code and the owners who created it
//! before anything is sent to it.

mod attempts;
mod owners;
mod refusal;
mod session;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_api::{
    address::parse_address,
    broker::{CommandResult, command},
};
use adytum_evidence::{
    claims::{Claims, TeeKind},
    measurement::{Sha256Digest, WorkloadIdentity},
    policy::Policy,
    trust::Vendor,
    verifier::Verifier,
};
use adytum_governance::{genesis::Genesis, head::follows, heads::HeadMemory, pin::BrokerPin};
use adytum_ratls::{
    configuration::ConnectorConfiguration, connector::AttestedConnector, error::Refusal, limits::Limits,
};
use adytum_signing::OwnerSigningKey;
use anyhow::Context;

use self::attempts::patiently;
pub(crate) use self::{owners::signed_manifest, refusal::BrokerRefusal, session::Session};
use crate::{key_file, trusted::TrustedRoots};

/// More than any genesis document or policy has, in bytes.
const MAXIMUM_DOCUMENT_LENGTH: u64 = 1024 * 1024;

/// What a broker must prove.
#[derive(Debug, clap::Args)]
pub(crate) struct Pin {
    /// The genesis document of the expected broker: it names the owners who created it.
    #[arg(long, value_name = "FILE", env = "ADYTUM_GENESIS")]
    genesis: PathBuf,
    /// Which code it may be: a policy in TOML.
    #[arg(long, visible_alias = "policy", value_name = "FILE", env = "ADYTUM_BROKER_POLICY")]
    broker_policy: Option<PathBuf>,
    /// Which code it may be: an SGX enclave of this identity, as `adytum measure
    /// --broker` prints it; may be given several times. Then there is no policy.
    #[arg(long = "broker-measurement", visible_alias = "measurement", value_name = "HEX")]
    measurements: Vec<WorkloadIdentity>,
    /// An Occlum configuration that the broker may have loaded, by its digest; may be
    /// given several times. A broker that has loaded another one is refused.
    #[arg(long = "occlum-configuration", value_name = "HEX")]
    occlum: Vec<Sha256Digest>,
    #[command(flatten)]
    trusted: TrustedRoots,
    /// Where the highest state seen of each broker is remembered, so that an older
    /// one that somebody puts back is noticed. By default adytum/heads.json in
    /// $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, env = "ADYTUM_HEADS", value_name = "FILE")]
    heads: Option<PathBuf>,
}

/// Which broker, and what it must prove.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// The broker's address.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address, env = "ADYTUM_BROKER")]
    broker: String,
    #[command(flatten)]
    pin: Pin,
}

/// Which broker, and in whose name.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// An owner's key; as many as must agree. For what only reads, one owner's or
    /// auditor's.
    #[arg(
        long = "owner",
        visible_alias = "auditor",
        value_name = "FILE",
        required = true,
        env = "ADYTUM_OWNER"
    )]
    owners: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// What the flags of [`Pin`] say, for a verb that knows it from elsewhere.
#[derive(Debug)]
pub(crate) struct PinFiles {
    pub(crate) genesis: PathBuf,
    pub(crate) broker_policy: PathBuf,
    pub(crate) trusted: TrustedRoots,
    pub(crate) heads: Option<PathBuf>,
}

impl From<PinFiles> for Pin {
    fn from(files: PinFiles) -> Self {
        Self {
            genesis: files.genesis,
            broker_policy: Some(files.broker_policy),
            measurements: Vec::new(),
            occlum: Vec::new(),
            trusted: files.trusted,
            heads: files.heads,
        }
    }
}

impl Access {
    /// Access by an owner's files instead of flags.
    pub(crate) fn from_files(owners: Vec<PathBuf>, broker: String, pin: PinFiles) -> Self {
        Self { owners, target: Target::from_files(broker, pin) }
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

    /// Which broker.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Sends one command.
    pub(crate) async fn execute(&self, command: command::Command) -> anyhow::Result<CommandResult> {
        let (mut session, owners) = self.open().await?;
        session.execute(command, &owners).await
    }
}

/// As [`Access`], for commands that need a broker only when `--broker` is given:
/// then the rest is required as well.
#[derive(Debug)]
pub(crate) struct AccessOnRequest {
    /// With `--broker`.
    pub(crate) access: Option<Access>,
    /// The genesis document, if one is named, with or without `--broker`.
    pub(crate) genesis: Option<PathBuf>,
}

impl clap::FromArgMatches for AccessOnRequest {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        // The environment may name a broker for all other commands.
        let asked = matches.value_source("broker") == Some(clap::parser::ValueSource::CommandLine);
        let access = asked.then(|| Access::from_arg_matches(matches)).transpose()?;
        Ok(Self { access, genesis: matches.get_one::<PathBuf>("genesis").cloned() })
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for AccessOnRequest {
    fn augment_args(command: clap::Command) -> clap::Command {
        // "For update": nothing is required.
        <Access as clap::Args>::augment_args_for_update(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl Target {
    /// A broker by files instead of flags.
    pub(crate) fn from_files(broker: String, pin: PinFiles) -> Self {
        Self { broker, pin: pin.into() }
    }

    /// Opens a session: see [`Pin::open`].
    pub(crate) async fn open(&self) -> anyhow::Result<Session> {
        self.pin.open(&self.broker).await
    }

    /// Opens a session whatever is remembered of the broker's state.
    pub(crate) async fn open_any_state(&self) -> anyhow::Result<Session> {
        self.pin.open_any_state(&self.broker).await
    }

    /// What the broker must prove.
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }
}

impl Pin {
    /// Connects and verifies; nothing but the handshake has been sent when this
    /// returns.
    ///
    /// The broker's state must be the newest that was seen of it, and continue it.
    pub(crate) async fn open(&self, address: &str) -> anyhow::Result<Session> {
        let mut session = self.open_any_state(address).await?;
        session.require_state()?;
        if let Some(seen) = &session.seen {
            follows(seen, &session.broker.head)?;
            session.status().await?;
        }
        let head = session.broker.head.clone();
        session.remember(&head)?;
        session.any_state = false;
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
        let pin = BrokerPin {
            policy: self.policy()?,
            genesis: genesis.digest(),
            occlum: self.occlum.iter().copied().collect(),
        };
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: self.verifier()?,
            judge: Arc::new(move |claims: &Claims, announcement: &[u8]| {
                let judged = pin.judge(claims, announcement).map(drop);
                judged.map_err(|error| Refusal::verdict(error.code(), error.to_string()))
            }),
            local: None,
            limits: Limits::default(),
        });
        let session = patiently(async || connector.session(address).await).await?;
        Session::new(session, genesis, memory, seen)
    }

    /// Verifies evidence against the roots that are trusted.
    pub(crate) fn verifier(&self) -> anyhow::Result<Arc<Verifier>> {
        Ok(Arc::new(self.trusted.verifier()?))
    }

    /// The roots that are trusted, and the source of collateral.
    pub(crate) fn trusted(&self) -> &TrustedRoots {
        &self.trusted
    }

    fn memory(&self) -> Option<HeadMemory> {
        let path = self.heads.clone().or_else(common_heads);
        if path.is_none() {
            tracing::warn!(
                "neither --heads nor HOME is set: an older state of the broker that somebody puts back goes unnoticed"
            );
        }
        path.map(HeadMemory::new)
    }

    /// Which code the broker may have.
    pub(crate) fn policy(&self) -> anyhow::Result<Policy> {
        let simulation = self.trusted.simulation();
        // Before a policy that the environment or a context may name.
        if let [first, ..] = self.measurements.as_slice() {
            let vendor = if simulation { Vendor::Simulation } else { Vendor::Intel };
            let mut policy = Policy::for_identity(vendor, TeeKind::Sgx, *first);
            policy.identity.extend(&self.measurements);
            return Ok(policy);
        }
        let Some(path) = &self.broker_policy else {
            bail_input!("give --broker-policy or --broker-measurement")
        };
        let policy = read_policy(path)?;
        if policy.vendors.contains(&Vendor::Simulation) && !simulation {
            bail_input!(
                "{} accepts simulation, but no simulated platform is trusted; name one with \
                 --trust-simulation, or take simulation out of the policy",
                path.display()
            );
        }
        Ok(policy)
    }
}

/// Where all verbs remember heads, unless a flag or the environment names another
/// file.
fn common_heads() -> Option<PathBuf> {
    state_file("heads.json")
}

/// A file of this user's, in which verbs remember something.
pub(crate) fn state_file(name: &str) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(state.join("adytum").join(name))
}

/// Reads a policy.
pub(crate) fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    let text = key_file::read_text(path, MAXIMUM_DOCUMENT_LENGTH)?;
    toml::from_str(&text).with_context(|| format!("{} is not a policy", path.display()))
}

/// Reads a genesis document.
pub(crate) fn read_genesis(path: &Path) -> anyhow::Result<Genesis> {
    let text = key_file::read_text(path, MAXIMUM_DOCUMENT_LENGTH)?;
    Genesis::parse(&text).with_context(|| path.display().to_string())
}
