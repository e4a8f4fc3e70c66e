//! The faults of a manifest.

use std::fmt;

use super::{FORMAT, MAXIMUM_LENGTH};
use crate::{approval::ApprovalError, genesis::GenesisDigest, roles::OwnersError};

/// Where in a manifest something is: a table, its line, and a field of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The table, such as `secret "model_key"`.
    pub table: String,
    /// The line on which the table begins, from 1, where it is known.
    pub line: Option<usize>,
    pub field: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}, field `{}`", self.table, self.field)
    }
}

/// Why a text is not a manifest that this broker may follow.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest has more than [`MAXIMUM_LENGTH`] bytes.
    ///
    /// Do: shorten it, for example by removing workloads and secrets that are not used any more.
    #[error("the manifest has {found} bytes; at most {MAXIMUM_LENGTH} are allowed")]
    TooLong { found: usize },
    /// The manifest is not UTF-8 text in TOML, or a field is missing, unknown or not of its type.
    ///
    /// Do: correct the line that the message names; docs/manifest.md shows all fields. `adytum
    /// manifest check` reads it again.
    #[error("the manifest can't be read: {reason}; docs/manifest.md shows all fields")]
    Syntax {
        /// What the reader said; names the line.
        reason: String,
    },
    /// The document has the format of another kind of document, or of another version.
    ///
    /// Do: write `format = "adytum manifest v1"` at the top of the manifest.
    #[error(
        "the manifest's format is {found:?}; this program reads {FORMAT:?}, so write that, or use another \
         version of the program"
    )]
    Format { found: String },
    /// The manifest has the version 0, which means that there is no manifest yet.
    ///
    /// Do: set `version` to 1, or to one more than the version in force.
    #[error("the manifest's version is 0; versions start at 1")]
    VersionZero,
    /// The manifest defines a name twice, or a list in it has an entry twice.
    ///
    /// Do: remove or rename one of the two.
    #[error("{place}: {name:?} is there twice; remove one of the two")]
    Duplicate { place: Place, name: String },
    /// The manifest uses a name that it does not define.
    ///
    /// Do: correct the name, or add the workload, secret or model to the manifest.
    #[error("{place}: there is no {kind} named {name:?} in this manifest; correct the name or add it")]
    Dangling {
        place: Place,
        /// What it should name.
        kind: &'static str,
        name: String,
    },
    /// An entry of the manifest could never have an effect.
    ///
    /// Do: remove the entry, or add the missing part that the message names.
    #[error("{place}: {reason}")]
    WithoutEffect { place: Place, reason: String },
    /// A field of the manifest is missing, or its value is out of bounds.
    ///
    /// Do: correct the field that the message names; docs/manifest.md has the bounds.
    #[error("{place}: {reason}")]
    Value {
        place: Place,
        /// The expected and the found value.
        reason: String,
    },
    /// The manifest has more tables of one kind than it may have.
    ///
    /// Do: remove tables that are not used, or use a second broker.
    #[error("the manifest has {found} tables [[{section}]]; at most {limit} are allowed")]
    TooMany {
        section: &'static str,
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The table `[owners]` of the manifest does not give owners and a threshold that can be
    /// reached.
    ///
    /// Do: name each owner once in `keys`, and set `threshold` to a number from 1 to the number
    /// of owners.
    #[error("{place}: {source}")]
    Owners { place: Place, source: OwnersError },
    /// A root certificate in `[trust]` can't be read, is missing, or is there without simulation.
    ///
    /// Do: with "simulation" in `vendors`, put the root of each platform in `simulation_roots`
    /// (`adytum simulation root` prints its path); otherwise remove the list.
    #[error("{place}: {reason}")]
    Root { place: Place, reason: String },
    /// An attestation service of Azure in `[trust]` can't be read, is missing, or is there without
    /// azure.
    ///
    /// Do: with "azure" in `vendors`, give each service in `[[trust.azure]]`: its name in `issuer`,
    /// and in `keys` its JWK set, as it answers at `/certs`; otherwise remove the table.
    #[error("{place}: {reason}")]
    AzureService { place: Place, reason: String },
    /// The table `[recovery]` of the manifest can't be carried out.
    ///
    /// Do: give `recipients` that `adytum recovery-key new` printed, and a `threshold` of at most
    /// their number.
    #[error("[recovery]: {reason}")]
    Recovery { reason: String },
    /// The manifest trusts simulated platforms, and this build has no simulation.
    ///
    /// Do: remove "simulation" from `[trust]` and from every policy, then sign the manifest
    /// again.
    #[error(
        "the manifest trusts simulated platforms, which protect nothing, and this is a production build that \
         has no simulation; remove \"simulation\" from [trust] and from every policy, and sign again"
    )]
    Simulation,
    /// The manifest is for another broker.
    ///
    /// Do: set `genesis` to the digest that `adytum genesis show` prints for this broker, then
    /// sign again. Or give the other broker's address.
    #[error(
        "the manifest is for the broker with genesis {found}; this broker's is {expected}. Correct `genesis` \
         in the manifest, or the broker's address"
    )]
    OtherGenesis { expected: GenesisDigest, found: GenesisDigest },
    /// The manifest has a lower version than the manifest in force.
    ///
    /// Do: raise `version` above the version in force (`adytum manifest get` prints that
    /// manifest), then sign again.
    #[error(
        "the manifest has version {found}, and version {current} is in force; raise `version` above that and \
         sign again"
    )]
    Older {
        /// The version in force.
        current: u64,
        found: u64,
    },
    /// The manifest has the version of the manifest in force.
    ///
    /// Do: raise `version`, then sign and apply the manifest again.
    #[error("a manifest of version {current} is in force already; raise `version` and sign again")]
    Replayed {
        /// The version in force.
        current: u64,
    },
    /// The owners did not agree to it.
    #[error("the owners did not agree to the manifest of version {version}: {source}")]
    Signatures { version: u64, source: ApprovalError },
}

impl ManifestError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "manifest-too-long",
            Self::Syntax { .. } => "manifest-syntax",
            Self::Format { .. } => "manifest-format",
            Self::VersionZero => "manifest-version-zero",
            Self::Duplicate { .. } => "manifest-duplicate",
            Self::Dangling { .. } => "manifest-dangling-name",
            Self::WithoutEffect { .. } => "manifest-without-effect",
            Self::Value { .. } => "manifest-value",
            Self::TooMany { .. } => "manifest-too-many",
            Self::Owners { .. } => "manifest-owners",
            Self::Root { .. } => "manifest-root",
            Self::AzureService { .. } => "manifest-azure-service",
            Self::Recovery { .. } => "manifest-recovery",
            Self::Simulation => "manifest-names-simulation",
            Self::OtherGenesis { .. } => "manifest-other-genesis",
            Self::Older { .. } => "manifest-older",
            Self::Replayed { .. } => "manifest-replayed",
            Self::Signatures { source, .. } => source.code(),
        }
    }
}
