//! Loads models and runs them.

use std::{collections::HashMap, ffi::CString, sync::Arc};

use adytum_engine::{
    engine::{Engine, LoadError, LoadedModel, Run, RunError, Signature, Source, Specification},
    inputs::check,
    onnx::{files::DataFiles, model::Dimension},
    operators::OperatorError,
    plan::{Plan, PlanError},
    tensor::{ElementType, Value, ValueType},
};
use ort::{
    session::{RunOptions, Session, builder::GraphOptimizationLevel},
    value::{Outlet, TensorElementType, ValueType as NativeType},
};

use crate::{
    native::{self, Failure, NativeValue, ReadFailure},
    needs::{Finder, Group},
    outline::{Outline, Port},
    rewrite::{Prepared, prepare},
    runtime::{OnnxRuntime, Shared},
};

/// What errors of a run name in place of a node: ONNX Runtime's message names the node.
const NODE: &str = "ONNX Runtime";

/// The longest file that protocol buffers are read of, in bytes.
const LONGEST_FILE: usize = i32::MAX as usize;

impl Engine for OnnxRuntime {
    fn load(&self, source: Source<'_>) -> Result<Box<dyn LoadedModel>, LoadError> {
        let Source { file, files, limits, .. } = source;
        let outline = Outline::read(file, &limits).map_err(PlanError::Onnx)?;
        if outline.outputs.is_empty() {
            return Err(LoadError::Engine { reason: "the model has no outputs".to_owned() });
        }
        let finder = Finder::new(&outline);
        let mut groups = finder.groups();
        let all: Vec<usize> = (0..outline.outputs.len()).collect();
        let whole = self.part(&outline, &finder, &all, files)?;
        let signature = signature(&outline, &whole.session)?;
        let mut parts = vec![whole];
        if groups.len() > 1 {
            for group in &groups {
                parts.push(self.part(&outline, &finder, &group.outputs, files)?);
            }
        } else {
            groups.clear();
        }
        let name = |port: &Port| {
            CString::new(port.declaration.name.as_str()).map_err(|_| {
                let reason = format!("the name {:?} has a NUL byte", port.declaration.name);
                LoadError::Engine { reason }
            })
        };
        let mut numbers = HashMap::new();
        let outputs = outline.outputs.iter().enumerate();
        let firsts = outputs.map(|(index, port)| *numbers.entry(port.name).or_insert(index)).collect();
        Ok(Box::new(Model {
            firsts,
            input_names: outline.inputs.iter().map(name).collect::<Result<_, _>>()?,
            output_names: outline.outputs.iter().map(name).collect::<Result<_, _>>()?,
            signature,
            metadata: outline.metadata,
            parts,
            groups,
            shared: Arc::clone(&self.shared),
        }))
    }
}

impl OnnxRuntime {
    fn part(
        &self,
        outline: &Outline,
        finder: &Finder<'_>,
        outputs: &[usize],
        files: &dyn DataFiles,
    ) -> Result<Part, LoadError> {
        let Prepared { file, data } = prepare(outline, finder, outputs, files).map_err(PlanError::Onnx)?;
        if file.len() > LONGEST_FILE {
            let reason = format!(
                "its file has {} bytes, and ONNX Runtime reads at most {LONGEST_FILE}; save its weights in another \
                 file (onnx.save with save_as_external_data=True)",
                file.len()
            );
            return Err(LoadError::Engine { reason });
        }
        let session = self.session(&file, data).map_err(|error| LoadError::Engine {
            // What it names as the file is a place in memory.
            reason: error.message().replace("Load model from  failed:", "").trim().to_owned(),
        })?;
        let needed = finder.inputs(&finder.reach(outputs));
        let expected: Vec<&str> = outline
            .inputs
            .iter()
            .zip(&needed)
            .filter(|(_, needed)| **needed)
            .map(|(port, _)| port.declaration.name.as_str())
            .collect();
        let found: Vec<&str> = session.inputs().iter().map(Outlet::name).collect();
        if expected != found {
            let reason = format!("its inputs are {expected:?}, and ONNX Runtime reads {found:?}");
            return Err(LoadError::Engine { reason });
        }
        Ok(Part { session, inputs: needed })
    }

