//! A snapshot as bytes. Buffers are sized before they are filled, so that
//! growing one leaves no copy of a secret behind, and are wiped.

use std::collections::BTreeMap;

use adytum_api::broker::OwnerSignature;
use adytum_sealed::signing::OwnerPublicKey;
use prost::Message;
use zeroize::Zeroizing;

use super::Snapshot;
use crate::{
    approval::OwnerApproval,
    manifest::SignedManifest,
    secrets::{SecretKind, SecretValue, StoredSecret},
};

#[derive(Clone, PartialEq, Message)]
struct SnapshotRecord {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(message, optional, tag = "2")]
    manifest: Option<ManifestRecord>,
    #[prost(message, repeated, tag = "3")]
    secrets: Vec<SecretRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ManifestRecord {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(message, repeated, tag = "2")]
    signatures: Vec<OwnerSignature>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct SecretRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    kind: i32,
    // Absent once the value was removed.
    #[prost(bytes = "vec", optional, tag = "3")]
    value: Option<Vec<u8>>,
    #[prost(uint64, tag = "4")]
    version: u64,
    #[prost(bytes = "vec", repeated, tag = "5")]
    changed_by: Vec<Vec<u8>>,
}

impl std::fmt::Debug for SecretRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretRecord").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for SecretRecord {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.value);
    }
}

/// Encodes a snapshot behind `room` bytes left free, with `tail` bytes of
/// capacity after it.
pub(super) fn encode(snapshot: &Snapshot, room: usize, tail: usize) -> Zeroizing<Vec<u8>> {
    let record = SnapshotRecord {
        epoch: snapshot.epoch,
        manifest: snapshot.manifest.as_ref().map(|signed| ManifestRecord {
            text: signed.text.clone(),
            signatures: signed.approvals.iter().map(OwnerApproval::to_wire).collect(),
        }),
        secrets: snapshot
            .secrets
            .iter()
            .map(|(name, secret)| SecretRecord {
                name: name.to_string(),
                kind: secret.kind.to_wire().into(),
                value: secret.value.as_ref().map(|value| value.expose().to_vec()),
                version: secret.version,
                changed_by: secret.changed_by.iter().map(|owner| owner.0.to_vec()).collect(),
            })
            .collect(),
    };
    let length = record.encoded_len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + length + tail));
    bytes.resize(room, 0);
    // Cannot fail: a vector grows, and this one need not.
    let _ = record.encode(&mut *bytes);
    bytes
}

/// Decodes a snapshot; the error says what is wrong.
pub(super) fn decode(bytes: &[u8]) -> Result<Snapshot, String> {
    let mut record = SnapshotRecord::decode(bytes).map_err(|error| error.to_string())?;
    let manifest = record
        .manifest
        .take()
        .map(|manifest| {
            let approvals =
                OwnerApproval::from_wire(&manifest.signatures).map_err(|error| error.to_string())?;
            Ok::<_, String>(SignedManifest { text: manifest.text, approvals })
        })
        .transpose()?;
    let mut secrets = BTreeMap::new();
    for mut secret in record.secrets.drain(..) {
        let name = secret.name.parse().map_err(|error| format!("{error}"))?;
        let kind = SecretKind::from_wire(secret.kind)
            .ok_or_else(|| format!("the secret {name} is of the unknown kind {}", secret.kind))?;
        let value = secret
            .value
            .take()
            .map(|value| SecretValue::parse(kind, Zeroizing::new(value)))
            .transpose()
            .map_err(|error| format!("the secret {name}: {error}"))?;
        let changed_by = secret
            .changed_by
            .iter()
            .map(|owner| OwnerPublicKey::try_from(owner.as_slice()))
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the secret {name}: {error}"))?;
        let stored = StoredSecret { kind, value, version: secret.version, changed_by };
        secrets.insert(name, stored);
    }
    Ok(Snapshot { epoch: record.epoch, manifest, secrets })
}
