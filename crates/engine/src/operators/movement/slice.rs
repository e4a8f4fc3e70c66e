//! Slice, Split, ReverseSequence: parts of a tensor.

use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{several, single, unfit},
        axes::{Setting, around, axes_of, axis_of, size_of_input, sizes_of_input},
        definition::Builder,
        layout::{View, copy_blocks, reserve_places, steps_of},
    },
    tensor::ElementType,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Slice", slice), ("", "Split", split), ("", "ReverseSequence", reverse_sequence)];

fn slice(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let starts = Setting::new(definition, "starts", 1, 10)?.required("starts")?;
    let ends = Setting::new(definition, "ends", 2, 10)?.required("ends")?;
    let axes = Setting::new(definition, "axes", 3, 10)?;
    let steps = if definition.opset >= 10 { Setting::input(definition, 4)? } else { Setting::Absent };
    single(definition, element_type, move |arguments, context| {
        let tensor = arguments.tensor(0)?;
        let rank = tensor.rank();
        let (starts, ends) = (starts.need(&arguments)?, ends.need(&arguments)?);
        let axes = match axes.get(&arguments)? {
            Some(axes) => axes_of(&axes, rank)?,
            None => (0..starts.len()).collect(),
        };
        let steps = steps.get(&arguments)?.unwrap_or_else(|| vec![1; starts.len()]);
        let count = starts.len();
        if ends.len() != count || axes.len() != count || steps.len() != count || count > rank {
            return unfit(format!(
                "Slice has {count} starts, {} ends, {} axes, {} steps for {rank} dimensions",
                ends.len(),
                axes.len(),
                steps.len()
            ));
        }
        let mut view = View { shape: tensor.shape().to_vec(), steps: steps_of(tensor.shape()), start: 0 };
        for (place, axis) in axes.into_iter().enumerate() {
            let (start, count) = range(tensor.shape()[axis], starts[place], ends[place], steps[place])?;
            view.shape[axis] = count;
            if count > 0 {
                view.start += start * view.steps[axis].unsigned_abs();
                // With one element left, the step goes nowhere.
                let step = isize::try_from(steps[place]).unwrap_or(0);
                view.steps[axis] = if count > 1 { view.steps[axis].saturating_mul(step) } else { 0 };
            }
        }
        view.copy(tensor, context)
    })
}

/// The first index and the number of indices of a slice of a dimension, as Python counts them.
fn range(size: usize, start: i64, end: i64, step: i64) -> Result<(usize, usize), OperatorError> {
    if step == 0 {
        return unfit("a step of Slice is 0");
    }
    let size = size as i128;
    let place = |index: i64| {
        let index = i128::from(index);
        if index < 0 { index + size } else { index }
    };
    let step = i128::from(step);
    let (start, count) = if step > 0 {
        let (start, end) = (place(start).clamp(0, size), place(end).clamp(0, size));
        (start, (end - start + step - 1).max(0) / step)
    } else {
        let (start, end) = (place(start).clamp(-1, size - 1), place(end).clamp(-1, size - 1));
        (start, (start - end - step - 1).max(0) / -step)
    };
    Ok((usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0)))
}

fn split(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let axis = definition.attributes.integer("axis")?.unwrap_or(0);
    let sizes = Setting::new(definition, "split", 1, 13)?;
    let parts = definition.outputs.max(1);
    if let Some(number) = definition.attributes.integer("num_outputs")?
        && number != parts as i64
    {
        return Err(Refusal::new(format!("num_outputs is {number}, but the node names {parts} outputs")));
    }
    let uneven = definition.opset >= 18;
    several(definition, vec![element_type; parts], move |arguments, context| {
        let tensor = arguments.tensor(0)?;
        let axis = axis_of(axis, tensor.rank())?;
        let whole = tensor.shape()[axis];
        let sizes = match sizes.get(&arguments)? {
            Some(sizes) => sizes_of_input(&sizes, "a size of a part")?,
            None if uneven => {
                let size = whole.div_ceil(parts);
                (0..parts).map(|part| whole.saturating_sub(part.saturating_mul(size)).min(size)).collect()
            }
            None if whole % parts == 0 => vec![whole / parts; parts],
            None => return unfit(format!("a dimension of {whole} can't be split in {parts} equal parts")),
        };
        let sum = sizes.iter().try_fold(0_usize, |sum, size| sum.checked_add(*size));
        if sizes.len() != parts || sum != Some(whole) {
            return unfit(format!("a dimension of {whole} can't be split in {parts} parts of {sizes:?}"));
        }
        let steps = steps_of(tensor.shape());
        let mut start = 0;
        let mut outputs = Vec::with_capacity(parts);
        for size in sizes {
            let mut shape = tensor.shape().to_vec();
            shape[axis] = size;
            let view = View { shape, steps: steps.clone(), start: start * steps[axis].unsigned_abs() };
            outputs.push(view.copy(tensor, context)?);
            start += size;
        }
        Ok(outputs)
    })
}

fn reverse_sequence(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    if definition.tensor_type(1)? != ElementType::Int64 {
        return Err(definition.unsupported_type(1));
    }
    let time_axis = definition.attributes.integer("time_axis")?.unwrap_or(0);
    let batch_axis = definition.attributes.integer("batch_axis")?.unwrap_or(1);
    if !matches!((time_axis, batch_axis), (0, 1) | (1, 0)) {
        return Err(Refusal::new(format!("the axes of time and batch are {time_axis} and {batch_axis}")));
    }
    single(definition, element_type, move |arguments, context| {
        let tensor = arguments.tensor(0)?;
        let shape = tensor.shape();
        if shape.len() < 2 {
            return unfit(format!("the shape {shape:?} has no dimensions of time and batch"));
        }
        let times = shape[time_axis as usize];
        let lengths = arguments.integers(1)?.unwrap_or_default();
        if lengths.len() != shape[batch_axis as usize] {
            return unfit(format!("{} lengths are given for the shape {shape:?}", lengths.len()));
        }
        let mut ends = Vec::with_capacity(lengths.len());
        for length in lengths {
            let length = size_of_input(length, "a length")?;
            if length > times {
                return unfit(format!("a sequence of {length} is longer than {times}"));
            }
            ends.push(length);
        }
        let block = around(shape, 1).2;
        reserve_places(shape[0].saturating_mul(shape[1]), context)?;
        let mut starts = Vec::with_capacity(shape[0] * shape[1]);
        for first in 0..shape[0] {
            for second in 0..shape[1] {
                let (time, batch) = if time_axis == 0 { (first, second) } else { (second, first) };
                let time = if time < ends[batch] { ends[batch] - 1 - time } else { time };
                let (first, second) = if time_axis == 0 { (time, batch) } else { (batch, time) };
                starts.push((first * shape[1] + second) * block);
            }
        }
        copy_blocks(tensor, &starts, block, shape, context)
    })
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn slices_are_pythons() {
        // range(*slice(start, end, step).indices(size)) of Python.
        assert_eq!(range(10, 1, -1, 2).unwrap(), (1, 4));
        assert_eq!(range(10, 20, 0, -4).unwrap(), (9, 3));
        assert_eq!(range(10, -1, i64::MIN, -1).unwrap(), (9, 10));
        assert_eq!(range(10, 5, 2, 1).unwrap().1, 0);
        assert_eq!(range(0, 0, i64::MAX, i64::MAX).unwrap().1, 0);
        assert_eq!(range(0, 0, -5, i64::MIN).unwrap().1, 0);
        assert_eq!(range(3, i64::MIN, i64::MAX, i64::MAX).unwrap(), (0, 1));
        assert!(range(3, 0, 3, 0).is_err());
    }
}
