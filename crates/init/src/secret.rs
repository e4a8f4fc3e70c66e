//! Secrets in memory, and what a broker released.

use std::{collections::BTreeMap, fmt, mem};

use adytum_api::{
    broker as wire,
    names::{NameError, SecretName},
};
use adytum_evidence::measurement::Sha256Digest;
use adytum_sealed::{rule::ModelRule, signing::OwnerPublicKey};
use zeroize::Zeroizing;

/// What kind of value a secret has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretKind {
    /// Bytes that an owner uploaded.
    Opaque,
    /// An age X25519 identity: unlocks sealed models.
    AgeIdentity,
}

/// A secret's value. Wiped when dropped; never printed; not cloned by accident.
pub struct SecretValue {
    bytes: Zeroizing<Vec<u8>>,
    kind: SecretKind,
    version: u64,
}

impl SecretValue {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>, kind: SecretKind, version: u64) -> Self {
        Self { bytes: Zeroizing::new(bytes), kind, version }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What kind of value it is.
    pub fn kind(&self) -> SecretKind {
        self.kind
    }

    /// Counts the values that this name has had; starts at 1.
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({:?}, version {}, ..)", self.kind, self.version)
    }
}

/// What a broker released to this workload.
#[derive(Debug)]
pub struct Released {
    /// Every secret of the measured configuration.
    pub secrets: BTreeMap<SecretName, SecretValue>,
    /// Which plaintexts may be loaded as models.
    pub models: Vec<ModelRule>,
    /// The manifest that says so.
    pub manifest_version: u64,
}

/// What is wrong with a broker's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker's answer is malformed: {reason}; the broker and this program are of different versions")]
pub struct AnswerError {
    /// What was expected and what was found.
    pub reason: String,
}

impl Released {
    /// Reads an answer: exactly the secrets asked for, each once.
    pub(crate) fn from_wire(
        mut answer: wire::GetSecretsResponse,
        asked: &[&SecretName],
    ) -> Result<Self, AnswerError> {
        let malformed = |reason: String| AnswerError { reason };
        // Moved into types that wipe themselves before anything can fail.
        let values: Vec<(String, i32, Zeroizing<Vec<u8>>, u64)> = answer
            .secrets
            .iter_mut()
            .map(|secret| {
                let value = Zeroizing::new(mem::take(&mut secret.value));
                (mem::take(&mut secret.name), secret.kind, value, secret.version)
            })
            .collect();
        let mut secrets = BTreeMap::new();
        for (name, kind, bytes, version) in values {
            let name: SecretName = name.parse().map_err(|error: NameError| malformed(error.to_string()))?;
            if !asked.contains(&&name) {
                return Err(malformed(format!("secret {name} was not asked for")));
            }
            let kind = match wire::SecretKind::try_from(kind) {
                Ok(wire::SecretKind::Opaque) => SecretKind::Opaque,
                Ok(wire::SecretKind::AgeIdentity) => SecretKind::AgeIdentity,
                _ => return Err(malformed(format!("secret {name} has the unknown kind {kind}"))),
            };
            let value = SecretValue { bytes, kind, version };
            if secrets.insert(name.clone(), value).is_some() {
                return Err(malformed(format!("secret {name} came twice")));
            }
        }
        if let Some(missing) = asked.iter().find(|name| !secrets.contains_key(**name)) {
            return Err(malformed(format!("secret {missing} is missing")));
        }
        let models =
            answer.models.into_iter().map(model_rule).collect::<Result<_, _>>().map_err(malformed)?;
        Ok(Self { secrets, models, manifest_version: answer.manifest_version })
    }
}

fn model_rule(rule: wire::ModelRule) -> Result<ModelRule, String> {
    let signer = |key: &Vec<u8>| {
        let key = key.as_slice().try_into().map_err(|_| format!("a signer's key has {} bytes", key.len()))?;
        Ok::<_, String>(OwnerPublicKey(key))
    };
    Ok(ModelRule {
        name: rule.name.parse().map_err(|error: NameError| error.to_string())?,
        signers: rule.signers.iter().map(signer).collect::<Result<_, _>>()?,
        minimum_version: rule.minimum_version,
        digests: rule
            .digests
            .iter()
            .map(|digest| Sha256Digest::try_from(digest.as_slice()))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str) -> wire::Secret {
        wire::Secret {
            name: name.to_owned(),
            kind: 1,
            value: b"sesame".to_vec(),
            version: 1,
            ..Default::default()
        }
    }

    fn read(secrets: Vec<wire::Secret>, asked: &[&str]) -> Result<Released, AnswerError> {
        let asked: Vec<SecretName> = asked.iter().map(|name| name.parse().unwrap()).collect();
        let answer = wire::GetSecretsResponse {
            secrets,
            models: Vec::new(),
            manifest_version: 7,
            ..Default::default()
        };
        Released::from_wire(answer, &asked.iter().collect::<Vec<_>>())
    }

    #[test]
    fn an_answer_has_what_was_asked_for() {
        let released = read(vec![secret("a"), secret("b")], &["a", "b"]).unwrap();
        assert_eq!(released.manifest_version, 7);
        assert_eq!(released.secrets["a"].as_bytes(), b"sesame");
    }

    #[test]
    fn an_answer_with_more_less_or_other_is_refused() {
        let unknown_kind = wire::Secret { kind: 99, ..secret("a") };
        for (secrets, asked) in [
            (vec![secret("a")], &["a", "b"][..]),
            (vec![secret("a"), secret("b")], &["a"]),
            (vec![secret("a"), secret("a")], &["a"]),
            (vec![secret("../a")], &["a"]),
            (vec![unknown_kind], &["a"]),
        ] {
            let error = read(secrets, asked).unwrap_err();
            assert!(!error.to_string().contains("sesame"));
        }
    }

    #[test]
    fn a_value_does_not_print() {
        let released = read(vec![secret("a")], &["a"]).unwrap();
        let text = format!("{released:?}");
        assert!(text.contains("version 1") && !text.contains("sesame") && !text.contains("115"), "{text}");
    }
}
