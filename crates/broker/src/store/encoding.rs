//! What rows hold, as bytes. Buffers of secrets are sized before they are
//! filled, so that growing one leaves no copy behind, and are wiped.

use adytum_api::{broker::OwnerSignature, names::SecretName};
use adytum_evidence::{clock::UnixSeconds, measurement::Sha256Digest};
use adytum_governance::{
    approval::OwnerApproval,
    head::StateHead,
    manifest::SignedManifest,
    secrets::{SecretKind, SecretValue, StoredSecret},
};
use adytum_signing::OwnerPublicKey;
use prost::Message;
use zeroize::Zeroizing;

use super::row::Element;

/// The one row that holds the state of all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StateRow {
    pub(super) generation: u64,
    pub(super) epoch: u64,
    pub(super) manifest_version: u64,
    pub(super) audit_size: u64,
    pub(super) audit_hash: Option<Sha256Digest>,
    pub(super) clock_floor: UnixFloor,
    /// Was the broker shut down in good order?
    pub(super) clean: bool,
    /// Does an owner have to confirm the state?
    pub(super) unconfirmed: bool,
    /// Over the rows that the broker takes up when it starts.
    pub(super) rows: Element,
}

/// Seconds since 1970; 0 before the first date was seen.
pub(super) type UnixFloor = u64;

impl StateRow {
    pub(super) fn head(&self) -> StateHead {
        StateHead {
            epoch: self.epoch,
            manifest_version: self.manifest_version,
            audit_size: self.audit_size,
            audit_hash: self.audit_hash,
        }
    }

    pub(super) fn floor(&self) -> Option<UnixSeconds> {
        (self.clock_floor > 0).then_some(UnixSeconds(self.clock_floor))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        StateRecord {
            generation: self.generation,
            epoch: self.epoch,
            manifest_version: self.manifest_version,
            audit_size: self.audit_size,
            audit_hash: self.audit_hash.map_or_else(Vec::new, |hash| hash.0.to_vec()),
            clock_floor: self.clock_floor,
            clean: self.clean,
            unconfirmed: self.unconfirmed,
            rows: self.rows.to_vec(),
        }
        .encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record = StateRecord::decode(bytes).map_err(|error| error.to_string())?;
        let audit_hash = match record.audit_hash.as_slice() {
            [] => None,
            hash => Some(Sha256Digest::try_from(hash).map_err(|error| error.to_string())?),
        };
        if audit_hash.is_some() != (record.audit_size > 0) {
            return Err("its audit hash and size contradict each other".to_owned());
        }
        let rows = record.rows.as_slice().try_into().map_err(|_| "its digest of rows has another length")?;
        Ok(Self {
            generation: record.generation,
            epoch: record.epoch,
            manifest_version: record.manifest_version,
            audit_size: record.audit_size,
            audit_hash,
            clock_floor: record.clock_floor,
            clean: record.clean,
            unconfirmed: record.unconfirmed,
            rows,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct StateRecord {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    manifest_version: u64,
    #[prost(uint64, tag = "4")]
    audit_size: u64,
    #[prost(bytes = "vec", tag = "5")]
    audit_hash: Vec<u8>,
    #[prost(uint64, tag = "6")]
    clock_floor: u64,
    #[prost(bool, tag = "7")]
    clean: bool,
    #[prost(bool, tag = "8")]
    unconfirmed: bool,
    #[prost(bytes = "vec", tag = "9")]
    rows: Vec<u8>,
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
        f.debug_struct("SecretRecord").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Drop for SecretRecord {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.value);
    }
}

pub(super) fn encode_manifest(signed: &SignedManifest) -> Vec<u8> {
    let signatures = signed.approvals.iter().map(OwnerApproval::to_wire).collect();
    ManifestRecord { text: signed.text.clone(), signatures }.encode_to_vec()
}

pub(super) fn decode_manifest(bytes: &[u8]) -> Result<SignedManifest, String> {
    let record = ManifestRecord::decode(bytes).map_err(|error| error.to_string())?;
    let approvals = OwnerApproval::from_wire(&record.signatures).map_err(|error| error.to_string())?;
    Ok(SignedManifest { text: record.text, approvals })
}

pub(super) fn encode_secret(secret: &StoredSecret) -> Zeroizing<Vec<u8>> {
    let record = SecretRecord {
        kind: secret.kind.to_wire().into(),
        value: secret.value.as_ref().map(|value| value.expose().to_vec()),
        version: secret.version,
        changed_by: secret.changed_by.iter().map(|owner| owner.0.to_vec()).collect(),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(record.encoded_len()));
    // Cannot fail: a vector grows, and this one need not.
    let _ = record.encode(&mut *bytes);
    bytes
}

/// Decodes the secret of this name; the error says what is wrong.
pub(super) fn decode_secret(name: &SecretName, bytes: &[u8]) -> Result<StoredSecret, String> {
    let mut record = SecretRecord::decode(bytes).map_err(|error| format!("the secret {name}: {error}"))?;
    let kind = SecretKind::from_wire(record.kind)
        .ok_or_else(|| format!("the secret {name} is of the unknown kind {}", record.kind))?;
    let value = record
        .value
        .take()
        .map(|value| SecretValue::stored(kind, Zeroizing::new(value)))
        .transpose()
        .map_err(|error| format!("the secret {name}: {error}"))?;
    let changed_by = record
        .changed_by
        .iter()
        .map(|owner| OwnerPublicKey::try_from(owner.as_slice()))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the secret {name}: {error}"))?;
    Ok(StoredSecret { kind, value, version: record.version, changed_by })
}