    fn session(&self, file: &[u8], data: Vec<(String, Arc<[u8]>)>) -> ort::Result<Session> {
        let mut builder = Session::builder(&self.shared.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            // Its own format would carry what was not read here.
            .with_config_entry("session.load_model_format", "ONNX")?;
        for (name, bytes) in data {
            builder = builder.with_external_initializer_file_in_memory(name, bytes)?;
        }
        builder.commit_from_memory(file)
    }
}

/// Inputs and outputs: as the file declares them, and where it says nothing of an output, as
/// ONNX Runtime infers it.
fn signature<'a>(outline: &Outline, session: &'a Session) -> Result<Signature, LoadError> {
    let port = |kind, name: &str, reason: String| {
        LoadError::Plan(PlanError::Port { kind, name: name.to_owned(), reason })
    };
    let by_name = |outlets: &'a [Outlet]| -> HashMap<&'a str, &'a Outlet> {
        outlets.iter().map(|outlet| (outlet.name(), outlet)).collect()
    };
    let (inputs, outputs) = (by_name(session.inputs()), by_name(session.outputs()));
    let mut signature = Signature::default();
    for Port { declaration, .. } in &outline.inputs {
        let name = declaration.name.clone();
        let value_type = declaration.value_type.clone().ok_or_else(|| {
            port("input", &name, "the file does not declare its type; export the model with it".to_owned())
        })?;
        if let Some(outlet) = inputs.get(name.as_str())
            && let Some(native) = our_type(outlet.dtype())
            && native != value_type
        {
            let reason = format!("the file declares {value_type}, and ONNX Runtime takes {native}");
            return Err(port("input", &name, reason));
        }
        signature.inputs.push(Specification { name, value_type, shape: declaration.shape.clone() });
    }
    for Port { declaration, .. } in &outline.outputs {
        let name = declaration.name.clone();
        let outlet = outputs
            .get(name.as_str())
            .ok_or_else(|| port("output", &name, "ONNX Runtime does not give it".to_owned()))?;
        let value_type = our_type(outlet.dtype()).ok_or_else(|| {
            port("output", &name, format!("values of the type {} are not carried", outlet.dtype()))
        })?;
        if let Some(declared) = &declaration.value_type
            && *declared != value_type
        {
            let reason = format!("the file declares {declared}, and ONNX Runtime gives {value_type}");
            return Err(port("output", &name, reason));
        }
        let shape = declaration.shape.clone().or_else(|| inferred_shape(outlet.dtype()));
        signature.outputs.push(Specification { name, value_type, shape });
    }
    Ok(signature)
}

fn our_type(native: &NativeType) -> Option<ValueType> {
    Some(match native {
        NativeType::Tensor { ty, .. } => ValueType::Tensor(our_element_type(*ty)?),
        NativeType::Sequence(inner) => match inner.as_ref() {
            NativeType::Tensor { ty, .. } => ValueType::Sequence(our_element_type(*ty)?),
            _ => return None,
        },
        NativeType::Optional(inner) => ValueType::Optional(Box::new(our_type(inner)?)),
        NativeType::Map { .. } => return None,
    })
}

fn our_element_type(native: TensorElementType) -> Option<ElementType> {
    Some(match native {
        TensorElementType::Float32 => ElementType::Float,
        TensorElementType::Float64 => ElementType::Double,
        TensorElementType::Float16 => ElementType::Half,
        TensorElementType::Bfloat16 => ElementType::Bfloat16,
        TensorElementType::Int8 => ElementType::Int8,
        TensorElementType::Int16 => ElementType::Int16,
        TensorElementType::Int32 => ElementType::Int32,
        TensorElementType::Int64 => ElementType::Int64,
        TensorElementType::Uint8 => ElementType::Uint8,
        TensorElementType::Uint16 => ElementType::Uint16,
        TensorElementType::Uint32 => ElementType::Uint32,
        TensorElementType::Uint64 => ElementType::Uint64,
        TensorElementType::Bool => ElementType::Bool,
        TensorElementType::String => ElementType::Text,
        _ => return None,
    })
}

