//! Convolutions, pools, padding, resizing.

use super::{View, heavy, node, single, vector};
use crate::{
    island::{Operand, Translation},
    operators::Attribute,
    tensor::Tensor,
};

pub(super) fn translate(view: &View<'_>) -> Option<Translation> {
    match view.operator() {
        "Conv" => convolution(view),
        "ConvTranspose" => transposed(view),
        "MaxPool" | "AveragePool" => pool(view),
        "GlobalAveragePool" | "GlobalMaxPool" => global(view),
        "Pad" => pad(view),
        "Resize" | "Upsample" => resize(view),
        _ => None,
    }
}

/// The attributes that say how windows move, all of them written out: rten takes their
/// number from `kernel_shape`, which a model may leave out.
fn windows(view: &View<'_>, kernel: &[i64]) -> Option<Vec<(&'static str, Attribute)>> {
    let axes = kernel.len();
    // rten has kernels for one and for two axes.
    if !(1..=2).contains(&axes) || kernel.iter().any(|size| *size <= 0) {
        return None;
    }
    let list = |name: &'static str, length: usize, default: i64| -> Option<Vec<i64>> {
        let values = view.attribute_integers(name)?.unwrap_or_else(|| vec![default; length]);
        (values.len() == length).then_some(values)
    };
    let strides = list("strides", axes, 1)?;
    if strides.iter().any(|stride| *stride <= 0) {
        return None;
    }
    let mut attributes = vec![
        ("kernel_shape", Attribute::Integers(kernel.to_vec())),
        ("strides", Attribute::Integers(strides)),
    ];
    match view.attribute_text("auto_pad")?.unwrap_or("NOTSET") {
        "NOTSET" => {
            let pads = list("pads", axes * 2, 0)?;
            if pads.iter().any(|pad| *pad < 0) {
                return None;
            }
            attributes.push(("pads", Attribute::Integers(pads)));
        }
        "VALID" => attributes.push(("pads", Attribute::Integers(vec![0; axes * 2]))),
        "SAME_UPPER" => attributes.push(("auto_pad", Attribute::Text("SAME_UPPER".into()))),
        _ => return None,
    }
    Some(attributes)
}

fn kernel(view: &View<'_>) -> Option<Vec<i64>> {
    match view.attribute_integers("kernel_shape")? {
        Some(kernel) => Some(kernel),
        None => {
            let weights = view.input(1)?.shape.as_ref()?;
            weights.get(2..)?.iter().map(crate::facts::size::Size::value).collect()
        }
    }
}

fn dilations(view: &View<'_>, axes: usize) -> Option<Vec<i64>> {
    let values = view.attribute_integers("dilations")?.unwrap_or_else(|| vec![1; axes]);
    (values.len() == axes && values.iter().all(|value| *value > 0)).then_some(values)
}

fn convolution(view: &View<'_>) -> Option<Translation> {
    let inputs = view.input_count();
    if !(2..=3).contains(&inputs) || !(0..inputs).all(|index| view.is_float(index)) {
        return None;
    }
    let kernel = kernel(view)?;
    let mut attributes = windows(view, &kernel)?;
    attributes.push(("dilations", Attribute::Integers(dilations(view, kernel.len())?)));
    attributes.push(("group", Attribute::Integer(view.attribute_integer("group", 1)?)));
    heavy(node("Conv", view.operands(inputs), attributes), view.value_type(0)?)
}

fn transposed(view: &View<'_>) -> Option<Translation> {
    let inputs = view.input_count();
    if !(2..=3).contains(&inputs) || !(0..inputs).all(|index| view.is_float(index)) {
        return None;
    }
    let kernel = kernel(view)?;
    let padding = view.attribute_text("auto_pad")?.unwrap_or("NOTSET");
    if view.node.attributes.contains("output_shape")
        || !matches!(padding, "NOTSET" | "VALID")
        || dilations(view, kernel.len())?.iter().any(|dilation| *dilation != 1)
        || view.attribute_integer("group", 1)? != 1
    {
        return None;
    }
    let mut attributes = windows(view, &kernel)?;
    attributes.push(("dilations", Attribute::Integers(vec![1; kernel.len()])));
    if let Some(extra) = view.attribute_integers("output_padding")? {
        if extra.len() != kernel.len() || extra.iter().any(|extra| *extra < 0) {
            return None;
        }
        attributes.push(("output_padding", Attribute::Integers(extra)));
    }
    heavy(node("ConvTranspose", view.operands(inputs), attributes), view.value_type(0)?)
}

