//! The models that are served: names, versions, states, labels.
//!
//! Requests hold the version they run on by reference count, so that a version
//! can be replaced or unloaded while others still use it.

mod servable;
mod signature;
mod warm_up;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

pub use adytum_import::signature::{Examples, Feature, FeatureList, FeatureValues, Method};

pub(crate) use servable::count as count_elements;
pub use servable::{Resources, Servable, ServableError};
pub use signature::{DEFAULT_SIGNATURE, ServedSignature};

use crate::error::RequestError;

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

#[derive(Default)]
struct Model {
    versions: BTreeMap<i64, VersionState>,
    labels: BTreeMap<String, i64>,
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
            registry.models.entry(name.to_owned()).or_default().versions.insert(version, state)
        };
        // A model's memory is given back here and not under the lock.
        drop(before);
    }

    /// Makes a name known, after those that are.
    pub fn declare(&self, name: &str) {
        self.write().declare(name);
    }

    /// The version to run: the one asked for, or the highest that is available.
    pub fn servable(&self, name: &str, choice: &VersionChoice) -> Result<Arc<Servable>, RequestError> {
        let registry = self.read();
        let model = registry.models.get(name);
        let version = match choice {
            VersionChoice::Latest => None,
            VersionChoice::Number(version) => Some(*version),
            VersionChoice::Label(label) => Some(find_label(model, label)?),
        };
        let not_found = || RequestError::ServableNotFound { name: name.to_owned(), version };
        let versions = &model.ok_or_else(not_found)?.versions;
        let available = |state: &VersionState| match state {
            VersionState::Available(servable) => Some(Arc::clone(servable)),
            _ => None,
        };
        let found = match version {
            Some(version) => versions.get(&version).and_then(available),
            None => versions.values().rev().find_map(available),
        };
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
            registry.models.entry(name.clone()).or_default();
        }
        registry.configured = names;
    }

    /// Whether each model of the configuration has a version that answers requests. No
    /// model at all is not ready.
    pub fn all_ready(&self) -> bool {
        let registry = self.read();
        let is_available = |state: &VersionState| matches!(state, VersionState::Available(_));
        let mut models = registry.configured.iter().map(|name| registry.models.get(name));
        !registry.configured.is_empty()
            && models.all(|model| model.is_some_and(|model| model.versions.values().any(is_available)))
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