/// The shape that ONNX Runtime infers; `None` without dimensions, since it says so also of
/// tensors of an unknown rank.
fn inferred_shape(native: &NativeType) -> Option<Vec<Dimension>> {
    let NativeType::Tensor { shape, .. } = native else { return None };
    let shape: Vec<Dimension> =
        shape.iter().map(|size| usize::try_from(*size).map_or(Dimension::Any, Dimension::Fixed)).collect();
    (!shape.is_empty()).then_some(shape)
}

/// A session, and what it takes.
struct Part {
    session: Session,
    /// For each input of the signature.
    inputs: Vec<bool>,
}

/// A model of ONNX Runtime.
struct Model {
    signature: Signature,
    metadata: Vec<(String, String)>,
    input_names: Vec<CString>,
    output_names: Vec<CString>,
    /// For each output the first one of its name: a file may name one twice.
    firsts: Vec<usize>,
    /// The whole model; then, if its outputs need different inputs, one for each group.
    parts: Vec<Part>,
    groups: Vec<Group>,
    shared: Arc<Shared>,
}

impl LoadedModel for Model {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    fn plan(&self) -> Option<&Plan> {
        None
    }

    fn needed_inputs(&self, outputs: &[usize]) -> Vec<bool> {
        let mut needed = vec![false; self.signature.inputs.len()];
        let mut add = |inputs: &[bool]| {
            for (needed, of_this) in needed.iter_mut().zip(inputs) {
                *needed |= of_this;
            }
        };
        match (self.parts.as_slice(), self.groups.as_slice()) {
            ([whole], []) if !outputs.is_empty() => add(&whole.inputs),
            (_, groups) => {
                for group in groups {
                    if group.outputs.iter().any(|output| outputs.contains(output)) {
                        add(&group.inputs);
                    }
                }
            }
        }
        needed
    }

    fn run(
        &self,
        inputs: Vec<Option<Value>>,
        outputs: &[usize],
        run: Run<'_>,
    ) -> Result<Vec<Value>, RunError> {
        check(&self.signature, &inputs, || self.needed_inputs(outputs))?;
        let mut found: Vec<Option<Value>> = vec![None; self.signature.outputs.len()];
        for (part, wanted) in self.choose(&inputs, outputs) {
            for (output, value) in wanted.iter().zip(self.run_part(part, &inputs, &wanted, run)?) {
                if let Some(place) = found.get_mut(*output) {
                    *place = Some(value);
                }
            }
        }
        let value = |output: &usize| found.get(*self.firsts.get(*output)?).cloned().flatten();
        outputs.iter().map(|output| value(output).ok_or_else(|| fault("an output has no value"))).collect()
    }
}

impl Model {
    /// Which parts give these outputs: the one group that they are of, the whole model, or each
    /// group by itself if inputs are missing.
    fn choose(&self, inputs: &[Option<Value>], outputs: &[usize]) -> Vec<(&Part, Vec<usize>)> {
        let mut wanted: Vec<usize> =
            outputs.iter().filter_map(|output| self.firsts.get(*output).copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Vec::new();
        }
        let mut groups: Vec<(&Part, Vec<usize>)> = Vec::new();
        for (group, part) in self.groups.iter().zip(self.parts.iter().skip(1)) {
            let of_this: Vec<usize> =
                wanted.iter().copied().filter(|output| group.outputs.contains(output)).collect();
            if !of_this.is_empty() {
                groups.push((part, of_this));
            }
        }
        match self.parts.first() {
            Some(whole) if groups.len() != 1 && has_all(inputs, &whole.inputs) => vec![(whole, wanted)],
            _ => groups,
        }
    }

