//! DeformConv: a convolution whose window's elements are moved by offsets.

use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        algebra::kernel::add_product,
        arguments::{single, tensor_of, unfit},
        axes::product,
        definition::Builder,
        number::Real,
        types::for_reals,
        widen::in_float,
        windows::{
            convolution::groups,
            geometry::{Settings, Window},
        },
    },
    tensor::Tensor,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "DeformConv", convolution)];

fn convolution(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let settings = Settings::new(definition)?;
        let groups = groups(definition)?;
        let parts = definition.attributes.integer("offset_group")?.unwrap_or(1);
        let parts = usize::try_from(parts)
            .ok()
            .filter(|parts| *parts > 0)
            .ok_or_else(|| Refusal::new(format!("the offset_group is {parts}; expected 1 or more")))?;
        for index in 1..5 {
            if (index < 3 || definition.has_input(index)) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                run::<T>(&arguments, &settings, groups, parts, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn run<T: Real>(
    arguments: &Arguments,
    settings: &Settings,
    groups: usize,
    parts: usize,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let (images, kernels, offsets) = (arguments.tensor(0)?, arguments.tensor(1)?, arguments.tensor(2)?);
    let ([batch, channels, image @ ..], [filters, depth, kernel @ ..]) = (images.shape(), kernels.shape())
    else {
        return unfit(format!("images have the shape {:?}, kernels {:?}", images.shape(), kernels.shape()));
    };
    let (batch, channels, filters, depth) = (*batch, *channels, *filters, *depth);
    let fits = image.len() == 2
        && depth.checked_mul(groups) == Some(channels)
        && filters % groups == 0
        && channels % parts == 0;
    if !fits || settings.kernel.as_ref().is_some_and(|named| named != kernel) {
        return unfit(format!(
            "kernels of the shape {:?} do not fit images {:?}",
            kernels.shape(),
            images.shape()
        ));
    }
    let window = settings.window(image, kernel)?;
    let (taps, places) = (product(kernel), product(&window.output));
    let expected = |per_tap: usize| [batch, parts * taps * per_tap, window.output[0], window.output[1]];
    let mask = arguments.optional(4);
    if offsets.shape() != expected(2) || mask.is_some_and(|mask| mask.shape() != expected(1)) {
        return unfit(format!(
            "offsets have the shape {:?}; expected {:?}, and half as many masks",
            offsets.shape(),
            expected(2)
        ));
    }
    let shape = [batch, filters, window.output[0], window.output[1]];
    let count = context.reserve(T::TYPE, &shape)?;
    let mut result = vec![T::ZERO; count];
    if count == 0 {
        return tensor_of(shape, result);
    }
    if let Some(bias) = arguments.optional_values::<T>(3)? {
        if bias.len() != filters {
            return unfit(format!("the bias does not have an element for each of {filters} kernels"));
        }
        for (number, row) in result.chunks_exact_mut(places).enumerate() {
            row.fill(bias[number % filters]);
        }
    }
    let (pixels, weights) = (arguments.values::<T>(0)?, arguments.values::<T>(1)?);
    let (offsets, mask) = (arguments.values::<T>(2)?, arguments.optional_values::<T>(4)?);
    let rows = channels * taps;
    let scratch = context.reserve(T::TYPE, &[rows, places])?;
    let mut columns = vec![T::ZERO; scratch];
    let (size, per_group, per_part) = (product(image), filters / groups, channels / parts);
    for number in 0..batch {
        for channel in 0..channels {
            context.check()?;
            let pixels = &pixels[(number * channels + channel) * size..][..size];
            let part = number * parts + channel / per_part;
            window.offsets(|tap, offset| {
                let row = &mut columns[(channel * taps + tap) * places..][..places];
                let moves = &offsets[(part * taps + tap) * 2 * places..][..2 * places];
                let mask = mask.map(|mask| &mask[(part * taps + tap) * places..][..places]);
                for (place, value) in row.iter_mut().enumerate() {
                    let index = [place / window.output[1], place % window.output[1]];
                    let at = |axis: usize| base(&window, axis, index[axis], offset[axis]);
                    let sampled = sample(
                        pixels,
                        image,
                        at(0) + moves[place].to_f64(),
                        at(1) + moves[places + place].to_f64(),
                    );
                    *value = T::from_f64(sampled) * mask.map_or(T::ONE, |mask| mask[place]);
                }
            });
        }
        for group in 0..groups {
            let height = depth * taps;
            add_product(
                &weights[group * per_group * height..][..per_group * height],
                &columns[group * height * places..][..height * places],
                &mut result[(number * filters + group * per_group) * places..][..per_group * places],
                per_group,
                height,
                places,
            );
        }
    }
    tensor_of(shape, result)
}

/// Where an element of the window is before it is moved.
fn base(window: &Window, axis: usize, place: usize, offset: usize) -> f64 {
    (place * window.strides[axis] + offset * window.dilations[axis]) as f64 - window.before[axis] as f64
}

/// The image between four pixels; zero outside.
fn sample<T: Real>(pixels: &[T], image: &[usize], y: f64, x: f64) -> f64 {
    let (rows, columns) = (image[0] as f64, image[1] as f64);
    if !(y > -1.0 && y < rows && x > -1.0 && x < columns) {
        return 0.0;
    }
    let (top, left) = (y.floor(), x.floor());
    let at = |row: f64, column: f64| {
        if row < 0.0 || row >= rows || column < 0.0 || column >= columns {
            0.0
        } else {
            pixels[row as usize * image[1] + column as usize].to_f64()
        }
    };
    let (down, aside) = (y - top, x - left);
    (1.0 - down) * ((1.0 - aside) * at(top, left) + aside * at(top, left + 1.0))
        + down * ((1.0 - aside) * at(top + 1.0, left) + aside * at(top + 1.0, left + 1.0))
}
