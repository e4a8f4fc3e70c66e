//! The engine `rten`: pure Rust.
//!
//! It computes in f32, i32, i8 and u8 only: wider and narrower types are
//! converted on the way in, exactly where the value can be represented and with
//! an error where it can't (doubles are rounded to f32, as the model's own
//! double constants are), and on the way out to the type that the model
//! declares.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rten::{DataType, Model, ModelOptions, NodeId, RunErrorKind, RunOptions, Value, ValueOrView, ValueType};
use rten_tensor::{Layout, Tensor as EngineTensor};

use super::{Engine, LoadError, LoadedModel, RunError, Threads};
use crate::{
    onnx::{prepare::prepare, signature::Signature},
    tensor::{ElementType, Elements, Tensor, TensorSpecification, half},
};

/// Up to this size, in bytes, a model's weights are kept a second time, in the order
/// in which the processor takes them. Of a larger one a run takes so long that packing
/// them each time is little, and the copy would be much.
const PREPACKED: usize = 8 * 1024 * 1024;

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RtenEngine;

impl Engine for RtenEngine {
    fn load(&self, file: Vec<u8>) -> Result<Box<dyn LoadedModel>, LoadError> {
        let small = file.len() <= PREPACKED;
        let prepared = prepare(file)?;
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(small);
        for (name, bytes) in prepared.tensors {
            options.external_data(&name, bytes);
        }
        let engine = |reason: String| LoadError::Engine { reason };
        // The loader of rten has states that it takes for impossible.
        let model = catch_unwind(AssertUnwindSafe(|| options.load(prepared.graph)))
            .map_err(|_| engine("it panicked; the model's graph is inconsistent".to_owned()))?
            .map_err(|error| engine(error.to_string()))?;

        let mut signature = prepared.signature;
        let node = |specification: &TensorSpecification| {
            model.node_id(&specification.name).map_err(|error| engine(error.to_string()))
        };
        let inputs = signature.inputs.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        let outputs = signature.outputs.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        if outputs.is_empty() {
            return Err(engine("the model has no outputs".to_owned()));
        }
        for (specification, node) in signature.outputs.iter_mut().zip(&outputs) {
            complete(specification, &model, *node);
        }
        Ok(Box::new(RtenModel { model, signature, inputs, outputs }))
    }
}

/// What the model doesn't declare of an output, the engine may have inferred.
fn complete(specification: &mut TensorSpecification, model: &Model, node: NodeId) {
    let Some(info) = model.node_info(node) else { return };
    if specification.element_type.is_none() {
        specification.element_type = match info.dtype() {
            Some(ValueType::Tensor(DataType::Float)) => Some(ElementType::Float),
            Some(ValueType::Tensor(DataType::Int32)) => Some(ElementType::Int32),
            Some(ValueType::Tensor(DataType::Int8)) => Some(ElementType::Int8),
            Some(ValueType::Tensor(DataType::UInt8)) => Some(ElementType::Uint8),
            _ => None,
        };
    }
    if specification.shape.is_none() {
        specification.shape = info.shape().map(|shape| {
            shape
                .into_iter()
                .map(|dimension| match dimension {
                    rten::Dimension::Fixed(size) => Some(size),
                    rten::Dimension::Symbolic(_) => None,
                })
                .collect()
        });
    }
}

struct RtenModel {
    model: Model,
    signature: Signature,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

impl LoadedModel for RtenModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &self,
        inputs: Vec<Tensor>,
        outputs: &[usize],
        threads: &Threads,
    ) -> Result<Vec<Tensor>, RunError> {
        let values = self
            .inputs
            .iter()
            .zip(&self.signature.inputs)
            .zip(inputs)
            .map(|((node, specification), tensor)| {
                Ok((*node, ValueOrView::Value(to_engine(&specification.name, tensor)?)))
            })
            .collect::<Result<Vec<_>, RunError>>()?;
        let nodes: Vec<NodeId> =
            outputs.iter().filter_map(|index| self.outputs.get(*index)).copied().collect();
        let options = RunOptions::default().with_thread_pool(Some(threads.pool()));
        let answers = self.model.run(values, &nodes, Some(options)).map_err(|error| {
            let reason = error.to_string();
            match error.kind() {
                RunErrorKind::InvalidInput | RunErrorKind::OperatorError => RunError::Inputs { reason },
                _ => RunError::Engine { reason },
            }
        })?;
        answers
            .into_iter()
            .zip(outputs)
            .map(|(value, index)| {
                let declared = self.signature.outputs.get(*index).and_then(|output| output.element_type);
                from_engine(value, declared)
            })
            .collect()
    }
}

fn value<T>(shape: &[usize], data: Vec<T>) -> Result<Value, RunError>
where
    Value: From<EngineTensor<T>>,
{
    Value::from_shape(shape, data).map_err(|error| RunError::Engine { reason: error.to_string() })
}

