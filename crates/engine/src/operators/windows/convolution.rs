//! Conv of any number of dimensions, and com.microsoft's FusedConv.

use super::geometry::{Settings, Window};
use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        algebra::kernel::add_product,
        arguments::{single, tensor_of, unfit, values_of},
        axes::product,
        definition::Builder,
        elementwise::arithmetic::common_type,
        number::{Number, Real},
        types::for_reals,
        widen::in_float,
    },
    tensor::{Shape, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Conv", convolution), ("com.microsoft", "FusedConv", convolution)];

/// Elements of the columns that are made at once.
const TILE: usize = 1 << 18;

/// The group attribute: 1 or more.
pub(crate) fn groups(definition: &Definition<'_>) -> Result<usize, Refusal> {
    let groups = definition.attributes.integer("group")?.unwrap_or(1);
    usize::try_from(groups)
        .ok()
        .filter(|groups| *groups > 0)
        .ok_or_else(|| Refusal::new(format!("the group is {groups}; expected 1 or more")))
}

/// The function to apply to a result of FusedConv.
#[derive(Clone, Copy, Debug)]
enum Fused {
    None,
    Relu,
    Tanh,
    Sigmoid,
    LeakyRelu(f32),
    Clip(f32, f32),
    HardSigmoid(f32, f32),
}

impl Fused {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let settings = definition.attributes.floats("activation_params")?.unwrap_or(&[]);
        let of = |place: usize| {
            settings.get(place).copied().ok_or_else(|| Refusal::new("activation_params are missing"))
        };
        Ok(match definition.attributes.text("activation")? {
            None | Some("") => Self::None,
            Some("Relu") => Self::Relu,
            Some("Tanh") => Self::Tanh,
            Some("Sigmoid") => Self::Sigmoid,
            Some("LeakyRelu") => Self::LeakyRelu(of(0)?),
            Some("Clip") => Self::Clip(of(0)?, of(1)?),
            Some("HardSigmoid") => Self::HardSigmoid(of(0)?, of(1)?),
            Some(other) => return Err(Refusal::new(format!("the activation {other:?} is not known"))),
        })
    }

    fn apply<T: Real>(self, value: T) -> T {
        let number = |value: f32| T::from_f64(value.into());
        match self {
            Self::None => value,
            Self::Relu => {
                if value < T::ZERO {
                    T::ZERO
                } else {
                    value
                }
            }
            Self::Tanh => value.tanh(),
            Self::Sigmoid => value.sigmoid(),
            Self::LeakyRelu(alpha) => {
                if value < T::ZERO {
                    value * number(alpha)
                } else {
                    value
                }
            }
            Self::Clip(least, greatest) => value.greatest(number(least)).least(number(greatest)),
            Self::HardSigmoid(alpha, beta) => {
                (value * number(alpha) + number(beta)).greatest(T::ZERO).least(T::ONE)
            }
        }
    }
}

