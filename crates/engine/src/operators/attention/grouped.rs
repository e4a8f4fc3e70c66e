//! com.microsoft's GroupQueryAttention: heads that share keys, and a cache of them.

use adytum_kernels::Level;

use super::{
    core::{Heads, Problem, joined},
    mask::{Mask, limit},
    scaled::heads,
};
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{several, tensor_of, unfit},
        definition::Builder,
        number::Real,
        rounding::Rounding,
        types::for_reals,
        widen::in_float,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("com.microsoft", "GroupQueryAttention", grouped)];

#[derive(Clone, Copy, Debug)]
struct Plan {
    heads: usize,
    key_heads: usize,
    scale: Option<f32>,
    softcap: f32,
    /// How many keys a query may look back at; all if negative.
    window: i64,
    rotary: bool,
    interleaved: bool,
    level: Level,
}

fn grouped(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let attributes = definition.attributes;
        let needed =
            |name: &str| heads(definition, name)?.ok_or_else(|| Refusal::new(format!("{name} is missing")));
        let plan = Plan {
            heads: needed("num_heads")?,
            key_heads: needed("kv_num_heads")?,
            scale: attributes.float("scale")?.filter(|scale| *scale != 0.0),
            softcap: attributes.float("softcap")?.unwrap_or(0.0),
            window: attributes.integer("local_window_size")?.unwrap_or(-1),
            rotary: attributes.flag("do_rotary", false)?,
            interleaved: attributes.flag("rotary_interleaved", false)?,
            level: Level::best(),
        };
        if attributes.integer("smooth_softmax")?.unwrap_or(-1) > 0
            || attributes.integer("qk_output")?.unwrap_or(0) != 0
            || definition.has_input(9)
            || definition.inputs.len() > 11
                && (11..definition.inputs.len()).any(|index| definition.has_input(index))
        {
            return Err(Refusal::new(
                "smooth softmax, scores as outputs, positions and sinks are not computed here",
            ));
        }
        if definition.has_input(3) && definition.outputs < 3 {
            return Err(Refusal::new(
                "GroupQueryAttention has a past, but does not give back what it adds to it",
            ));
        }
        let element_type = definition.tensor_type(0)?;
        for index in [1, 2, 3, 4, 7, 8, 10] {
            if definition.has_input(index) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        for index in [5, 6] {
            if definition.tensor_type(index)? != ElementType::Int32 {
                return Err(definition.unsupported_type(index));
            }
        }
        let pairs = [(1, 2), (3, 4), (7, 8)];
        if pairs.iter().any(|(a, b)| definition.has_input(*a) != definition.has_input(*b))
            || (plan.rotary && !definition.has_input(7))
        {
            return Err(Refusal::new("one of two inputs that belong together is missing"));
        }
        for_reals!(
            element_type,
            T => several(definition, vec![element_type; 3], move |arguments, context| {
                run::<T>(&plan, &arguments, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// Rows of heads, copied in the order batch, heads, rows.
struct Copied<T> {
    values: Vec<T>,
    batch: usize,
    heads: usize,
    rows: usize,
    size: usize,
}

impl<T: Real> Copied<T> {
    /// Heads `from` to `from + heads` of rows in which heads of `size` are side by side.
    fn new(
        tensor: &Tensor,
        from: usize,
        heads: usize,
        size: usize,
        context: &Context<'_>,
    ) -> Result<Self, OperatorError> {
        let [batch, rows, width] = *tensor.shape() else {
            return unfit(format!("the shape {:?} is not of batch, rows, heads", tensor.shape()));
        };
        if size == 0 || (from + heads).checked_mul(size).is_none_or(|end| end > width) || width % size != 0 {
            return unfit(format!("rows of {width} have not {} heads of {size}", from + heads));
        }
        let all = Heads::<T>::new(tensor, Some(width / size))?;
        let count = context.reserve(T::TYPE, &[batch, heads, rows, size])?;
        let mut values = Vec::with_capacity(count);
        for place in 0..batch {
            for head in from..from + heads {
                (0..rows).for_each(|row| values.extend_from_slice(all.row(place, head, row)));
            }
        }
        Ok(Self { values, batch, heads, rows, size })
    }

    /// Turns pairs of elements of each row by its place.
    fn turn(
        &mut self,
        plan: &Plan,
        cosines: &Tensor,
        sines: &[T],
        before: &[usize],
    ) -> Result<(), OperatorError> {
        let half = cosines.shape().last().copied().unwrap_or(0);
        let values = super::super::arguments::values_of::<T>(cosines)?;
        if half == 0 || 2 * half > self.size || sines.len() != values.len() {
            return unfit(format!(
                "cosines of the shape {:?} do not fit heads of {}",
                cosines.shape(),
                self.size
            ));
        }
        for (number, row) in self.values.chunks_exact_mut(self.size).enumerate() {
            let place = before[number / (self.heads * self.rows)] + number % self.rows;
            let (Some(cosines), Some(sines)) =
                (values.get(place * half..(place + 1) * half), sines.get(place * half..(place + 1) * half))
            else {
                return unfit(format!("there are no cosines for the position {place}"));
            };
            for (number, (cosine, sine)) in cosines.iter().zip(sines).enumerate() {
                let (a, b) =
                    if plan.interleaved { (2 * number, 2 * number + 1) } else { (number, half + number) };
                let (real, imaginary) = (row[a], row[b]);
                row[a] = *cosine * real - *sine * imaginary;
                row[b] = *sine * real + *cosine * imaginary;
            }
        }
        Ok(())
    }

    fn heads(&self) -> Heads<'_, T> {
        Heads::split(&self.values, self.batch, self.heads, self.rows, self.size)
    }
}

fn run<T: Real>(
    plan: &Plan,
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let first = arguments.tensor(0)?;
    let width = first.shape().last().copied().unwrap_or(0);
    let packed = arguments.optional(1).is_none();
    let all_heads = if packed { plan.heads + 2 * plan.key_heads } else { plan.heads };
    if width == 0 || width % all_heads != 0 {
        return unfit(format!("rows of {width} are not {all_heads} heads"));
    }
    let size = width / all_heads;
    let mut query = Copied::<T>::new(first, 0, plan.heads, size, context)?;
    let (key_source, value_source) =
        if packed { (first, first) } else { (arguments.tensor(1)?, arguments.tensor(2)?) };
    let (key_from, value_from) = if packed { (plan.heads, plan.heads + plan.key_heads) } else { (0, 0) };
    let mut key = Copied::<T>::new(key_source, key_from, plan.key_heads, size, context)?;
    let value = Copied::<T>::new(value_source, value_from, plan.key_heads, size, context)?;
    if (key.batch, key.rows, value.batch, value.rows) != (query.batch, query.rows, query.batch, query.rows) {
        return unfit("queries, keys and values have different rows");
    }
    // How many keys each of the batch has in all, and so before the new ones.
    let (batch, rows) = (query.batch, query.rows);
    let lengths = arguments.values::<i32>(5)?;
    let total = super::super::cast::only::<i32>(arguments.tensor(6)?, "the total_sequence_length")?;
    let total = usize::try_from(total).or_else(|_| unfit(format!("the total_sequence_length is {total}")))?;
    if lengths.len() != batch {
        return unfit(format!("{} lengths are given for a batch of {batch}", lengths.len()));
    }
    let prompt = rows == total;
    let mut counts = Vec::with_capacity(batch);
    let mut before = Vec::with_capacity(batch);
    for length in lengths {
        let count = usize::try_from(i64::from(*length) + 1).unwrap_or(usize::MAX);
        let past = if prompt { Some(0) } else { count.checked_sub(rows) };
        match past {
            Some(past) if count <= total && past + rows <= total => {
                counts.push(count);
                before.push(past);
            }
            _ => return unfit(format!("a sequence of {length} and one keys does not fit {rows} of {total}")),
        }
    }
    if plan.rotary {
        let (cosines, sines) = (arguments.tensor(7)?, arguments.values::<T>(8)?);
        query.turn(plan, cosines, sines, &before)?;
        key.turn(plan, cosines, sines, &before)?;
    }
    let keys = present(arguments.optional(3), &key, &before, total, context)?;
    let values = present(arguments.optional(4), &value, &before, total, context)?;
    let rows_of_cache = keys.shape()[2];
    let bias = arguments
        .optional(10)
        .map(|bias| Mask::<T>::new(bias, [batch, plan.heads, rows, rows_of_cache]))
        .transpose()?;
    let scale = plan.scale.map_or_else(|| 1.0 / (size as f64).sqrt(), f64::from);
    let problem = Problem {
        query: query.heads(),
        key: Heads::new(&keys, None)?,
        value: Heads::new(&values, None)?,
        scale: T::from_f64(scale),
        level: plan.level,
        differs: joined([Some([true, false, true]), bias.as_ref().map(Mask::differs)]),
        softcap: T::from_f64(plan.softcap.into()),
        stage: None,
        side_by_side: true,
        rounding: Rounding::Exact,
        softmax_rounding: Rounding::Exact,
    };
    let (result, _) = problem.solve(context, |batch, head, row, scores| {
        if let Some(bias) = &bias {
            bias.add(batch, head, row, scores);
        }
        let place = (before[batch] + row) as i64;
        let start = if plan.window > 0 { place - plan.window + 1 } else { 0 };
        limit(scores, start, place + 1);
        Ok(())
    })?;
    Ok(vec![result, keys, values])
}

/// The cache with new rows written after those that each of the batch has.
fn present<T: Real>(
    past: Option<&Tensor>,
    new: &Copied<T>,
    before: &[usize],
    total: usize,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let cache = past.map(|past| Heads::<T>::new(past, None)).transpose()?;
    let kept = cache.as_ref().map_or(0, |cache| cache.rows);
    if let Some(cache) = &cache
        && (cache.batch, cache.heads, cache.size) != (new.batch, new.heads, new.size)
    {
        return unfit("the past does not fit the keys and values");
    }
    let length = kept.max(total);
    let shape = [new.batch, new.heads, length, new.size];
    let count = context.reserve(T::TYPE, &shape)?;
    let mut values = vec![T::ZERO; count];
    let own = new.heads();
    for batch in 0..new.batch {
        for head in 0..new.heads {
            let target = &mut values[(batch * new.heads + head) * length * new.size..][..length * new.size];
            if before[batch] > kept {
                return unfit(format!(
                    "{} keys are said to be before, but the past has {kept}",
                    before[batch]
                ));
            }
            for row in 0..before[batch] {
                if let Some(cache) = &cache {
                    target[row * new.size..(row + 1) * new.size].copy_from_slice(cache.row(batch, head, row));
                }
            }
            for row in 0..new.rows {
                let place = before[batch] + row;
                target[place * new.size..(place + 1) * new.size].copy_from_slice(own.row(batch, head, row));
            }
        }
    }
    tensor_of(shape, values)
}
