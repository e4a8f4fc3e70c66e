//! com.microsoft's Attention and MultiHeadAttention.

use adytum_kernels::Level;

use super::{
    core::{Heads, Problem, joined},
    mask::{Mask, limit},
    padding::Padding,
    scaled::heads,
};
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        algebra::matmul::multiply,
        arguments::{several, tensor_of, unfit, values_of},
        broadcast::combine,
        definition::Builder,
        layout::{View, steps_of},
        number::Real,
        rounding::Rounding,
        types::for_reals,
        widen::in_float,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("com.microsoft", "Attention", projected), ("com.microsoft", "MultiHeadAttention", multi_head)];

/// The settings of a node, and where its inputs are.
#[derive(Clone, Debug)]
struct Plan {
    heads: usize,
    scale: Option<f32>,
    causal: bool,
    filter: f32,
    /// Sizes of the queries, keys and values, of Attention; equal if none are given.
    sizes: Option<[usize; 3]>,
    mask: usize,
    bias: usize,
    presents: bool,
    level: Level,
}

impl Plan {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let attributes = definition.attributes;
        let sizes = match attributes.integers("qkv_hidden_sizes")? {
            None | Some([]) => None,
            Some([q, k, v]) => {
                let size = |value: &i64| usize::try_from(*value).ok().filter(|size| *size < 1 << 30);
                match (size(q), size(k), size(v)) {
                    (Some(q), Some(k), Some(v)) => Some([q, k, v]),
                    _ => return Err(Refusal::new("the qkv_hidden_sizes are not sizes")),
                }
            }
            Some(_) => return Err(Refusal::new("the qkv_hidden_sizes are not three")),
        };
        if attributes.flag("do_rotary", false)? || attributes.flag("past_present_share_buffer", false)? {
            return Err(Refusal::new(
                "attention with rotary embedding or a shared buffer is not computed here",
            ));
        }
        let of_projections = definition.operator == "Attention";
        let (mask, bias) = if of_projections { (3, 5) } else { (4, 5) };
        for index in if of_projections { 6..7 } else { 8..10 } {
            if definition.has_input(index) {
                return Err(Refusal::new(format!(
                    "input {index}, of a buffer that is shared, is not computed here"
                )));
            }
        }
        if definition.has_input(mask) && definition.tensor_type(mask)? != ElementType::Int32 {
            return Err(definition.unsupported_type(mask));
        }
        Ok(Self {
            heads: heads(definition, "num_heads")?.ok_or_else(|| Refusal::new("num_heads is missing"))?,
            scale: attributes.float("scale")?.filter(|scale| *scale != 0.0),
            causal: attributes.flag("unidirectional", false)?,
            filter: attributes.float("mask_filter_value")?.unwrap_or(-10_000.0),
            sizes,
            mask,
            bias,
            presents: definition.outputs > 1,
            level: Level::best(),
        })
    }
}

/// Queries, keys and values with what came before them, and masks.
struct Inputs<'a> {
    query: &'a Tensor,
    key: &'a Tensor,
    value: &'a Tensor,
    past: Option<(Tensor, Tensor)>,
    mask: Option<&'a Tensor>,
    bias: Option<&'a Tensor>,
}

