//! Products of matrices, and reductions.

use super::{
    call::{Call, Refusal, unsupported},
    datum::Datum,
};
use crate::{
    graph::{Attribute, Attributes, Operator, ValueId},
    tensor::ElementType,
};

/// Converts an operator of this family; `None` if it is of another.
pub(crate) fn convert<'m>(call: &mut Call<'_, 'm>) -> Option<Result<Vec<Datum<'m>>, Refusal>> {
    let one = match call.operator() {
        "All" => reduce_booleans(call, Operator::ReduceMin),
        "Any" => reduce_booleans(call, Operator::ReduceMax),
        "ArgMax" => arg(call, Operator::ArgMax),
        "ArgMin" => arg(call, Operator::ArgMin),
        "BatchMatMul" | "BatchMatMulV2" | "BatchMatMulV3" => batch_multiply(call),
        "Cumsum" => cumulative(call),
        "Einsum" => einsum(call),
        "EuclideanNorm" => norm(call),
        "MatMul" => multiply(call),
        "Max" => reduce(call, Operator::ReduceMax),
        "Mean" => reduce(call, Operator::ReduceMean),
        "Min" => reduce(call, Operator::ReduceMin),
        "Prod" => reduce(call, Operator::ReduceProd),
        "Sum" => reduce(call, Operator::ReduceSum),
        "L2Loss" => l2_loss(call),
        "TopKV2" => return Some(top(call)),
        _ => return None,
    };
    Some(one.map(|id| vec![Datum::Tensor(id)]))
}

/// Swaps the last two axes.
fn swapped(call: &mut Call<'_, '_>, id: ValueId) -> Result<ValueId, Refusal> {
    let rank = call.rank(id)?;
    if rank < 2 {
        return unsupported("a matrix of rank below 2");
    }
    let mut permutation: Vec<i64> = (0..rank as i64).collect();
    permutation.swap(rank - 1, rank - 2);
    call.transpose(id, permutation)
}

fn multiply(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (mut a, mut b) = (call.tensor(0)?, call.tensor(1)?);
    if call.node.boolean("transpose_a") {
        a = call.transpose(a, vec![1, 0])?;
    }
    if call.node.boolean("transpose_b") {
        b = call.transpose(b, vec![1, 0])?;
    }
    call.apply(Operator::MatMul, &[a, b])
}

fn batch_multiply(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (mut a, mut b) = (call.tensor(0)?, call.tensor(1)?);
    if call.node.boolean("adj_x") {
        a = swapped(call, a)?;
    }
    if call.node.boolean("adj_y") {
        b = swapped(call, b)?;
    }
    call.apply(Operator::MatMul, &[a, b])
}

fn einsum(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let inputs = call.all()?;
    let equation = call.text("equation");
    call.emit(Operator::Einsum, &inputs, Attributes::none().with("equation", Attribute::Text(equation)))
}

fn reduce(call: &mut Call<'_, '_>, operator: Operator) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axes = call.integers(1)?;
    if operator == Operator::ReduceMean && !call.kind(input).is_float() {
        return unsupported("the mean of integers");
    }
    reduced(call, operator, input, axes)
}

fn reduced(
    call: &mut Call<'_, '_>,
    operator: Operator,
    input: ValueId,
    axes: Vec<i64>,
) -> Result<ValueId, Refusal> {
    // No axes are none in TensorFlow, and all in ONNX.
    if axes.is_empty() {
        return Ok(input);
    }
    let keep = i64::from(call.node.boolean("keep_dims"));
    let attributes = Attributes::none().with("keepdims", keep);
    if operator == Operator::ReduceSum {
        let axes = call.vector(&axes)?;
        return call.emit(operator, &[input, axes], attributes);
    }
    call.emit(operator, &[input], attributes.with("axes", axes))
}

fn reduce_booleans(call: &mut Call<'_, '_>, operator: Operator) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axes = call.integers(1)?;
    let numbers = call.cast(input, ElementType::Int32)?;
    let result = reduced(call, operator, numbers, axes)?;
    call.cast(result, ElementType::Bool)
}

fn norm(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axes = call.integers(1)?;
    let squares = call.apply(Operator::Mul, &[input, input])?;
    let sum = reduced(call, Operator::ReduceSum, squares, axes)?;
    call.apply(Operator::Sqrt, &[sum])
}

fn l2_loss(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let squares = call.apply(Operator::Mul, &[input, input])?;
    let sum = call.emit(Operator::ReduceSum, &[squares], Attributes::none().with("keepdims", 0))?;
    let half = call.scalar(call.kind(input), 0.5)?;
    call.apply(Operator::Mul, &[sum, half])
}

fn arg(call: &mut Call<'_, '_>, operator: Operator) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axis = call.integer(1)?;
    let kind = call.type_attribute("output_type")?;
    let attributes = Attributes::none().with("axis", axis).with("keepdims", 0);
    let result = call.emit(operator, &[input], attributes)?;
    call.cast(result, kind)
}

fn cumulative(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axis = call.integer(1)?;
    let axis = call.builder.constant(crate::tensor::Tensor::integer(axis))?;
    let flag = |name: &str| i64::from(call.node.boolean(name));
    let attributes = Attributes::none().with("exclusive", flag("exclusive")).with("reverse", flag("reverse"));
    call.emit(Operator::CumSum, &[input, axis], attributes)
}

fn top<'m>(call: &mut Call<'_, 'm>) -> Result<Vec<Datum<'m>>, Refusal> {
    let (input, count) = (call.tensor(0)?, call.tensor(1)?);
    let count = call.cast(count, ElementType::Int64)?;
    let count = call.reshape_to(count, &[1])?;
    let attributes = Attributes::none().with("axis", -1).with("sorted", 1);
    let inputs = vec![Some(input), Some(count)];
    let results = call.builder.emit_many(Operator::TopK, inputs, attributes, 2)?;
    let &[values, indices] = results.as_slice() else { return unsupported("it has two results") };
    let indices = call.cast(indices, call.node.kind("index_type").unwrap_or(ElementType::Int32))?;
    Ok(vec![Datum::Tensor(values), Datum::Tensor(indices)])
}
