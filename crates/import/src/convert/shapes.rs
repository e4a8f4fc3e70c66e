//! Operators that make, join, split and rearrange tensors.

use super::{
    call::{Call, Refusal, unsupported},
    datum::Datum,
};
use crate::{
    graph::{Attributes, Dimension, Operator, ValueId},
    tensor::ElementType,
    tensorflow::tensors,
};

/// More parts than this are not split off.
const MOST_PARTS: i64 = 1 << 16;

/// Converts an operator of this family; `None` if it is of another.
pub(crate) fn convert<'m>(call: &mut Call<'_, 'm>) -> Option<Result<Vec<Datum<'m>>, Refusal>> {
    let one = match call.operator() {
        "BroadcastTo" => broadcast(call),
        "Concat" | "ConcatV2" => concat(call),
        "Const" => literal(call),
        "DepthToSpace" => blocks(call, Operator::DepthToSpace),
        "Empty" => unsupported("its contents are undefined"),
        "ExpandDims" => expand_dims(call),
        "Fill" => fill(call),
        "InvertPermutation" => invert_permutation(call),
        "MirrorPad" => mirror_pad(call),
        "Pack" => pack(call),
        "Pad" | "PadV2" => pad(call),
        "Range" => range(call),
        "Rank" => rank(call),
        "Reshape" => reshape(call),
        "Shape" => shape(call),
        "Size" => size(call),
        "SpaceToDepth" => blocks(call, Operator::SpaceToDepth),
        "Squeeze" => squeeze(call),
        "Tile" => tile(call),
        "Transpose" => transpose(call),
        "Split" | "SplitV" | "Unpack" | "ShapeN" | "IdentityN" => {
            let many = match call.operator() {
                "Split" => split(call),
                "SplitV" => split_sizes(call),
                "Unpack" => unpack(call),
                "ShapeN" => shapes(call),
                _ => return Some(Ok(call.inputs.to_vec())),
            };
            return Some(many.map(|ids| ids.into_iter().map(Datum::Tensor).collect()));
        }
        _ => return None,
    };
    Some(one.map(|id| vec![Datum::Tensor(id)]))
}

fn literal(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let Some(message) = call.node.tensor("value") else { return unsupported("it has no value") };
    match tensors::tensor(message, call.builder.constant_bytes_left()) {
        Ok(tensor) => Ok(call.builder.constant(tensor)?),
        Err(reason) => unsupported(reason),
    }
}

fn broadcast(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, shape) = (call.tensor(0)?, call.tensor(1)?);
    let shape = call.cast(shape, ElementType::Int64)?;
    call.apply(Operator::Expand, &[input, shape])
}

fn concat(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let last = call.inputs.len().saturating_sub(1);
    let (axis, parts) = match call.operator() {
        "Concat" => (call.integer(0)?, call.tensors(1..last + 1)?),
        _ => (call.integer(last)?, call.tensors(0..last)?),
    };
    // TensorFlow lets parts be empty and of another rank; those don't reach a model in practice.
    call.concat(&parts, axis)
}

fn blocks(call: &mut Call<'_, '_>, operator: Operator) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let block = call.attribute("block_size")?;
    let first = call.text("data_format").starts_with(b"NCHW");
    if !first && !call.text("data_format").starts_with(b"NHWC") {
        return unsupported("its data format");
    }
    let attributes = Attributes::none().with("blocksize", block);
    if first {
        return call.emit(operator, &[input], attributes);
    }
    let input = call.transpose(input, vec![0, 3, 1, 2])?;
    let result = call.emit(operator, &[input], attributes)?;
    call.transpose(result, vec![0, 2, 3, 1])
}

fn expand_dims(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axis = call.integer(1)?;
    call.unsqueeze(input, &[axis])
}

fn fill(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (shape, value) = (call.tensor(0)?, call.tensor(1)?);
    let shape = call.cast(shape, ElementType::Int64)?;
    call.apply(Operator::Expand, &[value, shape])
}

fn invert_permutation(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let values = call.integers(0)?;
    let mut inverse = vec![0i64; values.len()];
    for (index, value) in values.iter().enumerate() {
        match usize::try_from(*value).ok().and_then(|value| inverse.get_mut(value)) {
            Some(slot) => *slot = index as i64,
            None => return unsupported("its input is no permutation"),
        }
    }
    let kind = call.kind(call.tensor(0)?);
    let inverse = call.vector(&inverse)?;
    call.cast(inverse, kind)
}

/// TensorFlow's pairs of paddings as ONNX's: all at the start, then all at the end.
pub(crate) fn pads(call: &mut Call<'_, '_>, pairs: ValueId) -> Result<ValueId, Refusal> {
    let pairs = call.cast(pairs, ElementType::Int64)?;
    let by_side = call.transpose(pairs, vec![1, 0])?;
    call.reshape_to(by_side, &[-1])
}

fn pad(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, pairs) = (call.tensor(0)?, call.tensor(1)?);
    let pads = pads(call, pairs)?;
    match call.inputs.len() {
        2 => call.apply(Operator::Pad, &[input, pads]),
        _ => {
            let value = call.tensor(2)?;
            call.apply(Operator::Pad, &[input, pads, value])
        }
    }
}

fn mirror_pad(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    if call.text("mode").as_ref() != b"REFLECT" {
        return unsupported("only the mode REFLECT has a counterpart");
    }
    let (input, pairs) = (call.tensor(0)?, call.tensor(1)?);
    let pads = pads(call, pairs)?;
    call.emit(Operator::Pad, &[input, pads], Attributes::none().with("mode", "reflect"))
}