/// The result, and all keys and values.
fn attend<T: Real>(
    plan: &Plan,
    inputs: &Inputs<'_>,
    context: &Context<'_>,
) -> Result<(Tensor, Tensor, Tensor), OperatorError> {
    let query = Heads::<T>::new(inputs.query, Some(plan.heads))?;
    let key = Heads::<T>::new(inputs.key, Some(plan.heads))?;
    let value = Heads::<T>::new(inputs.value, Some(plan.heads))?;
    let (past_key, past_value) = match &inputs.past {
        Some((key, value)) => (Some(Heads::<T>::new(key, None)?), Some(Heads::<T>::new(value, None)?)),
        None => (None, None),
    };
    let before = past_key.as_ref().map_or(0, |past| past.rows);
    let (keys, rows) = key.joined(past_key.as_ref(), context)?;
    let (values, value_rows) = value.joined(past_value.as_ref(), context)?;
    let (batch, count) = (query.batch, query.rows);
    let padding = inputs.mask.map(|mask| Padding::new(mask, batch, count, rows)).transpose()?;
    let bias = inputs.bias.map(|bias| Mask::<T>::new(bias, [batch, plan.heads, count, rows])).transpose()?;
    let scale = plan.scale.map_or_else(|| 1.0 / (query.size.max(1) as f64).sqrt(), f64::from);
    let filter = T::from_f64(plan.filter.into());
    let problem = Problem {
        query,
        key: Heads::split(&keys, key.batch, key.heads, rows, key.size),
        value: Heads::split(&values, value.batch, value.heads, value_rows, value.size),
        scale: T::from_f64(scale),
        level: plan.level,
        differs: joined([
            padding.as_ref().map(Padding::differs),
            bias.as_ref().map(Mask::differs),
            plan.causal.then_some([false, false, true]),
        ]),
        softcap: T::ZERO,
        stage: None,
        side_by_side: true,
        rounding: Rounding::Exact,
        softmax_rounding: Rounding::Exact,
    };
    let (result, _) = problem.solve(context, |batch, head, row, scores| {
        if let Some(padding) = &padding {
            padding.add(batch, row, scores, filter);
        }
        if let Some(bias) = &bias {
            bias.add(batch, head, row, scores);
        }
        if plan.causal {
            limit(scores, 0, (before + row + 1) as i64);
        }
        Ok(())
    })?;
    let keys = tensor_of([key.batch, key.heads, rows, key.size], keys)?;
    Ok((result, keys, tensor_of([value.batch, value.heads, value_rows, value.size], values)?))
}

/// A part of a tensor along an axis.
fn part(
    tensor: &Tensor,
    axis: usize,
    start: usize,
    size: usize,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let steps = steps_of(tensor.shape());
    let mut shape = tensor.shape().to_vec();
    let whole = shape.get(axis).copied().unwrap_or(0);
    if axis >= shape.len() || start.checked_add(size).is_none_or(|end| end > whole) {
        return unfit(format!("a tensor of the shape {shape:?} has no part of {size} at {start}"));
    }
    shape[axis] = size;
    let start = start * steps[axis].unsigned_abs();
    View { shape, steps, start }.copy(tensor, context)
}

fn same_types(definition: &Definition<'_>, others: &[usize]) -> Result<ElementType, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for index in others {
        if definition.has_input(*index) && definition.tensor_type(*index)? != element_type {
            return Err(definition.unsupported_type(*index));
        }
    }
    Ok(element_type)
}

