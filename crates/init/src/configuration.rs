//! The measured configuration of a workload.
//!
//! It says what the workload is, besides its code: which program with which
//! arguments, environment and libraries; which key source it trusts; which secrets
//! it fetches and where they go. Its digest is part of the workload's identity
//! ([`adytum_evidence::identity`]), so a host that changes it gets another
//! workload, to which no broker gives anything.
//!
//! What a host may vary is not in here, and is not trusted: addresses, clock,
//! log level.

mod aecs;
mod attestation_token;
mod bundle;
mod canonical;
mod cdh;
mod destination;
mod document;
mod error;
mod lease;
mod model;
mod occlum;
mod sealed;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use adytum_api::{
    names::{ModelName, SecretName},
    resource::ResourcePath,
};
use adytum_evidence::{
    clock::{Day, UnixSeconds},
    measurement::{Sha256Digest, WorkloadIdentity},
};
use adytum_sealed::rule::ModelRule;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

pub use self::{
    attestation_token::AttestationToken,
    bundle::BundleRule,
    destination::{AbsolutePath, Owner, PathError, ReloadSignal, SecretDestination},
    error::ConfigurationError,
    lease::PinnedLease,
    occlum::BROKER_VARIABLE as OCCLUM_BROKER_VARIABLE,
    sealed::{PointerRule, SealedFileRule, SealedRules, SignerKey},
    source::{
        PinnedAecs, PinnedAecsReport, PinnedAecsServer, PinnedAttestationService, PinnedBroker, PinnedKbs,
        PinnedKeyVault, PinnedSource, WithoutSource,
    },
};
use crate::{environment::EnvironmentRules, pattern::ArgumentRules, platform::Platform};

/// The format's name: the first field of every configuration.
pub const FORMAT: &str = "adytum workload v1";
/// Where the configuration is unless a flag names another file.
pub const DEFAULT_PATH: &str = "/etc/adytum/workload.toml";
/// Where Occlum's init has its configuration; read if there is none at
/// [`DEFAULT_PATH`].
pub const DEFAULT_OCCLUM_PATH: &str = "/etc/init_ra_conf.json";
/// The longest configuration, in bytes.
pub const MAXIMUM_LENGTH: u64 = 1024 * 1024;

/// The most secrets that one workload may fetch: a broker answers no request
/// for more.
pub const MAXIMUM_SECRETS: usize = 32;

/// The most bundles that one workload may unpack.
pub const MAXIMUM_BUNDLES: usize = 32;

/// The measured part of a workload besides its code. Made by parsing only, so
/// what is in here has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeasuredConfiguration {
    pub(crate) program: Option<PinnedProgram>,
    pub(crate) arguments: ArgumentRules,
    pub(crate) environment: EnvironmentRules,
    pub(crate) libraries: BTreeMap<AbsolutePath, Sha256Digest>,
    /// Left out where there is none, which is so of all workloads but model servers that
    /// load it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) onnxruntime: Option<PinnedOnnxRuntime>,
    /// Under its own name: `broker`, or another source's.
    #[serde(flatten)]
    pub(crate) source: PinnedSource,
    pub(crate) secrets: BTreeMap<SecretName, SecretRule>,
    /// Left out where there are none: workloads without bundles are measured as
    /// they were before there were any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) bundles: BTreeMap<ModelName, BundleRule>,
    pub(crate) storage: Storage,
    pub(crate) allow_plain_models: bool,
    /// Left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<PinnedLease>,
    /// Left out where there are none: the broker's manifest has them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) models: BTreeMap<ModelName, ModelRule>,
    /// Left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attestation_token: Option<AttestationToken>,
    /// What init serves to other programs in the guest. Left out where there is nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) cdh: BTreeMap<ResourcePath, SecretName>,
    /// Left out where there are none.
    #[serde(skip_serializing_if = "SealedRules::is_empty")]
    pub(crate) sealed: SealedRules,
    /// Occlum's files name the source's address as well. It is untrusted and
    /// not measured.
    #[serde(skip)]
    pub(crate) source_address: Option<String>,
    /// As does that of the AECS client with the place of collateral.
    #[serde(skip)]
    pub(crate) collateral_place: Option<String>,
}

/// The program that init starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedProgram {
    pub path: AbsolutePath,
    pub sha256: Sha256Digest,
}

/// ONNX Runtime, which the model server may load as its engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedOnnxRuntime {
    /// The path of `libonnxruntime.so.VERSION`.
    pub library: AbsolutePath,
    pub sha256: Sha256Digest,
}

/// One secret to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretRule {
    pub destination: SecretDestination,
    /// Of a certificate: where its key goes, if not into the same file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_path: Option<AbsolutePath>,
    /// Whose the file is; init's own by default.
    pub owner: Owner,
    /// What the program is sent after a renewal.
    pub reload_signal: Option<ReloadSignal>,
}

