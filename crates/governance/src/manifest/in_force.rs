//! Which manifest is in force, in two fields: what a broker says of it to a replica, and a
//! replica to its clients.

use adytum_evidence::measurement::Sha256Digest;

/// The manifest in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestInForce {
    pub version: u64,
    /// SHA-256 of its text.
    pub digest: Sha256Digest,
}

impl ManifestInForce {
    /// Reads the two fields as they are sent. Before the first manifest there is neither.
    pub fn from_wire(version: u64, digest: &[u8]) -> Result<Option<Self>, String> {
        match (version, digest) {
            (0, []) => Ok(None),
            (0, _) => Err("the digest of a manifest without a version".to_owned()),
            (version, digest) => match Sha256Digest::try_from(digest) {
                Ok(digest) => Ok(Some(Self { version, digest })),
                Err(_) => Err(format!("expected 32 bytes of the manifest's digest, found {}", digest.len())),
            },
        }
    }

    /// The two fields as they are sent.
    pub fn to_wire(manifest: Option<Self>) -> (u64, Vec<u8>) {
        manifest.map_or((0, Vec::new()), |Self { version, digest }| (version, digest.0.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_both_fields_or_none() {
        let some = ManifestInForce { version: 3, digest: Sha256Digest([7; 32]) };
        for manifest in [None, Some(some)] {
            let (version, digest) = ManifestInForce::to_wire(manifest);
            assert_eq!(ManifestInForce::from_wire(version, &digest), Ok(manifest));
        }
        for (version, length) in [(0, 32), (3, 0), (3, 31), (3, 33)] {
            assert!(ManifestInForce::from_wire(version, &vec![7; length]).is_err(), "{version} {length}");
        }
    }
}
