//! The models of one attested session. The client was told which they are, under evidence,
//! and only they answer it: a version that is loaded later is another model.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use adytum_sealed::statement::Statement;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;

use super::{Models, Servable, VersionState};
use crate::error::RequestError;

/// The model that answered, in a header of each answer in an attested session.
pub const MODEL: HeaderName = HeaderName::from_static("adytum-model");
/// Its version.
pub const MODEL_VERSION: HeaderName = HeaderName::from_static("adytum-model-version");
/// SHA-256 of its plaintext, as its owner signed it.
pub const MODEL_SHA256: HeaderName = HeaderName::from_static("adytum-model-sha256");

type Versions = BTreeMap<(String, i64), Arc<Servable>>;

/// Sealed versions that answer, kept for one session.
pub struct Pinned {
    versions: Versions,
    /// All that could be pinned then.
    all: usize,
    changes: watch::Receiver<u64>,
}

impl Pinned {
    /// What the owners signed about them, by names and versions.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.versions.values().filter_map(|servable| servable.statement())
    }

    /// Keeps the first of them, as many as `fits` says.
    pub(crate) fn retain(&mut self, mut fits: impl FnMut(&Statement) -> bool) {
        self.versions.retain(|_, servable| servable.statement().is_some_and(&mut fits));
    }

    /// How many versions did not fit.
    pub(crate) fn left_out(&self) -> usize {
        self.all - self.versions.len()
    }

    pub(super) fn find(&self, name: &str, version: Option<i64>) -> Option<&Arc<Servable>> {
        match version {
            Some(version) => self.versions.get(&(name.to_owned(), version)),
            None => {
                let versions = (name.to_owned(), i64::MIN)..=(name.to_owned(), i64::MAX);
                self.versions.range(versions).next_back().map(|(_, servable)| servable)
            }
        }
    }

    /// Ends when the models that answer are no longer these.
    pub(crate) async fn outdated(&self, models: &Models) {
        let mut changes = self.changes.clone();
        loop {
            changes.mark_unchanged();
            if !self.is_current(models) || changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn is_current(&self, models: &Models) -> bool {
        let now = models.sealed();
        let same = |(key, servable): (&(String, i64), &Arc<Servable>)| {
            now.get(key).is_some_and(|other| Arc::ptr_eq(servable, other))
        };
        now.len() == self.all && self.versions.iter().all(same)
    }
}

/// A session, as one of its requests sees it.
#[derive(Clone)]
pub(super) struct Session {
    pinned: Arc<Pinned>,
    answered: Answered,
}

impl Session {
    /// A version of this session's, which is taken to answer.
    pub(super) fn servable(&self, name: &str, version: Option<i64>) -> Result<Arc<Servable>, RequestError> {
        let found = self.pinned.find(name, version).cloned();
        let found = found.ok_or_else(|| RequestError::NotInSession { name: name.to_owned(), version })?;
        self.answered.0.lock().unwrap_or_else(PoisonError::into_inner).replace(Arc::clone(&found));
        Ok(found)
    }
}

/// Which version answered a request.
#[derive(Clone, Default)]
pub(crate) struct Answered(Arc<Mutex<Option<Arc<Servable>>>>);

impl Answered {
    /// Names it in the headers of an answer.
    pub(crate) fn name_in(&self, headers: &mut HeaderMap) {
        let servable = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(statement) = servable.as_ref().and_then(|servable| servable.statement()) else { return };
        headers.insert(MODEL_VERSION, HeaderValue::from(statement.version));
        for (name, text) in
            [(MODEL, statement.model.to_string()), (MODEL_SHA256, statement.sha256.to_string())]
        {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
}

impl Models {
    /// The sealed versions that answer now, for a session.
    pub(crate) fn pin(&self) -> Pinned {
        // Before the versions are looked at, so that no change is missed.
        let changes = self.changes.subscribe();
        let versions = self.sealed();
        Pinned { all: versions.len(), versions, changes }
    }

    /// The same models, as a request in this session sees them.
    pub(crate) fn in_session(&self, pinned: &Arc<Pinned>, answered: &Answered) -> Self {
        let session = Session { pinned: Arc::clone(pinned), answered: answered.clone() };
        Self { session: Some(session), ..self.clone() }
    }

    fn sealed(&self) -> Versions {
        let registry = self.read();
        let of = |(name, model): (&String, &super::Model)| {
            let versions = model.versions.iter().filter_map(|(version, state)| match state {
                VersionState::Available(servable) if servable.statement().is_some() => {
                    Some(((name.clone(), *version), Arc::clone(servable)))
                }
                _ => None,
            });
            versions.collect::<Vec<_>>()
        };
        registry.models.iter().flat_map(of).collect()
    }
}
