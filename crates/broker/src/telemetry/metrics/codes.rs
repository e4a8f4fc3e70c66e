//! Counters by code. Codes are our own stable words; that none of a peer's gets
//! among them, and that there is an end to them, is made sure here once more.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Workloads' requests for secrets: small and many.
    Release,
    /// Workloads' requests over the KBS protocol.
    Kbs,
    /// Workloads' requests over the protocol of Occlum's own init.
    Occlum,
    /// All others: few, and as long as a command may be.
    Administration,
}

impl Service {
    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Kbs => "kbs",
            Self::Occlum => "occlum",
            Self::Administration => "administration",
        }
    }
}

/// The most codes that one counter tells apart.
pub(super) const MAXIMUM_CODES: usize = 64;
/// Where a further code is counted, and what is none.
pub(super) const OTHER: &str = "other";
const MAXIMUM_LENGTH: usize = 48;

/// The codes that a counter has distinguished so far.
#[derive(Clone, Debug, Default)]
struct Known(Arc<Mutex<BTreeSet<String>>>);

impl Known {
    /// The code, or [`OTHER`].
    fn label(&self, code: &str) -> String {
        let letters = code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !letters || code.is_empty() || code.len() > MAXIMUM_LENGTH {
            return OTHER.to_owned();
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(code) || known.len() < MAXIMUM_CODES {
            known.insert(code.to_owned());
            return code.to_owned();
        }
        OTHER.to_owned()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

/// Counts by code.
#[derive(Debug, Default)]
pub(super) struct CodeCounter {
    known: Known,
    family: Family<Code, Counter>,
}

impl CodeCounter {
    pub(super) fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let counter = Self::default();
        registry.register(name, help, counter.family.clone());
        counter
    }

    pub(super) fn count(&self, code: &str) {
        self.family.get_or_create(&Code { code: self.known.label(code) }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceCode {
    service: &'static str,
    code: String,
}

/// Counts by service and code.
#[derive(Debug, Default)]
pub(super) struct RequestCounter {
    known: Known,
    family: Family<ServiceCode, Counter>,
}

impl RequestCounter {
    pub(super) fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let counter = Self::default();
        registry.register(name, help, counter.family.clone());
        counter
    }

    pub(super) fn count(&self, service: Service, code: &str) {
        let label = ServiceCode { service: service.name(), code: self.known.label(code) };
        self.family.get_or_create(&label).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn whatever_is_counted_the_series_are_few_and_their_labels_are_words() {
        let mut registry = Registry::default();
        let codes = CodeCounter::register(&mut registry, "codes", "codes");
        let requests = RequestCounter::register(&mut registry, "requests", "requests");
        for n in 0..10_000 {
            for code in [format!("code-{n}"), format!("Code {n}\"\n"), "x".repeat(n)] {
                codes.count(&code);
                requests.count(Service::Release, &code);
                requests.count(Service::Administration, &code);
            }
        }
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).unwrap();
        let series = encoded.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(series, 3 * (MAXIMUM_CODES + 1), "{encoded}");
        assert!(!encoded.contains("Code") && encoded.contains("code=\"other\""));
        assert!(encoded.lines().all(|line| line.len() < 120), "{encoded}");
    }
}
