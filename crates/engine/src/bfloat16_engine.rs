//! The static engine in 16-bit floats, for models whose answers stay near to those in 32-bit floats.

use std::num::NonZeroUsize;

use crate::{
    accuracy::{Answers, judge},
    engine::{Engine, LoadError, LoadedModel, Source},
    precision::{Precision, PrecisionError},
    probes::{Probe, answer, probe},
    static_engine::load,
    tensor::{Tensor, Value},
    threads::Threads,
};

/// The same engine as [`StaticEngine`](crate::static_engine::StaticEngine), with convolutions and products in 16-bit floats
/// where their answers are near enough to those in 32-bit floats. While a model is loaded, both forms of it are asked;
/// a model that is not near enough is refused. They are asked for the examples that come with the model. Outputs that
/// no example has are compared with inputs that are made up.
#[derive(Clone, Copy, Debug, Default)]
pub struct BFloat16Engine;

impl Engine for BFloat16Engine {
    fn load(&self, source: Source<'_>) -> Result<Box<dyn LoadedModel>, LoadError> {
        if !Precision::BFloat16.is_available() {
            return Err(PrecisionError::Unsupported.into());
        }
        let Source { file, files, limits, examples } = source;
        let threads = Threads::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get));
        let probes = {
            let source = Source { file: file.clone(), files, limits, examples };
            let exact = load(source, Precision::Float32)?;
            probe(exact.as_ref(), examples, &threads)
        };
        let model = load(Source { file, files, limits, examples }, Precision::BFloat16)?;
        if model.plan().is_some_and(|plan| plan.narrow == 0) {
            return Ok(model);
        }
        let probes = probes.map_err(|reason| PrecisionError::Unmeasured { reason })?;
        compare(model.as_ref(), &probes, &threads)?;
        Ok(model)
    }
}

/// Compares the answers of a model with those of probes.
fn compare(model: &dyn LoadedModel, probes: &[Probe], threads: &Threads) -> Result<(), PrecisionError> {
    let unmeasured = |reason: String| PrecisionError::Unmeasured { reason };
    let mut runs = Vec::with_capacity(probes.len());
    for probe in probes {
        let found = answer(model, &probe.example, threads).map_err(unmeasured)?;
        runs.push((&probe.example.outputs, &probe.answers, found));
    }
    for (index, output) in model.signature().outputs.iter().enumerate() {
        let mut pairs: Vec<(&Tensor, &Tensor)> = Vec::new();
        for (outputs, exact, found) in &runs {
            let Some(place) = outputs.iter().position(|output| *output == index) else { continue };
            let pair = exact.get(place).and_then(Value::tensor).zip(found.get(place).and_then(Value::tensor));
            pairs.push(pair.ok_or_else(|| unmeasured(format!("the output {:?} is no tensor", output.name)))?);
        }
        judge(&Answers { name: &output.name, pairs })?;
    }
    Ok(())
}
