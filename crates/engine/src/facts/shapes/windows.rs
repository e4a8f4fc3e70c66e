//! Operators that move windows over images, and those that change the size of images.

use super::{Inferred, Query};
use crate::facts::size::{Size, Sizes};

/// `Conv`, `MaxPool` and the like.
pub(super) fn windows(query: &Query<'_>, sizes: &mut Sizes) -> Vec<Inferred> {
    let shape = shape(query, sizes);
    let outputs = if query.node.operator == "MaxPool" { query.node.outputs.len() } else { 1 };
    vec![Inferred::shape(shape); outputs]
}

fn shape(query: &Query<'_>, sizes: &mut Sizes) -> Option<Vec<Size>> {
    let input = query.shape(0)?;
    let (batch, channels, space) = match input.as_slice() {
        [batch, channels, space @ ..] => (batch, channels, space),
        _ => return None,
    };
    let weights = match query.node.operator.as_str() {
        "Conv" | "ConvInteger" => Some(1),
        "QLinearConv" => Some(3),
        _ => None,
    };
    let kernel: Vec<Size> = match (query.integers("kernel_shape"), weights) {
        (Some(kernel), _) => kernel.into_iter().map(Size::from).collect(),
        (None, Some(weights)) => query.shape(weights)?.get(2..)?.to_vec(),
        (None, None) => return None,
    };
    let channels = match weights {
        Some(weights) => query.shape(weights)?.first()?.clone(),
        None => channels.clone(),
    };
    let mut output = vec![batch.clone(), channels];
    let padding = query.node.attributes.text("auto_pad").ok()?.unwrap_or("NOTSET");
    let ceiling = query.integer("ceil_mode", 0)? != 0;
    let (strides, dilations, pads) =
        (query.integers("strides"), query.integers("dilations"), query.integers("pads"));
    for (index, size) in space.iter().enumerate() {
        let one_of = |values: &Option<Vec<i64>>, index: usize, default: i64| match values {
            Some(values) => values.get(index).copied(),
            None => Some(default),
        };
        let stride = one_of(&strides, index, 1).filter(|stride| *stride > 0)?;
        if matches!(padding, "SAME_UPPER" | "SAME_LOWER") {
            let rounded = size.plus(&Size::from(stride - 1))?;
            output.push(sizes.quotient(&rounded, &Size::from(stride)));
            continue;
        }
        let dilation = one_of(&dilations, index, 1)?;
        let [before, after] = match padding {
            "VALID" => [0, 0],
            _ => [one_of(&pads, index, 0)?, one_of(&pads, index + space.len(), 0)?],
        };
        let pads = before.checked_add(after)?;
        let window = kernel.get(index)?.minus(&Size::from(1))?.times(&Size::from(dilation))?;
        let mut span = size.plus(&Size::from(pads))?.minus(&window)?.minus(&Size::from(1))?;
        if ceiling {
            span = span.plus(&Size::from(stride - 1))?;
        }
        // With ceil_mode the last window is left out if it begins behind the image and the pads before it: then this is
        // one too many. Windows that are larger than the stride and the pads never do.
        let count = sizes.quotient(&span, &Size::from(stride)).plus(&Size::from(1))?;
        let never_left_out = window.value().is_some_and(|window| window >= after.saturating_add(stride - 1));
        if ceiling && stride > 1 && !never_left_out {
            let (low, high) = sizes.bounds(&count);
            if query.node.operator != "MaxPool" && query.node.operator != "AveragePool" || low < 0 {
                return None;
            }
            output.push(sizes.unknown(0, i64::try_from(high).ok()?));
        } else {
            output.push(count);
        }
    }
    Some(output)
}

