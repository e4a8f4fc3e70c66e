//! BatchNormalization: by given means and variances, or by the batch's own.

use crate::{
    operators::{
        Arguments, Built, Definition, OperatorError, Refusal,
        arguments::{owned_values, several, tensor_of, unfit},
        axes::product,
        cast::as_doubles,
        definition::Builder,
        number::{Number, Real},
        types::for_reals,
        widen::in_float_with,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "BatchNormalization", batch)];

fn batch(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let attributes = definition.attributes;
    let training = definition.opset >= 14 && attributes.flag("training_mode", false)?;
    if !training && definition.outputs > 1 {
        return Err(Refusal::new("BatchNormalization has more than one output: it is the form for training"));
    }
    if definition.opset < 9 && !attributes.flag("spatial", true)? {
        return Err(Refusal::new("BatchNormalization with spatial 0 is not computed here"));
    }
    let (first, fourth) = (definition.tensor_type(0)?, definition.tensor_type(3)?);
    in_float_with(
        definition,
        |definition| build(definition, training),
        |index| {
            if index == 0 { first } else { fourth }
        },
    )
}

fn build(definition: &Definition<'_>, training: bool) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let means_type = definition.tensor_type(3)?;
    let epsilon = definition.attributes.float("epsilon")?.unwrap_or(1e-5);
    let momentum = f64::from(definition.attributes.float("momentum")?.unwrap_or(0.9));
    for index in 1..5 {
        if !matches!(definition.tensor_type(index)?, ElementType::Float | ElementType::Double) {
            return Err(definition.unsupported_type(index));
        }
    }
    for_reals!(
        element_type,
        T => several(definition, vec![element_type, means_type, means_type], move |mut arguments, context| {
            let tensor = arguments.take(0)?;
            let shape = tensor.shape().to_vec();
            let channels = match shape.as_slice() {
                [] => return unfit("a tensor without dimensions can't be normalised"),
                // A vector is a batch of one channel.
                [_] => 1,
                [_, channels, ..] => *channels,
            };
            let size = if shape.len() > 2 { product(&shape[2..]) } else { 1 };
            let [scale, bias, mut means, mut variances] = parameters::<T>(&arguments, channels)?;
            let mut values = owned_values::<T>(tensor)?;
            let mut running = Vec::new();
            if training {
                let (own_means, own_variances) = moments_of_channels(&values, channels, size)?;
                let mixed = |old: &[T], new: &[T]| -> Vec<f64> {
                    old.iter()
                        .zip(new)
                        .map(|(old, new)| old.to_f64() * momentum + new.to_f64() * (1.0 - momentum))
                        .collect()
                };
                for (old, new) in [(&means, &own_means), (&variances, &own_variances)] {
                    let mixed = tensor_of([channels], mixed(old, new))?;
                    running.push(crate::operators::cast::convert(mixed, means_type, context)?);
                }
                (means, variances) = (own_means, own_variances);
            }
            let factors: Vec<T> = scale
                .iter()
                .zip(&variances)
                .map(|(scale, variance)| *scale / (*variance + T::from_f64(epsilon.into())).sqrt())
                .collect();
            for (number, row) in values.chunks_exact_mut(size.max(1)).enumerate() {
                let channel = number % channels;
                let (mean, factor, bias) = (means[channel], factors[channel], bias[channel]);
                row.iter_mut().for_each(|value| *value = (*value - mean) * factor + bias);
            }
            let mut outputs: Vec<Tensor> = vec![tensor_of(shape, values)?];
            outputs.extend(running);
            Ok(outputs)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn parameters<T: Real>(arguments: &Arguments, channels: usize) -> Result<[Vec<T>; 4], OperatorError> {
    let mut all = [const { Vec::new() }; 4];
    for (place, values) in all.iter_mut().enumerate() {
        let tensor = arguments.tensor(place + 1)?;
        if tensor.len() != channels {
            return unfit(format!(
                "input {} has {} elements for {channels} channels",
                place + 1,
                tensor.len()
            ));
        }
        *values = as_doubles(tensor)?.into_iter().map(T::from_f64).collect();
    }
    Ok(all)
}

fn moments_of_channels<T: Real>(
    values: &[T],
    channels: usize,
    size: usize,
) -> Result<(Vec<T>, Vec<T>), OperatorError> {
    if values.is_empty() {
        return unfit("an empty batch has no means");
    }
    let count = (values.len() / channels) as f64;
    let mut sums = vec![0.0; channels];
    for (number, row) in values.chunks_exact(size).enumerate() {
        sums[number % channels] += row.iter().map(|value| value.to_f64()).sum::<f64>();
    }
    let means: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
    let mut squares = vec![0.0; channels];
    for (number, row) in values.chunks_exact(size).enumerate() {
        let mean = means[number % channels];
        squares[number % channels] += row.iter().map(|value| (value.to_f64() - mean).powi(2)).sum::<f64>();
    }
    Ok((
        means.into_iter().map(T::from_f64).collect(),
        squares.into_iter().map(|square| T::from_f64(square / count)).collect(),
    ))
}
