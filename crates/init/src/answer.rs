//! Reading a broker's answer: exactly what was asked for, each once.

use std::{collections::BTreeMap, mem, time::Duration};

use adytum_api::{
    broker as wire,
    names::{NameError, SecretName},
};
use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::manifest::ManifestInForce;
use adytum_sealed::rule::ModelRule;
use adytum_signing::OwnerPublicKey;
use zeroize::Zeroizing;

use crate::{
    certificate::{CertificateKey, KeyError},
    secret::{Lease, SecretKind, SecretValue},
    ssl_config::SslConfig,
};

/// A fault of a broker's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker's answer is malformed: {reason}; the broker and this program are of different versions")]
pub struct AnswerError {
    /// The expected and the found form.
    pub reason: String,
}

impl AnswerError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl From<KeyError> for AnswerError {
    fn from(error: KeyError) -> Self {
        Self::new(error.to_string())
    }
}

/// What an answer says of one secret.
#[derive(Debug)]
pub(crate) enum Item {
    /// Its value.
    Value(SecretValue),
    /// Of a certificate that was not requested: the version that is current.
    Current { kind: SecretKind, version: u64 },
}

impl Item {
    pub(crate) fn kind(&self) -> SecretKind {
        match self {
            Self::Value(value) => value.kind(),
            Self::Current { kind, .. } => *kind,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Value(value) => value.version(),
            Self::Current { version, .. } => *version,
        }
    }
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) items: BTreeMap<SecretName, Item>,
    pub(crate) models: Vec<ModelRule>,
    pub(crate) manifest: Option<ManifestInForce>,
    /// `None` from a source that lends nothing.
    pub(crate) lease: Option<Lease>,
}

/// A secret as it came, its value in a type that wipes itself.
struct Received {
    name: String,
    kind: i32,
    value: Zeroizing<Vec<u8>>,
    version: u64,
    ssl_config: Option<wire::SslConfigRule>,
}

impl Answer {
    /// Reads an answer to a request for these names, with a request for a
    /// certificate if there is a key.
    pub(crate) fn from_wire(
        mut answer: wire::GetSecretsResponse,
        asked: &[&SecretName],
        key: Option<&CertificateKey>,
    ) -> Result<Self, AnswerError> {
        // Moved before anything can fail.
        let received: Vec<Received> = answer
            .secrets
            .iter_mut()
            .map(|secret| Received {
                name: mem::take(&mut secret.name),
                kind: secret.kind,
                value: Zeroizing::new(mem::take(&mut secret.value)),
                version: secret.version,
                ssl_config: secret.ssl_config.take(),
            })
            .collect();
        let mut items = BTreeMap::new();
        for secret in received {
            let name: SecretName =
                secret.name.parse().map_err(|error: NameError| AnswerError::new(error.to_string()))?;
            if !asked.contains(&&name) {
                return Err(AnswerError::new(format!("secret {name} was not asked for")));
            }
            let item = item(&name, secret, key)?;
            if items.insert(name.clone(), item).is_some() {
                return Err(AnswerError::new(format!("secret {name} came twice")));
            }
        }
        if let Some(missing) = asked.iter().find(|name| !items.contains_key(**name)) {
            return Err(AnswerError::new(format!("secret {missing} is missing")));
        }
        let manifest = ManifestInForce::from_wire(answer.manifest_version, &answer.manifest_digest)
            .map_err(AnswerError::new)?;
        let models = answer.models.into_iter().map(model_rule).collect::<Result<_, _>>();
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let lease = Lease { duration: seconds(answer.lease_seconds), grace: seconds(answer.grace_seconds) };
        if lease.duration.is_zero() {
            return Err(AnswerError::new("it says nothing about a lease"));
        }
        Ok(Self { items, models: models.map_err(AnswerError::new)?, manifest, lease: Some(lease) })
    }
}

