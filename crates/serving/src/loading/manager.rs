//! Which versions are loaded, and which ones go.

mod labels;
mod room;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use adytum_engine::engine::Engine;
use adytum_sealed::select::SelectedModel;

use self::state::{Failure, Leaving, Loaded, Managed};
use super::{
    Keys, LoadOptions, LoadingError, ModelConfig, ModelServerConfig, VersionPolicy,
    budget::Need,
    found::{Candidate, Found, find, hint, may_be_incomplete, needs_another_rule},
    version::load_version,
};
use crate::{
    memory,
    models::{Models, VersionChoice, VersionState},
};

/// What a round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// When the next round has something to do, whatever the directories hold.
    pub again: Option<Instant>,
    /// Whether a version waits for a key or a rule that the broker may have.
    pub wants_keys: bool,
    /// Why nothing can be served, if waiting would not help.
    pub hopeless: Option<LoadingError>,
    /// Models without a version that answers, with what is known of it.
    pub missing: Vec<(String, String)>,
    /// Changes when a file of a version that failed does.
    pub files: u64,
}

/// Holds what should be served to what is there.
pub struct Manager {
    models: Models,
    engine: Arc<dyn Engine>,
    options: LoadOptions,
    keys: Keys,
    configuration: ModelServerConfig,
    managed: BTreeMap<String, Managed>,
    leaving: Vec<Leaving>,
    /// Versions for which the broker was asked, with the fingerprint of their files.
    asked: BTreeSet<(String, i64, u64)>,
}

impl Manager {
    /// Serves this configuration from the first round on.
    pub fn new(
        models: Models,
        engine: Arc<dyn Engine>,
        options: LoadOptions,
        keys: Keys,
        configuration: ModelServerConfig,
    ) -> Self {
        models.configure(configuration.models.iter().map(|model| model.name.clone()).collect());
        Self {
            models,
            engine,
            options,
            keys,
            configuration,
            managed: BTreeMap::new(),
            leaving: Vec::new(),
            asked: BTreeSet::new(),
        }
    }

    /// How models are loaded.
    pub fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// The configuration.
    pub fn configuration(&self) -> &ModelServerConfig {
        &self.configuration
    }

    /// From the next round on this is served. Versions that are loaded and wanted stay.
    pub fn configure(&mut self, configuration: ModelServerConfig) {
        for model in &configuration.models {
            let moved =
                self.configuration.models.iter().any(|old| old.name == model.name && old.base != model.base);
            if moved && let Some(managed) = self.managed.get_mut(&model.name) {
                managed.forget_failures();
            }
        }
        self.models.configure(configuration.models.iter().map(|model| model.name.clone()).collect());
        self.configuration = configuration;
    }

