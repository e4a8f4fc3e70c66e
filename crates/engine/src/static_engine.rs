//! The static engine: our own operators, and rten for the islands that it computes right.
//! Pure Rust, no library to load.

use std::num::NonZeroUsize;

use crate::{
    accuracy::{Answers, judge},
    engine::{Engine, LoadError, LoadedModel, Run, RunError, Signature, Source, Specification},
    inputs::check,
    onnx::{
        model::{Declaration, Dimension},
        read::read_in_place,
    },
    operators::Context,
    plan::{Plan, PlanError, plan},
    precision::{Precision, PrecisionError},
    probes::{Probe, answer, probe},
    program::Program,
    tensor::Value,
    threads::Threads,
};

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct StaticEngine;

impl Engine for StaticEngine {
    fn load(&self, source: Source<'_>) -> Result<Box<dyn LoadedModel>, LoadError> {
        load(source, Precision::Float32)
    }
}

/// The same engine, with convolutions and products in 16-bit floats where their answers are near enough to those in
/// 32-bit floats. While a model is loaded, both forms of it are asked; a model that is not near enough is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct BFloat16Engine;

impl Engine for BFloat16Engine {
    fn load(&self, source: Source<'_>) -> Result<Box<dyn LoadedModel>, LoadError> {
        if !Precision::BFloat16.is_available() {
            return Err(PrecisionError::Unsupported.into());
        }
        let Source { file, files, limits } = source;
        let threads = Threads::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get));
        let probes = {
            let exact = load(Source { file: file.clone(), files, limits }, Precision::Float32)?;
            probe(exact.as_ref(), &threads)
        };
        let model = load(Source { file, files, limits }, Precision::BFloat16)?;
        if model.plan().is_some_and(|plan| plan.narrow == 0) {
            return Ok(model);
        }
        let probes = probes.map_err(|reason| PrecisionError::Unmeasured { reason })?;
        compare(model.as_ref(), probes, &threads)?;
        Ok(model)
    }
}

/// Compares the answers of a model with those of probes.
fn compare(model: &dyn LoadedModel, probes: Vec<Probe>, threads: &Threads) -> Result<(), PrecisionError> {
    let unmeasured = |reason: String| PrecisionError::Unmeasured { reason };
    let mut runs = Vec::with_capacity(probes.len());
    for Probe { inputs, outputs } in probes {
        runs.push((outputs, answer(model, inputs, threads).map_err(unmeasured)?));
    }
    for (index, output) in model.signature().outputs.iter().enumerate() {
        let tensors = runs.iter().map(|(exact, found)| {
            exact.get(index).and_then(Value::tensor).zip(found.get(index).and_then(Value::tensor))
        });
        let pairs: Option<Vec<_>> = tensors.collect();
        let pairs = pairs.ok_or_else(|| unmeasured(format!("the output {:?} is no tensor", output.name)))?;
        judge(&Answers { name: &output.name, pairs })?;
    }
    Ok(())
}

fn load(source: Source<'_>, precision: Precision) -> Result<Box<dyn LoadedModel>, LoadError> {
    let (model, file) = read_in_place(source.file, &source.limits).map_err(PlanError::Onnx)?;
    if model.graph.outputs.is_empty() {
        return Err(LoadError::Engine { reason: "the model has no outputs".to_owned() });
    }
    let metadata = model.metadata.clone();
    let inputs: Vec<Declaration> = model.graph.inputs.iter().map(|port| port.declaration.clone()).collect();
    let outputs: Vec<Declaration> = model.graph.outputs.iter().map(|port| port.declaration.clone()).collect();
    let planned = plan(model, file, source.files, precision)?;
    let mut signature = Signature::default();
    for Declaration { name, value_type, shape } in inputs {
        // The plan refuses inputs without a type.
        let Some(value_type) = value_type else { continue };
        signature.inputs.push(Specification { name, value_type, shape });
    }
    for ((declaration, found), known) in outputs.into_iter().zip(planned.types).zip(planned.shapes) {
        let Declaration { name, value_type, shape } = declaration;
        if let Some(declared) = value_type
            && declared != found
        {
            let reason = format!("the file declares {declared}, and its graph gives {found}");
            return Err(LoadError::Plan(PlanError::Port { kind: "output", name, reason }));
        }
        let inferred = known.map(|shape| {
            shape.into_iter().map(|size| size.map_or(Dimension::Any, Dimension::Fixed)).collect()
        });
        signature.outputs.push(Specification { name, value_type: found, shape: shape.or(inferred) });
    }
    Ok(Box::new(StaticModel { program: planned.program, signature, metadata, plan: planned.plan }))
}

/// A model of the static engine.
#[derive(Debug)]
struct StaticModel {
    program: Program,
    signature: Signature,
    metadata: Vec<(String, String)>,
    plan: Plan,
}

impl LoadedModel for StaticModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    fn plan(&self) -> Option<&Plan> {
        Some(&self.plan)
    }

    fn needed_inputs(&self, outputs: &[usize]) -> Vec<bool> {
        self.program.needed_inputs(outputs)
    }

    fn run(
        &self,
        inputs: Vec<Option<Value>>,
        outputs: &[usize],
        run: Run<'_>,
    ) -> Result<Vec<Value>, RunError> {
        check(&self.signature, &inputs, || self.needed_inputs(outputs))?;
        let context = Context::new(run.budget, run.cancellation).with_threads(run.threads);
        self.program
            .run_with(inputs, Some(outputs), &context)
            .map_err(|error| RunError::Node { node: error.label.to_string(), error: error.error })
    }
}
