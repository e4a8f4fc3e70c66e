//! What can be wrong with a manifest.

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
    /// The field.
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than [`MAXIMUM_LENGTH`].
    #[error("the manifest has {found} bytes; at most {MAXIMUM_LENGTH} are allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not TOML, a field is missing, unknown, or not of its type.
    #[error("the manifest can't be read: {reason}")]
    Syntax {
        /// What the reader said; names the line.
        reason: String,
    },
    /// Another kind of document, or another version.
    #[error("the manifest's format is {found:?}; this program reads {FORMAT:?}")]
    Format {
        /// The format found.
        found: String,
    },
    /// Version 0 means "no manifest yet".
    #[error("the manifest's version is 0; versions start at 1")]
    VersionZero,
    /// A name is defined, or a set names something, twice.
    #[error("{place}: {name:?} stands there twice")]
    Duplicate {
        /// Where.
        place: Place,
        /// What stands twice.
        name: String,
    },
    /// A name is used that nothing defines.
    #[error("{place}: there is no {kind} named {name:?} in this manifest")]
    Dangling {
        /// Where.
        place: Place,
        /// What it should name.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Something that could never have an effect.
    #[error("{place}: {reason}")]
    WithoutEffect {
        /// Where.
        place: Place,
        /// Why.
        reason: String,
    },
    /// A field is missing, or its value is out of bounds.
    #[error("{place}: {reason}")]
    Value {
        /// Where.
        place: Place,
        /// What was expected and what was found.
        reason: String,
    },
    /// More tables of one kind than a manifest may have.
    #[error("the manifest has {found} tables [[{section}]]; at most {limit} are allowed")]
    TooMany {
        /// Of which.
        section: &'static str,
        /// How many.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Its owners can't own a broker.
    #[error("{place}: {source}")]
    Owners {
        /// Where.
        place: Place,
        /// Why.
        source: OwnersError,
    },
    /// A root certificate can't be read, is missing, or is not wanted.
    #[error("{place}: {reason}")]
    Root {
        /// Where.
        place: Place,
        /// What is wrong with it.
        reason: String,
    },
    /// What `[recovery]` says can't be carried out.
    #[error("[recovery]: {reason}")]
    Recovery {
        /// What is wrong with it.
        reason: String,
    },
    /// Simulation is named and this build has none of it.
    #[error(
        "the manifest trusts simulated platforms, which protect nothing, and this is a production build that \
         has no simulation; remove \"simulation\" from [trust] and from every policy, and sign again"
    )]
    Simulation,
    /// A manifest for another broker.
    #[error("the manifest is for the broker with genesis {found}; this one's is {expected}")]
    OtherGenesis {
        /// This broker's.
        expected: GenesisDigest,
        /// The manifest's.
        found: GenesisDigest,
    },
    /// An older manifest.
    #[error("the manifest has version {found}, and version {current} is in force; the next must be higher")]
    Older {
        /// The version in force.
        current: u64,
        /// The version found.
        found: u64,
    },
    /// The version that is in force already.
    #[error("a manifest of version {current} is in force already; the next must have a higher version")]
    Replayed {
        /// The version in force.
        current: u64,
    },
    /// The owners did not agree to it.
    #[error("the manifest of version {version} is not the owners' will: {source}")]
    Signatures {
        /// Its version.
        version: u64,
        /// What is wrong with the signatures.
        source: ApprovalError,
    },
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
            Self::Recovery { .. } => "manifest-recovery",
            Self::Simulation => "manifest-names-simulation",
            Self::OtherGenesis { .. } => "manifest-other-genesis",
            Self::Older { .. } => "manifest-older",
            Self::Replayed { .. } => "manifest-replayed",
            Self::Signatures { source, .. } => match source {
                ApprovalError::Unsigned { .. } => "manifest-unsigned",
                ApprovalError::TooMany { .. } => "manifest-signature-too-many",
                ApprovalError::Malformed(_) => "manifest-signature-malformed",
                ApprovalError::Stranger { .. } => "manifest-signed-by-stranger",
                ApprovalError::SameOwnerTwice { .. } => "manifest-signed-by-same-owner-twice",
                ApprovalError::Invalid { .. } => "manifest-signature-invalid",
                ApprovalError::BelowThreshold { .. } => "signatures-below-threshold",
            },
        }
    }
}