fn pool(view: &View<'_>) -> Option<Translation> {
    let kernel = view.attribute_integers("kernel_shape")??;
    if !view.is_float(0)
        || view.output_count() > 1
        || dilations(view, kernel.len())?.iter().any(|dilation| *dilation != 1)
        || view.attribute_integer("storage_order", 0)? != 0
    {
        return None;
    }
    let mut attributes = windows(view, &kernel)?;
    let ceiling = view.attribute_integer("ceil_mode", 0)?;
    attributes.push(("ceil_mode", Attribute::Integer(ceiling)));
    if view.operator() == "AveragePool" {
        attributes
            .push(("count_include_pad", Attribute::Integer(view.attribute_integer("count_include_pad", 0)?)));
    }
    single(node(view.operator(), view.operands(1), attributes), view.value_type(0)?)
}

fn global(view: &View<'_>) -> Option<Translation> {
    if !view.is_float(0) || view.rank(0)? < 3 {
        return None;
    }
    single(node(view.operator(), view.operands(1), Vec::new()), view.value_type(0)?)
}

fn pad(view: &View<'_>) -> Option<Translation> {
    let mode = view.attribute_text("mode")?.unwrap_or("constant");
    let pads = match view.attribute_integers("pads")? {
        Some(pads) => pads,
        None => view.integers(1)?,
    };
    // Negative padding cuts; four inputs name axes.
    if !view.is_float(0)
        || pads.iter().any(|pad| *pad < 0)
        || view.has_input(3)
        || !matches!(mode, "constant" | "edge" | "reflect")
    {
        return None;
    }
    if pads.len() != view.rank(0)? * 2 {
        return None;
    }
    let value = if view.node.attributes.contains("value") {
        view.attribute_float("value", 0.0)?
    } else {
        match view.input(2) {
            None => 0.0,
            Some(fact) => *fact.constant.as_ref()?.values::<f32>()?.first()?,
        }
    };
    let inputs = vec![
        view.operand(0),
        Some(vector(&pads)),
        (mode == "constant").then(|| Operand::Constant(Tensor::scalar(value))),
    ];
    let attributes = vec![("mode", Attribute::Text(mode.as_bytes().to_vec().into()))];
    single(node("Pad", inputs, attributes), view.value_type(0)?)
}

/// rten takes cubic for linear, aligns corners wrongly and has no antialiasing; it resizes the
/// last two of four dimensions.
fn resize(view: &View<'_>) -> Option<Translation> {
    let names = [
        "mode",
        "nearest_mode",
        "coordinate_transformation_mode",
        "scales",
        "cubic_coeff_a",
        "exclude_outside",
        "antialias",
        "extrapolation_value",
    ];
    if !view.is_float(0) || view.rank(0)? != 4 || !view.has_only(&names) {
        return None;
    }
    if view.attribute_integer("antialias", 0)? != 0 {
        return None;
    }
    let is_upsample = view.operator() == "Upsample";
    // Before opset 11 Resize was what Upsample is.
    let is_old = is_upsample || view.node.opset < 11;
    let mode = view.attribute_text("mode")?.unwrap_or("nearest");
    let coordinates = match view.attribute_text("coordinate_transformation_mode")? {
        Some(mode) if !is_old => mode,
        None if is_old => "asymmetric",
        None => "half_pixel",
        Some(_) => return None,
    };
    let nearest = match view.attribute_text("nearest_mode")? {
        Some(mode) if !is_old => mode,
        None if is_old => "floor",
        None => "round_prefer_floor",
        Some(_) => return None,
    };
    if !matches!(mode, "nearest" | "linear" | "bilinear")
        || !matches!(coordinates, "half_pixel" | "asymmetric" | "pytorch_half_pixel")
        || !matches!(nearest, "floor" | "ceil" | "round_prefer_floor" | "round_prefer_ceil")
    {
        return None;
    }
    let mode = if mode == "bilinear" { "linear" } else { mode };
    let shape = view.input(0)?.shape.as_ref()?;
    let sizes = (!is_old).then(|| view.input(3)).flatten();
    let (scales, sizes) = match sizes {
        Some(sizes) => {
            let contents = sizes.contents.as_ref().filter(|contents| contents.len() == 4)?;
            if contents.get(..2)? != shape.get(..2)? || !view.is_integer(3) {
                return None;
            }
            (None, view.operand(3))
        }
        None => {
            let scales = if view.node.attributes.contains("scales") {
                view.node.attributes.floats("scales").ok()??.to_vec()
            } else {
                view.input(if is_old { 1 } else { 2 })?.constant.as_ref()?.values::<f32>()?.to_vec()
            };
            if scales.len() != 4 || scales.get(..2)? != [1.0, 1.0] || scales.iter().any(|scale| *scale <= 0.0)
            {
                return None;
            }
            (Some(Operand::Constant(Tensor::vector(scales))), None)
        }
    };
    let text = |value: &str| Attribute::Text(value.as_bytes().to_vec().into());
    let attributes = vec![
        ("mode", text(mode)),
        ("nearest_mode", text(nearest)),
        ("coordinate_transformation_mode", text(coordinates)),
    ];
    single(node("Resize", vec![view.operand(0), None, scales, sizes], attributes), view.value_type(0)?)
}