/// What the configuration says about file systems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Mounts that a Gramine manifest, itself measured, declares as tmpfs.
    pub tmpfs: BTreeSet<AbsolutePath>,
}

/// Digests that a workload's identity is made of, and the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Measurement {
    pub init: Sha256Digest,
    /// Of the program's binary.
    pub program: Sha256Digest,
    /// Of the canonical configuration.
    pub configuration: Sha256Digest,
    pub identity: WorkloadIdentity,
}

impl MeasuredConfiguration {
    /// Reads the TOML form (docs/measured-configuration.md).
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        document::parse(text)
    }

    /// Reads Occlum's `init_ra_conf.json`: that of its own protocol, with the additional field
    /// `adytum`, which names at least the broker's genesis; or that of its AECS client.
    pub fn parse_occlum(text: &str) -> Result<Self, ConfigurationError> {
        if aecs::is_aecs(text) { aecs::parse(text) } else { occlum::parse(text) }
    }

    /// Reads a file; one whose name ends in `.json` is Occlum's.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let unreadable = |source| ConfigurationError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        let length = File::open(path)
            .and_then(|file| file.take(MAXIMUM_LENGTH + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        if length as u64 > MAXIMUM_LENGTH {
            return Err(ConfigurationError::TooLong { path: path.to_owned() });
        }
        let is_occlums = path.extension().is_some_and(|extension| extension == "json");
        let parsed = if is_occlums { Self::parse_occlum(&text) } else { Self::parse(&text) };
        parsed.map_err(|error| ConfigurationError::File { path: path.to_owned(), error: Box::new(error) })
    }

    /// The path to load: the one given; else [`DEFAULT_PATH`]; else, if only
    /// that is there, [`DEFAULT_OCCLUM_PATH`].
    pub fn path(given: Option<&Path>) -> PathBuf {
        match given {
            Some(path) => path.to_owned(),
            None if !Path::new(DEFAULT_PATH).exists() && Path::new(DEFAULT_OCCLUM_PATH).exists() => {
                DEFAULT_OCCLUM_PATH.into()
            }
            None => DEFAULT_PATH.into(),
        }
    }

    /// [`Self::path`] on this platform. A LibOS measures the files in its image and no
    /// flags, so there the configuration is at one of the usual places and nowhere else.
    pub fn path_on(platform: Platform, given: Option<&Path>) -> Result<PathBuf, ConfigurationError> {
        let usual = |path: &Path| [DEFAULT_PATH, DEFAULT_OCCLUM_PATH].contains(&path.to_str().unwrap_or(""));
        match (platform, given) {
            (Platform::Gramine | Platform::Occlum, Some(path)) if !usual(path) => {
                Err(ConfigurationError::NotInImage { path: path.to_owned() })
            }
            (
                Platform::Gramine | Platform::Occlum | Platform::ConfidentialVm | Platform::Simulation,
                given,
            ) => Ok(Self::path(given)),
        }
    }

    /// The bytes that are measured; see docs/measured-configuration.md. Two
    /// files have the same canonical form exactly if they mean the same.
    pub fn canonical(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// The digest of [`MeasuredConfiguration::canonical`].
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of_bytes(&self.canonical())
    }

    /// The identity of the workload with this configuration. Where init is a
    /// library in the program, both digests are that of the one binary.
    pub fn identity(&self, init: Sha256Digest, program: Sha256Digest) -> WorkloadIdentity {
        WorkloadIdentity::of(init, program, &self.canonical())
    }

    /// The program that init starts; `None` where init is a library in it.
    pub fn program(&self) -> Option<&PinnedProgram> {
        self.program.as_ref()
    }

    /// Which arguments pass.
    pub fn arguments(&self) -> &ArgumentRules {
        &self.arguments
    }

    /// Which environment variables pass.
    pub fn environment(&self) -> &EnvironmentRules {
        &self.environment
    }

    /// Libraries that may be loaded at run time.
    pub fn libraries(&self) -> &BTreeMap<AbsolutePath, Sha256Digest> {
        &self.libraries
    }

    /// ONNX Runtime, if the workload may load it.
    pub fn onnxruntime(&self) -> Option<&PinnedOnnxRuntime> {
        self.onnxruntime.as_ref()
    }

    /// The one key source that may be asked.
    pub fn source(&self) -> &PinnedSource {
        &self.source
    }

    /// The one broker that may be asked, if the source is a broker.
    pub fn broker(&self) -> Option<&PinnedBroker> {
        match &self.source {
            PinnedSource::Broker(broker) => Some(broker),
            PinnedSource::Aecs(_)
            | PinnedSource::KeyVault(_)
            | PinnedSource::Kbs(_)
            | PinnedSource::Nothing(_) => None,
        }
    }

    /// The token of an attestation service that is written before the program starts.
    pub fn attestation_token(&self) -> Option<&AttestationToken> {
        self.attestation_token.as_ref()
    }

    /// For how long secrets may be used, where the source does not say it.
    pub fn lease(&self) -> Option<PinnedLease> {
        self.lease
    }

    /// Rules for models, where the source releases none.
    pub fn models(&self) -> impl Iterator<Item = &ModelRule> {
        self.models.values()
    }

    /// Refuses a configuration under which no model could be loaded: the source releases no
    /// rules, and there are none here.
    pub fn require_model_rules(&self) -> Result<(), ConfigurationError> {
        match self.broker() {
            None if self.models.is_empty() => Err(ConfigurationError::NoModelRules),
            _ => Ok(()),
        }
    }

    /// A date that the time can't be before: the configuration names it as a day on which
    /// the broker's collateral was issued (`collateral_not_before`).
    pub fn not_before(&self) -> Option<UnixSeconds> {
        self.source.policies().iter().filter_map(|policy| policy.collateral_not_before).max().map(Day::start)
    }

    /// The secrets to fetch.
    pub fn secrets(&self) -> &BTreeMap<SecretName, SecretRule> {
        &self.secrets
    }

    /// The resources that init serves to other programs in the guest, and the secrets that they
    /// are.
    pub fn cdh(&self) -> &BTreeMap<ResourcePath, SecretName> {
        &self.cdh
    }

    /// Where the host gives sealed secrets of Confidential Containers, and what they may point to.
    pub fn sealed(&self) -> &SealedRules {
        &self.sealed
    }

    /// The bundles to unpack.
    pub fn bundles(&self) -> &BTreeMap<ModelName, BundleRule> {
        &self.bundles
    }

    /// Is this the secret that opens a bundle?
    pub fn opens_bundle(&self, secret: &SecretName) -> bool {
        self.bundles.values().any(|bundle| bundle.secret == *secret)
    }

    /// Does init itself use this secret? It opens a bundle, other programs of the guest ask for it, or a
    /// sealed secret may point to it.
    pub fn is_for_init(&self, secret: &SecretName) -> bool {
        self.opens_bundle(secret) || self.cdh.values().any(|name| name == secret) || self.sealed.names(secret)
    }

    /// Does this path lie in a bundle, so that there is nothing before that is
    /// unpacked?
    pub fn is_in_bundle(&self, path: &Path) -> bool {
        self.bundles.values().any(|bundle| path.starts_with(bundle.path.as_path()))
    }

    /// The secret that goes to this file. A program that has init as a library
    /// takes it from memory instead of opening the file.
    pub fn secret_at(&self, path: &Path) -> Option<&SecretName> {
        let is_it = |rule: &SecretRule| match &rule.destination {
            SecretDestination::File(file) => file.as_path() == path,
            _ => false,
        };
        self.secrets.iter().find(|(_, rule)| is_it(rule)).map(|(name, _)| name)
    }

    /// The signals that inform the program of changed secrets, each signal once.
    pub fn reload_signals<'a>(&self, changed: impl Iterator<Item = &'a SecretName>) -> BTreeSet<Signal> {
        changed.filter_map(|name| self.secrets.get(name)?.reload_signal).map(Signal::from).collect()
    }

    /// The rules for file systems.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// May models be loaded that are not sealed?
    pub fn allow_plain_models(&self) -> bool {
        self.allow_plain_models
    }

    /// The source's address, where Occlum's file names one. Untrusted.
    pub fn source_address(&self) -> Option<&str> {
        self.source_address.as_deref()
    }

    /// Where collateral comes from, where Occlum's file says so. Untrusted.
    pub fn collateral_place(&self) -> Option<&str> {
        self.collateral_place.as_deref()
    }
}

/// Computes a workload's identity from files, as the workload itself does: what
/// an owner writes into the manifest. `program_path` is the program that init
/// starts; where init is a library in the program, it is that program, and so is
/// `init_path`.
pub fn measure(
    configuration_path: &Path,
    init_path: &Path,
    program_path: &Path,
) -> Result<Measurement, ConfigurationError> {
    let configuration = MeasuredConfiguration::load(configuration_path)?;
    let digest = |path: &Path, flag| {
        Sha256Digest::of_file(path).map_err(|source| ConfigurationError::NotMeasured {
            path: path.to_owned(),
            flag,
            source,
        })
    };
    // The program first: where it is its own init, its flag is the one to correct.
    let program = digest(program_path, "--program")?;
    let init = digest(init_path, "--init")?;
    if let Some(pinned) = configuration.program()
        && pinned.sha256 != program
    {
        return Err(ConfigurationError::Program {
            path: program_path.to_owned(),
            wanted: pinned.sha256,
            found: program,
        });
    }
    Ok(Measurement {
        init,
        program,
        configuration: configuration.digest(),
        identity: configuration.identity(init, program),
    })
}

#[cfg(test)]
mod tests;
