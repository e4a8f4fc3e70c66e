//! Sequences of tensors.

use super::{
    Built, Context, Definition, Operator, OperatorError, Refusal,
    definition::Builder,
    operands::{Operands, broken, check_arity, for_any_element, output, volume},
};
use crate::tensor::{Element, ElementType, Elements, Shape, Tensor, Value, ValueType};

pub(super) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "SequenceConstruct", build_construct),
    ("", "SequenceEmpty", build_empty),
    ("", "SequenceAt", build_at),
    ("", "SequenceInsert", build_insert),
    ("", "SequenceErase", build_erase),
    ("", "SequenceLength", build_length),
    ("", "SplitToSequence", build_split),
    ("", "ConcatFromSequence", build_concatenation),
];

/// The element type of an input that must be a sequence.
fn sequence_type(definition: &Definition<'_>, index: usize) -> Result<ElementType, Refusal> {
    match definition.input_type(index) {
        Some(ValueType::Sequence(element_type)) => Ok(*element_type),
        _ => Err(definition.unsupported_type(index)),
    }
}

fn built(operator: impl Operator + 'static, value_type: ValueType) -> Built {
    Built { operator: Box::new(operator), types: vec![value_type] }
}

/// Refuses a position that is not one whole number.
fn check_position(definition: &Definition<'_>, index: usize) -> Result<(), Refusal> {
    match definition.input_type(index) {
        None | Some(ValueType::Tensor(ElementType::Int32 | ElementType::Int64)) => Ok(()),
        Some(_) => Err(definition.unsupported_type(index)),
    }
}

/// The only number of a tensor of int32 or int64.
fn whole_number(tensor: &Tensor) -> Result<i64, OperatorError> {
    let number = match tensor.elements() {
        Elements::Int32(values) if values.len() == 1 => values.first().map(|value| i64::from(*value)),
        Elements::Int64(values) if values.len() == 1 => values.first().copied(),
        _ => None,
    };
    number.ok_or_else(|| {
        OperatorError::inputs(format!("one whole number is expected; the shape is {:?}", tensor.shape()))
    })
}

/// A position counted from the end if negative, at most `end`.
fn position(number: i64, length: usize, end: usize) -> Result<usize, OperatorError> {
    let from_start = if number < 0 { number.checked_add_unsigned(length as u64) } else { Some(number) };
    from_start
        .and_then(|position| usize::try_from(position).ok())
        .filter(|position| *position < end)
        .ok_or_else(|| {
            OperatorError::inputs(format!("the position {number} is not in a sequence of {length} tensors"))
        })
}

#[derive(Debug)]
struct Construct(ElementType);

fn build_construct(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=usize::MAX, 1)?;
    let element_type = definition.tensor_type(0)?;
    for index in 1..definition.inputs.len() {
        if definition.tensor_type(index)? != element_type {
            return Err(definition.unsupported_type(index));
        }
    }
    Ok(built(Construct(element_type), ValueType::Sequence(element_type)))
}

impl Operator for Construct {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let tensors = (0..operands.len()).map(|index| operands.tensor(index)).collect::<Result<_, _>>()?;
        Ok(vec![Value::Sequence(self.0, tensors)])
    }
}

#[derive(Debug)]
struct Empty(ElementType);

fn build_empty(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 0..=0, 1)?;
    let number = definition.attributes.integer("dtype")?.unwrap_or(1);
    let element_type = i32::try_from(number).ok().and_then(ElementType::from_onnx).ok_or_else(|| {
        Refusal::new(format!("the attribute dtype is {number}, a type that is not computed"))
    })?;
    Ok(built(Empty(element_type), ValueType::Sequence(element_type)))
}

impl Operator for Empty {
    fn run(&self, _: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        Ok(vec![Value::Sequence(self.0, Vec::new())])
    }
}

#[derive(Debug)]
struct At;

fn build_at(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 2..=2, 1)?;
    check_position(definition, 1)?;
    Ok(Built::tensor(At, sequence_type(definition, 0)?))
}

impl Operator for At {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (_, mut tensors) = operands.sequence(0)?;
        let position = position(whole_number(&operands.tensor(1)?)?, tensors.len(), tensors.len())?;
        Ok(vec![tensors.swap_remove(position).into()])
    }
}

#[derive(Debug)]
struct Insert;

fn build_insert(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 2..=3, 1)?;
    check_position(definition, 2)?;
    let element_type = sequence_type(definition, 0)?;
    if definition.tensor_type(1)? != element_type {
        return Err(definition.unsupported_type(1));
    }
    Ok(built(Insert, ValueType::Sequence(element_type)))
}

