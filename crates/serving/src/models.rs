//! The models that are served: names, versions, states.
//!
//! Requests hold the version they run on by reference count, so that a version
//! can be replaced or unloaded while others still use it.

mod servable;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

pub(crate) use servable::count as count_elements;
pub use servable::{Resources, Servable, ServableError};

use crate::error::RequestError;

/// How far a version is, in the words of `ModelVersionStatus.State`.
#[derive(Clone)]
pub enum VersionState {
    /// Being loaded.
    Loading,
    /// Answers requests.
    Available(Arc<Servable>),
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

type Versions = BTreeMap<i64, VersionState>;

/// All models. Cheap to clone; clones share everything.
#[derive(Clone, Default)]
pub struct Models {
    names: Arc<RwLock<BTreeMap<String, Versions>>>,
}

impl Models {
    /// Sets a version's state. A version that becomes available takes the
    /// requests for the latest version from the next one on if it is the
    /// highest.
    pub fn set(&self, name: &str, version: i64, state: VersionState) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.entry(name.to_owned()).or_default().insert(version, state);
    }

    /// Makes a name known before any of its versions is.
    pub fn declare(&self, name: &str) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.entry(name.to_owned()).or_default();
    }

    /// The version to run: the one asked for, or the highest that is available.
    pub fn servable(&self, name: &str, version: Option<i64>) -> Result<Arc<Servable>, RequestError> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let not_found = || RequestError::ServableNotFound { name: name.to_owned(), version };
        let versions = names.get(name).ok_or_else(not_found)?;
        let available = |state: &VersionState| match state {
            VersionState::Available(servable) => Some(Arc::clone(servable)),
            _ => None,
        };
        let found = match version {
            Some(version) => versions.get(&version).and_then(available),
            None => versions.values().rev().find_map(available),
        };
        found.ok_or_else(|| {
            let loading = match version {
                Some(version) => matches!(versions.get(&version), Some(VersionState::Loading)),
                None => {
                    versions.is_empty()
                        || versions.values().any(|state| matches!(state, VersionState::Loading))
                }
            };
            if loading { RequestError::Loading { name: name.to_owned() } } else { not_found() }
        })
    }

    /// The states of all versions, or of one, highest first.
    pub fn status(&self, name: &str, version: Option<i64>) -> Result<Vec<VersionStatus>, RequestError> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<VersionStatus> = names
            .get(name)
            .into_iter()
            .flat_map(|versions| versions.iter().rev())
            .filter(|(number, _)| version.is_none_or(|wanted| wanted == **number))
            .map(|(number, state)| VersionStatus { version: *number, state: state.clone() })
            .collect();
        if found.is_empty() {
            return Err(RequestError::ModelNotFound { name: name.to_owned(), version });
        }
        Ok(found)
    }
}
