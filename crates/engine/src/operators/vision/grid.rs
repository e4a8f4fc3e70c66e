//! GridSample and AffineGrid.

use super::taps::cubic;
use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit, values_of},
        axes::{product, sizes_of_input},
        cast::as_doubles,
        number::Number,
        registry::Builder,
        types::for_reals,
        widen::in_float,
    },
    tensor::{Element, ElementType, strides},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "GridSample", grid_sample), ("", "AffineGrid", affine_grid)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What is beyond the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    Zeros,
    Border,
    Reflection,
}

#[derive(Clone, Copy, Debug)]
struct Sampler {
    mode: Mode,
    beyond: Beyond,
    align_corners: bool,
}

impl Sampler {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let attributes = definition.attributes;
        let mode = match attributes.text("mode")? {
            None | Some("bilinear" | "linear") => Mode::Linear,
            Some("nearest") => Mode::Nearest,
            Some("bicubic" | "cubic") => Mode::Cubic,
            Some(other) => return Err(Refusal::new(format!("the mode {other:?} is not known"))),
        };
        let beyond = match attributes.text("padding_mode")? {
            None | Some("zeros") => Beyond::Zeros,
            Some("border") => Beyond::Border,
            Some("reflection") => Beyond::Reflection,
            Some(other) => return Err(Refusal::new(format!("the padding_mode {other:?} is not known"))),
        };
        Ok(Self { mode, beyond, align_corners: attributes.flag("align_corners", false)? })
    }

    fn bounds(self, size: usize) -> (f64, f64) {
        let size = size as f64;
        if self.align_corners { (0.0, size - 1.0) } else { (-0.5, size - 0.5) }
    }

    /// The elements along a dimension that a place from -1 to 1 is made of, with weights.
    fn taps(self, place: f64, size: usize) -> Vec<(Option<usize>, f64)> {
        let length = size as f64;
        let mut place = if self.align_corners {
            (place + 1.0) / 2.0 * (length - 1.0)
        } else {
            ((place + 1.0) * length - 1.0) / 2.0
        };
        if !place.is_finite() {
            // A place that is nowhere is far outside.
            place = if self.beyond == Beyond::Zeros { -4.0 } else { 0.0 };
        }
        if self.mode == Mode::Nearest {
            place = place.round_ties_even();
        }
        let (least, greatest) = self.bounds(size);
        // A cubic's neighbours are at the border each by itself.
        let apart = self.mode == Mode::Cubic && self.beyond == Beyond::Border;
        if apart {
            place = place.clamp(-4.0, length + 4.0);
        } else if place < least || place > greatest {
            place = match self.beyond {
                // Far outside is outside, wherever; the bound keeps indices small.
                Beyond::Zeros => place.clamp(-4.0, length + 4.0),
                Beyond::Border => place.clamp(0.0, length - 1.0),
                Beyond::Reflection => reflect(place, least, greatest),
            };
        }
        let floor = place.floor();
        let ratio = place - floor;
        let at = |offset: i64| self.element(floor as i64 + offset, size);
        match self.mode {
            Mode::Nearest => vec![(at(0), 1.0)],
            Mode::Linear => vec![(at(0), 1.0 - ratio), (at(1), ratio)],
            Mode::Cubic => {
                (-1..=2).map(|offset| (at(offset), cubic((offset as f64 - ratio).abs(), -0.75))).collect()
            }
        }
    }

    fn element(self, index: i64, size: usize) -> Option<usize> {
        let last = size as i64 - 1;
        if (0..=last).contains(&index) {
            return Some(index as usize);
        }
        match self.beyond {
            Beyond::Zeros => None,
            Beyond::Border => Some(index.clamp(0, last) as usize),
            Beyond::Reflection => {
                let (least, greatest) = self.bounds(size);
                Some((reflect(index as f64, least, greatest) as i64).clamp(0, last) as usize)
            }
        }
    }
}

/// A place mirrored at two bounds until it is between them.
fn reflect(place: f64, least: f64, greatest: f64) -> f64 {
    let range = greatest - least;
    if range <= 0.0 {
        return least;
    }
    let distance = (place - least).rem_euclid(2.0 * range);
    least + if distance > range { 2.0 * range - distance } else { distance }
}