fn item(name: &SecretName, secret: Received, key: Option<&CertificateKey>) -> Result<Item, AnswerError> {
    let kind = match wire::SecretKind::try_from(secret.kind) {
        Ok(wire::SecretKind::Opaque) => SecretKind::Opaque,
        Ok(wire::SecretKind::AgeIdentity) => SecretKind::AgeIdentity,
        Ok(wire::SecretKind::Random) => SecretKind::Random,
        Ok(wire::SecretKind::TlsCertificate) => SecretKind::TlsCertificate,
        Ok(wire::SecretKind::SslConfig) => SecretKind::SslConfig,
        _ => {
            let kind = secret.kind;
            return Err(AnswerError::new(format!("secret {name} has the unknown kind {kind}")));
        }
    };
    let version = secret.version;
    if !kind.is_certificate() {
        return Ok(Item::Value(SecretValue::from_zeroizing(secret.value, kind, version)));
    }
    let Some(key) = key else {
        return if secret.value.is_empty() {
            Ok(Item::Current { kind, version })
        } else {
            Err(AnswerError::new(format!("a certificate came for {name} that was not requested")))
        };
    };
    let wrong = |reason| AnswerError::new(format!("the certificate of {name}: {reason}"));
    let validity = key.check(&secret.value).map_err(wrong)?;
    let chain = std::str::from_utf8(&secret.value).map_err(|_| wrong("it is not PEM".to_owned()))?;
    let private_key = key.private_key()?;
    if kind == SecretKind::TlsCertificate {
        return Ok(Item::Value(SecretValue::certificate(chain, &private_key, version, validity)));
    }
    let rule = secret.ssl_config.unwrap_or_default();
    let custom_ca =
        std::str::from_utf8(&rule.custom_ca).map_err(|_| wrong("its custom_ca is not PEM".to_owned()))?;
    let config = SslConfig {
        server_key: &private_key,
        server_cert: chain,
        custom_ca,
        client_verify: rule.client_verify,
    };
    Ok(Item::Value(SecretValue::ssl_config(&config, version, validity)))
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
    use crate::fixture::Authority;

    fn secret(name: &str) -> wire::Secret {
        wire::Secret {
            name: name.to_owned(),
            kind: wire::SecretKind::Opaque.into(),
            value: b"sesame".to_vec(),
            version: 1,
            ..Default::default()
        }
    }

    fn read_with(
        secrets: Vec<wire::Secret>,
        asked: &[&str],
        key: Option<&CertificateKey>,
    ) -> Result<Answer, AnswerError> {
        let asked: Vec<SecretName> = asked.iter().map(|name| name.parse().unwrap()).collect();
        let answer = wire::GetSecretsResponse {
            secrets,
            manifest_version: 7,
            manifest_digest: vec![7; 32],
            lease_seconds: 1,
            ..Default::default()
        };
        Answer::from_wire(answer, &asked.iter().collect::<Vec<_>>(), key)
    }

    fn read(secrets: Vec<wire::Secret>, asked: &[&str]) -> Result<Answer, AnswerError> {
        read_with(secrets, asked, None)
    }

    fn bytes<'a>(answer: &'a Answer, name: &str) -> &'a [u8] {
        match &answer.items[name] {
            Item::Value(value) => value.as_bytes(),
            Item::Current { .. } => panic!("no value"),
        }
    }

    #[test]
    fn an_answer_has_what_was_asked_for() {
        let answer = read(vec![secret("a"), secret("b")], &["a", "b"]).unwrap();
        assert_eq!(answer.manifest.unwrap().version, 7);
        assert_eq!(bytes(&answer, "a"), b"sesame");
    }

    #[test]
    fn an_answer_with_more_less_or_other_is_refused() {
        let unknown_kind = wire::Secret { kind: 99, ..secret("a") };
        let unrequested = wire::Secret { kind: wire::SecretKind::TlsCertificate.into(), ..secret("a") };
        for (secrets, asked) in [
            (vec![secret("a")], &["a", "b"][..]),
            (vec![secret("a"), secret("b")], &["a"]),
            (vec![secret("a"), secret("a")], &["a"]),
            (vec![secret("../a")], &["a"]),
            (vec![unknown_kind], &["a"]),
            (vec![unrequested], &["a"]),
        ] {
            let error = read(secrets, asked).unwrap_err();
            assert!(!error.to_string().contains("sesame"));
        }
    }

    #[test]
    fn a_lease_is_read() {
        let answer = wire::GetSecretsResponse { lease_seconds: 600, grace_seconds: 30, ..Default::default() };
        let lease = Lease { duration: Duration::from_secs(600), grace: Duration::from_secs(30) };
        assert_eq!(Answer::from_wire(answer, &[], None).unwrap().lease, Some(lease));
        let without = wire::GetSecretsResponse { grace_seconds: 30, ..Default::default() };
        assert!(Answer::from_wire(without, &[], None).unwrap_err().reason.contains("lease"));
    }

    #[test]
    fn certificates_are_joined_with_the_key_that_was_made_here() {
        let (authority, key) = (Authority::new(), CertificateKey::generate().unwrap());
        let chain = authority.issue(&key.request().unwrap(), 1000, Duration::from_secs(60));
        let private = key.private_key().unwrap();
        let issued = |name: &str, kind: wire::SecretKind| wire::Secret {
            kind: kind.into(),
            value: chain.clone().into_bytes(),
            ssl_config: Some(wire::SslConfigRule { client_verify: true, custom_ca: b"CA\n".to_vec() }),
            ..secret(name)
        };
        let secrets = vec![
            issued("tls", wire::SecretKind::TlsCertificate),
            issued("ssl_config", wire::SecretKind::SslConfig),
        ];
        let answer = read_with(secrets.clone(), &["tls", "ssl_config"], Some(&key)).unwrap();
        assert_eq!(bytes(&answer, "tls"), format!("{chain}{}", private.as_str()).as_bytes());
        let text = std::str::from_utf8(bytes(&answer, "ssl_config")).unwrap();
        assert!(text.contains(&private.replace('\n', "\\n")) && text.contains("custom_ca: \"CA\\n\""));
        assert!(text.ends_with("client_verify: true\n"));

        let other = CertificateKey::generate().unwrap();
        let error = read_with(secrets, &["tls", "ssl_config"], Some(&other)).unwrap_err();
        assert!(error.reason.contains("another key"), "{error}");
    }

    #[test]
    fn a_certificate_that_was_not_requested_is_named_by_its_version() {
        let current = wire::Secret {
            kind: wire::SecretKind::SslConfig.into(),
            value: Vec::new(),
            version: 3,
            ..secret("a")
        };
        let answer = read(vec![current], &["a"]).unwrap();
        assert!(matches!(answer.items["a"], Item::Current { kind: SecretKind::SslConfig, version: 3 }));
    }
}