fn pack(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let axis = call.attribute("axis")?;
    let mut parts = Vec::with_capacity(call.inputs.len());
    for input in call.all()? {
        parts.push(call.unsqueeze(input, &[axis])?);
    }
    call.concat(&parts, axis)
}

fn range(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let inputs = [call.tensor(0)?, call.tensor(1)?, call.tensor(2)?];
    call.apply(Operator::Range, &inputs)
}

fn rank(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let rank = call.rank(call.tensor(0)?)?;
    call.scalar(ElementType::Int32, rank as f64)
}

fn reshape(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, target) = (call.tensor(0)?, call.tensor(1)?);
    call.reshape(input, target)
}

fn shape(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let kind = call.type_attribute("out_type")?;
    let shape = call.shape_of(call.tensor(0)?)?;
    call.cast(shape, kind)
}

fn shapes(call: &mut Call<'_, '_>) -> Result<Vec<ValueId>, Refusal> {
    let kind = call.type_attribute("out_type")?;
    let mut all = Vec::with_capacity(call.inputs.len());
    for input in call.all()? {
        let shape = call.shape_of(input)?;
        all.push(call.cast(shape, kind)?);
    }
    Ok(all)
}

fn size(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let kind = call.type_attribute("out_type")?;
    let input = call.tensor(0)?;
    let size = match call.builder.sizes(input) {
        Some(sizes) => {
            let total = sizes.iter().try_fold(1i64, |a, b| a.checked_mul(*b));
            let Some(total) = total else { return unsupported("its input is too large") };
            call.builder.constant(crate::tensor::Tensor::integer(total))?
        }
        None => call.apply(Operator::Size, &[input])?,
    };
    call.cast(size, kind)
}

fn squeeze(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axes = call.node.integers("squeeze_dims");
    if !axes.is_empty() {
        return call.squeeze(input, &axes);
    }
    match call.builder.sizes(input) {
        Some(sizes) => {
            let axes: Vec<i64> =
                sizes.iter().zip(0..).filter(|(size, _)| **size == 1).map(|(_, axis)| axis).collect();
            if axes.is_empty() { Ok(input) } else { call.squeeze(input, &axes) }
        }
        None => call.apply(Operator::Squeeze, &[input]),
    }
}

fn tile(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, times) = (call.tensor(0)?, call.tensor(1)?);
    let times = call.cast(times, ElementType::Int64)?;
    call.apply(Operator::Tile, &[input, times])
}

fn transpose(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let permutation = call.integers(1)?;
    call.transpose(input, permutation)
}

fn split(call: &mut Call<'_, '_>) -> Result<Vec<ValueId>, Refusal> {
    let input = call.tensor(1)?;
    let axis = call.integer(0)?;
    let axis = call.axis(axis, input)?;
    let count = call.attribute("num_split")?;
    let size = call.builder.shape(input).and_then(|shape| shape.get(axis)?.known());
    let Some(size) = size.filter(|size| count > 0 && size % count == 0) else {
        return unsupported("what it splits has no known size that its parts divide");
    };
    if count > size.max(1) || count > MOST_PARTS {
        return unsupported("it makes empty parts, or too many");
    }
    parts(call, input, axis, &vec![size / count; count as usize])
}

fn parts(
    call: &mut Call<'_, '_>,
    input: ValueId,
    axis: usize,
    sizes: &[i64],
) -> Result<Vec<ValueId>, Refusal> {
    if let [_] = sizes {
        return Ok(vec![input]);
    }
    // The parts of a constant are constants.
    if call.builder.constant_of(input).is_some() {
        let (mut all, mut start) = (Vec::with_capacity(sizes.len()), 0i64);
        for size in sizes {
            let end = start.saturating_add(*size);
            all.push(call.slice(input, &[start], &[end], &[axis as i64], &[1])?);
            start = end;
        }
        return Ok(all);
    }
    let inputs = vec![Some(input), Some(call.vector(sizes)?)];
    let attributes = Attributes::none().with("axis", axis as i64);
    Ok(call.builder.emit_many(Operator::Split, inputs, attributes, sizes.len())?)
}

fn split_sizes(call: &mut Call<'_, '_>) -> Result<Vec<ValueId>, Refusal> {
    let input = call.tensor(0)?;
    let mut sizes = call.integers(1)?;
    let axis = call.integer(2)?;
    let axis = call.axis(axis, input)?;
    if let Some(open) = sizes.iter().position(|size| *size == -1) {
        let total = call.builder.shape(input).and_then(|shape| shape.get(axis)?.known());
        let taken = sizes.iter().filter(|size| **size != -1).try_fold(0i64, |a, b| a.checked_add(*b));
        match (total, taken, sizes.get_mut(open)) {
            (Some(total), Some(taken), Some(size)) if total >= taken => *size = total - taken,
            _ => return unsupported("the size of one part is not known"),
        }
    }
    parts(call, input, axis, &sizes)
}

fn unpack(call: &mut Call<'_, '_>) -> Result<Vec<ValueId>, Refusal> {
    let input = call.tensor(0)?;
    let axis = call.axis(call.attribute("axis")?, input)?;
    let count = call.attribute("num")?;
    if let Some(Dimension::Known(size)) = call.builder.shape(input).and_then(|shape| shape.get(axis))
        && *size != count
    {
        return unsupported(format!("it unpacks {count} of {size} entries"));
    }
    let mut all = Vec::new();
    for index in 0..count {
        let index = call.builder.constant(crate::tensor::Tensor::integer(index))?;
        all.push(call.gather(input, index, axis as i64)?);
    }
    Ok(all)
}