fn grid_sample(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let sampler = Sampler::new(definition)?;
        if !matches!(definition.tensor_type(1)?, ElementType::Float | ElementType::Double) {
            return Err(definition.unsupported_type(1));
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let (images, grid) = (arguments.tensor(0)?, arguments.tensor(1)?);
                let misfit = || -> Result<_, OperatorError> {
                    unfit(format!("images have the shape {:?}, the grid {:?}", images.shape(), grid.shape()))
                };
                let ([batch, channels, image @ ..], [grids, places @ .., axes]) = (images.shape(), grid.shape()) else {
                    return misfit();
                };
                let rank = image.len();
                if grids != batch || *axes != rank || places.len() != rank || rank == 0 {
                    return misfit();
                }
                if product(image) == 0 && !grid.is_empty() {
                    return unfit("an image without elements can't be sampled");
                }
                let mut shape = vec![*batch, *channels];
                shape.extend(places);
                let count = context.reserve(T::TYPE, &shape)?;
                let mut result = vec![T::ZERO; count];
                let (pixels, grid) = (values_of::<T>(images)?, as_doubles(grid)?);
                let (size, number) = (product(image), product(places));
                let steps = strides(image);
                for image_number in 0..*batch {
                    context.check()?;
                    for place in 0..number {
                        let point = &grid[(image_number * number + place) * rank..][..rank];
                        // The grid names the innermost dimension first.
                        let mut taps: Vec<(usize, f64)> = vec![(0, 1.0)];
                        for axis in 0..rank {
                            let own = sampler.taps(point[rank - 1 - axis], image[axis]);
                            let step = steps[axis];
                            taps = taps
                                .iter()
                                .flat_map(|(start, weight)| {
                                    own.iter().filter_map(move |(index, factor)| {
                                        index.map(|index| (start + index * step, weight * factor))
                                    })
                                })
                                .collect();
                        }
                        for channel in 0..*channels {
                            let start = (image_number * channels + channel) * size;
                            let sum: f64 =
                                taps.iter().map(|(element, weight)| pixels[start + element].to_f64() * weight).sum();
                            result[(image_number * channels + channel) * number + place] = T::from_f64(sum);
                        }
                    }
                }
                tensor_of(shape, result)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn affine_grid(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        if definition.tensor_type(1)? != ElementType::Int64 {
            return Err(definition.unsupported_type(1));
        }
        let align_corners = definition.attributes.flag("align_corners", false)?;
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let sizes = sizes_of_input(arguments.values::<i64>(1)?, "a size")?;
                let theta = arguments.tensor(0)?;
                let (Some(batch), rank) = (sizes.first(), sizes.len().saturating_sub(2)) else {
                    return unfit("the size of AffineGrid is empty");
                };
                if !(2..=3).contains(&rank) || theta.shape() != [*batch, rank, rank + 1] {
                    return unfit(format!("theta has the shape {:?} for the size {sizes:?}", theta.shape()));
                }
                let image = &sizes[2..];
                let mut shape = vec![*batch];
                shape.extend(image);
                shape.push(rank);
                let count = context.reserve(T::TYPE, &shape)?;
                let mut result = Vec::with_capacity(count);
                if count == 0 {
                    return tensor_of(shape, result);
                }
                let at = |index: usize, size: usize| -> T {
                    let (index, size) = (index as f64, size as f64);
                    T::from_f64(match align_corners {
                        true if size > 1.0 => -1.0 + 2.0 * index / (size - 1.0),
                        true => 0.0,
                        false => (2.0 * index + 1.0) / size - 1.0,
                    })
                };
                let theta = arguments.values::<T>(0)?;
                for matrix in theta.chunks_exact(rank * (rank + 1)) {
                    for place in 0..product(image) {
                        // The innermost dimension is the first of the point.
                        let (mut rest, mut point) = (place, Vec::with_capacity(rank));
                        for size in image.iter().rev() {
                            point.push(at(rest % size, *size));
                            rest /= size;
                        }
                        for row in matrix.chunks_exact(rank + 1) {
                            let sum = row.iter().zip(&point).fold(row[rank], |sum, (a, b)| sum + *a * *b);
                            result.push(sum);
                        }
                    }
                }
                tensor_of(shape, result)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}
