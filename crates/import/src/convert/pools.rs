//! Pools, normalisations of images, and resizing.

use super::{
    call::{Call, Refusal, unsupported},
    datum::Datum,
    windows::{Layout, Padding, Window, spatial_sizes},
};
use crate::{
    graph::{Attributes, Dimension, Operator, ValueId},
    tensor::{ElementType, Numbers, Tensor},
};

/// Converts an operator of this family; `None` if it is of another.
pub(crate) fn convert<'m>(call: &mut Call<'_, 'm>) -> Option<Result<Vec<Datum<'m>>, Refusal>> {
    let one = match call.operator() {
        "AvgPool" => pool(call, Operator::AveragePool, 2),
        "AvgPool3D" => pool(call, Operator::AveragePool, 3),
        "MaxPool" => pool(call, Operator::MaxPool, 2),
        "MaxPool3D" => pool(call, Operator::MaxPool, 3),
        "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3" => return Some(batch_norm(call)),
        "LRN" => local_response(call),
        "ResizeBilinear" => resize(call, true),
        "ResizeNearestNeighbor" => resize(call, false),
        _ => return None,
    };
    Some(one.map(|id| vec![Datum::Tensor(id)]))
}

fn pool(call: &mut Call<'_, '_>, operator: Operator, spatial: usize) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let layout = Layout::of(call)?;
    let all = call.node.integers("ksize");
    let size = layout.spatial(&all).filter(|size| size.len() == spatial);
    let product = |list: &[i64]| list.iter().fold(1i64, |product, n| product.saturating_mul(*n));
    let Some(size) = size.filter(|size| product(size) == product(&all)) else {
        return unsupported("its window covers the batch or the channels");
    };
    let window = Window::of(call, layout, size)?;
    let window = Window { dilations: vec![1; spatial], ..window };
    let padding = Padding::of(call, layout, spatial)?;
    let image = layout.enter(call, input, spatial)?;
    let attributes = window.padded(&padding, spatial_sizes(call, image));
    let result = call.emit(operator, &[image], attributes)?;
    layout.leave(call, result, spatial)
}

fn batch_norm<'m>(call: &mut Call<'_, 'm>) -> Result<Vec<Datum<'m>>, Refusal> {
    if call.node.boolean("is_training") {
        return unsupported("it normalises by the batch, as in training");
    }
    let layout = Layout::of(call)?;
    let (input, scale, offset) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let (mean, variance) = (call.tensor(3)?, call.tensor(4)?);
    let spatial = call.rank(input)?.saturating_sub(2);
    let epsilon = call.node.float("epsilon").unwrap_or(1e-4);
    let image = layout.enter(call, input, spatial)?;
    let inputs = [image, scale, offset, mean, variance];
    let attributes = Attributes::none().with("epsilon", epsilon);
    let result = call.emit(Operator::BatchNormalization, &inputs, attributes)?;
    let result = layout.leave(call, result, spatial)?;
    Ok([result, mean, variance, mean, variance, variance].map(Datum::Tensor).to_vec())
}

/// TensorFlow's alpha counts for one element, ONNX's for the whole window.
fn local_response(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let radius = call.attribute("depth_radius")?;
    let size = radius.saturating_mul(2).saturating_add(1);
    let float = |name: &str| call.node.float(name).unwrap_or(1.0);
    let attributes = Attributes::none()
        .with("alpha", float("alpha") * size as f32)
        .with("beta", float("beta"))
        .with("bias", float("bias"))
        .with("size", size);
    let image = call.transpose(input, vec![0, 3, 1, 2])?;
    let result = call.emit(Operator::LRN, &[image], attributes)?;
    call.transpose(result, vec![0, 2, 3, 1])
}

fn resize(call: &mut Call<'_, '_>, linear: bool) -> Result<ValueId, Refusal> {
    let (mut input, size) = (call.tensor(0)?, call.tensor(1)?);
    if linear && call.kind(input) != ElementType::Float32 {
        input = call.cast(input, ElementType::Float32)?;
    }
    let (centres, corners) = (call.node.boolean("half_pixel_centers"), call.node.boolean("align_corners"));
    let coordinates = match (centres, corners) {
        (true, false) => "half_pixel",
        (false, true) => "align_corners",
        (false, false) => "asymmetric",
        (true, true) => return unsupported("both align_corners and half_pixel_centers are set"),
    };
    let mode = if linear { "linear" } else { "nearest" };
    let mut attributes =
        Attributes::none().with("coordinate_transformation_mode", coordinates).with("mode", mode);
    if !linear {
        let rounding = if coordinates == "asymmetric" { "floor" } else { "round_prefer_ceil" };
        attributes = attributes.with("nearest_mode", rounding);
    }
    let image = call.transpose(input, vec![0, 3, 1, 2])?;
    let from = spatial_sizes(call, image).unwrap_or_default();
    let to = call.builder.elements(size).unwrap_or_default();
    let result = match whole_factors(&from, &to).and_then(scales) {
        Some(scales) => {
            let scales = call.builder.constant(scales)?;
            call.builder.emit_one(Operator::Resize, vec![Some(image), None, Some(scales)], attributes)?
        }
        None => {
            let shape = call.shape_of(image)?;
            let kept = call.slice(shape, &[0], &[2], &[0], &[1])?;
            let size = call.cast(size, ElementType::Int64)?;
            let sizes = call.concat(&[kept, size], 0)?;
            call.builder.emit_one(Operator::Resize, vec![Some(image), None, None, Some(sizes)], attributes)?
        }
    };
    if let Some(shape) = call.builder.shape(image).and_then(|shape| shape.get(..2)).map(<[_]>::to_vec)
        && to.len() == 2
    {
        let kind = call.kind(result);
        call.builder.describe(result, kind, Some([shape, to].concat()));
    }
    call.transpose(result, vec![0, 2, 3, 1])
}

/// Whole factors can be written without the batch, which sizes would need.
fn whole_factors(from: &[Option<i64>], to: &[Dimension]) -> Option<Vec<i64>> {
    if from.len() != 2 || to.len() != 2 {
        return None;
    }
    let factor = |(from, to): (&Option<i64>, &Dimension)| {
        let (from, to) = ((*from)?, to.known()?);
        (from > 0 && to % from == 0).then(|| to / from)
    };
    from.iter().zip(to).map(factor).collect()
}

fn scales(factors: Vec<i64>) -> Option<Tensor> {
    let values = [1.0, 1.0].into_iter().chain(factors.into_iter().map(|factor| factor as f32)).collect();
    Tensor::from_numbers(ElementType::Float32, vec![4], Numbers::Singles(values))
}
