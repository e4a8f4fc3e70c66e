//! May this manifest follow the one in force?

use std::collections::BTreeSet;

use adytum_evidence::verifier::TrustRoot;
use adytum_sealed::signing::{OwnerPublicKey, Purpose};

use super::{Manifest, ManifestError, SignedManifest, signed::ManifestFields};
use crate::{approval, genesis::Genesis, trust};

/// A manifest that the owners agreed to.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// What it says.
    pub manifest: Manifest,
    /// The text and the signatures, to be kept and shown.
    pub signed: SignedManifest,
    /// Who signed.
    pub owners: BTreeSet<OwnerPublicKey>,
    /// The roots that it trusts.
    pub roots: Vec<TrustRoot>,
}

/// Admits a manifest that is for this broker, newer than the one in force
/// (`current`; 0: none), signed by as many distinct owners as the genesis
/// demands, and trusts nothing that this build can't verify.
pub fn admit(genesis: &Genesis, current: u64, signed: SignedManifest) -> Result<Admitted, ManifestError> {
    let manifest = Manifest::parse(&signed.text)?;
    let expected = genesis.digest();
    if manifest.genesis != expected {
        return Err(ManifestError::OtherGenesis { expected, found: manifest.genesis });
    }
    let version = manifest.version;
    let fields = ManifestFields::new(&manifest, &signed.text);
    let owners = approval::agreed(
        genesis,
        genesis.threshold(),
        Purpose::Manifest,
        &fields.fields(),
        &signed.approvals,
    )
    .map_err(|source| ManifestError::Signatures { version, source })?;
    if version < current {
        return Err(ManifestError::Older { current, found: version });
    }
    if version == current {
        return Err(ManifestError::Replayed { current });
    }
    let roots = trust::roots(&manifest.trust)?;
    Ok(Admitted { manifest, signed, owners, roots })
}
