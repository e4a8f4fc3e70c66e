//! Operators that pick and place parts of tensors.

use super::call::{Call, Refusal, unsupported};
use crate::{
    graph::{Attributes, Operator, ValueId},
    tensor::{ElementType, Tensor},
};

/// Past every axis: ONNX clamps ends to the size.
const END: i64 = i64::MAX;
/// Before every axis, counted from the end.
const BEFORE: i64 = i64::MIN + 1;

/// Converts an operator of this family; `None` if it is of another.
pub(crate) fn convert(call: &mut Call<'_, '_>) -> Option<Result<ValueId, Refusal>> {
    Some(match call.operator() {
        "Gather" => call.tensor(0).and_then(|input| gather(call, input, 0)),
        "GatherNd" => gather_nd(call),
        "GatherV2" => gather_v2(call),
        "OneHot" => one_hot(call),
        "ReverseSequence" => reverse_sequence(call),
        "ReverseV2" => reverse(call),
        "ScatterNd" => scatter(call),
        "Slice" => slice(call),
        "StridedSlice" => strided_slice(call),
        "TensorScatterAdd" => scatter_into(call, true),
        "TensorScatterUpdate" => scatter_into(call, false),
        _ => return None,
    })
}

/// `Gather`, `GatherV2` and `ResourceGather`, whose first axes may be a batch.
pub(crate) fn gather(call: &mut Call<'_, '_>, from: ValueId, axis: i64) -> Result<ValueId, Refusal> {
    let indices = call.tensor(1)?;
    let batch = call.node.integer("batch_dims").unwrap_or(0);
    let batch = if batch < 0 { batch + call.rank(indices)? as i64 } else { batch };
    if batch == 0 {
        return call.gather(from, indices, axis);
    }
    if axis != batch {
        return unsupported("it gathers along another axis than the one after the batch");
    }
    let indices = call.unsqueeze(indices, &[-1])?;
    let indices = call.cast(indices, ElementType::Int64)?;
    call.emit(Operator::GatherND, &[from, indices], Attributes::none().with("batch_dims", batch))
}

fn gather_v2(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axis = call.integer(2)?;
    let axis = call.axis(axis, input)?;
    gather(call, input, axis as i64)
}

fn gather_nd(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, indices) = (call.tensor(0)?, call.tensor(1)?);
    let indices = call.cast(indices, ElementType::Int64)?;
    call.apply(Operator::GatherND, &[input, indices])
}

/// Written as a comparison: ONNX's `OneHot` counts negative indices from the
/// end, TensorFlow's ignores them.
fn one_hot(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (indices, on, off) = (call.tensor(0)?, call.tensor(2)?, call.tensor(3)?);
    let depth = call.tensor(1)?;
    let rank = call.rank(indices)? + 1;
    let axis = match call.attribute("axis")? {
        -1 => rank - 1,
        axis => usize::try_from(axis).ok().filter(|axis| *axis < rank).unwrap_or(rank - 1),
    };
    let kind = ElementType::Int64;
    let indices = call.cast(indices, kind)?;
    let indices = call.unsqueeze(indices, &[axis as i64])?;
    let depth = call.cast(depth, kind)?;
    let (zero, one) = (call.scalar(kind, 0.0)?, call.scalar(kind, 1.0)?);
    let numbers = call.apply(Operator::Range, &[zero, depth, one])?;
    let after: Vec<i64> = (1..(rank - axis) as i64).collect();
    let numbers = if after.is_empty() { numbers } else { call.unsqueeze(numbers, &after)? };
    let hot = call.apply(Operator::Equal, &[indices, numbers])?;
    call.apply(Operator::Where, &[hot, on, off])
}

fn reverse(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let axes = call.integers(1)?;
    let count = axes.len();
    call.slice(input, &vec![-1; count], &vec![BEFORE; count], &axes, &vec![-1; count])
}

fn reverse_sequence(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, lengths) = (call.tensor(0)?, call.tensor(1)?);
    let (time, batch) = (call.attribute("seq_dim")?, call.attribute("batch_dim")?);
    if !matches!((time, batch), (0, 1) | (1, 0)) {
        return unsupported("batch and time are not the first two axes");
    }
    let lengths = call.cast(lengths, ElementType::Int64)?;
    let attributes = Attributes::none().with("time_axis", time).with("batch_axis", batch);
    call.emit(Operator::ReverseSequence, &[input, lengths], attributes)
}

/// Updates of equal places are added, as TensorFlow adds them.
fn scatter(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (indices, updates, shape) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let zero = call.scalar(call.kind(updates), 0.0)?;
    let shape = call.cast(shape, ElementType::Int64)?;
    let zeros = call.apply(Operator::Expand, &[zero, shape])?;
    let indices = call.cast(indices, ElementType::Int64)?;
    call.emit(Operator::ScatterND, &[zeros, indices, updates], Attributes::none().with("reduction", "add"))
}