/// Attention of queries, keys and values that the node itself projects its input to.
fn projected(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let plan = Plan::new(definition)?;
        let element_type = same_types(definition, &[1, 2, 4, 5])?;
        for_reals!(
            element_type,
            T => several(definition, vec![element_type; 2], move |arguments, context| {
                project::<T>(&plan, &arguments, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn project<T: Real>(
    plan: &Plan,
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let mut all = multiply::<T>(arguments.tensor(0)?, arguments.tensor(1)?, context)?;
    let Some(width) = all.shape().last().copied().filter(|_| all.rank() == 3) else {
        return unfit(format!(
            "the input has the shape {:?}; expected batch, rows, width",
            arguments.tensor(0)?.shape()
        ));
    };
    if let Some(bias) = arguments.optional(2) {
        if bias.shape() != [width] {
            return unfit(format!("the bias has the shape {:?}; expected {width}", bias.shape()));
        }
        all = combine::<T>(all, bias.clone(), context, T::plus)?;
    }
    let [q, k, v] = match plan.sizes {
        Some(sizes) => sizes,
        None if width.is_multiple_of(3) => [width / 3; 3],
        None => return unfit(format!("{width} columns are not queries, keys and values")),
    };
    let (query, key) = (part(&all, 2, 0, q, context)?, part(&all, 2, q, k, context)?);
    let value = part(&all, 2, q + k, v, context)?;
    // The past is of keys and values in one tensor: two, batch, heads, rows, size.
    let past = match arguments.optional(4) {
        None => None,
        Some(past) => {
            let [2, rest @ ..] = past.shape() else {
                return unfit(format!("the past has the shape {:?}", past.shape()));
            };
            let half = |number: usize| -> Result<Tensor, OperatorError> {
                let values = values_of::<T>(past)?;
                let size = values.len() / 2;
                tensor_of(rest, values[number * size..(number + 1) * size].to_vec())
            };
            Some((half(0)?, half(1)?))
        }
    };
    let inputs = Inputs {
        query: &query,
        key: &key,
        value: &value,
        past,
        mask: arguments.optional(plan.mask),
        bias: arguments.optional(plan.bias),
    };
    let (result, keys, values) = attend::<T>(plan, &inputs, context)?;
    if !plan.presents {
        return Ok(vec![result]);
    }
    if keys.shape() != values.shape() {
        return unfit("keys and values of different sizes can't be one output");
    }
    let mut shape = vec![2];
    shape.extend(keys.shape());
    let mut present = values_of::<T>(&keys)?.to_vec();
    present.extend_from_slice(values_of::<T>(&values)?);
    Ok(vec![result, tensor_of(shape, present)?])
}

fn multi_head(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let plan = Plan::new(definition)?;
        let element_type = same_types(definition, &[1, 2, 3, 5, 6, 7])?;
        if definition.has_input(6) != definition.has_input(7) {
            return Err(Refusal::new("a past key is given without a past value, or the other way round"));
        }
        for_reals!(
            element_type,
            T => several(definition, vec![element_type; 3], move |arguments, context| {
                let (query, key, value) = unpacked::<T>(&arguments, context)?;
                let past = arguments.optional(6).cloned().zip(arguments.optional(7).cloned());
                let inputs = Inputs {
                    query: &query,
                    key: &key,
                    value: &value,
                    past,
                    mask: arguments.optional(plan.mask),
                    bias: arguments.optional(plan.bias),
                };
                let (result, keys, values) = attend::<T>(&plan, &inputs, context)?;
                Ok(vec![result, keys, values])
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// Queries, keys and values with the bias added, out of tensors that hold several of them.
fn unpacked<T: Real>(
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<(Tensor, Tensor, Tensor), OperatorError> {
    // A packed tensor is of batch, rows, heads, what it is, size.
    let heads_of = |packed: &Tensor, number: usize| -> Result<Tensor, OperatorError> {
        let one = part(packed, 3, number, 1, context)?;
        let [batch, rows, heads, _, size] = *one.shape() else {
            return unfit("a packed tensor has not 5 dimensions");
        };
        super::super::arguments::reshaped(one, [batch, rows, heads * size])
    };
    let first = arguments.tensor(0)?;
    let (mut query, mut key, mut value) = match (first.rank(), arguments.optional(1), arguments.optional(2)) {
        (5, None, None) => (heads_of(first, 0)?, heads_of(first, 1)?, heads_of(first, 2)?),
        (3, Some(packed), None) if packed.rank() == 5 => {
            (first.clone(), heads_of(packed, 0)?, heads_of(packed, 1)?)
        }
        (3, Some(key), Some(value)) => (first.clone(), key.clone(), value.clone()),
        _ => return unfit("queries, keys and values are not given as MultiHeadAttention takes them"),
    };
    if let Some(bias) = arguments.optional(3) {
        let mut start = 0;
        for tensor in [&mut query, &mut key, &mut value] {
            let width = match tensor.shape() {
                [_, _, width] => *width,
                [_, heads, _, size] => heads * size,
                shape => return unfit(format!("the shape {shape:?} is not of heads")),
            };
            let own = part(bias, 0, start, width, context)?;
            start += width;
            if tensor.rank() == 3 {
                *tensor = combine::<T>(tensor.clone(), own, context, T::plus)?;
            }
        }
    }
    Ok((query, key, value))
}
