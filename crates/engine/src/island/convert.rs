//! Values on their way into an island and out of it.

use std::sync::Arc;

use half::{bf16, f16};
use rten::{Value as EngineValue, ValueOrView, ValueView};
use rten_tensor::{Layout, Tensor as EngineTensor, TensorView};

use crate::{
    operators::OperatorError,
    tensor::{ElementType, Elements, Tensor},
};

fn failed(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::Engine { reason: error.to_string() }
}

fn owned<T>(shape: &[usize], data: Vec<T>) -> Result<ValueOrView<'static>, OperatorError>
where
    EngineValue: From<EngineTensor<T>>,
{
    EngineValue::from_shape(shape, data).map(ValueOrView::Value).map_err(failed)
}

fn shared<'a, T>(shape: &[usize], values: &'a [T]) -> Result<ValueOrView<'a>, OperatorError>
where
    ValueView<'a>: From<TensorView<'a, T>>,
{
    let view = TensorView::try_from_data(shape, values).map_err(failed)?;
    Ok(ValueOrView::View(ValueView::from(view)))
}

/// 64-bit numbers are given to an island only if they were proved to fit.
fn narrow(value: i64) -> Result<i32, OperatorError> {
    i32::try_from(value).map_err(|_| OperatorError::Engine {
        reason: format!("the number {value} was proved to fit 32 bits and does not"),
    })
}

/// A tensor that rten takes in the type that it is: its elements as they are.
fn same<'a, T: Clone>(shape: &[usize], values: &'a mut Arc<Vec<T>>) -> Result<ValueOrView<'a>, OperatorError>
where
    EngineValue: From<EngineTensor<T>>,
    ValueView<'a>: From<TensorView<'a, T>>,
{
    // What nobody else has may be computed in place.
    match Arc::get_mut(values).map(std::mem::take) {
        Some(values) => owned(shape, values),
        None => shared(shape, values.as_slice()),
    }
}

/// The value as rten takes it: moved where nobody else has it, otherwise a view, or a copy
/// where the type changes. A value that is moved leaves `elements` empty.
pub(super) fn to_engine<'a>(
    shape: &[usize],
    elements: &'a mut Elements,
) -> Result<ValueOrView<'a>, OperatorError> {
    match elements {
        Elements::Float(values) => same(shape, values),
        Elements::Int32(values) => same(shape, values),
        Elements::Int8(values) => same(shape, values),
        Elements::Uint8(values) => same(shape, values),
        Elements::Half(values) => owned(shape, values.iter().map(|value| value.to_f32()).collect()),
        Elements::Bfloat16(values) => owned(shape, values.iter().map(|value| value.to_f32()).collect()),
        Elements::Bool(values) => owned(shape, values.iter().map(|value| i32::from(*value)).collect()),
        Elements::Int64(values) => {
            owned(shape, values.iter().map(|value| narrow(*value)).collect::<Result<Vec<_>, _>>()?)
        }
        other => Err(failed(format!("a tensor of {} was given to an island", other.element_type()))),
    }
}

/// The value that rten gave, in the type that the model has there.
pub(super) fn from_engine(value: EngineValue, element_type: ElementType) -> Result<Tensor, OperatorError> {
    let shape = value.shape().to_vec();
    let elements = match (value, element_type) {
        (EngineValue::FloatTensor(tensor), ElementType::Float) => {
            Elements::Float(Arc::new(tensor.into_data()))
        }
        (EngineValue::FloatTensor(tensor), ElementType::Half) => {
            let values = tensor.into_data();
            Elements::Half(Arc::new(values.into_iter().map(f16::from_f32).collect()))
        }
        (EngineValue::FloatTensor(tensor), ElementType::Bfloat16) => {
            let values = tensor.into_data();
            Elements::Bfloat16(Arc::new(values.into_iter().map(bf16::from_f32).collect()))
        }
        (EngineValue::Int32Tensor(tensor), ElementType::Int32) => {
            Elements::Int32(Arc::new(tensor.into_data()))
        }
        (EngineValue::Int32Tensor(tensor), ElementType::Int64) => {
            let values = tensor.into_data();
            Elements::Int64(Arc::new(values.into_iter().map(i64::from).collect()))
        }
        (EngineValue::Int32Tensor(tensor), ElementType::Bool) => {
            let values = tensor.into_data();
            Elements::Bool(Arc::new(values.into_iter().map(|value| value != 0).collect()))
        }
        (EngineValue::Int8Tensor(tensor), ElementType::Int8) => Elements::Int8(Arc::new(tensor.into_data())),
        (EngineValue::UInt8Tensor(tensor), ElementType::Uint8) => {
            Elements::Uint8(Arc::new(tensor.into_data()))
        }
        _ => return Err(failed(format!("an island gave something else than a tensor of {element_type}"))),
    };
    Tensor::new(shape, elements)
        .ok_or_else(|| failed("an island gave a tensor of another size than its shape"))
}
