//! MaxUnpool, which puts values back where a pool took them; MaxRoiPool.

use super::geometry::{Padding, Settings};
use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit},
        axes::{index_of, product, sizes_of_input},
        elementwise::arithmetic::common_type,
        number::Number,
        registry::Builder,
        types::for_reals,
        widen::in_float,
    },
    tensor::{Element, ElementType, Shape, strides},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "MaxUnpool", unpool), ("", "MaxRoiPool", region_pool)];

fn unpool(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let settings = Settings::new(definition)?;
        if definition.tensor_type(1)? != ElementType::Int64 {
            return Err(definition.unsupported_type(1));
        }
        if definition.has_input(2) && definition.tensor_type(2)? != ElementType::Int64 {
            return Err(definition.unsupported_type(2));
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let indices = arguments.values::<i64>(1)?;
                let pooled = unpooled_shape(tensor.shape(), &settings)?;
                let shape = match arguments.integers(2)? {
                    Some(sizes) => sizes_of_input(&sizes, "a size of the output_shape")?,
                    None => pooled.clone(),
                };
                if indices.len() != tensor.len() || shape.len() != pooled.len() {
                    return unfit(format!(
                        "{} indices are given for {} values and the shape {shape:?}",
                        indices.len(),
                        tensor.len()
                    ));
                }
                let count = context.reserve(T::TYPE, &shape)?;
                let mut result = vec![T::ZERO; count];
                let total = crate::tensor::element_count(&pooled)
                    .ok_or_else(|| OperatorError::TooLarge { shape: pooled.clone() })?;
                let steps = strides(&shape);
                for (value, index) in arguments.values::<T>(0)?.iter().zip(indices) {
                    // The index is one of the tensor that was pooled; the output may be larger.
                    let mut rest = index_of(*index, total)?;
                    let mut place = 0;
                    for axis in (0..shape.len()).rev() {
                        let position = rest % pooled[axis];
                        rest /= pooled[axis];
                        if position >= shape[axis] {
                            return unfit(format!("the index {index} is outside the shape {shape:?}"));
                        }
                        place += position * steps[axis];
                    }
                    result[place] = *value;
                }
                tensor_of(shape, result)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// The shape of the tensor that a pool with these settings made a tensor of `shape` from.
fn unpooled_shape(shape: &[usize], settings: &Settings) -> Result<Shape, OperatorError> {
    let [batch, channels, image @ ..] = shape else {
        return unfit(format!("the shape {shape:?} is not of images"));
    };
    let rank = image.len();
    let kernel = settings.kernel.as_deref().unwrap_or(&[]);
    let strides = Settings::filled(&settings.strides, rank, "strides")?;
    let pads = match &settings.padding {
        Padding::Explicit(pads) if pads.len() == 2 * rank => pads.clone(),
        Padding::Explicit(pads) if pads.is_empty() => vec![0; 2 * rank],
        _ => return unfit("the pads of MaxUnpool do not fit"),
    };
    if kernel.len() != rank {
        return unfit(format!("a window of the shape {kernel:?} does not fit images of {rank} dimensions"));
    }
    let mut result = vec![*batch, *channels];
    for axis in 0..rank {
        let size = image[axis]
            .saturating_sub(1)
            .checked_mul(strides[axis])
            .and_then(|size| size.checked_add(kernel[axis]))
            .and_then(|size| size.checked_sub(pads[axis] + pads[axis + rank]))
            .ok_or_else(|| OperatorError::inputs("the pads of MaxUnpool are larger than the image"))?;
        result.push(size);
    }
    Ok(result)
}

/// The greatest value in each part of a region: regions are rows of a batch index and two corners.
fn region_pool(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = common_type(definition)?;
        let attributes = definition.attributes;
        let scale = attributes.float("spatial_scale")?.unwrap_or(1.0);
        let pooled = super::geometry::sizes(attributes, "pooled_shape", 1)?
            .ok_or_else(|| Refusal::new("the pooled_shape is missing"))?;
        let [height, width] = pooled[..] else {
            return Err(Refusal::new(format!("the pooled_shape is {pooled:?}; expected height and width")));
        };
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let (images, regions) = (arguments.tensor(0)?, arguments.tensor(1)?);
                let ([batch, channels, rows, columns], [count, 5]) = (images.shape(), regions.shape()) else {
                    return unfit(format!("images {:?} and regions {:?}", images.shape(), regions.shape()));
                };
                let shape = [*count, *channels, height, width];
                let total = context.reserve(T::TYPE, &shape)?;
                let mut result = Vec::with_capacity(total);
                let pixels = arguments.values::<T>(0)?;
                let size = product(&[*rows, *columns]);
                for region in arguments.values::<T>(1)?.chunks_exact(5) {
                    context.check()?;
                    let image = index_of(region[0] as i64, *batch)?;
                    // In the regions' own precision: halves are rounded as they are there.
                    let corner = |place: usize| {
                        let scaled = region[place] * T::from_f64(scale.into());
                        scaled.to_f64().round().clamp(-1e9, 1e9)
                    };
                    let (left, top) = (corner(1), corner(2));
                    let part_width = (corner(3) - left + 1.0).max(1.0) / width as f64;
                    let part_height = (corner(4) - top + 1.0).max(1.0) / height as f64;
                    let bounds = |start: f64, part: f64, number: usize, size: usize| {
                        let from = (start + (number as f64 * part).floor()).clamp(0.0, size as f64);
                        let to = (start + ((number + 1) as f64 * part).ceil()).clamp(0.0, size as f64);
                        from as usize..to as usize
                    };
                    for channel in 0..*channels {
                        let pixels = &pixels[(image * channels + channel) * size..][..size];
                        for row in 0..height {
                            for column in 0..width {
                                let mut best: Option<T> = None;
                                for y in bounds(top, part_height, row, *rows) {
                                    for x in bounds(left, part_width, column, *columns) {
                                        let value = pixels[y * columns + x];
                                        if best.is_none_or(|best| value > best) {
                                            best = Some(value);
                                        }
                                    }
                                }
                                result.push(best.unwrap_or(T::ZERO));
                            }
                        }
                    }
                }
                tensor_of(shape, result)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}