/// `ConvTranspose`.
pub(super) fn transposed(query: &Query<'_>, sizes: &Sizes) -> Inferred {
    let _ = sizes;
    let shape = || {
        let [batch, _, space @ ..] = query.shape(0)?.as_slice() else { return None };
        let weights = query.shape(1)?;
        let groups = query.integer("group", 1)?;
        let mut output = vec![batch.clone(), weights.get(1)?.times(&Size::from(groups))?];
        if let Some(fixed) = query.integers("output_shape") {
            output.extend(fixed.into_iter().map(Size::from));
            return Some(output);
        }
        let padding = query.node.attributes.text("auto_pad").ok()?.unwrap_or("NOTSET");
        let list = |name: &str, index: usize, default: i64| match query.integers(name) {
            Some(values) => values.get(index).copied(),
            None => Some(default),
        };
        for (index, size) in space.iter().enumerate() {
            let stride = list("strides", index, 1)?;
            if matches!(padding, "SAME_UPPER" | "SAME_LOWER") {
                output.push(size.times(&Size::from(stride))?);
                continue;
            }
            let kernel = match query.integers("kernel_shape") {
                Some(kernel) => Size::from(*kernel.get(index)?),
                None => weights.get(index + 2)?.clone(),
            };
            let window = kernel.minus(&Size::from(1))?.times(&Size::from(list("dilations", index, 1)?))?;
            let pads = list("pads", index, 0)?.checked_add(list("pads", index + space.len(), 0)?)?;
            let extra = list("output_padding", index, 0)?.checked_add(1)?.checked_sub(pads)?;
            let moved = size.minus(&Size::from(1))?.times(&Size::from(stride))?;
            output.push(moved.plus(&window)?.plus(&Size::from(extra))?);
        }
        Some(output)
    };
    Inferred::shape(shape())
}

/// `GlobalAveragePool` and the like.
pub(super) fn global(query: &Query<'_>) -> Inferred {
    Inferred::shape(query.shape(0).map(|shape| {
        let size = |(index, size): (usize, &Size)| if index < 2 { size.clone() } else { Size::from(1) };
        shape.iter().enumerate().map(size).collect()
    }))
}

/// `Resize`, `Upsample`.
pub(super) fn resize(query: &Query<'_>, sizes: &Sizes) -> Inferred {
    let _ = sizes;
    let shape = || {
        let input = query.shape(0)?;
        let attributes = &query.node.attributes;
        let is_stretched = matches!(attributes.text("keep_aspect_ratio_policy"), Ok(None | Some("stretch")));
        if attributes.contains("axes") || !is_stretched {
            return None;
        }
        if query.node.operator == "Resize"
            && query.node.opset >= 11
            && let Some(target) = query.input(3)
        {
            let target = target.contents.clone()?;
            return (target.len() == input.len()).then_some(target);
        }
        let scales = if query.node.attributes.contains("scales") {
            query.node.attributes.floats("scales").ok()??.to_vec()
        } else {
            let position = if query.node.operator == "Resize" && query.node.opset >= 11 { 2 } else { 1 };
            query.input(position)?.constant.as_ref()?.values::<f32>()?.to_vec()
        };
        if scales.len() != input.len() {
            return None;
        }
        input
            .iter()
            .zip(scales)
            .map(|(size, scale)| match size.value() {
                Some(size) => {
                    let scaled = (size as f64 * f64::from(scale)).floor();
                    (scaled.is_finite() && scaled.abs() < 1e15).then_some(Size::from(scaled as i64))
                }
                // Whole factors only: a product of sizes is a size.
                None if scale.fract() == 0.0 && (0.0..1e6).contains(&scale) => {
                    size.times(&Size::from(scale as i64))
                }
                None => None,
            })
            .collect()
    };
    Inferred::shape(shape())
}

/// `Pad`.
pub(super) fn pad(query: &Query<'_>, sizes: &Sizes) -> Inferred {
    let _ = sizes;
    let shape = || {
        let input = query.shape(0)?;
        if query.input(3).is_some() {
            return None;
        }
        let pads: Vec<Size> = match query.integers("pads").or_else(|| query.integers("paddings")) {
            Some(pads) => pads.into_iter().map(Size::from).collect(),
            None => query.input(1)?.contents.clone()?,
        };
        if pads.len() != input.len() * 2 {
            return None;
        }
        let (before, after) = pads.split_at(input.len());
        input
            .iter()
            .zip(before)
            .zip(after)
            .map(|((size, before), after)| size.plus(before)?.plus(after))
            .collect()
    };
    Inferred::shape(shape())
}
