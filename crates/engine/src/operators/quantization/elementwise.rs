//! Functions of quantised numbers, one by one: `QLinearAdd`, `QLinearMul`,
//! `QLinearSigmoid`, `QLinearLeakyRelu`, `QLinearWhere`; and `QLinearSoftmax`.

use super::{
    MICROSOFT,
    number::{Bytes, Quantized, byte_type, check_same_type},
    scales::{Scale, check_scale},
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, check_arity, output, values, volume},
        pairing::Pairing,
    },
    tensor::{ElementType, Tensor, Value},
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] = &[
    (MICROSOFT, "QLinearAdd", build_add),
    (MICROSOFT, "QLinearMul", build_multiply),
    (MICROSOFT, "QLinearSigmoid", build_sigmoid),
    (MICROSOFT, "QLinearLeakyRelu", build_leaky),
    (MICROSOFT, "QLinearSoftmax", build_softmax),
    (MICROSOFT, "QLinearWhere", build_where),
];

/// What an operator makes of the bytes of one type.
trait Compute {
    fn compute<T: Quantized>(
        &self,
        operands: &mut Operands,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError>;
}

/// Runs a computation in the type of the bytes.
#[derive(Debug)]
struct InType<C> {
    computation: C,
    element_type: ElementType,
}

impl<C: Compute + std::fmt::Debug + Send + Sync> Operator for InType<C> {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        match self.element_type {
            ElementType::Int8 => self.computation.compute::<i8>(&mut operands, context),
            _ => self.computation.compute::<u8>(&mut operands, context),
        }
    }
}

/// Checks types: `tensors` and `zero_points` are of the same bytes, `scales` real.
fn check_types(
    definition: &Definition<'_>,
    tensors: &[usize],
    scales: &[usize],
    zero_points: &[usize],
) -> Result<ElementType, Refusal> {
    let element_type = byte_type(definition, tensors[0])?;
    for tensor in &tensors[1..] {
        byte_type(definition, *tensor)?;
    }
    for index in tensors.iter().chain(zero_points) {
        check_same_type(definition, *index, element_type)?;
    }
    scales.iter().try_for_each(|scale| check_scale(definition, *scale).map(drop))?;
    Ok(element_type)
}

fn built<C>(computation: C, element_type: ElementType) -> Built
where
    C: Compute + std::fmt::Debug + Send + Sync + 'static,
{
    Built::tensor(InType { computation, element_type }, element_type)
}

/// An operation on two numbers.
#[derive(Clone, Copy, Debug)]
enum Arithmetic {
    Add,
    Multiply,
}

fn build_add(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 7..=8, 1)?;
    Ok(built(Arithmetic::Add, check_types(definition, &[0, 3], &[1, 4, 6], &[2, 5, 7])?))
}

fn build_multiply(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 7..=8, 1)?;
    Ok(built(Arithmetic::Multiply, check_types(definition, &[0, 3], &[1, 4, 6], &[2, 5, 7])?))
}

impl Compute for Arithmetic {
    fn compute<T: Quantized>(
        &self,
        operands: &mut Operands,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let (left, right) = (operands.tensor(0)?, operands.tensor(3)?);
        let (a, b, to) =
            (Scale::take(operands, 1, 2)?, Scale::take(operands, 4, 5)?, Scale::take(operands, 6, 7)?);
        let pairing = Pairing::new(left.shape(), right.shape())?;
        let mut results = Vec::with_capacity(context.reserve(T::TYPE, pairing.shape())?);
        let (left, right) = (values::<T>(&left)?, values::<T>(&right)?);
        match self {
            // The order of ONNX Runtime's operations decides how a tie is rounded.
            Self::Add => {
                let (a_ratio, b_ratio) = (a.scale / to.scale, b.scale / to.scale);
                // One rounding for a product and a sum.
                let fused = |x: i32, ratio: f32, more: f32| (x as f32).mul_add(ratio, more);
                let fixed =
                    to.zero_point as f32 - fused(a.zero_point, a_ratio, b_ratio * b.zero_point as f32);
                pairing.for_each(|i, j| {
                    let sum = fused(left[i].into(), a_ratio, fused(right[j].into(), b_ratio, fixed));
                    results.push(T::round(sum, 0));
                });
            }
            Self::Multiply => pairing.for_each(|i, j| {
                let product = a.dequantize(left[i].into()) * b.dequantize(right[j].into());
                results.push(T::round(product / to.scale, to.zero_point));
            }),
        }
        Ok(vec![output(pairing.shape(), results)?])
    }
}

/// A function of one number.
#[derive(Clone, Copy, Debug)]
enum Function {
    Sigmoid,
    Leaky { slope: f32 },
}

fn build_sigmoid(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 4..=5, 1)?;
    Ok(built(Function::Sigmoid, check_types(definition, &[0], &[1, 3], &[2, 4])?))
}

fn build_leaky(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 4..=5, 1)?;
    let slope = definition.attributes.float("alpha")?.unwrap_or(0.01);
    Ok(built(Function::Leaky { slope }, check_types(definition, &[0], &[1, 3], &[2, 4])?))
}

impl Function {
    fn of(self, value: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
            Self::Leaky { slope } if value < 0.0 => value * slope,
            Self::Leaky { .. } => value,
        }
    }
}

/// What each of the 256 bytes becomes, from the smallest value on.
pub(super) fn table<T: Quantized>(from: Scale, to: Scale, function: impl Fn(f32) -> f32) -> Vec<T> {
    (T::MINIMUM..=T::MAXIMUM)
        .map(|value| T::round(function(from.dequantize(value)) / to.scale, to.zero_point))
        .collect()
}