impl Operator for Insert {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (element_type, mut tensors) = operands.sequence(0)?;
        let tensor = operands.tensor(1)?;
        let position = match operands.optional_tensor(2)? {
            None => tensors.len(),
            Some(number) => position(whole_number(&number)?, tensors.len(), tensors.len() + 1)?,
        };
        tensors.insert(position, tensor);
        Ok(vec![Value::Sequence(element_type, tensors)])
    }
}

#[derive(Debug)]
struct Erase;

fn build_erase(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=2, 1)?;
    check_position(definition, 1)?;
    Ok(built(Erase, ValueType::Sequence(sequence_type(definition, 0)?)))
}

impl Operator for Erase {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (element_type, mut tensors) = operands.sequence(0)?;
        let number = operands.optional_tensor(1)?.map_or(Ok(-1), |number| whole_number(&number))?;
        tensors.remove(position(number, tensors.len(), tensors.len())?);
        Ok(vec![Value::Sequence(element_type, tensors)])
    }
}

#[derive(Debug)]
struct Length;

fn build_length(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    sequence_type(definition, 0)?;
    Ok(Built::tensor(Length, ElementType::Int64))
}

impl Operator for Length {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let (_, tensors) = Operands::new(inputs).sequence(0)?;
        Ok(vec![Tensor::scalar(tensors.len() as i64).into()])
    }
}

/// A dimension counted from the end if negative.
fn axis(axis: i64, rank: usize) -> Result<usize, OperatorError> {
    let from_start = if axis < 0 { axis.checked_add_unsigned(rank as u64) } else { Some(axis) };
    from_start
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|axis| *axis < rank)
        .ok_or_else(|| OperatorError::inputs(format!("the dimension {axis} is not one of {rank}")))
}

/// The part of a tensor from `start`, of `length`, along a dimension.
fn slice(tensor: &Tensor, axis: usize, start: usize, length: usize) -> Option<Tensor> {
    fn part<T: Element>(
        values: &[T],
        shape: &[usize],
        axis: usize,
        start: usize,
        length: usize,
    ) -> Option<Tensor> {
        let inner = volume(&shape[axis + 1..]);
        let step = shape[axis].saturating_mul(inner);
        let mut part_shape = Shape::from(shape);
        part_shape[axis] = length;
        let chunks = if step == 0 { values.chunks_exact(1) } else { values.chunks_exact(step) };
        let part = chunks.flat_map(|chunk| chunk[start * inner..(start + length) * inner].iter().cloned());
        Tensor::from_vec(part_shape, part.collect())
    }
    for_any_element!(tensor.elements(), values => part(values, tensor.shape(), axis, start, length))
}

#[derive(Debug)]
struct Split {
    axis: i64,
    keeps_dimension: bool,
}

fn build_split(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=2, 1)?;
    check_position(definition, 1)?;
    let axis = definition.attributes.integer("axis")?.unwrap_or(0);
    let keeps_dimension = definition.attributes.integer("keepdims")?.unwrap_or(1) != 0;
    Ok(built(Split { axis, keeps_dimension }, ValueType::Sequence(definition.tensor_type(0)?)))
}

impl Split {
    /// The sizes of the parts of a dimension.
    fn sizes(
        &self,
        size: usize,
        split: Option<&Tensor>,
        context: &Context<'_>,
    ) -> Result<Vec<usize>, OperatorError> {
        let Some(split) = split else {
            context.reserve(ElementType::Text, &[size])?;
            return Ok(vec![1; size]);
        };
        let lengths: Vec<i64> = match split.elements() {
            Elements::Int32(lengths) => lengths.iter().map(|length| i64::from(*length)).collect(),
            Elements::Int64(lengths) => lengths.to_vec(),
            _ => return Err(broken("the lengths are not whole numbers")),
        };
        let wrong =
            || OperatorError::inputs(format!("the lengths {lengths:?} do not split a dimension of {size}"));
        if split.rank() == 0 {
            let length = usize::try_from(lengths[0]).ok().filter(|length| *length > 0).ok_or_else(wrong)?;
            let count = size.div_ceil(length);
            context.reserve(ElementType::Text, &[count])?;
            return Ok((0..count).map(|part| length.min(size - part * length)).collect());
        }
        let sizes = lengths.iter().map(|length| usize::try_from(*length)).collect::<Result<Vec<_>, _>>();
        let sizes = sizes.map_err(|_| wrong())?;
        match sizes.iter().try_fold(0_usize, |sum, part| sum.checked_add(*part)) {
            Some(sum) if sum == size => Ok(sizes),
            _ => Err(wrong()),
        }
    }
}

