//! Means of quantised images: `QLinearAveragePool`, `QLinearGlobalAveragePool`.

use super::{
    MICROSOFT,
    number::{Bytes, Quantized, byte_type, check_same_type},
    scales::{Scale, check_scale},
    window::{Geometry, Tap, Window},
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, check_arity, output, volume},
    },
    tensor::{ElementType, Value, element_count},
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] = &[
    (MICROSOFT, "QLinearAveragePool", build_average),
    (MICROSOFT, "QLinearGlobalAveragePool", build_global),
];

/// Checks the inputs that both operators have: a tensor and four parameters.
fn check_inputs(definition: &Definition<'_>) -> Result<ElementType, Refusal> {
    check_arity(definition, 4..=5, 1)?;
    let element_type = byte_type(definition, 0)?;
    check_same_type(definition, 2, element_type)?;
    check_same_type(definition, 4, element_type)?;
    check_scale(definition, 1)?;
    check_scale(definition, 3)?;
    Ok(element_type)
}

/// The shape of images with the channels second, and whether they are last in the input.
struct Images {
    count: usize,
    channels: usize,
    spatial: Vec<usize>,
    channels_last: bool,
}

impl Images {
    fn new(shape: &[usize], channels_last: bool) -> Result<Self, OperatorError> {
        let (count, channels, spatial) = match shape {
            [count, spatial @ .., channels] if channels_last => (count, channels, spatial),
            [count, channels, spatial @ ..] => (count, channels, spatial),
            _ => {
                return Err(OperatorError::inputs(format!(
                    "the input has the shape {shape:?}; images are expected"
                )));
            }
        };
        Ok(Self { count: *count, channels: *channels, spatial: spatial.to_vec(), channels_last })
    }

    /// The shape with other spatial dimensions.
    fn shape(&self, spatial: &[usize]) -> Vec<usize> {
        let mut shape = vec![self.count];
        if !self.channels_last {
            shape.push(self.channels);
        }
        shape.extend_from_slice(spatial);
        if self.channels_last {
            shape.push(self.channels);
        }
        shape
    }

    /// The index of an element; a channel has `size` elements.
    fn index(&self, image: usize, channel: usize, position: usize, size: usize) -> usize {
        if self.channels_last {
            (image * size + position) * self.channels + channel
        } else {
            (image * self.channels + channel) * size + position
        }
    }
}

#[derive(Debug)]
struct GlobalAverage {
    channels_last: bool,
    element_type: ElementType,
}

fn build_global(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = check_inputs(definition)?;
    let channels_last = definition.attributes.integer("channels_last")?.unwrap_or(0) != 0;
    Ok(Built::tensor(GlobalAverage { channels_last, element_type }, element_type))
}

impl GlobalAverage {
    fn run_as<T: Quantized>(
        images: &Images,
        bytes: Bytes<'_>,
        from: Scale,
        to: Scale,
    ) -> Result<Value, OperatorError> {
        let size = volume(&images.spatial);
        let scale = from.scale / (to.scale * size as f32);
        let mut means = Vec::with_capacity(images.count * images.channels);
        for image in 0..images.count {
            for channel in 0..images.channels {
                let sum = (0..size).fold(0_i32, |sum, position| {
                    sum.wrapping_add(
                        bytes.get(images.index(image, channel, position, size)) - from.zero_point,
                    )
                });
                means.push(T::round(sum as f32 * scale, to.zero_point));
            }
        }
        output(images.shape(&vec![1; images.spatial.len()]), means)
    }
}

impl Operator for GlobalAverage {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let tensor = operands.tensor(0)?;
        let (from, to) = (Scale::take(&mut operands, 1, 2)?, Scale::take(&mut operands, 3, 4)?);
        let images = Images::new(tensor.shape(), self.channels_last)?;
        context.reserve(self.element_type, &images.shape(&vec![1; images.spatial.len()]))?;
        let bytes = Bytes::new(&tensor)?;
        Ok(vec![match self.element_type {
            ElementType::Int8 => Self::run_as::<i8>(&images, bytes, from, to)?,
            _ => Self::run_as::<u8>(&images, bytes, from, to)?,
        }])
    }
}

#[derive(Debug)]
struct Average {
    window: Window,
    counts_padding: bool,
    channels_last: bool,
    element_type: ElementType,
}

fn build_average(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = check_inputs(definition)?;
    let attributes = definition.attributes;
    Ok(Built::tensor(
        Average {
            window: Window::read(attributes)?,
            counts_padding: attributes.integer("count_include_pad")?.unwrap_or(0) != 0,
            channels_last: attributes.integer("channels_last")?.unwrap_or(0) != 0,
            element_type,
        },
        element_type,
    ))
}

impl Average {
    fn run_as<T: Quantized>(
        &self,
        (images, geometry): (&Images, &Geometry),
        bytes: Bytes<'_>,
        (from, to): (Scale, Scale),
        context: &Context<'_>,
    ) -> Result<Value, OperatorError> {
        let shape = images.shape(&geometry.output);
        let mut means = vec![T::default(); context.reserve(T::TYPE, &shape)?];
        let size = volume(&images.spatial);
        let positions = element_count(&geometry.output).unwrap_or(0);
        let mut taps = Vec::new();
        for position in 0..positions {
            context.check()?;
            geometry.taps(position, &mut taps);
            let counted = taps.iter().filter(|tap| match tap {
                Tap::Inside(_) => true,
                Tap::Padding => self.counts_padding,
                Tap::Beyond => false,
            });
            let count = counted.count() as f32;
            for image in 0..images.count {
                for channel in 0..images.channels {
                    let sum: f32 = taps
                        .iter()
                        .map(|tap| match tap {
                            Tap::Inside(place) => {
                                from.dequantize(bytes.get(images.index(image, channel, *place, size)))
                            }
                            Tap::Padding | Tap::Beyond => 0.0,
                        })
                        .sum();
                    // ONNX Runtime adds the zero point before it rounds, which decides how a tie is rounded.
                    means[images.index(image, channel, position, positions)] =
                        T::round(sum / count / to.scale + to.zero_point as f32, 0);
                }
            }
        }
        output(shape, means)
    }
}

impl Operator for Average {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let tensor = operands.tensor(0)?;
        let scales = (Scale::take(&mut operands, 1, 2)?, Scale::take(&mut operands, 3, 4)?);
        let images = Images::new(tensor.shape(), self.channels_last)?;
        let geometry = self.window.over(&images.spatial, None)?;
        let bytes = Bytes::new(&tensor)?;
        let task = (&images, &geometry);
        Ok(vec![match self.element_type {
            ElementType::Int8 => self.run_as::<i8>(task, bytes, scales, context)?,
            _ => self.run_as::<u8>(task, bytes, scales, context)?,
        }])
    }
}