fn convolution(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = common_type(definition)?;
        let settings = Settings::new(definition)?;
        let groups = groups(definition)?;
        let fused = Fused::new(definition)?;
        for index in [2, 3] {
            if definition.has_input(index) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let (images, kernels) = (arguments.tensor(0)?, arguments.tensor(1)?);
                let bias = arguments.optional_values::<T>(2)?;
                let (shape, mut result) = convolve::<T>(images, kernels, bias, &settings, groups, context)?;
                if let Some(added) = arguments.optional(3) {
                    if added.shape() != shape {
                        return unfit(format!("the sum has the shape {:?} for {shape:?}", added.shape()));
                    }
                    for (value, added) in result.iter_mut().zip(values_of::<T>(added)?) {
                        *value += *added;
                    }
                }
                if !matches!(fused, Fused::None) {
                    result.iter_mut().for_each(|value| *value = fused.apply(*value));
                }
                tensor_of(shape, result)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// Convolves images with kernels; the result's shape and elements.
pub(crate) fn convolve<T: Number>(
    images: &Tensor,
    kernels: &Tensor,
    bias: Option<&[T]>,
    settings: &Settings,
    groups: usize,
    context: &Context<'_>,
) -> Result<(Shape, Vec<T>), OperatorError> {
    let ([batch, channels, image @ ..], [filters, depth, kernel @ ..]) = (images.shape(), kernels.shape())
    else {
        return unfit(format!("images have the shape {:?}, kernels {:?}", images.shape(), kernels.shape()));
    };
    let (batch, channels, filters, depth) = (*batch, *channels, *filters, *depth);
    if image.is_empty() || depth.checked_mul(groups) != Some(channels) || filters % groups != 0 {
        return unfit(format!(
            "kernels of the shape {:?} in {groups} groups do not fit images of the shape {:?}",
            kernels.shape(),
            images.shape()
        ));
    }
    if settings.kernel.as_ref().is_some_and(|named| named != kernel) {
        return unfit(format!("kernel_shape is {:?}, but the kernels have {kernel:?}", settings.kernel));
    }
    if bias.is_some_and(|bias| bias.len() != filters) {
        return unfit(format!("the bias does not have an element for each of {filters} kernels"));
    }
    let window = settings.window(image, kernel)?;
    let mut shape = vec![batch, filters];
    shape.extend(&window.output);
    let count = context.reserve(T::TYPE, &shape)?;
    let mut result = vec![T::ZERO; count];
    if count == 0 {
        return Ok((shape, result));
    }
    let places = product(&window.output);
    let (size, rows) = (product(image), depth * product(kernel));
    let per_group = filters / groups;
    if let Some(bias) = bias {
        for (number, row) in result.chunks_exact_mut(places).enumerate() {
            row.fill(bias[number % filters]);
        }
    }
    let (pixels, weights) = (values_of::<T>(images)?, values_of::<T>(kernels)?);
    // A window of one element that goes everywhere needs no columns.
    let plain = product(kernel) == 1
        && window.strides.iter().all(|stride| *stride == 1)
        && window.before.iter().chain(&window.after).all(|pad| *pad == 0);
    let tile = (TILE / rows.max(1)).max(64).min(places);
    let scratch = context.reserve(T::TYPE, &[rows + per_group, tile])?;
    let (mut columns, mut products) = if plain {
        (Vec::new(), Vec::new())
    } else {
        (vec![T::ZERO; rows * tile], vec![T::ZERO; scratch - rows * tile])
    };
    for image_number in 0..batch {
        for group in 0..groups {
            context.check()?;
            let pixels = &pixels[(image_number * channels + group * depth) * size..][..depth * size];
            let weights = &weights[group * per_group * rows..][..per_group * rows];
            let target =
                &mut result[(image_number * filters + group * per_group) * places..][..per_group * places];
            if plain {
                add_product(weights, pixels, target, per_group, rows, places);
                continue;
            }
            for start in (0..places).step_by(tile) {
                context.check()?;
                let width = tile.min(places - start);
                let columns = &mut columns[..rows * width];
                fill_columns(&window, pixels, depth, start, width, columns);
                let products = &mut products[..per_group * width];
                products.fill(T::ZERO);
                add_product(weights, columns, products, per_group, rows, width);
                for (row, products) in products.chunks_exact(width).enumerate() {
                    let target = &mut target[row * places + start..][..width];
                    for (value, product) in target.iter_mut().zip(products) {
                        *value = value.plus(*product);
                    }
                }
            }
        }
    }
    Ok((shape, result))
}

/// A column for each place of the window: the elements of the image that it covers.
fn fill_columns<T: Number>(
    window: &Window,
    pixels: &[T],
    channels: usize,
    start: usize,
    width: usize,
    columns: &mut [T],
) {
    columns.fill(T::ZERO);
    let (size, taps, step) = (product(&window.image), product(&window.kernel), window.step());
    window.offsets(|number, offset| {
        window.runs(offset, start..start + width, |run| {
            for channel in 0..channels {
                let row = &mut columns[(channel * taps + number) * width + run.place - start..][..run.count];
                let pixels = &pixels[channel * size + run.element..];
                if step == 1 {
                    row.copy_from_slice(&pixels[..run.count]);
                } else {
                    for (value, pixel) in row.iter_mut().zip(pixels.iter().step_by(step)) {
                        *value = *pixel;
                    }
                }
            }
        });
    });
}
