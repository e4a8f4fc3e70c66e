//! The models that are served: names, versions, states, labels.
//!
//! Requests hold the version they run on by reference count, so that a version
//! can be replaced or unloaded while others still use it.

mod batchable;
mod error;
mod pinned;
mod presence;
mod servable;
mod signature;
mod warm_up;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

pub use adytum_import::signature::{Examples, Feature, FeatureList, FeatureValues, Method};

pub use error::ServableError;
pub(crate) use pinned::Answered;
pub use pinned::{MODEL, MODEL_SHA256, MODEL_VERSION, Pinned};
pub(crate) use presence::Absence;
pub(crate) use servable::count as count_elements;
pub use servable::{Resources, Servable};
pub use signature::{DEFAULT_SIGNATURE, ServedSignature};
pub(crate) use signature::{Signatures, find_signature, signatures};

use tokio::sync::watch;

use crate::{
    error::RequestError,
    metrics::{Metrics, ModelMetrics},
    observation::note_model,
};

/// How far a version is, in the words of `ModelVersionStatus.State`.
#[derive(Clone)]
pub enum VersionState {
    /// Found, waiting to be loaded.
    Start,
    /// Being loaded.
    Loading,
    /// Answers requests.
    Available(Arc<Servable>),
    /// Answers no new requests; its memory is given back when the last one is answered.
    Unloading,
    /// Over: unloaded (no reason), or refused or failed (the reason).
    End(Option<String>),
}

/// A version and its state.
#[derive(Clone)]
pub struct VersionStatus {
    /// Its number: the name of its directory.
    pub version: i64,
    /// How far it is.
    pub state: VersionState,
}

/// The version that a request is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VersionChoice {
    /// The highest that is available.
    #[default]
    Latest,
    /// The one of this number.
    Number(i64),
    /// The one that the configuration gives this label.
    Label(String),
}

/// How many versions that are over a model's status lists.
const MOST_ENDED: usize = 64;

#[derive(Default)]
struct Model {
    versions: BTreeMap<i64, VersionState>,
    labels: BTreeMap<String, i64>,
    /// The memory of its loaded versions, in bytes.
    memory: BTreeMap<i64, u64>,
    /// Whether it ever had a version that answers.
    has_answered: bool,
}

#[derive(Default)]
struct Registry {
    /// The names of the configuration, in its order.
    configured: Vec<String>,
    /// The models of these names, and those that are gone, for their status.
    models: BTreeMap<String, Model>,
}

/// All models. Cheap to clone; clones share everything.
#[derive(Clone, Default)]
pub struct Models {
    registry: Arc<RwLock<Registry>>,
    metrics: Metrics,
    was_ready: Arc<AtomicBool>,
    /// Counts changes of states.
    changes: Arc<watch::Sender<u64>>,
    /// Whose request looks at them, if it is one in an attested session.
    session: Option<pinned::Session>,
}

impl Models {
    /// No code panics while it holds the lock; if one did, the registry would still be
    /// whole.
    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a version's state. A version that becomes available takes the
    /// requests for the latest version from the next one on if it is the
    /// highest.
    pub fn set(&self, name: &str, version: i64, state: VersionState) {
        let before = {
            let mut registry = self.write();
            registry.declare(name);
            let model = registry.models.entry(name.to_owned()).or_default();
            model.has_answered |= matches!(state, VersionState::Available(_));
            let before = model.versions.insert(version, state);
            (before, model.forget_ended())
        };
        self.changes.send_modify(|number| *number = number.wrapping_add(1));
        // A model's memory is given back here and not under the lock.
        drop(before);
    }

    /// Sets the memory that a version takes, in bytes; 0 when it has given it back.
    pub fn set_memory(&self, name: &str, version: i64, bytes: u64) {
        let mut registry = self.write();
        let model = registry.models.entry(name.to_owned()).or_default();
        match bytes {
            0 => model.memory.remove(&version),
            bytes => model.memory.insert(version, bytes),
        };
    }

    /// The memory of each model's loaded versions, in bytes.
    pub fn memory(&self) -> Vec<(String, i64, u64)> {
        let registry = self.read();
        let each = |(name, model): (&String, &Model)| {
            let versions = model.memory.iter();
            versions.map(|(version, bytes)| (name.clone(), *version, *bytes)).collect::<Vec<_>>()
        };
        registry.models.iter().flat_map(each).collect()
    }

    /// The counts of a model of the configuration; for any other name, those of no model.
    pub fn metrics(&self, name: &str) -> Arc<ModelMetrics> {
        self.metrics.of(name)
    }

