//! Which manifests changed who owns the broker: kept by the store, so that a start
//! need not read every manifest there ever was.

use adytum_evidence::measurement::Sha256Digest;
use prost::Message;

use crate::{
    genesis::Genesis,
    manifest::{ManifestError, SignedManifest},
    roles::Roles,
    rules::agreed,
};

/// The item of the store that has them.
pub const ITEM: &str = "roles/changes";

/// A manifest that has `[owners]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    pub version: u64,
    /// SHA-256 of its text.
    pub text: Sha256Digest,
}

/// Why the owners in force don't follow from the genesis and the manifests kept.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The owners in force don't follow from the genesis and the manifests that the broker kept.
    ///
    /// Do: put back the state file that the broker wrote, or a backup with `adytum-broker
    /// restore`.
    #[error(
        "the list of manifests that changed the owners can't be read: {reason}; put back the state file that \
         the broker wrote"
    )]
    List { reason: String },
    /// A manifest of the list is missing or another one.
    #[error(
        "the manifest version {version}, which changed the owners, is missing or another one; put back the \
         state file that the broker wrote"
    )]
    Missing { version: u64 },
    /// A manifest is not what the owners before it agreed to.
    #[error("the manifest version {version}, which changed the owners: {source}")]
    Manifest { version: u64, source: ManifestError },
}

impl ChainError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::List { .. } | Self::Missing { .. } => "owners-chain-broken",
            Self::Manifest { source, .. } => source.code(),
        }
    }
}

impl RoleChange {
    /// The roles once this change's manifest, signed by the owners in force before it,
    /// has changed them.
    pub fn apply(
        self,
        roles: &Roles,
        genesis: &Genesis,
        signed: &SignedManifest,
    ) -> Result<Roles, ChainError> {
        let Self { version, text } = self;
        if Sha256Digest::of_bytes(signed.text.as_bytes()) != text {
            return Err(ChainError::Missing { version });
        }
        let (manifest, _) = agreed(genesis, &roles.owners, signed)
            .map_err(|source| ChainError::Manifest { version, source })?;
        if manifest.version != version || manifest.roles.is_none() {
            return Err(ChainError::Missing { version });
        }
        Ok(roles.after(manifest.roles.as_ref()))
    }
}

#[derive(Clone, PartialEq, Message)]
struct ChangesRecord {
    #[prost(message, repeated, tag = "1")]
    changes: Vec<ChangeRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ChangeRecord {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(bytes = "vec", tag = "2")]
    text: Vec<u8>,
}

/// The list as it is stored.
pub fn encode(changes: &[RoleChange]) -> Vec<u8> {
    let record = |change: &RoleChange| ChangeRecord { version: change.version, text: change.text.0.to_vec() };
    ChangesRecord { changes: changes.iter().map(record).collect() }.encode_to_vec()
}

/// Reads the list: versions rise.
pub fn decode(bytes: &[u8]) -> Result<Vec<RoleChange>, ChainError> {
    let list = |reason: String| ChainError::List { reason };
    let record = ChangesRecord::decode(bytes).map_err(|error| list(error.to_string()))?;
    let mut changes: Vec<RoleChange> = Vec::with_capacity(record.changes.len());
    for ChangeRecord { version, text } in record.changes {
        let text = Sha256Digest::try_from(text.as_slice()).map_err(|error| list(error.to_string()))?;
        if changes.last().is_some_and(|last| last.version >= version) {
            return Err(list(format!("version {version} does not rise")));
        }
        changes.push(RoleChange { version, text });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_as_it_was_written() {
        let change = |version| RoleChange { version, text: Sha256Digest([7; 32]) };
        let changes = [change(1), change(5)];
        assert_eq!(decode(&encode(&changes)).unwrap(), changes);
        assert_eq!(decode(&[]).unwrap(), []);
        assert!(decode(&encode(&[change(5), change(5)])).is_err());
        assert!(decode(&[0xff; 9]).is_err());
    }
}
