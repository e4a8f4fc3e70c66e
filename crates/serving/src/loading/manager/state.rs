//! The state of a model between rounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use adytum_sealed::statement::Statement;

use crate::models::Absence;

/// The time between looks at versions that leave and are still in use.
pub(super) const LEAVING_PAUSE: Duration = Duration::from_millis(50);

/// How many remarks about one model are remembered, so as not to be repeated.
const MOST_REMARKS: usize = 1000;

/// A model of the configuration.
#[derive(Default)]
pub(super) struct Managed {
    pub(super) loaded: BTreeMap<i64, Loaded>,
    pub(super) failures: BTreeMap<i64, Failure>,
    /// Why versions of the directory were not tried, in this round.
    pub(super) refusals: Vec<String>,
    /// Whether a directory may be one that is still being filled.
    pub(super) incomplete: bool,
    /// Why there are no versions at all.
    pub(super) note: Option<String>,
    remarks: BTreeSet<(PathBuf, &'static str)>,
}

/// A version that answers requests. The registry holds it.
pub(super) struct Loaded {
    pub(super) absence: Absence,
    /// Its share of the budget in bytes.
    pub(super) memory: u64,
    /// What its owner signed, if it was sealed.
    pub(super) statement: Option<Statement>,
}

/// A version that could not be loaded.
pub(super) struct Failure {
    /// Of its files: when they change, it is tried again.
    pub(super) fingerprint: u64,
    pub(super) reason: String,
    /// How often it was tried.
    pub(super) attempts: u32,
    /// When it is tried again with the same files; never, if that would not help.
    pub(super) again: Option<Instant>,
}

/// A version that takes no new requests.
pub(super) struct Leaving {
    pub(super) name: String,
    pub(super) version: i64,
    pub(super) absence: Absence,
    pub(super) memory: u64,
}

impl Managed {
    /// Everything that failed has another try.
    pub(super) fn forget_failures(&mut self) {
        self.failures.clear();
        self.remarks.clear();
    }

    /// Whether a version is loaded, or was tried.
    pub(super) fn knows(&self, version: i64) -> bool {
        self.loaded.contains_key(&version) || self.failures.contains_key(&version)
    }

    /// Remembers why there are no versions; whether that is news.
    pub(super) fn note(&mut self, text: String) -> bool {
        let is_new = self.note.as_ref() != Some(&text);
        self.note = Some(text);
        is_new
    }

    /// Whether this was not remarked on before.
    pub(super) fn is_new(&mut self, path: &Path, code: &'static str) -> bool {
        if self.remarks.len() >= MOST_REMARKS {
            self.remarks.clear();
        }
        self.remarks.insert((path.to_owned(), code))
    }

    /// The memory of these versions in bytes.
    pub(super) fn memory_of(&self, versions: &[i64]) -> u64 {
        let loaded = versions.iter().filter_map(|version| self.loaded.get(version));
        loaded.map(|loaded| loaded.memory).fold(0, u64::saturating_add)
    }
}

/// Makes `when` the earlier one.
pub(super) fn earlier(when: &mut Option<Instant>, other: Instant) {
    *when = Some(when.map_or(other, |when| when.min(other)));
}
