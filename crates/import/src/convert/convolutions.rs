//! Convolutions: plain, grouped, depthwise, dilated, transposed, in one to three dimensions.

use super::{
    call::{Call, Refusal, unsupported},
    datum::Datum,
    windows::{Layout, Padding, Window, grouped, spatial_sizes},
};
use crate::{
    graph::{Dimension, Operator, ValueId},
    tensor::ElementType,
};

/// Converts an operator of this family; `None` if it is of another.
pub(crate) fn convert<'m>(call: &mut Call<'_, 'm>) -> Option<Result<Vec<Datum<'m>>, Refusal>> {
    let one = match call.operator() {
        "Conv2D" => plain(call, 2, None),
        "Conv3D" => plain(call, 3, None),
        "DepthwiseConv2dNative" => depthwise(call, None),
        "Conv2DBackpropInput" => transposed(call, 2),
        "Conv3DBackpropInputV2" => transposed(call, 3),
        "SpaceToBatchND" => space_to_batch(call),
        "BatchToSpaceND" => batch_to_space(call),
        _ => return None,
    };
    Some(one.map(|id| vec![Datum::Tensor(id)]))
}

/// The sizes of a kernel, spatial axes first.
fn kernel_sizes(call: &Call<'_, '_>, kernel: ValueId, spatial: usize) -> Result<Vec<i64>, Refusal> {
    match call.builder.sizes(kernel) {
        Some(sizes) if sizes.len() == spatial + 2 => Ok(sizes),
        _ => unsupported("the shape of its kernel is unknown"),
    }
}

/// Dilations and explicit padding that take the place of a node's own.
type Instead = Option<(Vec<i64>, Vec<i64>)>;

/// A `Conv2D` or `DepthwiseConv2dNative` with other dilations and padding than its node's.
pub(crate) fn dilated(
    call: &mut Call<'_, '_>,
    dilations: &[i64],
    pads: Vec<i64>,
) -> Result<ValueId, Refusal> {
    let instead = Some((dilations.to_vec(), pads));
    match call.operator() {
        "Conv2D" => plain(call, 2, instead),
        _ => depthwise(call, instead),
    }
}

/// The window and the padding of a node.
fn window(
    call: &Call<'_, '_>,
    layout: Layout,
    size: Vec<i64>,
    instead: Instead,
) -> Result<(Window, Padding), Refusal> {
    let spatial = size.len();
    let window = Window::of(call, layout, size)?;
    match instead {
        Some((dilations, pads)) => Ok((Window { dilations, ..window }, Padding::Explicit(pads))),
        None => Ok((window, Padding::of(call, layout, spatial)?)),
    }
}

fn plain(call: &mut Call<'_, '_>, spatial: usize, instead: Instead) -> Result<ValueId, Refusal> {
    let (input, kernel) = (call.tensor(0)?, call.tensor(1)?);
    let layout = Layout::of(call)?;
    let sizes = kernel_sizes(call, kernel, spatial)?;
    let size = sizes.iter().take(spatial).copied().collect();
    let (window, padding) = window(call, layout, size, instead)?;
    // [space..., in, out] to [out, in, space...].
    let permutation = [spatial as i64 + 1, spatial as i64].into_iter().chain(0..spatial as i64).collect();
    let weights = call.transpose(kernel, permutation)?;
    let image = layout.enter(call, input, spatial)?;
    let channels = call.builder.shape(image).and_then(|shape| shape.get(1)?.known());
    let per_group = sizes.get(spatial).copied().filter(|channels| *channels > 0);
    let groups = match (channels, per_group) {
        (Some(channels), Some(per_group)) if channels > 0 && channels % per_group == 0 => {
            channels / per_group
        }
        (None, Some(_)) => 1,
        _ => return unsupported("the channels of its input don't fit its kernel"),
    };
    let attributes = grouped(window.padded(&padding, spatial_sizes(call, image)), groups);
    let result = call.emit(Operator::Conv, &[image, weights], attributes)?;
    layout.leave(call, result, spatial)
}

fn depthwise(call: &mut Call<'_, '_>, instead: Instead) -> Result<ValueId, Refusal> {
    let (input, kernel) = (call.tensor(0)?, call.tensor(1)?);
    let layout = Layout::of(call)?;
    let &[height, width, channels, multiplier] = kernel_sizes(call, kernel, 2)?.as_slice() else {
        return unsupported("the rank of its kernel");
    };
    let (window, padding) = window(call, layout, vec![height, width], instead)?;
    let weights = call.transpose(kernel, vec![2, 3, 0, 1])?;
    let outputs = channels.saturating_mul(multiplier);
    let weights = call.reshape_to(weights, &[outputs, 1, height, width])?;
    let image = layout.enter(call, input, 2)?;
    let attributes = grouped(window.padded(&padding, spatial_sizes(call, image)), channels);
    let result = call.emit(Operator::Conv, &[image, weights], attributes)?;
    layout.leave(call, result, 2)
}

