//! The rules in force: may this manifest follow them? [`candidates`] finds the workloads
//! that a peer may be, by its code.

pub mod candidates;

use std::collections::BTreeSet;

use adytum_evidence::{measurement::Sha256Digest, verifier::TrustRoot};
use adytum_signing::{OwnerPublicKey, Purpose};

use self::candidates::Candidates;
use crate::{
    approval,
    genesis::Genesis,
    manifest::{Manifest, ManifestError, SignedManifest, signed::ManifestFields},
    roles::Owners,
    trust,
};

/// A manifest that the owners agreed to.
#[derive(Clone, Debug)]
pub struct AdmittedManifest {
    pub manifest: Manifest,
    /// The text and the signatures, to be kept and shown.
    pub signed: SignedManifest,
    /// The digest of its text.
    pub digest: Sha256Digest,
    pub owners: BTreeSet<OwnerPublicKey>,
    /// The roots that it trusts.
    pub roots: Vec<TrustRoot>,
    /// Its workloads, by their code.
    pub candidates: Candidates,
}

impl AdmittedManifest {
    /// A manifest as if these owners had agreed to it: to explain what it would
    /// grant, without a broker.
    pub fn assumed(
        manifest: Manifest,
        signed: SignedManifest,
        owners: BTreeSet<OwnerPublicKey>,
    ) -> Result<Self, ManifestError> {
        let roots = trust::roots(&manifest.trust)?;
        let candidates = Candidates::new(&manifest.workloads);
        let digest = signed.digest();
        Ok(Self { manifest, signed, digest, owners, roots, candidates })
    }
}

/// Admits a manifest that is for this broker, newer than the one in force
/// (`current`; 0: none), signed by as many of the owners in force as must agree,
/// and trusts nothing that this build can't verify.
pub fn admit(
    genesis: &Genesis,
    owners: &Owners,
    current: u64,
    signed: SignedManifest,
) -> Result<AdmittedManifest, ManifestError> {
    let (manifest, owners) = agreed(genesis, owners, &signed)?;
    let version = manifest.version;
    if version < current {
        return Err(ManifestError::Older { current, found: version });
    }
    if version == current {
        return Err(ManifestError::Replayed { current });
    }
    AdmittedManifest::assumed(manifest, signed, owners)
}

/// Reads a manifest that is for this broker and signed by as many of these owners
/// as must agree, whether it is in force or was once. Who signed is the second half.
pub fn agreed(
    genesis: &Genesis,
    owners: &Owners,
    signed: &SignedManifest,
) -> Result<(Manifest, BTreeSet<OwnerPublicKey>), ManifestError> {
    let manifest = Manifest::parse(&signed.text)?;
    let expected = genesis.digest();
    if manifest.genesis != expected {
        return Err(ManifestError::OtherGenesis { expected, found: manifest.genesis });
    }
    let version = manifest.version;
    let fields = ManifestFields::new(&manifest, &signed.text);
    let signers = approval::agreed(
        owners.keys(),
        owners.threshold(),
        Purpose::Manifest,
        &fields.fields(),
        &signed.approvals,
    )
    .map_err(|source| ManifestError::Signatures { version, source })?;
    Ok((manifest, signers))
}
