//! Attention of ONNX, from opset 23 on.

use adytum_kernels::Level;

use super::{
    core::{Heads, Problem, Stage, joined},
    mask::{Mask, limit},
};
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{several, tensor_of, unfit},
        definition::Builder,
        number::Real,
        rounding::Rounding,
        types::for_reals,
        widen::in_float_with,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "Attention", attention)];

/// The settings of a node.
#[derive(Clone, Copy, Debug)]
struct Plan {
    query_heads: Option<usize>,
    key_heads: Option<usize>,
    scale: Option<f32>,
    softcap: f32,
    causal: bool,
    /// Keys before and after a query that it may look at; all if negative.
    left: i64,
    right: i64,
    stage: Option<Stage>,
    presents: bool,
    /// How each step is rounded, and how the softmax is.
    rounding: Rounding,
    softmax_rounding: Rounding,
    level: Level,
}

/// A number of heads: 1 or more.
pub(crate) fn heads(definition: &Definition<'_>, name: &str) -> Result<Option<usize>, Refusal> {
    match definition.attributes.integer(name)? {
        None | Some(0) => Ok(None),
        Some(heads) => usize::try_from(heads)
            .ok()
            .filter(|heads| *heads < 1 << 24)
            .map(Some)
            .ok_or_else(|| Refusal::new(format!("{name} is {heads}; expected 1 or more"))),
    }
}

impl Plan {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let attributes = definition.attributes;
        let element_type = definition.tensor_type(0)?;
        let stage = match attributes.integer("qk_matmul_output_mode")?.unwrap_or(0) {
            0 => Stage::Products,
            1 => Stage::Capped,
            2 => Stage::Biased,
            3 => Stage::Normalized,
            other => {
                return Err(Refusal::new(format!("the qk_matmul_output_mode is {other}; expected 0 to 3")));
            }
        };
        if definition.has_input(4) != definition.has_input(5) {
            return Err(Refusal::new("a past key is given without a past value, or the other way round"));
        }
        if definition.has_input(6) && definition.has_input(4) {
            return Err(Refusal::new("nonpad_kv_seqlen is given together with a past key"));
        }
        let softcap = attributes.float("softcap")?.unwrap_or(0.0);
        if softcap < 0.0 {
            return Err(Refusal::new(format!("the softcap is {softcap}; expected 0 or more")));
        }
        Ok(Self {
            query_heads: heads(definition, "q_num_heads")?,
            key_heads: heads(definition, "kv_num_heads")?,
            scale: attributes.float("scale")?,
            softcap,
            causal: attributes.flag("is_causal", false)?,
            left: attributes.integer("left_window_size")?.unwrap_or(-1),
            right: attributes.integer("right_window_size")?.unwrap_or(-1),
            stage: (definition.outputs > 3).then_some(stage),
            presents: definition.outputs > 1,
            level: Level::best(),
            rounding: Rounding::to(element_type),
            softmax_rounding: Rounding::to(match attributes.integer("softmax_precision")? {
                None => element_type,
                Some(number) => i32::try_from(number)
                    .ok()
                    .and_then(ElementType::from_onnx)
                    .ok_or_else(|| Refusal::new(format!("the softmax_precision {number} is not known")))?,
            }),
        })
    }
}

fn attention(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let plan = Plan::new(definition)?;
    let (first, values) = (definition.tensor_type(0)?, definition.tensor_type(2)?);
    if definition.has_input(6) && definition.tensor_type(6)? != ElementType::Int64 {
        return Err(definition.unsupported_type(6));
    }
    let build = |definition: &Definition<'_>| -> Result<Built, Refusal> {
        let element_type = definition.tensor_type(0)?;
        for index in [1, 2, 4, 5] {
            if (index < 3 || definition.has_input(index)) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        if definition.has_input(3) && definition.tensor_type(3)? == ElementType::Text {
            return Err(definition.unsupported_type(3));
        }
        for_reals!(
            element_type,
            T => several(definition, vec![element_type; 4], move |arguments, context| {
                run::<T>(&plan, &arguments, context)
            }),
            Err(definition.unsupported_type(0))
        )
    };
    in_float_with(definition, build, |index| if index == 2 { values } else { first })
}