/// The gradient of a convolution with respect to its input: what layers call a
/// transposed convolution. Its first input is the shape of the result.
fn transposed(call: &mut Call<'_, '_>, spatial: usize) -> Result<ValueId, Refusal> {
    let (shape, kernel, input) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let layout = Layout::of(call)?;
    let sizes = kernel_sizes(call, kernel, spatial)?;
    let window = Window::of(call, layout, sizes.iter().take(spatial).copied().collect())?;
    let padding = Padding::of(call, layout, spatial)?;
    // [space..., out, in] to [in, out, space...].
    let permutation = [spatial as i64 + 1, spatial as i64].into_iter().chain(0..spatial as i64).collect();
    let weights = call.transpose(kernel, permutation)?;
    let image = layout.enter(call, input, spatial)?;
    let elements = call.builder.elements(shape).filter(|elements| elements.len() == spatial + 2);
    let wanted = elements.as_ref().and_then(|elements| layout.spatial(elements));
    let from = spatial_sizes(call, image).unwrap_or_default();
    let (mut starts, mut ends, mut extra) = (Vec::new(), Vec::new(), Vec::new());
    let mut assumed = false;
    for axis in 0..spatial {
        let (reach, stride) = (window.reach(axis), window.strides.get(axis).copied().unwrap_or(1));
        let known = wanted.as_ref().and_then(|wanted| wanted.get(axis)?.known());
        // How much the result is smaller than where all windows reach.
        let excess = match (known, from.get(axis).copied().flatten()) {
            (Some(wanted), Some(from)) => (from - 1).saturating_mul(stride) + reach - wanted,
            // As layers compute it from an unknown size; the reshape below checks it.
            _ => {
                assumed = true;
                match padding {
                    Padding::Same => reach - stride,
                    Padding::Explicit(_) => (reach - stride).min(0),
                }
            }
        };
        let start = match &padding {
            Padding::Same => excess.max(0) / 2,
            Padding::Explicit(pads) => pads.get(axis).copied().unwrap_or(0),
        };
        let end = excess - start;
        starts.push(start);
        ends.push(end.max(0));
        extra.push((-end).max(0));
    }
    if extra.iter().zip(&window.strides).zip(&window.dilations).any(|((e, s), d)| e >= s.max(d)) {
        return unsupported("the shape of its result doesn't fit strides and padding");
    }
    starts.extend(ends);
    let mut attributes = window.attributes().with("pads", starts);
    if extra.iter().any(|size| *size != 0) {
        attributes = attributes.with("output_padding", extra);
    }
    let result = call.emit(Operator::ConvTranspose, &[image, weights], attributes)?;
    // ONNX's shape inference knows less than we do.
    let batch = call.builder.shape(image).and_then(|shape| shape.first().copied());
    let channels = sizes.get(spatial).copied().unwrap_or(1);
    if let (Some(wanted), Some(batch)) = (&wanted, batch) {
        let shape = [batch, Dimension::Known(channels)].into_iter().chain(wanted.iter().copied()).collect();
        let kind = call.kind(result);
        call.builder.describe(result, kind, Some(shape));
    }
    let result = layout.leave(call, result, spatial)?;
    if !assumed {
        return Ok(result);
    }
    let target = call.cast(shape, ElementType::Int64)?;
    call.apply(Operator::Reshape, &[result, target])
}

/// Sizes and pairs of `SpaceToBatchND` and `BatchToSpaceND`.
fn blocks(call: &Call<'_, '_>) -> Result<Vec<i64>, Refusal> {
    let blocks = call.integers(1)?;
    if blocks.is_empty() || blocks.iter().any(|block| !(1..1 << 20).contains(block)) {
        return unsupported("the sizes of its blocks");
    }
    Ok(blocks)
}

/// One size of a shape, as a vector: a constant if it is known.
fn size(call: &mut Call<'_, '_>, id: ValueId, axis: usize) -> Result<ValueId, Refusal> {
    call.size_of(id, axis)
}

fn divided(call: &mut Call<'_, '_>, size: ValueId, by: i64) -> Result<ValueId, Refusal> {
    let by = call.vector(&[by])?;
    call.apply(Operator::Div, &[size, by])
}

