//! Operators that compare positions: bands, diagonals, counts, buckets.

use super::call::{Call, Refusal, unsupported};
use crate::{
    graph::{Attributes, Dimension, Operator, ValueId},
    tensor::{ElementType, Numbers, Tensor},
};

/// Converts an operator of this family; `None` if it is of another.
pub(crate) fn convert(call: &mut Call<'_, '_>) -> Option<Result<ValueId, Refusal>> {
    Some(match call.operator() {
        "BroadcastArgs" => broadcast_shapes(call),
        "Bucketize" => buckets(call),
        "DenseBincount" => counts(call),
        "MatrixBandPart" => band(call),
        "MatrixDiagV3" | "MatrixDiagV2" | "MatrixDiag" => diagonal(call),
        "Roll" => roll(call),
        _ => return None,
    })
}

/// The numbers from 0 to a size of a value, as 64-bit integers.
fn numbers(call: &mut Call<'_, '_>, id: ValueId, axis: usize) -> Result<ValueId, Refusal> {
    let kind = ElementType::Int64;
    let size = call.size_of(id, axis)?;
    let size = call.squeeze(size, &[0])?;
    let (zero, one) = (call.scalar(kind, 0.0)?, call.scalar(kind, 1.0)?);
    call.apply(Operator::Range, &[zero, size, one])
}

/// The shape that two shapes have when their tensors are broadcast together.
fn broadcast_shapes(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let kind = call.kind(a);
    let length = |id| match call.builder.shape(id) {
        Some(&[Dimension::Known(length @ 0..=64)]) => Ok(length as usize),
        _ => unsupported("the rank of its result is unknown"),
    };
    let (first, second) = (length(a)?, length(b)?);
    let longest = first.max(second);
    let mut sides = Vec::new();
    for (side, length) in [(a, first), (b, second)] {
        let mut side = call.cast(side, ElementType::Int64)?;
        if length < longest {
            let ones = call.vector(&vec![1; longest - length])?;
            side = call.concat(&[ones, side], 0)?;
        }
        sides.push(side);
    }
    let &[a, b] = sides.as_slice() else { return unsupported("it has two inputs") };
    let one = call.scalar(ElementType::Int64, 1.0)?;
    let single = call.apply(Operator::Equal, &[a, one])?;
    let shape = call.apply(Operator::Where, &[single, b, a])?;
    call.cast(shape, kind)
}

/// How many boundaries are at most as large as each value.
fn buckets(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let boundaries = call.node.floats("boundaries");
    let length = vec![boundaries.len()];
    let tensor = Tensor::from_numbers(ElementType::Float32, length, Numbers::Singles(boundaries));
    let Some(boundaries) = tensor else { return unsupported("its boundaries") };
    // Boundaries are single-precision numbers; larger integers would be rounded to compare them.
    if !matches!(call.kind(input), ElementType::Float32) {
        return unsupported("its values are not single-precision numbers");
    }
    let boundaries = call.builder.constant(boundaries)?;
    let values = call.unsqueeze(input, &[-1])?;
    let reached = call.apply(Operator::GreaterOrEqual, &[values, boundaries])?;
    let reached = call.cast(reached, ElementType::Int32)?;
    let axis = call.vector(&[-1])?;
    call.emit(Operator::ReduceSum, &[reached, axis], Attributes::none().with("keepdims", 0))
}

/// How often each number below a size is in a row.
fn counts(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, size, weights) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    if call.builder.sizes(weights).is_none_or(|sizes| !sizes.contains(&0)) {
        return unsupported("it has weights");
    }
    let kind = call.kind(weights);
    let (zero, one) = (call.scalar(ElementType::Int64, 0.0)?, call.scalar(ElementType::Int64, 1.0)?);
    let size = call.cast(size, ElementType::Int64)?;
    let numbers = call.apply(Operator::Range, &[zero, size, one])?;
    let values = call.cast(input, ElementType::Int64)?;
    let values = call.unsqueeze(values, &[-1])?;
    let equal = call.apply(Operator::Equal, &[values, numbers])?;
    let found = call.cast(equal, kind)?;
    let rank = call.rank(input)?;
    let operator = if call.node.boolean("binary_output") { Operator::ReduceMax } else { Operator::ReduceSum };
    let axis = if rank == 1 { 0 } else { 1 };
    let attributes = Attributes::none().with("keepdims", 0);
    if operator == Operator::ReduceSum {
        let axes = call.vector(&[axis])?;
        return call.emit(operator, &[found, axes], attributes);
    }
    call.emit(operator, &[found], attributes.with("axes", vec![axis]))
}

/// The part of a matrix around its diagonal.
fn band(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let (lower, upper) = (call.integer(1)?, call.integer(2)?);
    let rank = call.rank(input)?;
    if rank < 2 {
        return unsupported("a matrix of rank below 2");
    }
    let rows = numbers(call, input, rank - 2)?;
    let rows = call.unsqueeze(rows, &[1])?;
    let columns = numbers(call, input, rank - 1)?;
    let below = call.apply(Operator::Sub, &[rows, columns])?;
    let above = call.apply(Operator::Sub, &[columns, rows])?;
    let zero = call.scalar(call.kind(input), 0.0)?;
    let mut result = input;
    for (distance, most) in [(below, lower), (above, upper)] {
        // A negative limit keeps all.
        if most >= 0 {
            let most = call.scalar(ElementType::Int64, most as f64)?;
            let kept = call.apply(Operator::LessOrEqual, &[distance, most])?;
            result = call.apply(Operator::Where, &[kept, result, zero])?;
        }
    }
    Ok(result)
}

/// Matrices with the values on their diagonal.
fn diagonal(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let rank = call.rank(input)?;
    if call.inputs.len() > 1 {
        let place = call.integers(1)?;
        let size = |index: usize| {
            let size = call.tensor(index).ok().and_then(|id| call.builder.constant_of(id)?.integers());
            size.is_none_or(|size| size == [-1])
        };
        if place != [0] || !size(2) || !size(3) || rank == 0 {
            return unsupported("its values are not on the main diagonal of a square");
        }
    }
    let padding = match call.inputs.len() {
        5 => call.tensor(4)?,
        _ => call.scalar(call.kind(input), 0.0)?,
    };
    let columns = numbers(call, input, rank.saturating_sub(1))?;
    let rows = call.unsqueeze(columns, &[1])?;
    let on = call.apply(Operator::Equal, &[rows, columns])?;
    let values = call.unsqueeze(input, &[-1])?;
    call.apply(Operator::Where, &[on, values, padding])
}

/// Entries moved along axes; those that leave at an end come back at the other.
fn roll(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let mut result = call.tensor(0)?;
    let (shifts, axes) = (call.integers(1)?, call.integers(2)?);
    for (shift, axis) in shifts.into_iter().zip(axes) {
        let axis = call.axis(axis, result)?;
        let size = call.builder.shape(result).and_then(|shape| shape.get(axis)?.known());
        let Some(size) = size.filter(|size| *size > 0) else {
            return unsupported("the size of what it rolls is unknown");
        };
        let cut = size - shift.rem_euclid(size);
        if cut == size {
            continue;
        }
        let axes = [axis as i64];
        let last = call.slice(result, &[cut], &[i64::MAX], &axes, &[1])?;
        let first = call.slice(result, &[0], &[cut], &axes, &[1])?;
        result = call.concat(&[last, first], axis as i64)?;
    }
    Ok(result)
}