    /// From the next round on versions are judged and opened with these. Versions
    /// that are loaded and no longer allowed go at once.
    pub fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
        self.asked.clear();
        self.forget_failures();
        let mut forbidden = Vec::new();
        for (name, managed) in &self.managed {
            let rule = self.keys.rules.iter().find(|rule| rule.name.as_str() == name);
            for (version, loaded) in &managed.loaded {
                let Some(statement) = &loaded.statement else { continue };
                if rule.is_none_or(|rule| rule.judge(statement).is_err()) {
                    forbidden.push((name.clone(), *version));
                }
            }
        }
        for (name, version) in forbidden {
            tracing::warn!(
                model = name,
                version,
                "the broker's rule no longer allows this version: unloading it"
            );
            self.unload(&name, version);
        }
    }

    /// Versions that failed are tried again in the next round.
    pub fn forget_failures(&mut self) {
        for managed in self.managed.values_mut() {
            managed.forget_failures();
        }
    }

    /// Looks at every model's directory, loads and unloads.
    pub fn round(&mut self, now: Instant) -> Round {
        self.finish_unloading();
        let mut round = Round::default();
        let configuration = self.configuration.clone();
        let gone: Vec<String> = self
            .managed
            .keys()
            .filter(|name| !configuration.models.iter().any(|model| model.name == **name))
            .cloned()
            .collect();
        for name in gone {
            for version in self.loaded(&name) {
                self.unload(&name, version);
            }
            self.managed.remove(&name);
        }
        for model in &configuration.models {
            self.reconcile(model, now, &mut round);
            self.assign_labels(model);
        }
        self.finish_unloading();
        if !self.leaving.is_empty() {
            state::earlier(&mut round.again, now + state::LEAVING_PAUSE);
        }
        self.judge(&configuration, &mut round);
        round
    }

    fn loaded(&self, name: &str) -> Vec<i64> {
        self.managed.get(name).map(|managed| managed.loaded.keys().copied().collect()).unwrap_or_default()
    }

    fn reconcile(&mut self, model: &ModelConfig, now: Instant, round: &mut Round) {
        let name = &model.name;
        let rule = self.keys.rules.iter().find(|rule| rule.name.as_str() == name);
        let managed = self.managed.entry(name.clone()).or_default();
        let found = match find(&model.base, rule, self.options.allow_plain) {
            Ok(found) => found,
            Err(error) => {
                // Loaded versions go on: a volume that is away for a moment is no order.
                if managed.note(error.to_string()) {
                    tracing::warn!(model = name, code = error.code(), "{error}; looking again");
                }
                return;
            }
        };
        self.report(model, &found, round);
        let wanted = self.load_wanted(model, &found.candidates, now, round);
        let nothing_there = found.candidates.is_empty() && found.refused.is_empty();
        if wanted.is_empty() && !nothing_there {
            return;
        }
        for version in self.loaded(name) {
            if !wanted.contains(&version) {
                self.unload(name, version);
            }
        }
    }

    /// Logs what is not used, and sets the states of versions that are not allowed.
    fn report(&mut self, model: &ModelConfig, found: &Found, round: &mut Round) {
        let Some(managed) = self.managed.get_mut(&model.name) else { return };
        let name = &model.name;
        managed.incomplete = false;
        managed.refusals.clear();
        for (version, refused) in &found.refused {
            managed.incomplete |= may_be_incomplete(&refused.reason);
            managed.refusals.push(refused.to_string());
            round.wants_keys |=
                needs_another_rule(&refused.reason) && self.asked.insert((name.clone(), *version, 0));
            if managed.is_new(&refused.path, refused.code()) {
                tracing::warn!(model = name, code = refused.code(), "refused {refused}");
            }
            if !managed.loaded.contains_key(version) {
                self.models.set(name, *version, VersionState::End(Some(refused.reason.to_string())));
            }
        }
        for refused in &found.others {
            if managed.is_new(&refused.path, refused.code()) {
                tracing::debug!(model = name, code = refused.code(), "not used: {refused}");
            }
        }
        if found.candidates.is_empty() && found.refused.is_empty() {
            let hint = hint(&model.base).unwrap_or_else(|| {
                "expected BASE/NUMBER/model.onnx.age with its model.seal, or BASE/NUMBER/model.onnx or \
                 BASE/NUMBER/saved_model.pb where plain models are allowed"
                    .to_owned()
            });
            let text = format!(
                "no versions of servable {name} found under base path {}; {hint}",
                model.base.display()
            );
            if managed.note(text.clone()) {
                tracing::warn!(model = name, "{text}; waiting for one");
            }
        } else {
            managed.note = None;
        }
    }

    /// Loads what the policy wants, as far as it can be: the versions that are loaded
    /// then and stay.
    fn load_wanted(
        &mut self,
        model: &ModelConfig,
        candidates: &[Candidate],
        now: Instant,
        round: &mut Round,
    ) -> BTreeSet<i64> {
        for version in targets(&model.policy, candidates) {
            let is_new = self.managed.get(&model.name).is_some_and(|managed| !managed.knows(version));
            if is_new {
                self.models.set(&model.name, version, VersionState::Start);
            }
        }
        let mut wanted = BTreeSet::new();
        for candidate in candidates {
            let takes = match &model.policy {
                VersionPolicy::Latest(number) => wanted.len() < number.get(),
                VersionPolicy::All => true,
                VersionPolicy::Specific(versions) => versions.contains(&candidate.version),
            };
            if takes && self.ensure(model, candidate, &wanted, now, round) {
                wanted.insert(candidate.version);
            }
        }
        wanted
    }

    /// Whether a version is loaded, after trying to load it if that has a prospect.
    fn ensure(
        &mut self,
        model: &ModelConfig,
        candidate: &Candidate,
        wanted: &BTreeSet<i64>,
        now: Instant,
        round: &mut Round,
    ) -> bool {
        let (name, version) = (&model.name, candidate.version);
        let Some(managed) = self.managed.get(name) else { return false };
        if managed.loaded.contains_key(&version) {
            return true;
        }
        let fingerprint = candidate.fingerprint();
        let failure = managed.failures.get(&version).filter(|failure| failure.fingerprint == fingerprint);
        let attempts = match failure {
            None => 0,
            Some(failure) => match failure.again {
                Some(again) if again <= now => failure.attempts,
                again => {
                    if let Some(again) = again {
                        state::earlier(&mut round.again, again);
                    }
                    return false;
                }
            },
        };
        let need = Need::of(candidate.size());
        if !self.make_room(name, version, need, wanted, round, now) {
            return false;
        }
        self.models.set(name, version, VersionState::Loading);
        tracing::info!(model = name, version, sealed = is_sealed(candidate), "loading");
        let (metrics, started) = (self.models.metrics(name), Instant::now());
        let loaded = load_version(
            name,
            &model.base,
            candidate,
            &self.keys.identities,
            self.engine.as_ref(),
            &self.options,
        );
        memory::give_back();
        metrics.load(loaded.is_ok(), started.elapsed());
        let error = match loaded {
            Ok(servable) => {
                let statement = match &candidate.model {
                    SelectedModel::Sealed(sealed) => Some(sealed.genuine_statement().statement().clone()),
                    SelectedModel::Plain { .. } => None,
                };
                let servable = Arc::new(servable.counted_by(metrics).stated_by(statement.clone()));
                let loaded = Loaded { absence: servable.absence(), memory: need.steady, statement };
                self.models.set_memory(name, version, need.steady);
                self.models.set(name, version, VersionState::Available(servable));
                if let Some(managed) = self.managed.get_mut(name) {
                    managed.failures.remove(&version);
                    managed.loaded.insert(version, loaded);
                }
                tracing::info!(model = name, version, sealed = is_sealed(candidate), "available");
                return true;
            }
            Err(error) => error,
        };
        let attempts = attempts + 1;
        let again =
            (error.may_pass() && attempts <= self.options.retries).then(|| now + self.options.retry_pause);
        let code = error.code();
        match again {
            Some(again) => {
                let pause = self.options.retry_pause;
                tracing::warn!(
                    model = name,
                    version,
                    code,
                    "could not be loaded: {error}; trying again in {pause:?}"
                );
                state::earlier(&mut round.again, again);
            }
            None => {
                tracing::error!(model = name, version, code, "could not be loaded: {error}");
                self.models.set(name, version, VersionState::End(Some(error.to_string())));
            }
        }
        round.wants_keys |=
            error.needs_another_key() && self.asked.insert((name.clone(), version, fingerprint));
        let failure = Failure { fingerprint, reason: format!("version {version}: {error}"), attempts, again };
        if let Some(managed) = self.managed.get_mut(name) {
            managed.failures.insert(version, failure);
        }
        false
    }

    fn fingerprint_failures(&self) -> u64 {
        let failures = self.managed.values().flat_map(|managed| managed.failures.values());
        failures.fold(0, |all, failure| all.rotate_left(1) ^ failure.fingerprint)
    }

    /// Says what is missing, and whether waiting would help.
    fn judge(&self, configuration: &ModelServerConfig, round: &mut Round) {
        let mut reasons = Vec::new();
        let mut waits = configuration.models.is_empty();
        for model in &configuration.models {
            if self.models.servable(&model.name, &VersionChoice::Latest).is_ok() {
                waits = true;
                continue;
            }
            let Some(managed) = self.managed.get(&model.name) else { continue };
            let failures = managed.failures.values().map(|failure| failure.reason.clone());
            let known: Vec<String> = failures.chain(managed.refusals.iter().cloned()).collect();
            let is_pending = managed.failures.values().any(|failure| failure.again.is_some());
            waits |= known.is_empty() || managed.incomplete || is_pending;
            let text = managed.note.clone().unwrap_or_else(|| known.join("; "));
            round.missing.push((model.name.clone(), text));
            reasons.extend(known);
        }
        waits |= !self.leaving.is_empty();
        round.files = self.fingerprint_failures();
        if !waits {
            let names = configuration.models.iter().map(|model| model.name.clone()).collect();
            round.hopeless = Some(LoadingError::NoVersion { names, reasons });
        }
    }
}

/// The versions that a policy wants, whether or not they can be loaded.
fn targets<'a>(policy: &'a VersionPolicy, candidates: &'a [Candidate]) -> impl Iterator<Item = i64> + 'a {
    let most = match policy {
        VersionPolicy::Latest(number) => number.get(),
        VersionPolicy::All | VersionPolicy::Specific(_) => usize::MAX,
    };
    let versions = candidates.iter().map(|candidate| candidate.version);
    versions
        .filter(|version| match policy {
            VersionPolicy::Specific(versions) => versions.contains(version),
            VersionPolicy::Latest(_) | VersionPolicy::All => true,
        })
        .take(most)
}

fn is_sealed(candidate: &Candidate) -> bool {
    matches!(candidate.model, SelectedModel::Sealed(_))
}
