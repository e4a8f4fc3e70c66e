//! What this replica holds of what a broker released: which version of each
//! secret, and when a certificate is to be replaced. No values.

use std::{collections::BTreeMap, time::Duration};

use adytum_api::names::SecretName;
use adytum_evidence::clock::UnixSeconds;
use tokio::time::Instant;

use crate::{
    answer::{Answer, Item},
    certificate::Validity,
    secret::{Released, SecretKind, SecretValue},
};

#[derive(Debug)]
struct Held {
    kind: SecretKind,
    version: u64,
    /// Of certificates: when less than a third of its validity will be left.
    due: Option<Instant>,
}

/// The held secrets, by name.
#[derive(Debug, Default)]
pub(crate) struct Holdings(BTreeMap<SecretName, Held>);

impl Holdings {
    /// Is a certificate to be requested? At first it is not known which secrets
    /// are certificates, and the broker takes the request only for those.
    pub(crate) fn wants_certificate(&self, now: Instant) -> bool {
        self.0.is_empty() || self.certificate_due().is_some_and(|due| due <= now)
    }

    /// When the next certificate is to be replaced.
    pub(crate) fn certificate_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|held| held.due).min()
    }

    /// Does the answer give a value for everything that is not held as it is?
    pub(crate) fn complete(&self, answer: &Answer) -> bool {
        answer.items.iter().all(|(name, item)| matches!(item, Item::Value(_)) || self.holds(name, item))
    }

    /// The part of the answer that changes something.
    pub(crate) fn changes(&self, answer: Answer) -> Released {
        let mut secrets = BTreeMap::new();
        for (name, item) in answer.items {
            let held = self.holds(&name, &item);
            if let Item::Value(value) = item
                && (!held || value.kind().is_certificate())
            {
                secrets.insert(name, value);
            }
        }
        Released { secrets, models: answer.models, manifest: answer.manifest, lease: answer.lease }
    }

    /// Remembers what was put in place; `asked` is the moment of the request, and
    /// `wall` what the host's clock says.
    pub(crate) fn record(&mut self, released: &Released, asked: Instant, wall: UnixSeconds) {
        for (name, value) in &released.secrets {
            self.0.insert(name.clone(), Held::of(value, asked, wall));
        }
    }

    fn holds(&self, name: &SecretName, item: &Item) -> bool {
        self.0.get(name).is_some_and(|held| held.kind == item.kind() && held.version == item.version())
    }
}

impl Held {
    fn of(value: &SecretValue, asked: Instant, wall: UnixSeconds) -> Self {
        let due = value.validity().map(|validity| asked + until_due(validity, wall));
        Self { kind: value.kind(), version: value.version(), due }
    }
}

/// How long it is until a third of the validity is left.
///
/// The host's clock is believed only to shorten that: a broker may date a
/// certificate back for clients whose clocks are slow.
fn until_due(validity: Validity, wall: UnixSeconds) -> Duration {
    let whole = validity.not_after.0.saturating_sub(validity.not_before.0);
    let left = validity.not_after.0.saturating_sub(wall.0).min(whole);
    Duration::from_secs(left.saturating_sub(whole / 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_when_a_third_of_its_validity_is_left() {
        let validity = Validity { not_before: UnixSeconds(1000), not_after: UnixSeconds(1900) };
        let due = |wall| until_due(validity, UnixSeconds(wall)).as_secs();
        assert_eq!(due(1000), 600);
        assert_eq!(due(1300), 300, "dated back by 300 seconds");
        assert_eq!(due(0), 600, "a clock that is behind");
        assert_eq!(due(9000), 0, "a clock that is ahead");
    }
}