fn scatter_into(call: &mut Call<'_, '_>, add: bool) -> Result<ValueId, Refusal> {
    let (input, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let indices = call.cast(indices, ElementType::Int64)?;
    let attributes = if add { Attributes::none().with("reduction", "add") } else { Attributes::none() };
    call.emit(Operator::ScatterND, &[input, indices, updates], attributes)
}

fn slice(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let (input, begin) = (call.tensor(0)?, call.tensor(1)?);
    let sizes = call.integers(2);
    let rank = call.rank(input)?;
    let axes: Vec<i64> = (0..rank as i64).collect();
    let ones = vec![1; rank];
    if let (Ok(starts), Ok(sizes)) = (call.integers(1), &sizes)
        && starts.len() == rank
        && sizes.len() == rank
    {
        let ends: Vec<i64> = starts
            .iter()
            .zip(sizes)
            .map(|(start, size)| if *size == -1 { END } else { start.saturating_add(*size) })
            .collect();
        return call.slice(input, &starts, &ends, &axes, &ones);
    }
    // Where a size is -1, the end is the size of the axis.
    let size = call.tensor(2)?;
    let (begin, size) = (call.cast(begin, ElementType::Int64)?, call.cast(size, ElementType::Int64)?);
    let end = call.apply(Operator::Add, &[begin, size])?;
    let minus_one = call.scalar(ElementType::Int64, -1.0)?;
    let open = call.apply(Operator::Equal, &[size, minus_one])?;
    let shape = call.shape_of(input)?;
    let end = call.apply(Operator::Where, &[open, shape, end])?;
    let axes = call.vector(&axes)?;
    call.apply(Operator::Slice, &[input, begin, end, axes])
}

/// One entry of a strided slice's specification.
struct Bounds {
    axis: usize,
    /// The entry's place in `begin`, `end` and `strides`.
    entry: usize,
    whole_start: bool,
    whole_end: bool,
    step: i64,
}

fn strided_slice(call: &mut Call<'_, '_>) -> Result<ValueId, Refusal> {
    let input = call.tensor(0)?;
    let steps = call.integers(3)?;
    let mask = |name: &str| call.node.integer(name).unwrap_or(0);
    let (begin_mask, end_mask, ellipsis, new_axes, shrink) = (
        mask("begin_mask"),
        mask("end_mask"),
        mask("ellipsis_mask"),
        mask("new_axis_mask"),
        mask("shrink_axis_mask"),
    );
    let set = |mask: i64, entry: usize| entry < 63 && mask >> entry & 1 == 1;
    let (mut axis, mut position) = (0usize, 0usize);
    let (mut slices, mut picks, mut inserted) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, step) in steps.iter().enumerate() {
        if set(ellipsis, entry) {
            let rank = call.rank(input)?;
            let later = (entry + 1..steps.len()).filter(|later| !set(new_axes, *later)).count();
            let Some(next) = rank.checked_sub(later).filter(|next| *next >= axis) else {
                return unsupported("it names more axes than there are");
            };
            position += next - axis;
            axis = next;
        } else if set(new_axes, entry) {
            inserted.push(position as i64);
            position += 1;
        } else {
            let (whole_start, whole_end) = (set(begin_mask, entry), set(end_mask, entry));
            if set(shrink, entry) {
                picks.push((axis, entry));
            } else {
                if !(whole_start && whole_end && *step == 1) {
                    slices.push(Bounds { axis, entry, whole_start, whole_end, step: *step });
                }
                position += 1;
            }
            axis += 1;
        }
    }
    let mut result = sliced(call, input, &slices)?;
    // From the last axis on, because a picked axis vanishes.
    for (axis, entry) in picks.into_iter().rev() {
        let index = entry_of(call, 1, entry)?;
        let index = call.squeeze(index, &[0])?;
        result = call.gather(result, index, axis as i64)?;
    }
    if inserted.is_empty() { Ok(result) } else { call.unsqueeze(result, &inserted) }
}

/// An entry of a vector input, as a vector of one 64-bit integer.
fn entry_of(call: &mut Call<'_, '_>, input: usize, entry: usize) -> Result<ValueId, Refusal> {
    let vector = call.tensor(input)?;
    let vector = call.cast(vector, ElementType::Int64)?;
    let index = call.vector(&[entry as i64])?;
    call.gather(vector, index, 0)
}

fn sliced(call: &mut Call<'_, '_>, input: ValueId, slices: &[Bounds]) -> Result<ValueId, Refusal> {
    if slices.is_empty() {
        return Ok(input);
    }
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for bounds in slices {
        let (first, last) = if bounds.step > 0 { (0, END) } else { (END, BEFORE) };
        starts.push(match bounds.whole_start {
            true => call.vector(&[first])?,
            false => entry_of(call, 1, bounds.entry)?,
        });
        ends.push(match bounds.whole_end {
            true => call.vector(&[last])?,
            false => entry_of(call, 2, bounds.entry)?,
        });
    }
    let axes: Vec<i64> = slices.iter().map(|bounds| bounds.axis as i64).collect();
    let steps: Vec<i64> = slices.iter().map(|bounds| bounds.step).collect();
    let inputs = [
        input,
        call.concat(&starts, 0)?,
        call.concat(&ends, 0)?,
        call.builder.constant(Tensor::vector(&axes))?,
        call.builder.constant(Tensor::vector(&steps))?,
    ];
    call.apply(Operator::Slice, &inputs)
}