fn multiplied(call: &mut Call<'_, '_>, size: ValueId, by: i64) -> Result<ValueId, Refusal> {
    let by = call.vector(&[by])?;
    call.apply(Operator::Mul, &[size, by])
}

fn space_to_batch(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, pairs) = (call.tensor(0)?, call.tensor(2)?);
    let blocks = blocks(call)?;
    let rank = call.rank(input)?;
    let count = blocks.len();
    if rank <= count {
        return unsupported("more blocks than axes");
    }
    let none = call.vector(&vec![0; rank])?;
    let pads = super::shapes::pads(call, pairs)?;
    // [starts, ends] of the blocks' axes, with zeros for all others.
    let part =
        |call: &mut Call<'_, '_>, id: ValueId, from: i64, to: i64| call.slice(id, &[from], &[to], &[0], &[1]);
    let before = part(call, none, 0, 1)?;
    let after = part(call, none, 0, (rank - count - 1) as i64)?;
    let starts = part(call, pads, 0, count as i64)?;
    let ends = part(call, pads, count as i64, 2 * count as i64)?;
    let pads = call.concat(&[before, starts, after, before, ends, after], 0)?;
    let padded = call.apply(Operator::Pad, &[input, pads])?;
    // [n, h/b, b, w/b, b, c] to [b, b, n, h/b, w/b, c].
    let mut shape = vec![size(call, padded, 0)?];
    let mut result = vec![{
        let product = blocks.iter().fold(1i64, |product, block| product.saturating_mul(*block));
        let batch = size(call, padded, 0)?;
        multiplied(call, batch, product)?
    }];
    for (axis, block) in blocks.iter().enumerate() {
        let whole = size(call, padded, axis + 1)?;
        let part = divided(call, whole, *block)?;
        shape.push(part);
        shape.push(call.vector(&[*block])?);
        result.push(part);
    }
    for axis in count + 1..rank {
        let rest = size(call, padded, axis)?;
        shape.push(rest);
        result.push(rest);
    }
    let shape = call.concat(&shape, 0)?;
    let split = call.reshape(padded, shape)?;
    let inner = (0..count as i64).map(|axis| 2 * axis + 2);
    let outer = (0..count as i64).map(|axis| 2 * axis + 1);
    let rest = 2 * count as i64 + 1..(rank + count) as i64;
    let moved = call.transpose(split, inner.chain([0]).chain(outer).chain(rest).collect())?;
    let result = call.concat(&result, 0)?;
    call.reshape(moved, result)
}

fn batch_to_space(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, pairs) = (call.tensor(0)?, call.tensor(2)?);
    let blocks = blocks(call)?;
    let rank = call.rank(input)?;
    let count = blocks.len();
    if rank <= count {
        return unsupported("more blocks than axes");
    }
    let product = blocks.iter().fold(1i64, |product, block| product.saturating_mul(*block));
    let batch = size(call, input, 0)?;
    let batch = divided(call, batch, product)?;
    // [b, b, n, h, w, c] to [n, h, b, w, b, c].
    let mut shape = Vec::new();
    for block in &blocks {
        shape.push(call.vector(&[*block])?);
    }
    shape.push(batch);
    let mut result = vec![batch];
    for axis in 1..rank {
        let part = size(call, input, axis)?;
        shape.push(part);
        result.push(match blocks.get(axis - 1) {
            Some(block) => multiplied(call, part, *block)?,
            None => part,
        });
    }
    let shape = call.concat(&shape, 0)?;
    let split = call.reshape(input, shape)?;
    let last = count as i64;
    let spatial = (0..last).flat_map(|axis| [last + 1 + axis, axis]);
    let rest = 2 * last + 1..(rank + count) as i64;
    let moved = call.transpose(split, [last].into_iter().chain(spatial).chain(rest).collect())?;
    let result = call.concat(&result, 0)?;
    let whole = call.reshape(moved, result)?;
    let crops = call.integers_of(pairs)?;
    let (crops, _) = crops.as_chunks::<2>();
    let starts: Vec<i64> = crops.iter().map(|[start, _]| *start).collect();
    let ends: Vec<i64> = crops.iter().map(|[_, end]| if *end == 0 { i64::MAX } else { -end }).collect();
    let axes: Vec<i64> = (1..=crops.len() as i64).collect();
    if crops.iter().all(|pair| *pair == [0, 0]) {
        return Ok(whole);
    }
    call.slice(whole, &starts, &ends, &axes, &vec![1; crops.len()])
}
