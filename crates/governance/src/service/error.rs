//! Why a file is no service that counts.

use std::path::PathBuf;

use adytum_api::names::WorkloadName;
use adytum_evidence::clock::Day;

use super::Edition;
use crate::{
    approval::ApprovalError,
    genesis::{GenesisDigest, GenesisError},
    manifest::{ManifestError, signed::SignaturesError},
};

/// Why a file is no service that counts here.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The service file has more bytes than any that is read.
    ///
    /// Do: give the file that `adytum service export` wrote.
    #[error(
        "the service file has more than {maximum} bytes; give the file that `adytum service export` wrote"
    )]
    TooLong { maximum: usize },
    /// The service file is not TOML, or a field is missing, unknown or not of its type.
    ///
    /// Do: get the file again from the owners of the service; don't edit it.
    #[error("the service file can't be read: {reason}; get it again from the owners of the service")]
    Syntax {
        /// What the reader said.
        reason: String,
    },
    /// The document has the format of another kind of document, or of another version.
    ///
    /// Do: give the file that `adytum service export` of this version wrote.
    #[error(
        "the format is {found:?}, expected {expected:?}; give the file that `adytum service export` wrote"
    )]
    Format { expected: &'static str, found: String },
    /// The manifest has no workload of that name.
    ///
    /// Do: give one of the names in the message (`--workload`).
    #[error("the manifest has no workload {name}; it has {}", .known.join(", "))]
    NoWorkload { name: WorkloadName, known: Vec<String> },
    /// The workloads may load no model, so none could answer.
    ///
    /// Do: export a workload that has models in the manifest.
    #[error("the workloads may load no model, so none could answer; name a workload with models")]
    NoModel,
    /// The service has an empty list where there must be an entry.
    ///
    /// Do: get the file again from the owners of the service.
    #[error("the service names no {what}, so no replica could ever be accepted")]
    Empty { what: &'static str },
    /// The genesis in the service file can't be read.
    #[error("the genesis in the service file: {0}")]
    Genesis(#[from] GenesisError),
    /// The service is of another broker than the one that is pinned.
    ///
    /// Do: ask the owners, by another way than this file came, which digest their genesis has.
    /// If it is the one found, pin that one (`--genesis`).
    #[error(
        "the service is of the genesis {found}, expected {expected}; ask its owners which digest their genesis has, \
         and give that one with --genesis"
    )]
    OtherGenesis { expected: GenesisDigest, found: GenesisDigest },
    /// Nothing says yet that the genesis in the service file is the right one.
    ///
    /// Do: ask the owners, by another way than this file came, which digest their genesis has
    /// (`adytum genesis show`). If it is the one in the message, give it once with `--genesis`;
    /// it is remembered.
    #[error(
        "the service {name} is of the genesis {found}, which was never confirmed here. Ask its owners, by another way \
         than the file came, which digest their genesis has. If it is this one, give it once: --genesis {found}"
    )]
    UnknownGenesis { name: WorkloadName, found: GenesisDigest },
    /// A manifest in the service file does not show who the owners are.
    #[error("a manifest in the service file, which changed the owners: {0}")]
    Manifest(#[from] ManifestError),
    /// The signatures of a manifest in the service file can't be read.
    #[error("a manifest in the service file, which changed the owners: {0}")]
    Signatures(#[from] SignaturesError),
    /// The manifests in the service file that changed the owners are not in order, or one of
    /// them changed none.
    ///
    /// Do: export the service again, and name the manifests that changed the owners, each once
    /// (`--owners-changed-by`).
    #[error(
        "the manifests in the service file do not show who the owners are: {reason}; export the service again"
    )]
    Chain { reason: String },
    /// The owners did not agree to the service.
    #[error("the owners did not agree to the service: {0}")]
    Approval(#[from] ApprovalError),
    /// The service has expired.
    ///
    /// Do: get a newer file from the owners of the service, or correct this machine's clock.
    #[error(
        "the service {name} has expired on {expires}; today is {today}: get a newer file from its owners"
    )]
    Expired { name: WorkloadName, expires: Day, today: Day },
    /// An older edition of the service than one that was seen before.
    ///
    /// Do: use the newer file. Somebody may have put the old one back.
    #[error(
        "the service {name} is of manifest version {} (revision {}), and one of manifest version {} (revision {}) was \
         seen before; use that file: somebody may have put this older one back",
        found.manifest_version, found.revision, seen.manifest_version, seen.revision
    )]
    Older { name: WorkloadName, seen: Box<Edition>, found: Box<Edition> },
    /// Two services of one version and revision differ.
    ///
    /// Do: ask the owners of the service which one is theirs; they export each with a revision
    /// of its own (`--revision`).
    #[error(
        "the service {name} of manifest version {} (revision {}) is another one than the one seen before; ask its owners",
        found.manifest_version, found.revision
    )]
    AtOdds { name: WorkloadName, found: Box<Edition> },
    /// The service accepts simulated platforms, and this side did not ask for any.
    ///
    /// Do: give the root certificate of the simulated platform with `--trust-simulation`. It
    /// protects nothing.
    #[error(
        "the service {name} is of a simulated platform, which protects nothing; for a trial name its root certificate \
         with --trust-simulation"
    )]
    Simulation { name: WorkloadName },
    /// The file that remembers services can't be read or written.
    ///
    /// Do: check the path of `--services`, and its permissions and space.
    #[error("{path}: {operation} failed: {reason}")]
    MemoryIo {
        path: PathBuf,
        operation: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The file that remembers services can't be understood.
    ///
    /// Do: put the file back. Or remove it: then each genesis has to be confirmed again.
    #[error(
        "{path} is not a file of services: {reason}; put the file back, or remove it to forget all services"
    )]
    MemoryMalformed { path: PathBuf, reason: String },
}

impl ServiceError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "service-too-long",
            Self::Syntax { .. } => "service-syntax",
            Self::Format { .. } => "service-format",
            Self::NoWorkload { .. } => "service-no-workload",
            Self::NoModel => "service-no-model",
            Self::Empty { .. } => "service-empty",
            Self::Genesis(error) => error.code(),
            Self::OtherGenesis { .. } => "service-other-genesis",
            Self::UnknownGenesis { .. } => "service-genesis-unconfirmed",
            Self::Manifest(error) => error.code(),
            Self::Signatures(error) => error.code(),
            Self::Chain { .. } => "service-owners-chain",
            Self::Approval(error) => error.code(),
            Self::Expired { .. } => "service-expired",
            Self::Older { .. } => "service-older",
            Self::AtOdds { .. } => "service-at-odds",
            Self::Simulation { .. } => "service-of-simulation",
            Self::MemoryIo { .. } => "services-io",
            Self::MemoryMalformed { .. } => "services-malformed",
        }
    }
}
