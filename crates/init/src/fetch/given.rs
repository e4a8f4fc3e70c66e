//! What sources that are not our broker give, as an answer of ours.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use adytum_api::names::SecretName;
use adytum_evidence::measurement::Sha256Digest;
use adytum_sealed::rule::ModelRule;
use zeroize::Zeroizing;

use crate::{
    answer::{Answer, Item},
    configuration::MeasuredConfiguration,
    secret::{Lease, SecretKind, SecretValue},
};

/// How an age identity begins in text.
const AGE_IDENTITY: &[u8] = b"AGE-SECRET-KEY-1";

/// What the measured configuration adds to the values of a source, and which values there were.
pub(super) struct Given {
    models: Vec<ModelRule>,
    /// For how long values may be used, if the source says nothing.
    lease: Option<Lease>,
    values: Values,
}

/// Counts the values that each name has had while this program runs: these sources have no
/// versions. Of a value only the digest is kept.
#[derive(Default)]
struct Values(Mutex<BTreeMap<SecretName, (Sha256Digest, u64)>>);

impl Values {
    fn version(&self, name: &SecretName, value: &[u8]) -> u64 {
        let digest = Sha256Digest::of_bytes(value);
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, version) = values.entry(name.clone()).or_insert((digest, 1));
        if *last != digest {
            (*last, *version) = (digest, version.saturating_add(1));
        }
        *version
    }
}

impl Given {
    pub(super) fn of(configuration: &MeasuredConfiguration) -> Self {
        Self {
            models: configuration.models().cloned().collect(),
            lease: configuration.lease().map(Lease::from),
            values: Values::default(),
        }
    }

    /// An answer without a manifest. The rules for models are the configuration's. Where the
    /// source lends, and the configuration limits that, the shorter times count.
    pub(super) fn answer(
        &self,
        names: &[&SecretName],
        values: Vec<Zeroizing<Vec<u8>>>,
        lent: Option<Lease>,
    ) -> Answer {
        let item = |(name, value): (&&SecretName, Zeroizing<Vec<u8>>)| {
            let kind =
                if value.starts_with(AGE_IDENTITY) { SecretKind::AgeIdentity } else { SecretKind::Opaque };
            let version = self.values.version(name, &value);
            (SecretName::clone(name), Item::Value(SecretValue::from_zeroizing(value, kind, version)))
        };
        Answer {
            items: names.iter().zip(values).map(item).collect(),
            models: self.models.clone(),
            manifest: None,
            lease: match (lent, self.lease) {
                (Some(one), Some(other)) => Some(Lease {
                    duration: one.duration.min(other.duration),
                    grace: one.grace.min(other.grace),
                }),
                (one, other) => one.or(other),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn given(lease: &str) -> Given {
        let text = format!(
            "format = \"adytum workload v1\"\n[key_vault]\nvault = \"a.vault.azure.net\"\nattestation = \
             \"https://b.attest.azure.net\"\n[[secret]]\nname = \"key\"\n{lease}"
        );
        Given::of(&MeasuredConfiguration::parse(&text).unwrap())
    }

    fn lease(duration: u64, grace: u64) -> Lease {
        Lease { duration: Duration::from_secs(duration), grace: Duration::from_secs(grace) }
    }

    #[test]
    fn another_value_is_another_version() {
        let (given, name) = (given(""), "key".parse().unwrap());
        let version = |value: &[u8]| {
            let answer = given.answer(&[&name], vec![Zeroizing::new(value.to_vec())], None);
            answer.items[&name].version()
        };
        let versions = [b"a", b"a", b"b", b"b", b"a"].map(|value| version(value));
        assert_eq!(versions, [1, 1, 2, 2, 3]);
    }

    #[test]
    fn the_shorter_lease_counts() {
        let configured = "[lease]\nduration = \"1h\"\ngrace = \"10m\"\n";
        for (text, lent, expected) in [
            ("", None, None),
            ("", Some(lease(60, 5)), Some(lease(60, 5))),
            (configured, None, Some(lease(3600, 600))),
            (configured, Some(lease(60, 900)), Some(lease(60, 600))),
        ] {
            assert_eq!(given(text).answer(&[], Vec::new(), lent).lease, expected);
        }
    }
}
