//! LinearAttention, whose state does not grow, and CausalConvWithState.

use super::{core::Heads, scaled::heads};
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{several, tensor_of, unfit},
        number::Real,
        registry::Builder,
        types::for_reals,
        widen::in_float_with,
    },
    tensor::Tensor,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "LinearAttention", linear_attention), ("", "CausalConvWithState", causal_convolution)];

/// The settings of a node.
#[derive(Clone, Copy, Debug)]
struct Plan {
    query_heads: usize,
    key_heads: usize,
    scale: f32,
    /// Whether the state decays.
    gated: bool,
    /// Whether what the state says already is taken off a value.
    delta: bool,
}

fn linear_attention(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let attributes = definition.attributes;
    let (gated, delta) = match attributes.text("update_rule")? {
        Some("linear") => (false, false),
        Some("gated") => (true, false),
        Some("delta") => (false, true),
        None | Some("gated_delta") => (true, true),
        Some(other) => return Err(Refusal::new(format!("the update_rule {other:?} is not known"))),
    };
    let needed =
        |name: &str| heads(definition, name)?.ok_or_else(|| Refusal::new(format!("{name} is missing")));
    let plan = Plan {
        query_heads: needed("q_num_heads")?,
        key_heads: needed("kv_num_heads")?,
        scale: attributes.float("scale")?.unwrap_or(0.0),
        gated,
        delta,
    };
    if (gated && !definition.has_input(4)) || (delta && !definition.has_input(5)) {
        return Err(Refusal::new("the decay or the rate that the update_rule needs is missing"));
    }
    let first = definition.tensor_type(0)?;
    let state = if definition.has_input(3) { definition.tensor_type(3)? } else { first };
    let build = |definition: &Definition<'_>| -> Result<Built, Refusal> {
        let element_type = definition.tensor_type(0)?;
        for index in 1..6 {
            if (index < 3 || definition.has_input(index)) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        for_reals!(
            element_type,
            T => several(definition, vec![element_type; 2], move |arguments, context| {
                attend::<T>(&plan, &arguments, context)
            }),
            Err(definition.unsupported_type(0))
        )
    };
    in_float_with(definition, build, |index| if index == 0 { first } else { state })
}

fn attend<T: Real>(
    plan: &Plan,
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let query = Heads::<T>::new(arguments.tensor(0)?, Some(plan.query_heads))?;
    let key = Heads::<T>::new(arguments.tensor(1)?, Some(plan.key_heads))?;
    let value = Heads::<T>::new(arguments.tensor(2)?, Some(plan.key_heads))?;
    let (batch, rows, heads) = (query.batch, query.rows, plan.key_heads);
    let fits = [key.batch, value.batch] == [batch; 2]
        && [key.rows, value.rows] == [rows; 2]
        && [query.heads, key.heads, value.heads] == [plan.query_heads, heads, heads]
        && query.size == key.size
        && plan.query_heads.is_multiple_of(heads);
    if !fits {
        return unfit("queries, keys and values of LinearAttention do not fit one another");
    }
    let (width, depth) = (value.size, key.size);
    let state_shape = [batch, heads, depth, width];
    let count = context.reserve(T::TYPE, &state_shape)?;
    let mut states = match arguments.optional_values::<T>(3)? {
        None => vec![T::ZERO; count],
        Some(states) if states.len() == count => states.to_vec(),
        Some(states) => {
            return unfit(format!("the state has {} elements; expected {state_shape:?}", states.len()));
        }
    };
    let decay = if plan.gated { arguments.optional_values::<T>(4)? } else { None };
    let rate = if plan.delta { arguments.optional_values::<T>(5)? } else { None };
    let places = batch * rows;
    // Decays are one for each element of a key, or for each head; rates for each head, or for all.
    let per_key = decay.is_some_and(|decay| decay.len() == places * heads * depth && depth != 1);
    let per_head = rate.is_some_and(|rate| rate.len() == places * heads);
    let fits = decay.is_none_or(|decay| per_key || decay.len() == places * heads)
        && rate.is_none_or(|rate| per_head || rate.len() == places);
    if !fits {
        return unfit("the decay or the rate of LinearAttention does not fit its heads");
    }
    let scale =
        T::from_f64(if plan.scale == 0.0 { 1.0 / (depth.max(1) as f64).sqrt() } else { plan.scale.into() });
    let shape = [batch, rows, plan.query_heads * width];
    let count = context.reserve(T::TYPE, &shape)?;
    let mut result = vec![T::ZERO; count];
    let share = plan.query_heads / heads;
    let mut update = vec![T::ZERO; width];
    for image in 0..batch {
        for head in 0..heads {
            context.check()?;
            let state = &mut states[(image * heads + head) * depth * width..][..depth * width];
            for row in 0..rows {
                let place = image * rows + row;
                let key = key.row(image, head, row);
                if let Some(decay) = decay {
                    for (number, line) in state.chunks_exact_mut(width.max(1)).enumerate() {
                        let at = if per_key {
                            (place * heads + head) * depth + number
                        } else {
                            place * heads + head
                        };
                        let factor = decay[at].exp();
                        line.iter_mut().for_each(|value| *value = *value * factor);
                    }
                }
                update.copy_from_slice(value.row(image, head, row));
                if let Some(rate) = rate {
                    for (line, key) in state.chunks_exact(width.max(1)).zip(key) {
                        for (value, known) in update.iter_mut().zip(line) {
                            *value = *value - *known * *key;
                        }
                    }
                    let rate = rate[if per_head { place * heads + head } else { place }];
                    update.iter_mut().for_each(|value| *value = *value * rate);
                }
                for (line, key) in state.chunks_exact_mut(width.max(1)).zip(key) {
                    for (known, value) in line.iter_mut().zip(&update) {
                        *known += *key * *value;
                    }
                }
                for number in head * share..(head + 1) * share {
                    let target = &mut result[(place * plan.query_heads + number) * width..][..width];
                    let query = query.row(image, number, row);
                    for (line, query) in state.chunks_exact(width.max(1)).zip(query) {
                        for (sum, known) in target.iter_mut().zip(line) {
                            *sum += scale * *query * *known;
                        }
                    }
                }
            }
        }
    }
    Ok(vec![tensor_of(shape, result)?, tensor_of(state_shape, states)?])
}