    /// The metrics of all models in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        self.metrics.render(&self.memory())
    }

    /// Makes a name known, after those that are.
    pub fn declare(&self, name: &str) {
        self.metrics.declare(name);
        self.write().declare(name);
    }

    /// The version to run: the one asked for, or the highest that is available.
    pub fn servable(&self, name: &str, choice: &VersionChoice) -> Result<Arc<Servable>, RequestError> {
        let registry = self.read();
        let model = registry.models.get(name);
        if model.is_some() {
            note_model(name, None);
        }
        let version = match choice {
            VersionChoice::Latest => None,
            VersionChoice::Number(version) => Some(*version),
            VersionChoice::Label(label) => Some(find_label(model, label)?),
        };
        let not_found = || RequestError::ServableNotFound { name: name.to_owned(), version };
        if let Some(session) = &self.session {
            // A version that came after the session began answers the next one. One that is not here at all
            // is not found, as without a session.
            let is_here = |state: &VersionState| !matches!(state, VersionState::End(_));
            let has_it = |model: &Model| match version {
                Some(version) => model.versions.get(&version).is_some_and(is_here),
                None => model.versions.values().any(is_here),
            };
            return session.servable(name, version).map_err(|error| match model.is_some_and(has_it) {
                true => error,
                false => not_found(),
            });
        }
        let versions = &model.ok_or_else(not_found)?.versions;
        let available = |state: &VersionState| match state {
            VersionState::Available(servable) => Some(Arc::clone(servable)),
            _ => None,
        };
        let found = match version {
            Some(version) => versions.get(&version).and_then(available),
            None => versions.values().rev().find_map(available),
        };
        if let Some(found) = &found {
            note_model(name, Some(found.version()));
        }
        found.ok_or_else(|| {
            let is_coming =
                |state: &VersionState| matches!(state, VersionState::Start | VersionState::Loading);
            let loading = match version {
                Some(version) => versions.get(&version).is_some_and(is_coming),
                None => versions.is_empty() || versions.values().any(is_coming),
            };
            if loading { RequestError::Loading { name: name.to_owned() } } else { not_found() }
        })
    }

    /// The states of all versions, or of one, highest first.
    pub fn status(&self, name: &str, choice: &VersionChoice) -> Result<Vec<VersionStatus>, RequestError> {
        let registry = self.read();
        let model = registry.models.get(name);
        if model.is_some() {
            note_model(name, None);
        }
        let version = match choice {
            VersionChoice::Latest => None,
            VersionChoice::Number(version) => Some(*version),
            VersionChoice::Label(label) => Some(find_label(model, label)?),
        };
        let found: Vec<VersionStatus> = model
            .into_iter()
            .flat_map(|model| model.versions.iter().rev())
            .filter(|(number, _)| version.is_none_or(|wanted| wanted == **number))
            .map(|(number, state)| VersionStatus { version: *number, state: state.clone() })
            .collect();
        if found.is_empty() {
            return Err(RequestError::ModelNotFound { name: name.to_owned(), version });
        }
        Ok(found)
    }

    /// The names of the configuration, in its order.
    pub fn names(&self) -> Vec<String> {
        self.read().configured.clone()
    }

    /// A model's labels and their versions.
    pub fn labels(&self, name: &str) -> BTreeMap<String, i64> {
        self.read().models.get(name).map(|model| model.labels.clone()).unwrap_or_default()
    }

    /// Sets a model's labels: these and no others.
    pub fn set_labels(&self, name: &str, labels: BTreeMap<String, i64>) {
        let mut registry = self.write();
        registry.declare(name);
        registry.models.entry(name.to_owned()).or_default().labels = labels;
    }

    /// Makes these the names of the configuration, in this order. Those that are no
    /// longer among them keep their versions until these are unloaded.
    pub fn configure(&self, names: Vec<String>) {
        let mut registry = self.write();
        for name in &names {
            self.metrics.declare(name);
            registry.models.entry(name.clone()).or_default();
        }
        // Those that are gone and answer nothing are forgotten.
        let is_kept = |name: &String, model: &Model| {
            names.contains(name)
                || model.versions.values().any(|state| !matches!(state, VersionState::End(_)))
        };
        registry.models.retain(|name, model| is_kept(name, model));
        registry.configured = names;
    }

    /// Whether the server can be sent requests. At first each model of the configuration
    /// must have a version that answers; no model at all is not ready. Later each one that
    /// has answered must: one that is added and is still loaded, or can't be, is no
    /// reason to send the others no requests.
    pub fn all_ready(&self) -> bool {
        let registry = self.read();
        let mut models = registry.configured.iter().filter_map(|name| registry.models.get(name));
        let was_ready = self.was_ready.load(Ordering::Relaxed);
        let ready = models.all(|model| model.answers() || (was_ready && !model.has_answered));
        let ready = ready && (was_ready || !registry.configured.is_empty());
        if ready {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        ready
    }
}

impl Model {
    fn answers(&self) -> bool {
        self.versions.values().any(|state| matches!(state, VersionState::Available(_)))
    }

    /// Takes out the lowest version that is over, if there are too many of them.
    fn forget_ended(&mut self) -> Option<VersionState> {
        if self.versions.len() <= MOST_ENDED {
            return None;
        }
        let is_over = |state: &VersionState| matches!(state, VersionState::End(_));
        let lowest = *self.versions.iter().find(|(_, state)| is_over(state))?.0;
        self.versions.remove(&lowest)
    }
}

impl Registry {
    fn declare(&mut self, name: &str) {
        if !self.models.contains_key(name) {
            self.models.insert(name.to_owned(), Model::default());
            self.configured.push(name.to_owned());
        }
    }
}

fn find_label(model: Option<&Model>, label: &str) -> Result<i64, RequestError> {
    model
        .and_then(|model| model.labels.get(label).copied())
        .ok_or_else(|| RequestError::VersionLabel { label: label.to_owned() })
}