fn to_engine(input: &str, tensor: Tensor) -> Result<Value, RunError> {
    let element_type = tensor.elements().element_type();
    let (shape, elements) = tensor.into_parts();
    let narrow = Narrow { input, element_type };
    match elements {
        Elements::Float(values) => value(&shape, values),
        Elements::Double(values) => value(&shape, narrow.doubles(&values)?),
        Elements::Half(bits) => value(&shape, bits.into_iter().map(half::half_to_f32).collect()),
        Elements::Bfloat16(bits) => value(&shape, bits.into_iter().map(half::bfloat16_to_f32).collect()),
        Elements::Int8(values) => value(&shape, values),
        Elements::Int16(values) => value(&shape, values.into_iter().map(i32::from).collect()),
        Elements::Int32(values) => value(&shape, values),
        Elements::Int64(values) => value(&shape, narrow.integers(&values)?),
        Elements::Uint8(values) => value(&shape, values),
        Elements::Uint16(values) => value(&shape, values.into_iter().map(i32::from).collect()),
        Elements::Uint32(values) => value(&shape, narrow.integers(&values)?),
        Elements::Uint64(values) => value(&shape, narrow.integers(&values)?),
        Elements::Bool(values) => value(&shape, values.into_iter().map(i32::from).collect()),
    }
}

struct Narrow<'a> {
    input: &'a str,
    element_type: ElementType,
}

impl Narrow<'_> {
    fn out_of_range(&self, value: String, minimum: String, maximum: String) -> RunError {
        RunError::ValueRange {
            input: self.input.to_owned(),
            value,
            element_type: self.element_type,
            minimum,
            maximum,
        }
    }

    fn integers<T: Copy + TryInto<i32> + ToString>(&self, values: &[T]) -> Result<Vec<i32>, RunError> {
        values
            .iter()
            .map(|value| {
                (*value).try_into().map_err(|_| {
                    self.out_of_range(value.to_string(), i32::MIN.to_string(), i32::MAX.to_string())
                })
            })
            .collect()
    }

    fn doubles(&self, values: &[f64]) -> Result<Vec<f32>, RunError> {
        values
            .iter()
            .map(|value| {
                let narrowed = *value as f32;
                if value.is_finite() && !narrowed.is_finite() {
                    return Err(self.out_of_range(
                        value.to_string(),
                        f32::MIN.to_string(),
                        f32::MAX.to_string(),
                    ));
                }
                Ok(narrowed)
            })
            .collect()
    }
}

fn from_engine(value: Value, declared: Option<ElementType>) -> Result<Tensor, RunError> {
    let shape = value.shape().to_vec();
    let elements = match value {
        Value::FloatTensor(tensor) => floats(tensor.into_data(), declared),
        Value::Int32Tensor(tensor) => integers(tensor.into_data(), declared),
        Value::Int8Tensor(tensor) => Some(Elements::Int8(tensor.into_data())),
        Value::UInt8Tensor(tensor) => Some(Elements::Uint8(tensor.into_data())),
        _ => None,
    };
    elements.and_then(|elements| Tensor::new(shape, elements)).ok_or_else(|| RunError::Engine {
        reason: match declared {
            Some(declared) => format!("an output is not a tensor of {declared}, as the model declares"),
            None => "an output is not a tensor".to_owned(),
        },
    })
}

fn floats(values: Vec<f32>, declared: Option<ElementType>) -> Option<Elements> {
    match declared {
        None | Some(ElementType::Float) => Some(Elements::Float(values)),
        Some(ElementType::Double) => Some(Elements::Double(values.into_iter().map(f64::from).collect())),
        Some(ElementType::Half) => {
            Some(Elements::Half(values.into_iter().map(half::half_from_f32).collect()))
        }
        Some(ElementType::Bfloat16) => {
            Some(Elements::Bfloat16(values.into_iter().map(half::bfloat16_from_f32).collect()))
        }
        Some(_) => None,
    }
}

fn integers(values: Vec<i32>, declared: Option<ElementType>) -> Option<Elements> {
    fn narrow<T: TryFrom<i32>>(values: Vec<i32>) -> Option<Vec<T>> {
        values.into_iter().map(|value| T::try_from(value).ok()).collect()
    }
    Some(match declared {
        None | Some(ElementType::Int32) => Elements::Int32(values),
        Some(ElementType::Int64) => Elements::Int64(values.into_iter().map(i64::from).collect()),
        Some(ElementType::Bool) => Elements::Bool(values.into_iter().map(|value| value != 0).collect()),
        Some(ElementType::Int16) => Elements::Int16(narrow(values)?),
        Some(ElementType::Uint16) => Elements::Uint16(narrow(values)?),
        Some(ElementType::Uint32) => Elements::Uint32(narrow(values)?),
        Some(ElementType::Uint64) => Elements::Uint64(narrow(values)?),
        Some(_) => return None,
    })
}