    fn run_part(
        &self,
        part: &Part,
        inputs: &[Option<Value>],
        outputs: &[usize],
        run: Run<'_>,
    ) -> Result<Vec<Value>, RunError> {
        if run.cancellation.is_cancelled() {
            return Err(error(OperatorError::Cancelled));
        }
        let options = RunOptions::new().map_err(|failure| self.failed(failure.into(), run))?;
        let options = Arc::new(options);
        let mut natives = Vec::with_capacity(inputs.len());
        let named = self.input_names.iter().zip(&self.signature.inputs);
        for (((name, specification), value), needed) in named.zip(inputs).zip(&part.inputs) {
            let (Some(value), true) = (value, *needed) else { continue };
            let native = NativeValue::of(value, &self.shared.memory).map_err(|failure| RunError::Input {
                input: specification.name.clone(),
                reason: failure.message,
            })?;
            natives.push((name.as_c_str(), native));
        }
        let natives: Vec<_> = natives.iter().map(|(name, native)| (*name, native)).collect();
        let names: Vec<_> = outputs
            .iter()
            .filter_map(|output| self.output_names.get(*output))
            .map(CString::as_c_str)
            .collect();
        let watched = self.shared.watcher.watch(run.cancellation, &options);
        let found = native::run(&part.session, &options, &natives, &names);
        drop(watched);
        let found = found.map_err(|failure| self.failed(failure, run))?;
        let specifications = outputs.iter().filter_map(|output| self.signature.outputs.get(*output));
        let mut values = Vec::with_capacity(outputs.len());
        for (native, specification) in found.into_iter().zip(specifications) {
            let value = match native {
                None => Value::Optional(None),
                Some(native) => native.read(run.budget).map_err(|failure| match failure {
                    ReadFailure::Native(failure) => self.failed(failure, run),
                    ReadFailure::Budget(budget) => error(budget),
                })?,
            };
            let value = typed(value, &specification.value_type)
                .ok_or_else(|| fault(&format!("the output {:?} has another type", specification.name)))?;
            values.push(value);
        }
        Ok(values)
    }

    fn failed(&self, failure: Failure, run: Run<'_>) -> RunError {
        if run.cancellation.is_cancelled() {
            return error(OperatorError::Cancelled);
        }
        error(if failure.is_argument {
            OperatorError::Inputs { reason: failure.message }
        } else {
            OperatorError::Engine { reason: failure.message }
        })
    }
}

fn has_all(inputs: &[Option<Value>], needed: &[bool]) -> bool {
    inputs.iter().zip(needed).all(|(value, needed)| value.is_some() || !needed)
}

/// A value as the signature has it: ONNX Runtime does not tell an optional from what it holds,
/// nor the type of an empty sequence.
fn typed(value: Value, expected: &ValueType) -> Option<Value> {
    match (value, expected) {
        (Value::Optional(None), ValueType::Optional(_)) => Some(Value::Optional(None)),
        (value, ValueType::Optional(inner)) => Some(Value::Optional(Some(Box::new(typed(value, inner)?)))),
        (Value::Sequence(_, tensors), ValueType::Sequence(element_type)) => tensors
            .iter()
            .all(|tensor| tensor.element_type() == *element_type)
            .then_some(Value::Sequence(*element_type, tensors)),
        (Value::Tensor(tensor), ValueType::Tensor(element_type)) => {
            (tensor.element_type() == *element_type).then_some(Value::Tensor(tensor))
        }
        _ => None,
    }
}

fn error(error: OperatorError) -> RunError {
    RunError::Node { node: NODE.to_owned(), error }
}

fn fault(reason: &str) -> RunError {
    error(OperatorError::Engine { reason: reason.to_owned() })
}
