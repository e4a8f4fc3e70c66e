//! What a replica says of itself to its clients.

use adytum_api::{canonical, names::ModelName, session as wire};
use adytum_evidence::measurement::{Sha256Digest, WorkloadIdentity};
use adytum_sealed::statement::{FileName, MAXIMUM_VERSION, Statement};
use adytum_signing::{OwnerPublicKey, OwnerSignature};
use bytes::Bytes;
use prost::Message;

use super::AnnouncementError;
use crate::{genesis::GenesisDigest, manifest::ManifestInForce};

/// A replica's announcement on its ports for clients (message `ServingAnnouncement`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingAnnouncement {
    /// Its workload identity, as its own code has computed it.
    pub identity: WorkloadIdentity,
    /// The broker that released its keys.
    pub genesis: GenesisDigest,
    /// The manifest by which that broker released them last.
    pub manifest: Option<ManifestInForce>,
    /// The models that answer in this session, and no others: what their owners signed
    /// about them. In the order of names and versions.
    pub models: Vec<Statement>,
}

impl ServingAnnouncement {
    /// The bytes that go into a session.
    pub fn encode(&self) -> Bytes {
        let (manifest_version, manifest_digest) = ManifestInForce::to_wire(self.manifest);
        wire::ServingAnnouncement {
            identity: self.identity.0.to_vec(),
            genesis: self.genesis.0.0.to_vec(),
            manifest_version,
            manifest_digest,
            models: self.models.iter().map(served).collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// How many bytes one more model takes in an announcement, at most.
    pub fn length_of(model: &Statement) -> usize {
        // A tag and a length of at most three bytes.
        served(model).encoded_len() + 4
    }

    /// Reads exactly what [`ServingAnnouncement::encode`] writes. No signature is verified.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnnouncementError> {
        let malformed = |reason: String| AnnouncementError::Serving { length: bytes.len(), reason };
        let message: wire::ServingAnnouncement =
            canonical::parse(bytes).map_err(|error| malformed(error.to_string()))?;
        let digest = |what: &str, bytes: &[u8]| {
            Sha256Digest::try_from(bytes)
                .map_err(|_| malformed(format!("expected 32 bytes of {what}, found {}", bytes.len())))
        };
        let identity = WorkloadIdentity(digest("identity", &message.identity)?.0);
        let genesis = GenesisDigest(digest("genesis", &message.genesis)?);
        let manifest = ManifestInForce::from_wire(message.manifest_version, &message.manifest_digest)
            .map_err(malformed)?;
        let models = message
            .models
            .into_iter()
            .map(|model| statement(model).map_err(malformed))
            .collect::<Result<Vec<_>, _>>()?;
        let key = |model: &Statement| (model.model.clone(), model.version);
        if !models.is_sorted_by(|one, next| key(one) < key(next)) {
            return Err(malformed("its models are not in order, or one is there twice".to_owned()));
        }
        Ok(Self { identity, genesis, manifest, models })
    }
}

fn served(model: &Statement) -> wire::ServedModel {
    wire::ServedModel {
        name: model.model.as_str().to_owned(),
        version: model.version,
        file: model.file_name.as_str().to_owned(),
        size: model.size,
        sha256: model.sha256.0.to_vec(),
        signer: model.signer.0.to_vec(),
        signature: model.signature.0.to_vec(),
    }
}

fn statement(model: wire::ServedModel) -> Result<Statement, String> {
    if model.version > MAXIMUM_VERSION {
        return Err(format!("version {} is above {MAXIMUM_VERSION}", model.version));
    }
    if model.size == 0 {
        return Err("a model without bytes".to_owned());
    }
    Ok(Statement {
        model: model.name.parse::<ModelName>().map_err(|error| error.to_string())?,
        version: model.version,
        file_name: model.file.parse::<FileName>().map_err(|error| error.to_string())?,
        size: model.size,
        sha256: Sha256Digest::try_from(model.sha256.as_slice()).map_err(|error| error.to_string())?,
        signer: OwnerPublicKey::try_from(model.signer.as_slice()).map_err(|error| error.to_string())?,
        signature: OwnerSignature::try_from(model.signature.as_slice()).map_err(|error| error.to_string())?,
    })
}
