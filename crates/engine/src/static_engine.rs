//! The static engine: our own operators, and rten for the islands that it computes right.
//! Pure Rust, no library to load.

use crate::{
    engine::{Engine, LoadError, LoadedModel, Run, RunError, Signature, Source, Specification},
    inputs::check,
    onnx::{
        model::{Declaration, Dimension},
        read::read_in_place,
    },
    operators::Context,
    plan::{Plan, PlanError, plan},
    precision::Precision,
    program::Program,
    tensor::Value,
};

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct StaticEngine;

impl Engine for StaticEngine {
    fn load(&self, source: Source<'_>) -> Result<Box<dyn LoadedModel>, LoadError> {
        load(source, Precision::Float32)
    }
}

/// Loads a model that computes convolutions and products in these floats.
pub(crate) fn load(source: Source<'_>, precision: Precision) -> Result<Box<dyn LoadedModel>, LoadError> {
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
