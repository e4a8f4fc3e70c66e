//! The requests that a SavedModel brings to be warmed up with: they are run, and for engines that compare answers
//! while they load a model they are examples.

use std::path::Path;

use adytum_engine::{
    engine::{Example, Examples, LoadedModel},
    operators::Cancellation,
    threads::Threads,
};

use super::records::{Records, WarmUpError};
use crate::models::{Servable, signatures};

/// Runs the requests of a version's directory, each `iterations` times. Without the file
/// there is nothing to do.
pub(super) fn replay(directory: &Path, servable: &Servable, iterations: u32) -> Result<(), WarmUpError> {
    let Some(mut records) = Records::open(directory)? else { return Ok(()) };
    let threads = Threads::new(1);
    let mut skipped = 0;
    while let Some(asked) = records.next(servable.signatures())? {
        skipped += usize::from(asked.is_empty());
        let record = records.count();
        for (signature, inputs) in asked {
            let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
            for _ in 0..iterations.max(1) {
                let run =
                    || servable.run(signature, inputs.clone(), &outputs, &threads, &Cancellation::default());
                threads
                    .enter(run)
                    .map_err(|source| WarmUpError::Request { record, source: Box::new(source) })?;
            }
        }
    }
    let (model, version) = (servable.name(), servable.version());
    tracing::info!(model, version, requests = records.count() - skipped, "answered its own warm-up requests");
    if skipped > 0 {
        tracing::info!(
            model,
            version,
            skipped,
            "warm-up requests of SessionRun are not run, since they name tensors of TensorFlow's graph, and records \
             without a request are not either"
        );
    }
    Ok(())
}

/// The warm-up requests of a version's directory, as examples.
pub(super) struct WarmUpExamples<'a> {
    pub(super) directory: &'a Path,
}

impl Examples for WarmUpExamples<'_> {
    /// Records that can't be read are left out here: [`replay`] says what is wrong.
    fn of(&self, model: &dyn LoadedModel, most: usize) -> Vec<Example> {
        let Ok(signatures) = signatures(model) else { return Vec::new() };
        let Ok(Some(mut records)) = Records::open(self.directory) else { return Vec::new() };
        let mut found = Vec::new();
        while found.len() < most
            && let Ok(Some(asked)) = records.next(&signatures)
        {
            found.extend(asked.into_iter().map(|(signature, inputs)| {
                let (inputs, outputs) = signature.run_of(model.signature().inputs.len(), inputs);
                Example { inputs, outputs }
            }));
        }
        found.truncate(most);
        found
    }
}
