//! Labels of versions.

use std::collections::BTreeMap;

use super::Manager;
use crate::loading::ModelConfig;

impl Manager {
    /// Gives a model's labels to its versions, as far as these are available.
    pub(super) fn assign_labels(&mut self, model: &ModelConfig) {
        let before = self.models.labels(&model.name);
        let mut labels = BTreeMap::new();
        for (label, version) in &model.labels {
            let is_available =
                self.managed.get(&model.name).is_some_and(|managed| managed.loaded.contains_key(version));
            let old = before.get(label);
            let is_new = old.is_none_or(|old| old == version);
            if is_available || (self.options.labels_of_unavailable && is_new) {
                labels.insert(label.clone(), *version);
            } else if let Some(old) = old {
                // Requests by this label are not sent to nothing.
                labels.insert(label.clone(), *old);
            }
        }
        if labels != before {
            self.models.set_labels(&model.name, labels);
        }
    }

    /// Labels of the configuration that name versions that are not available.
    pub fn unassigned_labels(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for model in &self.configuration.models {
            let assigned = self.models.labels(&model.name);
            for (label, version) in &model.labels {
                if assigned.get(label) != Some(version) {
                    missing.push(format!(
                        "Request to assign label {label} to version {version} of model {}, which is not currently \
                         available for inference",
                        model.name
                    ));
                }
            }
        }
        missing
    }
}
