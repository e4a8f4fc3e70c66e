//! RoiAlign: regions of images, sampled between the pixels.

use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit},
        axes::index_of,
        definition::Builder,
        elementwise::arithmetic::common_type,
        number::Real,
        types::for_reals,
        widen::in_float,
    },
    tensor::{Element, ElementType},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "RoiAlign", align)];

/// The most samples along a side of one part of a region.
const SAMPLES: f64 = 4096.0;

#[derive(Clone, Copy, Debug)]
struct Plan {
    height: usize,
    width: usize,
    /// Samples along a side; as many as pixels if 0.
    samples: usize,
    scale: f64,
    half_pixel: bool,
    greatest: bool,
}

impl Plan {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let attributes = definition.attributes;
        let count = |name: &str, default: i64| -> Result<usize, Refusal> {
            let value = attributes.integer(name)?.unwrap_or(default);
            usize::try_from(value)
                .ok()
                .filter(|value| *value < 1 << 20)
                .ok_or_else(|| Refusal::new(format!("{name} is {value}")))
        };
        let half_pixel = match attributes.text("coordinate_transformation_mode")? {
            None => definition.opset >= 16,
            Some("half_pixel") => true,
            Some("output_half_pixel") => false,
            Some(other) => return Err(Refusal::new(format!("the coordinates {other:?} are not known"))),
        };
        let greatest = match attributes.text("mode")? {
            None | Some("avg") => false,
            Some("max") => true,
            Some(other) => return Err(Refusal::new(format!("the mode {other:?} is not avg or max"))),
        };
        Ok(Self {
            height: count("output_height", 1)?,
            width: count("output_width", 1)?,
            samples: count("sampling_ratio", 0)?,
            scale: attributes.float("spatial_scale")?.unwrap_or(1.0).into(),
            half_pixel,
            greatest,
        })
    }
}

/// The four pixels around a point, with their weights; none if it is outside.
fn neighbours(y: f64, x: f64, rows: usize, columns: usize) -> Option<[(usize, f64); 4]> {
    let along = |place: f64, size: usize| -> Option<(usize, usize, f64)> {
        if !(place >= -1.0 && place <= size as f64) {
            return None;
        }
        let place = place.max(0.0);
        let low = (place as usize).min(size - 1);
        let high = (low + 1).min(size - 1);
        Some((low, high, if low == high { 0.0 } else { place - low as f64 }))
    };
    let (top, bottom, down) = along(y, rows)?;
    let (left, right, aside) = along(x, columns)?;
    Some([
        (top * columns + left, (1.0 - down) * (1.0 - aside)),
        (top * columns + right, (1.0 - down) * aside),
        (bottom * columns + left, down * (1.0 - aside)),
        (bottom * columns + right, down * aside),
    ])
}

fn align(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = common_type(definition)?;
        if definition.tensor_type(2)? != ElementType::Int64 {
            return Err(definition.unsupported_type(2));
        }
        let plan = Plan::new(definition)?;
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let (images, regions) = (arguments.tensor(0)?, arguments.tensor(1)?);
                let numbers = arguments.values::<i64>(2)?;
                let ([batch, channels, rows, columns], [count, 4]) = (images.shape(), regions.shape()) else {
                    return unfit(format!("images {:?} and regions {:?}", images.shape(), regions.shape()));
                };
                if numbers.len() != *count {
                    return unfit(format!("{} batch indices are given for {count} regions", numbers.len()));
                }
                let shape = [*count, *channels, plan.height, plan.width];
                let total = context.reserve(T::TYPE, &shape)?;
                let mut result = Vec::with_capacity(total);
                if total == 0 {
                    return tensor_of(shape, result);
                }
                if *rows == 0 || *columns == 0 {
                    return unfit("an image without elements has no regions");
                }
                let (pixels, size) = (arguments.values::<T>(0)?, rows * columns);
                for (region, number) in arguments.values::<T>(1)?.chunks_exact(4).zip(numbers) {
                    context.check()?;
                    let image = index_of(*number, *batch)?;
                    let points = points(&plan, region, *rows, *columns)?;
                    for channel in 0..*channels {
                        let pixels = &pixels[(image * channels + channel) * size..][..size];
                        result.extend(points.iter().map(|samples| pooled(&plan, samples, pixels)));
                    }
                }
                tensor_of(shape, result)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

type Sample = Option<[(usize, f64); 4]>;

/// The samples of each part of a region.
fn points<T: Real>(
    plan: &Plan,
    region: &[T],
    rows: usize,
    columns: usize,
) -> Result<Vec<Vec<Sample>>, OperatorError> {
    let offset = if plan.half_pixel { 0.5 } else { 0.0 };
    let corner = |place: usize| region[place].to_f64() * plan.scale - offset;
    let (left, top) = (corner(0), corner(1));
    let (mut width, mut height) = (corner(2) - left, corner(3) - top);
    if !plan.half_pixel {
        (width, height) = (width.max(1.0), height.max(1.0));
    }
    let (part_width, part_height) = (width / plan.width as f64, height / plan.height as f64);
    let samples = |part: f64| -> Result<usize, OperatorError> {
        let count = if plan.samples > 0 { plan.samples as f64 } else { part.ceil() };
        if count <= SAMPLES {
            // A region that is turned inside out, or is not a number, has no samples.
            return Ok(count.max(0.0) as usize);
        }
        unfit(format!("a part of a region takes {count} samples along a side; the limit is {SAMPLES}"))
    };
    let (across, down) = (samples(part_width)?, samples(part_height)?);
    let mut parts = Vec::with_capacity(plan.height * plan.width);
    for row in 0..plan.height {
        for column in 0..plan.width {
            let mut part = Vec::with_capacity(across * down);
            for step in 0..down {
                let y = top + row as f64 * part_height + (step as f64 + 0.5) * part_height / down as f64;
                for step in 0..across {
                    let x =
                        left + column as f64 * part_width + (step as f64 + 0.5) * part_width / across as f64;
                    part.push(neighbours(y, x, rows, columns));
                }
            }
            parts.push(part);
        }
    }
    Ok(parts)
}

fn pooled<T: Real>(plan: &Plan, samples: &[Sample], pixels: &[T]) -> T {
    let products = |sample: &Sample| {
        sample.map_or([0.0; 4], |neighbours| {
            neighbours.map(|(element, weight)| pixels[element].to_f64() * weight)
        })
    };
    if plan.greatest {
        // The greatest weighted pixel, not the greatest sample: what the definition says.
        let all = samples.iter().flat_map(products);
        return T::from_f64(all.reduce(f64::max).unwrap_or(0.0));
    }
    let sum: f64 = samples.iter().flat_map(products).sum();
    T::from_f64(sum / samples.len().max(1) as f64)
}
