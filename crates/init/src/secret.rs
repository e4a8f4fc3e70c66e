//! Secrets in memory, and what a key source released.

use std::{collections::BTreeMap, fmt, time::Duration};

use adytum_api::names::SecretName;
use adytum_governance::manifest::ManifestInForce;
use adytum_sealed::rule::ModelRule;
use zeroize::Zeroizing;

use crate::{certificate::Validity, ssl_config::SslConfig};

/// What kind of value a secret has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretKind {
    /// Bytes that an owner uploaded.
    Opaque,
    /// An age X25519 identity: unlocks sealed models.
    AgeIdentity,
    /// Bytes made in the broker.
    Random,
    /// A certificate chain that the broker issued, and its key, which was made
    /// here; both in PEM, the chain first.
    TlsCertificate,
    /// As `TlsCertificate`, as the text of TensorFlow Serving's `SSLConfig`.
    SslConfig,
}

impl SecretKind {
    /// Is its key made here?
    pub fn is_certificate(self) -> bool {
        matches!(self, Self::TlsCertificate | Self::SslConfig)
    }
}

/// A secret's value. Wiped when dropped; never printed; not cloned by accident.
pub struct SecretValue {
    bytes: Zeroizing<Vec<u8>>,
    kind: SecretKind,
    version: u64,
    validity: Option<Validity>,
    /// Of `TlsCertificate`: where the key begins.
    key_at: Option<usize>,
}

impl SecretValue {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>, kind: SecretKind, version: u64) -> Self {
        Self::from_zeroizing(Zeroizing::new(bytes), kind, version)
    }

    pub(crate) fn from_zeroizing(bytes: Zeroizing<Vec<u8>>, kind: SecretKind, version: u64) -> Self {
        Self { bytes, kind, version, validity: None, key_at: None }
    }

    /// A chain and its key, one after the other.
    pub(crate) fn certificate(chain: &str, key: &str, version: u64, validity: Validity) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(chain.len() + 1 + key.len()));
        bytes.extend_from_slice(chain.as_bytes());
        if !chain.ends_with('\n') {
            bytes.push(b'\n');
        }
        let key_at = Some(bytes.len());
        bytes.extend_from_slice(key.as_bytes());
        Self { bytes, kind: SecretKind::TlsCertificate, version, validity: Some(validity), key_at }
    }

    /// An `SSLConfig`.
    pub(crate) fn ssl_config(config: &SslConfig<'_>, version: u64, validity: Validity) -> Self {
        let bytes = config.to_text();
        Self { bytes, kind: SecretKind::SslConfig, version, validity: Some(validity), key_at: None }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Of a `TlsCertificate`: the chain, and the key.
    pub fn chain_and_key(&self) -> Option<(&[u8], &[u8])> {
        self.key_at.and_then(|at| self.bytes.split_at_checked(at))
    }

    /// What kind of value it is.
    pub fn kind(&self) -> SecretKind {
        self.kind
    }

    /// Counts the values that this name has had; starts at 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Of certificates: from when to when.
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({:?}, version {}, ..)", self.kind, self.version)
    }
}

/// For how long what was released may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// From the moment of asking; it is renewed at a third of this.
    pub duration: Duration,
    /// Longer, while no broker can be reached.
    pub grace: Duration,
}

/// What a key source released to this workload.
#[derive(Debug)]
pub struct Released {
    /// At the start, every secret of the measured configuration; at a renewal,
    /// those that have changed.
    pub secrets: BTreeMap<SecretName, SecretValue>,
    /// Which plaintexts may be loaded as models.
    pub models: Vec<ModelRule>,
    /// The manifest that says so; none before the first, and none from sources other than
    /// our broker.
    pub manifest: Option<ManifestInForce>,
    /// `None` from a source that lends nothing: then nothing ends the right to it.
    pub lease: Option<Lease>,
}

impl Released {
    /// The version of that manifest; 0 before the first.
    pub fn manifest_version(&self) -> u64 {
        self.manifest.map_or(0, |manifest| manifest.version)
    }
}

#[cfg(test)]
mod tests {
    use adytum_evidence::clock::UnixSeconds;

    use super::*;

    #[test]
    fn a_certificate_and_its_key_are_one_file_or_two() {
        let validity = Validity { not_before: UnixSeconds(0), not_after: UnixSeconds(1) };
        for chain in ["chain", "chain\n"] {
            let value = SecretValue::certificate(chain, "key\n", 1, validity);
            assert_eq!(value.as_bytes(), b"chain\nkey\n");
            assert_eq!(value.chain_and_key(), Some((&b"chain\n"[..], &b"key\n"[..])));
        }
        assert!(SecretValue::new(b"x".to_vec(), SecretKind::Opaque, 1).chain_and_key().is_none());
    }

    #[test]
    fn a_value_does_not_print() {
        let text = format!("{:?}", SecretValue::new(b"sesame".to_vec(), SecretKind::Opaque, 1));
        assert!(text.contains("version 1") && !text.contains("sesame") && !text.contains("115"), "{text}");
    }
}