/// The entry of a table.
pub(super) fn look_up<T: Quantized>(table: &[T], value: T) -> T {
    table[(value.into() - T::MINIMUM) as usize]
}

impl Compute for Function {
    fn compute<T: Quantized>(
        &self,
        operands: &mut Operands,
        _: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let tensor = operands.tensor(0)?;
        let (from, to) = (Scale::take(operands, 1, 2)?, Scale::take(operands, 3, 4)?);
        let table = table::<T>(from, to, |value| self.of(value));
        let results = values::<T>(&tensor)?.iter().map(|value| look_up(&table, *value)).collect();
        Ok(vec![output(tensor.shape(), results)?])
    }
}

#[derive(Debug)]
struct Softmax {
    axis: i64,
    /// Before opset 13, all dimensions from the axis on are one.
    joins: bool,
}

fn build_softmax(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 5..=5, 1)?;
    let attributes = definition.attributes;
    let opset = attributes.integer("opset")?.ok_or_else(|| Refusal::new("the attribute opset is missing"))?;
    let joins = opset < 13;
    let axis = attributes.integer("axis")?.unwrap_or(if joins { 1 } else { -1 });
    Ok(built(Softmax { axis, joins }, check_types(definition, &[0], &[1, 3], &[2, 4])?))
}

impl Compute for Softmax {
    fn compute<T: Quantized>(
        &self,
        operands: &mut Operands,
        _: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let tensor = operands.tensor(0)?;
        let (from, to) = (Scale::take(operands, 1, 2)?, Scale::take(operands, 3, 4)?);
        let rank = tensor.rank() as i64;
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis };
        let axis = usize::try_from(axis).ok().filter(|axis| *axis < tensor.rank()).ok_or_else(|| {
            OperatorError::inputs(format!("the dimension {} is not one of {rank}", self.axis))
        })?;
        let end = if self.joins { tensor.rank() } else { axis + 1 };
        let (length, inner) = (volume(&tensor.shape()[axis..end]), volume(&tensor.shape()[end..]));
        let values = values::<T>(&tensor)?;
        let mut results = vec![T::default(); values.len()];
        let lines = values.len().checked_div(length).unwrap_or(0);
        for line in 0..lines {
            let start = line / inner * length * inner + line % inner;
            let at = |index: usize| start + index * inner;
            let largest = (0..length).map(|index| values[at(index)].into()).max().unwrap_or(0);
            // The exponents of integers less the largest: the zero point falls out.
            let power = |index: usize| {
                let value: i32 = values[at(index)].into();
                (f64::from(value - largest) * f64::from(from.scale)).exp()
            };
            let sum: f64 = (0..length).map(power).sum();
            for index in 0..length {
                results[at(index)] =
                    T::round((power(index) / sum / f64::from(to.scale)) as f32, to.zero_point);
            }
        }
        Ok(vec![output(tensor.shape(), results)?])
    }
}

#[derive(Debug)]
struct Where;

fn build_where(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 9..=9, 1)?;
    if definition.tensor_type(0)? != ElementType::Bool {
        return Err(definition.unsupported_type(0));
    }
    Ok(built(Where, check_types(definition, &[1, 4], &[2, 5, 7], &[3, 6, 8])?))
}

/// A tensor in another scale.
fn rescaled<T: Quantized>(tensor: &Tensor, from: Scale, to: Scale) -> Result<Vec<T>, OperatorError> {
    let table = table::<T>(from, to, |value| value);
    Ok(values::<T>(tensor)?.iter().map(|value| look_up(&table, *value)).collect())
}

impl Compute for Where {
    fn compute<T: Quantized>(
        &self,
        operands: &mut Operands,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let (condition, left, right) = (operands.tensor(0)?, operands.tensor(1)?, operands.tensor(4)?);
        let (a, b, to) =
            (Scale::take(operands, 2, 3)?, Scale::take(operands, 5, 6)?, Scale::take(operands, 7, 8)?);
        let pairing = Pairing::new(left.shape(), right.shape())?;
        let all = Pairing::new(condition.shape(), pairing.shape())?;
        // The values pair with one another first, then with the conditions.
        context.reserve(ElementType::Int64, pairing.shape())?;
        let mut pairs = Vec::new();
        pairing.for_each(|i, j| pairs.push((i as u32, j as u32)));
        let mut results = Vec::with_capacity(context.reserve(T::TYPE, all.shape())?);
        let (left, right) = (rescaled::<T>(&left, a, to)?, rescaled::<T>(&right, b, to)?);
        let conditions = values::<bool>(&condition)?;
        all.for_each(|condition, pair| {
            let (i, j) = pairs[pair];
            results.push(if conditions[condition] { left[i as usize] } else { right[j as usize] });
        });
        Ok(vec![output(all.shape(), results)?])
    }
}

/// The bytes of a tensor in another scale, in the type of the output.
pub(super) fn rescale<T: Quantized>(bytes: Bytes<'_>, from: Scale, to: Scale) -> Vec<T> {
    match bytes {
        Bytes::Signed(values) => {
            let table = converted::<i8, T>(from, to);
            values.iter().map(|value| table[(i32::from(*value) + 128) as usize]).collect()
        }
        Bytes::Unsigned(values) => {
            let table = converted::<u8, T>(from, to);
            values.iter().map(|value| table[usize::from(*value)]).collect()
        }
    }
}

fn converted<F: Quantized, T: Quantized>(from: Scale, to: Scale) -> Vec<T> {
    (F::MINIMUM..=F::MAXIMUM)
        .map(|value| T::round(from.dequantize(value) / to.scale, to.zero_point))
        .collect()
}
