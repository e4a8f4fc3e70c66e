//! Memory for versions: taken before they are loaded, given back when they are gone.

use std::{collections::BTreeSet, path::Path, time::Instant};

use super::{
    Manager, Round,
    state::{self, Leaving},
};
use crate::{
    loading::{WhenShort, budget::Need},
    memory,
    models::VersionState,
};

/// A new version does not fit into the memory for models, next to the versions that are
/// loaded. The version before it goes on.
///
/// Do: raise --model_memory_bytes, or start `adytum-serving` with --when_memory_is_short=release:
/// it unloads the old version first.
///
/// Retry: later
const NO_MEMORY: &str = "model-memory";

impl Manager {
    /// Whether there is memory for a version. If there is none, the policy says whether
    /// other versions of the model go first.
    pub(super) fn make_room(
        &mut self,
        name: &str,
        version: i64,
        need: Need,
        wanted: &BTreeSet<i64>,
        round: &mut Round,
        now: Instant,
    ) -> bool {
        let used = self.used_memory();
        if self.options.budget.fits(used, need) {
            return true;
        }
        let others: Vec<i64> =
            self.loaded(name).into_iter().filter(|other| !wanted.contains(other)).collect();
        let freed = self.managed.get(name).map_or(0, |managed| managed.memory_of(&others));
        let leaving: u64 = self.leaving.iter().map(|leaving| leaving.memory).sum();
        // What leaves already will be free soon.
        let helps = self.options.budget.fits(used.saturating_sub(freed).saturating_sub(leaving), need);
        if self.options.budget.when_short == WhenShort::Release && helps {
            for other in others {
                tracing::warn!(
                    model = name,
                    version = other,
                    "unloading it first: there is no memory for two versions"
                );
                self.unload(name, other);
            }
            self.finish_unloading();
            if self.options.budget.fits(self.used_memory(), need) {
                return true;
            }
            state::earlier(&mut round.again, now + state::LEAVING_PAUSE);
            return false;
        }
        let reason = format!(
            "no memory: loading version {version} takes up to {} bytes, and {used} of the {} bytes for models are in \
             use; raise --model_memory_bytes, or allow --when_memory_is_short=release",
            need.peak,
            self.options.budget.limit.unwrap_or(u64::MAX)
        );
        if let Some(managed) = self.managed.get_mut(name)
            && managed.is_new(Path::new(&version.to_string()), NO_MEMORY)
        {
            tracing::error!(model = name, version, code = NO_MEMORY, "could not be loaded: {reason}");
        }
        if let Some(managed) = self.managed.get_mut(name) {
            managed.refusals.push(format!("version {version}: {reason}"));
        }
        self.models.set(name, version, VersionState::End(Some(reason)));
        false
    }

    /// The memory of what is loaded, and of what leaves and is still in use.
    fn used_memory(&self) -> u64 {
        let loaded =
            self.managed.values().flat_map(|managed| managed.loaded.values()).map(|loaded| loaded.memory);
        loaded.chain(self.leaving.iter().map(|leaving| leaving.memory)).fold(0, u64::saturating_add)
    }

    /// Takes a version out: requests that run end, new ones don't get it.
    pub(super) fn unload(&mut self, name: &str, version: i64) {
        let Some(loaded) = self.managed.get_mut(name).and_then(|managed| managed.loaded.remove(&version))
        else {
            return;
        };
        tracing::info!(model = name, version, "unloading");
        self.models.set(name, version, VersionState::Unloading);
        self.leaving.push(Leaving {
            name: name.to_owned(),
            version,
            absence: loaded.absence,
            memory: loaded.memory,
        });
        self.finish_unloading();
    }

    /// Gives back the memory of versions whose last request has ended.
    pub(super) fn finish_unloading(&mut self) {
        let gone: Vec<Leaving> =
            self.leaving.extract_if(.., |leaving| leaving.absence.is_complete()).collect();
        if gone.is_empty() {
            return;
        }
        for leaving in gone {
            let (name, version) = (&leaving.name, leaving.version);
            self.models.set_memory(name, version, 0);
            let is_loaded_again =
                self.managed.get(name).is_some_and(|managed| managed.loaded.contains_key(&version));
            if !is_loaded_again {
                self.models.set(name, version, VersionState::End(None));
            }
            tracing::info!(model = name, version, "unloaded");
        }
        memory::give_back();
    }
}
