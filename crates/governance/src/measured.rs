//! The measurement of a broker, apart from its binary, where its platform lets the
//! program state it (simulation).
//!
//! The genesis is not measured: it is in the broker's announcement, and every peer of a
//! broker pins it there. The Occlum configuration is in both. On hardware only the
//! announcement shows it, since the TEE measures the program and not its flags.

use adytum_evidence::{
    identity::LengthPrefixed,
    measurement::{Sha256Digest, WorkloadIdentity},
};
use sha2::Sha256;

/// The first field of a broker's canonical measured configuration.
const FORMAT: &[u8] = b"adytum broker measured configuration v1";

/// The measured configuration of a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeasuredConfiguration {
    /// The digest of the Occlum configuration and of what was accepted of it
    /// by name; `None` when it was started without one.
    pub occlum: Option<Sha256Digest>,
}

impl MeasuredConfiguration {
    /// The canonical bytes that enter the workload identity.
    pub fn canonical(&self) -> Vec<u8> {
        let mut hasher = LengthPrefixed::<Sha256>::new();
        hasher.field(FORMAT);
        match &self.occlum {
            None => hasher.field(b"no Occlum configuration"),
            Some(digest) => {
                hasher.field(b"Occlum configuration");
                hasher.field(&digest.0);
            }
        }
        hasher.finish().to_vec()
    }

    /// The identity of a broker with this binary: init is a library in it, so
    /// both digests are that of the one binary.
    pub fn identity(&self, program: Sha256Digest) -> WorkloadIdentity {
        WorkloadIdentity::of(program, program, &self.canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_occlum_configuration_shows() {
        let program = Sha256Digest::of_bytes(b"broker");
        let identity = |occlum| MeasuredConfiguration { occlum }.identity(program);
        let one = Some(Sha256Digest::of_bytes(b"one"));
        let two = Some(Sha256Digest::of_bytes(b"two"));
        assert_ne!(identity(None), identity(one));
        assert_ne!(identity(one), identity(two));
        assert_eq!(identity(one), identity(one));
    }
}
