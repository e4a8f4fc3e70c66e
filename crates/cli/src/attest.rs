//! `--attest`: a server must prove to be a replica of a service before anything is sent to it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_api::tensorflow::serving::model_spec::VersionChoice;
use adytum_client::{Attestation, AttestationOptions, Replica};
use adytum_evidence::{
    clock::{Clock, SystemClock, floor::FloorClock},
    trust::Vendor,
};
use adytum_governance::{
    genesis::GenesisDigest,
    service::{
        Service, ServiceError,
        memory::ServiceMemory,
        signed::{MAXIMUM_LENGTH, SignedService},
    },
};
use adytum_sealed::statement::Statement;
use anyhow::Context;
use serde::Serialize;

use crate::{
    attested::{read_genesis, state_file},
    key_file,
    trusted::TrustedRoots,
};

/// What a server must prove.
#[derive(Debug, clap::Args)]
pub(crate) struct Attest {
    /// The service file of the model's owners (adytum service export). On each connection
    /// the server must prove to be a replica of this service; nothing is sent to any other.
    #[arg(long, value_name = "SERVICE.toml")]
    attest: Option<PathBuf>,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    trusted: TrustedRoots,
}

impl Attest {
    /// The service file.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.attest.as_deref()
    }
}

impl Attest {
    /// The flags of this, with their values, for a command that asks the same servers: none without
    /// a service file.
    pub(crate) fn flags(&self) -> Vec<(&'static str, String)> {
        let Some(path) = &self.attest else { return Vec::new() };
        let mut flags = vec![("attest", path.display().to_string())];
        let Confirmation { genesis, services } = &self.confirmation;
        flags.extend(genesis.clone().map(|genesis| ("genesis", genesis)));
        flags.extend(services.as_deref().map(|services| ("services", services.display().to_string())));
        flags.extend(self.trusted.flags());
        flags
    }
}

/// Which genesis a service file must be of, and what is remembered of such files.
#[derive(Debug, clap::Args)]
pub(crate) struct Confirmation {
    /// With a service file: the genesis of its owners, as they say it: its digest or the
    /// document. Needed once for each genesis; then it is remembered.
    #[arg(long, value_name = "DIGEST|FILE")]
    genesis: Option<String>,
    /// Where confirmed genesis digests and the newest service files are remembered, so that
    /// an older file that somebody puts back is noticed. By default adytum/services.json
    /// in $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, env = "ADYTUM_SERVICES", value_name = "FILE")]
    services: Option<PathBuf>,
}

impl Attest {
    /// Reads and verifies the service file, if one is given.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Attestation>> {
        let Some(path) = &self.attest else { return Ok(None) };
        // No tool runs before its sources were written.
        let clock: Arc<dyn Clock> = Arc::new(FloorClock::new(Arc::new(SystemClock)));
        let service = self.confirmation.verify(path, &*clock)?;
        let options = AttestationOptions {
            collateral: self.trusted.named_source()?,
            clock,
            simulation_roots: self.trusted.simulation_roots()?,
        };
        Ok(Some(Attestation::new(service, options)?))
    }
}

impl Confirmation {
    /// Reads a service file and verifies it under the genesis that was confirmed, now or
    /// before; remembers both.
    pub(crate) fn verify(&self, path: &Path, clock: &dyn Clock) -> anyhow::Result<Service> {
        let signed = read(path)?;
        let place = || path.display().to_string();
        let stated = signed.stated_genesis().with_context(place)?.digest();
        let memory = self.services.clone().or_else(|| state_file("services.json")).map(ServiceMemory::new);
        let known = memory.as_ref().map(|memory| memory.knows(stated)).transpose()?.unwrap_or(false);
        let pinned = match &self.genesis {
            Some(text) => confirmed(text)?,
            None if known => stated,
            None => {
                let name = signed.document().with_context(place)?.name;
                return Err(ServiceError::UnknownGenesis { name, found: stated }.into());
            }
        };
        let service = signed.verify(pinned, clock.now()).with_context(place)?;
        match &memory {
            Some(memory) => memory.accept(&service)?,
            None => tracing::warn!(
                "neither --services nor HOME is set: an older service file that somebody puts back goes unnoticed"
            ),
        }
        Ok(service)
    }
}

/// Reads a service file; nothing is verified.
pub(crate) fn read(path: &Path) -> anyhow::Result<SignedService> {
    let text = key_file::read_text(path, MAXIMUM_LENGTH as u64)?;
    SignedService::from_file(&text).with_context(|| path.display().to_string())
}

/// A digest, or that of the document in a file.
fn confirmed(text: &str) -> anyhow::Result<GenesisDigest> {
    match text.parse() {
        Ok(digest) => Ok(digest),
        Err(_) => Ok(read_genesis(Path::new(text))?.digest()),
    }
}

/// What answered: code and model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// The kind of TEE, and whose.
    tee: String,
    vendor: Vendor,
    identity: String,
    model: String,
    version: u64,
    sha256: String,
    /// The owner who signed the model.
    signer: String,
    /// The broker whose keys it has, and the manifest by which it got them.
    genesis: String,
    manifest_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_sha256: Option<String>,
}

impl Verified {
    /// The model of this name that answered with this version.
    pub(crate) fn of(replica: &Replica, name: &str, version: Option<VersionChoice>) -> Option<Self> {
        let Some(VersionChoice::Version(version)) = version else { return None };
        let answered = |model: &&Statement| {
            model.model.as_str() == name && i64::try_from(model.version).is_ok_and(|number| number == version)
        };
        replica.announced.models.iter().find(answered).map(|model| Self::model(replica, model))
    }

    /// All models of the replica.
    pub(crate) fn all(replica: &Replica) -> Vec<Self> {
        replica.announced.models.iter().map(|model| Self::model(replica, model)).collect()
    }

    fn model(replica: &Replica, model: &Statement) -> Self {
        Self {
            tee: replica.claims.tee().to_string(),
            vendor: replica.claims.vendor,
            identity: replica.announced.identity.to_string(),
            model: model.model.to_string(),
            version: model.version,
            sha256: model.sha256.to_string(),
            signer: model.signer.to_string(),
            genesis: replica.announced.genesis.to_string(),
            manifest_version: replica.announced.manifest.map_or(0, |manifest| manifest.version),
            manifest_sha256: replica.announced.manifest.map(|manifest| manifest.digest.to_string()),
        }
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tee, vendor, identity, model, version, sha256, signer, .. } = self;
        writeln!(f, "Verified code:   {tee} ({vendor}), workload identity {identity}")?;
        write!(f, "Verified model:  {model} version {version}, sha256 {sha256}, signed by {signer}")?;
        if *vendor == Vendor::Simulation {
            write!(f, "\nSimulation:      this platform protects nothing")?;
        }
        Ok(())
    }
}
