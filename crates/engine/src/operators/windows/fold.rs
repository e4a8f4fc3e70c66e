//! Col2Im: columns added up to an image.

use super::geometry::{Padding, Settings, Window};
use crate::{
    operators::{
        Built, Definition, Refusal,
        arguments::{single, tensor_of, unfit},
        axes::{product, sizes_of_input},
        definition::Builder,
        number::Number,
        types::for_numbers,
    },
    tensor::{Element, ElementType},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "Col2Im", fold)];

/// Adds columns of places `start` to `start + width` to the images of `channels`.
pub(crate) fn add_columns<T: Number>(
    window: &Window,
    columns: &[T],
    channels: usize,
    start: usize,
    width: usize,
    pixels: &mut [T],
) {
    let (size, taps, step) = (product(&window.image), product(&window.kernel), window.step());
    window.offsets(|number, offset| {
        window.runs(offset, start..start + width, |run| {
            for channel in 0..channels {
                let row = &columns[(channel * taps + number) * width + run.place - start..][..run.count];
                let pixels = &mut pixels[channel * size + run.element..];
                for (pixel, value) in pixels.iter_mut().step_by(step).zip(row) {
                    *pixel = pixel.plus(*value);
                }
            }
        });
    });
}

fn fold(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for index in [1, 2] {
        if definition.tensor_type(index)? != ElementType::Int64 {
            return Err(definition.unsupported_type(index));
        }
    }
    let settings = Settings::new(definition)?;
    if !matches!(settings.padding, Padding::Explicit(_)) {
        return Err(Refusal::new("Col2Im has no auto_pad"));
    }
    for_numbers!(
        element_type,
        T => single(definition, element_type, move |arguments, context| {
            let image = sizes_of_input(arguments.values::<i64>(1)?, "a size of the image")?;
            let kernel = sizes_of_input(arguments.values::<i64>(2)?, "a size of the block")?;
            let tensor = arguments.tensor(0)?;
            let window = settings.window(&image, &kernel)?;
            let (places, taps) = (product(&window.output), product(&kernel));
            let [batch, rows, found] = tensor.shape() else {
                return unfit(format!("columns have the shape {:?}; expected 3 dimensions", tensor.shape()));
            };
            if *found != places || taps == 0 || rows % taps != 0 {
                return unfit(format!(
                    "columns of the shape {:?} are not {places} blocks of {kernel:?}",
                    tensor.shape()
                ));
            }
            let channels = rows / taps;
            let mut shape = vec![*batch, channels];
            shape.extend(&image);
            let count = context.reserve(T::TYPE, &shape)?;
            let mut result = vec![T::ZERO; count];
            let values = arguments.values::<T>(0)?;
            let size = channels * product(&image);
            if count > 0 {
                for (number, pixels) in result.chunks_exact_mut(size).enumerate() {
                    let columns = &values[number * rows * places..(number + 1) * rows * places];
                    add_columns(&window, columns, channels, 0, places, pixels);
                }
            }
            tensor_of(shape, result)
        }),
        Err(definition.unsupported_type(0))
    )
}
