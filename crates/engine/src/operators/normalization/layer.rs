//! LayerNormalization, RMSNormalization, and com.microsoft's forms with a sum before.

use super::moments;
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{owned_values, several, tensor_of, unfit},
        axes::{axis_of, product},
        broadcast::{broadcasts_to, combine, repeat_to},
        cast::convert,
        definition::Builder,
        number::{Number, Real},
        reduction::reduce::sum_of,
        types::for_reals,
        widen::in_float_with,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "LayerNormalization", layer),
    ("", "RMSNormalization", layer),
    ("", "SimplifiedLayerNormalization", layer),
    ("com.microsoft", "SkipLayerNormalization", skip),
    ("com.microsoft", "SkipSimplifiedLayerNormalization", skip),
];

/// How rows are normalised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normal {
    /// A small number to add to the variance.
    pub(crate) epsilon: f32,
    /// Whether the mean is taken off first.
    pub(crate) centred: bool,
}

/// What normalisation gives: the values, and of each row the mean and one by the deviation.
pub(crate) struct Normalized<T> {
    values: Vec<T>,
    means: Vec<T>,
    inverses: Vec<T>,
}

impl Normal {
    fn rows<T: Real>(self, mut values: Vec<T>, length: usize) -> Normalized<T> {
        let (mut means, mut inverses) = (Vec::new(), Vec::new());
        for row in values.chunks_exact_mut(length.max(1)) {
            let (mean, spread) = if self.centred {
                moments(row)
            } else {
                (T::ZERO, sum_of(row, |value| value * value) / T::from_i64(row.len() as i64))
            };
            let inverse = T::ONE / (spread + T::from_f64(self.epsilon.into())).sqrt();
            row.iter_mut().for_each(|value| *value = (*value - mean) * inverse);
            means.push(mean);
            inverses.push(inverse);
        }
        Normalized { values, means, inverses }
    }

    /// Normalises over the dimensions from `axis` on, then scales and shifts.
    pub(crate) fn run<T: Real>(
        self,
        tensor: Tensor,
        scale: Option<&Tensor>,
        bias: Option<&Tensor>,
        axis: usize,
        context: &Context<'_>,
    ) -> Result<(Tensor, Vec<T>, Vec<T>), OperatorError> {
        let shape = tensor.shape().to_vec();
        let length = product(&shape[axis..]);
        let mut normalized = self.rows(owned_values::<T>(tensor)?, length);
        if let Some(scale) = scale {
            for (value, scale) in normalized.values.iter_mut().zip(spread::<T>(scale, &shape, context)?) {
                *value = *value * scale;
            }
        }
        if let Some(bias) = bias {
            for (value, bias) in normalized.values.iter_mut().zip(spread::<T>(bias, &shape, context)?) {
                *value += bias;
            }
        }
        Ok((tensor_of(shape, normalized.values)?, normalized.means, normalized.inverses))
    }
}

/// A tensor's elements as often as a shape needs them: without a copy where they just repeat.
fn spread<T: Real>(
    tensor: &Tensor,
    shape: &[usize],
    context: &Context<'_>,
) -> Result<impl Iterator<Item = T>, OperatorError> {
    let values: Vec<T> = if shape.ends_with(tensor.shape()) {
        crate::operators::arguments::values_of::<T>(tensor)?.to_vec()
    } else if broadcasts_to(tensor.shape(), shape) {
        repeat_to::<T>(tensor, shape, context)?
    } else {
        return unfit(format!("the shape {:?} does not broadcast to {shape:?}", tensor.shape()));
    };
    let count = values.len().max(1);
    Ok((0..product(shape)).map(move |place| values[place % count]))
}

/// The type that means are given in.
fn stash_type(definition: &Definition<'_>) -> Result<ElementType, Refusal> {
    match definition.attributes.integer("stash_type")? {
        None | Some(1) => Ok(ElementType::Float),
        Some(16) => Ok(ElementType::Bfloat16),
        Some(11) => Ok(ElementType::Double),
        Some(other) => Err(Refusal::new(format!("the stash_type {other} is not a type of means"))),
    }
}

