//! The static engine: our own operators, and rten for the islands that it computes right.
//! Pure Rust, no library to load.

use crate::{
    engine::{Engine, LoadError, LoadedModel, Run, RunError, Signature, Source, Specification},
    facts::size::{LARGEST_DIMENSION, LARGEST_INPUT},
    onnx::{
        model::{Declaration, Dimension},
        read::read,
    },
    operators::Context,
    plan::{Plan, PlanError, plan},
    program::Program,
    tensor::{Tensor, Value, ValueType},
};

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct StaticEngine;

impl Engine for StaticEngine {
    fn load(&self, source: Source<'_>) -> Result<Box<dyn LoadedModel>, LoadError> {
        let model = read(source.file, &source.limits).map_err(PlanError::Onnx)?;
        if model.graph.outputs.is_empty() {
            return Err(LoadError::Engine { reason: "the model has no outputs".to_owned() });
        }
        let metadata = model.metadata.clone();
        let inputs: Vec<Declaration> =
            model.graph.inputs.iter().map(|port| port.declaration.clone()).collect();
        let outputs: Vec<Declaration> =
            model.graph.outputs.iter().map(|port| port.declaration.clone()).collect();
        let planned = plan(model, source.files)?;
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
        if inputs.len() != self.signature.inputs.len() {
            let reason =
                format!("the model has {} inputs, {} were given", self.signature.inputs.len(), inputs.len());
            return Err(RunError::Input { input: String::new(), reason });
        }
        if inputs.iter().any(Option::is_none) {
            let needed = self.needed_inputs(outputs);
            for ((value, specification), needed) in inputs.iter().zip(&self.signature.inputs).zip(needed) {
                if value.is_none() && needed {
                    let reason = "the wanted outputs need it, and it was not given".to_owned();
                    return Err(RunError::Input { input: specification.name.clone(), reason });
                }
            }
        }
        for (value, specification) in inputs.iter().zip(&self.signature.inputs) {
            let Some(value) = value else { continue };
            check(value, specification)
                .map_err(|reason| RunError::Input { input: specification.name.clone(), reason })?;
        }
        let context = Context::new(run.budget, run.cancellation).with_threads(run.threads);
        self.program
            .run_with(inputs, Some(outputs), &context)
            .map_err(|error| RunError::Node { node: error.label.to_string(), error: error.error })
    }
}

/// Whether a value is what the model takes. The plan relies on it.
fn check(value: &Value, specification: &Specification) -> Result<(), String> {
    let found = type_of(value);
    let fits = match (&found, &specification.value_type) {
        // An optional that is empty has no type of its own.
        (None, ValueType::Optional(_)) => true,
        (found, expected) => found.as_ref() == Some(expected),
    };
    if !fits {
        let found = found.map_or_else(|| "an empty optional".to_owned(), |found| found.to_string());
        return Err(format!("it takes {}, found {found}", specification.value_type));
    }
    let Some(tensor) = value.tensor() else { return Ok(()) };
    check_shape(tensor, specification.shape.as_deref())
}

fn type_of(value: &Value) -> Option<ValueType> {
    match value {
        Value::Tensor(tensor) => Some(ValueType::Tensor(tensor.element_type())),
        Value::Sequence(element_type, _) => Some(ValueType::Sequence(*element_type)),
        Value::Optional(Some(inner)) => Some(ValueType::Optional(Box::new(type_of(inner)?))),
        Value::Optional(None) => None,
    }
}

fn check_shape(tensor: &Tensor, declared: Option<&[Dimension]>) -> Result<(), String> {
    let shape = tensor.shape();
    if tensor.len() as u64 > LARGEST_INPUT.unsigned_abs() {
        return Err(format!("it has {} elements; at most {LARGEST_INPUT} are taken", tensor.len()));
    }
    if shape.iter().any(|size| *size as u64 > LARGEST_DIMENSION.unsigned_abs()) {
        return Err(format!("it has the shape {shape:?}; no dimension may be above {LARGEST_DIMENSION}"));
    }
    let Some(declared) = declared else { return Ok(()) };
    let fits = declared.len() == shape.len()
        && declared.iter().zip(shape).all(|(declared, size)| match declared {
            Dimension::Fixed(fixed) => fixed == size,
            Dimension::Named(_) | Dimension::Any => true,
        });
    if fits {
        return Ok(());
    }
    let expected: Vec<String> = declared
        .iter()
        .map(|dimension| match dimension {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Named(name) => name.clone(),
            Dimension::Any => "any".to_owned(),
        })
        .collect();
    Err(format!("it takes the shape [{}], found {shape:?}", expected.join(", ")))
}