fn run<T: Real>(
    plan: &Plan,
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let query = Heads::<T>::new(arguments.tensor(0)?, plan.query_heads)?;
    let mut key = Heads::<T>::new(arguments.tensor(1)?, plan.key_heads)?;
    let mut value = Heads::<T>::new(arguments.tensor(2)?, plan.key_heads)?;
    let side_by_side = arguments.tensor(0)?.rank() == 3;
    let past = arguments.optional(4).zip(arguments.optional(5));
    let mut before = 0;
    let (joined_keys, joined_values);
    let mut presents = Vec::new();
    if past.is_some() || plan.presents {
        let (past_key, past_value) = match past {
            Some((key, value)) => (Some(Heads::<T>::new(key, None)?), Some(Heads::<T>::new(value, None)?)),
            None => (None, None),
        };
        before = past_key.as_ref().map_or(0, |past| past.rows);
        let rows;
        (joined_keys, rows) = key.joined(past_key.as_ref(), context)?;
        key = Heads::split(&joined_keys, key.batch, key.heads, rows, key.size);
        let value_rows;
        (joined_values, value_rows) = value.joined(past_value.as_ref(), context)?;
        value = Heads::split(&joined_values, value.batch, value.heads, value_rows, value.size);
        if plan.presents {
            presents.push(tensor_of([key.batch, key.heads, rows, key.size], joined_keys.clone())?);
            presents
                .push(tensor_of([value.batch, value.heads, value_rows, value.size], joined_values.clone())?);
        }
    }
    let mask = arguments
        .optional(3)
        .map(|mask| Mask::<T>::new(mask, [query.batch, query.heads, query.rows, key.rows]))
        .transpose()?;
    let valid = arguments.optional_values::<i64>(6)?;
    if let Some(valid) = valid
        && (valid.len() != query.batch || valid.iter().any(|count| *count < 0 || *count > key.rows as i64))
    {
        return unfit(format!(
            "nonpad_kv_seqlen is {valid:?} for a batch of {} and {} keys",
            query.batch, key.rows
        ));
    }
    let scale = plan.scale.map_or_else(|| 1.0 / (query.size.max(1) as f64).sqrt(), f64::from);
    let problem = Problem {
        query,
        key,
        value,
        scale: T::from_f64(scale),
        level: plan.level,
        differs: joined([
            mask.as_ref().map(Mask::differs),
            valid.map(|_| [true, false, true]),
            (plan.causal || plan.left >= 0 || plan.right >= 0).then_some([false, false, true]),
        ]),
        softcap: T::from_f64(plan.softcap.into()),
        stage: plan.stage,
        side_by_side,
        rounding: plan.rounding,
        softmax_rounding: plan.softmax_rounding,
    };
    let (result, scores) = problem.solve(context, |batch, head, row, scores| {
        if let Some(mask) = &mask {
            mask.add(batch, head, row, scores);
        }
        let mut end = scores.len() as i64;
        let mut offset = before as i64;
        if let Some(valid) = valid {
            end = valid[batch];
            offset = end - query.rows as i64;
        }
        let place = offset + row as i64;
        if plan.causal {
            end = end.min(place + 1);
        }
        if plan.right >= 0 {
            end = end.min(place.saturating_add(plan.right).saturating_add(1));
        }
        let start = if plan.left >= 0 { place.saturating_sub(plan.left) } else { 0 };
        limit(scores, start, end);
        Ok(())
    })?;
    let mut outputs = vec![result];
    if !presents.is_empty() {
        outputs.extend(presents);
    }
    outputs.extend(scores);
    Ok(outputs)
}