/// A convolution of each channel with what came before, which is an input and an output.
fn causal_convolution(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let activated = match definition.attributes.text("activation")? {
        None | Some("none") => false,
        Some("silu" | "swish") => true,
        Some(other) => return Err(Refusal::new(format!("the activation {other:?} is not known"))),
    };
    let first = definition.tensor_type(0)?;
    let build = |definition: &Definition<'_>| -> Result<Built, Refusal> {
        let element_type = definition.tensor_type(0)?;
        for index in 1..4 {
            if (index < 2 || definition.has_input(index)) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        for_reals!(
            element_type,
            T => several(definition, vec![element_type; 2], move |arguments, context| {
                convolve::<T>(&arguments, activated, context)
            }),
            Err(definition.unsupported_type(0))
        )
    };
    in_float_with(definition, build, |_| first)
}

fn convolve<T: Real>(
    arguments: &Arguments,
    activated: bool,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let (input, weights) = (arguments.tensor(0)?, arguments.tensor(1)?);
    let ([batch, channels, length], [kernels, 1, taps]) = (input.shape(), weights.shape()) else {
        return unfit(format!("sequences have the shape {:?}, kernels {:?}", input.shape(), weights.shape()));
    };
    let (batch, channels, length, taps) = (*batch, *channels, *length, *taps);
    let bias = arguments.optional_values::<T>(2)?;
    if *kernels != channels || taps == 0 || bias.is_some_and(|bias| bias.len() != channels) {
        return unfit(format!("kernels of the shape {:?} do not fit {channels} channels", weights.shape()));
    }
    let before = taps - 1;
    let state_shape = [batch, channels, before];
    let past = arguments.optional(3);
    if past.is_some_and(|past| past.shape() != state_shape) {
        return unfit(format!("the state has another shape than {state_shape:?}"));
    }
    let past = arguments.optional_values::<T>(3)?;
    let count = context.reserve(T::TYPE, &state_shape)?;
    let mut states = Vec::with_capacity(count);
    let count = context.reserve(T::TYPE, input.shape())?;
    let mut result = Vec::with_capacity(count);
    let (values, weights) = (arguments.values::<T>(0)?, arguments.values::<T>(1)?);
    context.reserve(T::TYPE, &[before + length])?;
    for row in 0..batch * channels {
        let channel = row % channels;
        let mut line = match past {
            Some(past) => past[row * before..(row + 1) * before].to_vec(),
            None => vec![T::ZERO; before],
        };
        line.extend_from_slice(&values[row * length..(row + 1) * length]);
        let kernel = &weights[channel * taps..(channel + 1) * taps];
        let start = bias.map_or(T::ZERO, |bias| bias[channel]);
        result.extend(line.windows(taps).take(length).map(|part| {
            let sum = part.iter().zip(kernel).fold(start, |sum, (value, weight)| sum + *value * *weight);
            if activated { sum * sum.sigmoid() } else { sum }
        }));
        states.extend_from_slice(&line[length..]);
    }
    Ok(vec![tensor_of(input.shape(), result)?, tensor_of(state_shape, states)?])
}