fn layer(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let first = definition.tensor_type(0)?;
    let stash = stash_type(definition)?;
    let centred = definition.operator == "LayerNormalization";
    let axis = definition.attributes.integer("axis")?.unwrap_or(-1);
    let normal = Normal { epsilon: definition.attributes.float("epsilon")?.unwrap_or(1e-5), centred };
    // A scale of another type decides the type of the result, where it may have one.
    let result = if definition.has_input(1) { definition.tensor_type(1)? } else { first };
    let build = |definition: &Definition<'_>| -> Result<Built, Refusal> {
        let element_type = definition.tensor_type(0)?;
        let wide = if stash == ElementType::Bfloat16 { ElementType::Bfloat16 } else { stash };
        for_reals!(
            element_type,
            T => several(definition, vec![element_type, wide, wide], move |mut arguments, context| {
                let tensor = arguments.take(0)?;
                let axis = axis_of(axis, tensor.rank())?;
                let mut reduced = tensor.shape().to_vec();
                reduced[axis..].fill(1);
                let (result, means, inverses) = normal.run::<T>(
                    tensor,
                    arguments.optional(1),
                    arguments.optional(2),
                    axis,
                    context,
                )?;
                let reduced = |values: Vec<T>| {
                    // Rows without elements have no means.
                    let values = if values.is_empty() { vec![T::ZERO; product(&reduced)] } else { values };
                    convert(tensor_of(reduced.as_slice(), values)?, wide, context)
                };
                if centred {
                    Ok(vec![result, reduced(means)?, reduced(inverses)?])
                } else {
                    let inverses = reduced(inverses)?;
                    Ok(vec![result, inverses.clone(), inverses])
                }
            }),
            Err(definition.unsupported_type(0))
        )
    };
    in_float_with(definition, build, |index| if index == 0 { result } else { stash })
}

/// The layer normalisation of a sum of two or three tensors; the sum is an output too.
fn skip(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let first = definition.tensor_type(0)?;
    let centred = definition.operator == "SkipLayerNormalization";
    let normal = Normal { epsilon: definition.attributes.float("epsilon")?.unwrap_or(1e-12), centred };
    let (beta, bias) = if centred { (Some(3), 4) } else { (None, 3) };
    let build = |definition: &Definition<'_>| -> Result<Built, Refusal> {
        let element_type = definition.tensor_type(0)?;
        for_reals!(
            element_type,
            T => several(definition, vec![element_type; 4], move |mut arguments, context| {
                let sum = sum_of_all::<T>(&mut arguments, bias, context)?;
                let rank = sum.rank();
                if rank == 0 {
                    return unfit("a tensor without dimensions can't be normalised");
                }
                let (result, _, _) = normal.run::<T>(
                    sum.clone(),
                    arguments.optional(2),
                    beta.and_then(|beta| arguments.optional(beta)),
                    rank - 1,
                    context,
                )?;
                let unused = Tensor::vector::<T>(Vec::new());
                Ok(vec![result, unused.clone(), unused, sum])
            }),
            Err(definition.unsupported_type(0))
        )
    };
    if definition.outputs == 2 || definition.outputs == 3 {
        return Err(Refusal::new("the mean and the deviation as outputs are not computed here"));
    }
    in_float_with(definition, build, |_| first)
}

fn sum_of_all<T: Real>(
    arguments: &mut Arguments,
    bias: usize,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let (tensor, skipped) = (arguments.take(0)?, arguments.take(1)?);
    if !broadcasts_to(skipped.shape(), tensor.shape()) {
        return unfit(format!("the shapes {:?} and {:?} differ", tensor.shape(), skipped.shape()));
    }
    let sum = combine::<T>(tensor, skipped, context, T::plus)?;
    match arguments.optional(bias) {
        Some(bias) if broadcasts_to(bias.shape(), sum.shape()) => {
            combine::<T>(sum, bias.clone(), context, T::plus)
        }
        Some(bias) => unfit(format!("the bias has the shape {:?} for {:?}", bias.shape(), sum.shape())),
        None => Ok(sum),
    }
}
