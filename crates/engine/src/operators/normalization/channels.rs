//! InstanceNormalization, GroupNormalization, LRN: per image and channel.

use super::moments;
use crate::{
    operators::{
        Arguments, Built, Definition, OperatorError, Refusal,
        arguments::{owned_values, single, tensor_of, unfit},
        axes::product,
        definition::Builder,
        number::{Number, Real},
        types::for_reals,
        widen::in_float,
    },
    tensor::{Element, ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "InstanceNormalization", instance),
    ("", "GroupNormalization", group),
    ("", "LRN", local_response),
];

/// The sizes of a tensor of images: batch, channels, elements of a channel.
fn images(tensor: &Tensor) -> Result<(usize, usize, usize), OperatorError> {
    match tensor.shape() {
        [batch, channels, rest @ ..] => Ok((*batch, *channels, product(rest))),
        shape => unfit(format!("the shape {shape:?} has no dimensions of batch and channels")),
    }
}

/// The scale and the bias, one of each for every part.
fn scales<T: Real>(arguments: &Arguments, parts: usize) -> Result<(&[T], &[T]), OperatorError> {
    let (scale, bias) = (arguments.values::<T>(1)?, arguments.values::<T>(2)?);
    if scale.len() == parts && bias.len() == parts {
        Ok((scale, bias))
    } else {
        unfit(format!("{} scales and {} biases are given for {parts}", scale.len(), bias.len()))
    }
}

fn types(definition: &Definition<'_>) -> Result<ElementType, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for index in [1, 2] {
        if definition.tensor_type(index)? != element_type {
            return Err(definition.unsupported_type(index));
        }
    }
    Ok(element_type)
}

fn instance(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = types(definition)?;
        let epsilon = definition.attributes.float("epsilon")?.unwrap_or(1e-5);
        for_reals!(
            element_type,
            T => single(definition, element_type, move |mut arguments, _| {
                let tensor = arguments.take(0)?;
                let (_, channels, size) = images(&tensor)?;
                let (scale, bias) = scales::<T>(&arguments, channels)?;
                let shape = tensor.shape().to_vec();
                let mut values = owned_values::<T>(tensor)?;
                for (number, row) in values.chunks_exact_mut(size.max(1)).enumerate() {
                    let (mean, variance) = moments(row);
                    let factor = scale[number % channels] / (variance + T::from_f64(epsilon.into())).sqrt();
                    let bias = bias[number % channels];
                    row.iter_mut().for_each(|value| *value = (*value - mean) * factor + bias);
                }
                tensor_of(shape, values)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// Scales and biases are one for each group below opset 21, for each channel from then on.
fn group(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = types(definition)?;
        let epsilon = definition.attributes.float("epsilon")?.unwrap_or(1e-5);
        let groups = definition.attributes.integer("num_groups")?.unwrap_or(0);
        let groups = usize::try_from(groups)
            .ok()
            .filter(|groups| *groups > 0)
            .ok_or_else(|| Refusal::new(format!("num_groups is {groups}; expected 1 or more")))?;
        let by_channel = definition.opset >= 21;
        for_reals!(
            element_type,
            T => single(definition, element_type, move |mut arguments, _| {
                let tensor = arguments.take(0)?;
                let (_, channels, size) = images(&tensor)?;
                if channels % groups != 0 {
                    return unfit(format!("{channels} channels can't be {groups} groups"));
                }
                let (scale, bias) = scales::<T>(&arguments, if by_channel { channels } else { groups })?;
                let shape = tensor.shape().to_vec();
                let mut values = owned_values::<T>(tensor)?;
                let per_group = channels / groups;
                for (number, part) in values.chunks_exact_mut((per_group * size).max(1)).enumerate() {
                    let (mean, variance) = moments(part);
                    let inverse = T::ONE / (variance + T::from_f64(epsilon.into())).sqrt();
                    let group = number % groups;
                    for (channel, row) in part.chunks_exact_mut(size.max(1)).enumerate() {
                        let place = if by_channel { group * per_group + channel } else { group };
                        let (scale, bias) = (scale[place], bias[place]);
                        row.iter_mut().for_each(|value| *value = (*value - mean) * inverse * scale + bias);
                    }
                }
                tensor_of(shape, values)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn local_response(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let attributes = definition.attributes;
        let size = attributes.integer("size")?.unwrap_or(0);
        let window = usize::try_from(size)
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(|| Refusal::new(format!("the size of LRN is {size}; expected 1 or more")))?;
        let setting = |name: &str, default: f32| -> Result<f64, Refusal> {
            Ok(attributes.float(name)?.unwrap_or(default).into())
        };
        let (alpha, beta, bias) = (setting("alpha", 1e-4)?, setting("beta", 0.75)?, setting("bias", 1.0)?);
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let (batch, channels, size) = images(tensor)?;
                let values = arguments.values::<T>(0)?;
                let count = context.reserve(T::TYPE, tensor.shape())?;
                let mut results = vec![T::ZERO; count];
                let mut sums = vec![T::ZERO; size];
                let (before, after) = ((window - 1) / 2, window / 2);
                for image in 0..batch {
                    context.check()?;
                    for channel in 0..channels {
                        sums.fill(T::ZERO);
                        let last = channel.saturating_add(after).min(channels - 1);
                        for other in channel.saturating_sub(before)..=last {
                            let start = (image * channels + other) * size;
                            for (sum, value) in sums.iter_mut().zip(&values[start..start + size]) {
                                *sum += *value * *value;
                            }
                        }
                        let start = (image * channels + channel) * size;
                        let factor = T::from_f64(alpha / window as f64);
                        for (place, sum) in sums.iter().enumerate() {
                            let scale = (T::from_f64(bias) + factor * *sum).power(T::from_f64(beta));
                            results[start + place] = values[start + place] / scale;
                        }
                    }
                }
                tensor_of(tensor.shape(), results)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}