impl Operator for Split {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (tensor, split) = (operands.tensor(0)?, operands.optional_tensor(1)?);
        let axis = axis(self.axis, tensor.rank())?;
        let sizes = self.sizes(tensor.shape()[axis], split.as_ref(), context)?;
        let mut start = 0;
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            let mut part =
                slice(&tensor, axis, start, size).ok_or_else(|| broken("a part does not fill its shape"))?;
            // With lengths given, the dimension stays whatever `keepdims` says.
            if split.is_none() && !self.keeps_dimension {
                let mut shape = part.shape().to_vec();
                shape.remove(axis);
                part = part.reshaped(shape).ok_or_else(|| broken("a part does not fill its shape"))?;
            }
            parts.push(part);
            start += size;
        }
        Ok(vec![Value::Sequence(tensor.element_type(), parts)])
    }
}

#[derive(Debug)]
struct Concatenation {
    axis: i64,
    /// Whether the tensors are joined along a dimension that is new.
    stacks: bool,
}

fn build_concatenation(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    let axis = definition
        .attributes
        .integer("axis")?
        .ok_or_else(|| Refusal::new("the attribute axis is missing"))?;
    let stacks = definition.attributes.flag("new_axis", false)?;
    Ok(Built::tensor(Concatenation { axis, stacks }, sequence_type(definition, 0)?))
}

impl Operator for Concatenation {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let (element_type, tensors) = Operands::new(inputs).sequence(0)?;
        let Some(first) = tensors.first() else {
            return Err(OperatorError::inputs("an empty sequence can't be joined"));
        };
        let axis = axis(self.axis, first.rank() + usize::from(self.stacks))?;
        // Each tensor's length along the dimension, and the tensor's other dimensions.
        let mut shape = first.shape().to_vec();
        if self.stacks {
            shape.insert(axis, 1);
        }
        let mut lengths = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            let mut other = tensor.shape().to_vec();
            if self.stacks && other.len() >= axis {
                other.insert(axis, 1);
            }
            let length = other.get(axis).copied().unwrap_or(0);
            let differs = other.len() != shape.len()
                || other.iter().zip(&shape).enumerate().any(|(index, (a, b))| index != axis && a != b);
            if differs {
                return Err(OperatorError::inputs(format!(
                    "tensors of the shapes {:?} and {:?} can't be joined",
                    first.shape(),
                    tensor.shape()
                )));
            }
            lengths.push(length);
        }
        let joined_length = lengths.iter().try_fold(0_usize, |sum, length| sum.checked_add(*length));
        shape[axis] = joined_length.ok_or_else(|| OperatorError::TooLarge { shape: shape.clone() })?;
        let count = context.reserve(element_type, &shape)?;
        fn join<T: Element>(
            _: &[T],
            count: usize,
            tensors: &[Tensor],
            lengths: &[usize],
            shape: Shape,
            axis: usize,
        ) -> Result<Value, OperatorError> {
            // Without elements there is nothing to join, however long the dimensions are.
            let outer = if count == 0 { 0 } else { volume(&shape[..axis]) };
            let inner = volume(&shape[axis + 1..]);
            let mut joined: Vec<T> = Vec::with_capacity(count);
            for index in 0..outer {
                for (tensor, length) in tensors.iter().zip(lengths) {
                    let step = length * inner;
                    let values = super::operands::values::<T>(tensor)?;
                    joined.extend_from_slice(&values[index * step..(index + 1) * step]);
                }
            }
            output(shape, joined)
        }
        Ok(vec![
            for_any_element!(first.elements(), values => join(values, count, &tensors, &lengths, shape, axis))?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_along_any_dimension() {
        let tensor = Tensor::from_vec([2, 3, 2], (0..12_i64).collect()).unwrap();
        let part = slice(&tensor, 1, 1, 2).unwrap();
        assert_eq!(part.shape(), [2, 2, 2]);
        assert_eq!(part.values::<i64>().unwrap(), [2, 3, 4, 5, 8, 9, 10, 11]);
        let empty = Tensor::from_vec([2, 0], Vec::<f32>::new()).unwrap();
        assert_eq!(slice(&empty, 0, 1, 1).unwrap().shape(), [1, 0]);
    }

    #[test]
    fn positions_count_from_either_end() {
        assert_eq!(position(-1, 3, 3), Ok(2));
        assert_eq!(position(3, 3, 4), Ok(3));
        assert!(position(3, 3, 3).is_err());
        assert!(position(-4, 3, 4).is_err());
        assert!(position(i64::MIN, 3, 4).is_err());
    }
}
