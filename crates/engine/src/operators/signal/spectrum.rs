//! DFT and STFT.

use super::fourier::Transform;
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit},
        axes::{around, axis_of, size_of_input},
        cast::as_doubles,
        number::Number,
        registry::Builder,
        types::for_reals,
        widen::in_float,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "DFT", transform), ("", "STFT", short_time)];

/// A size that an input says, 1 or more.
fn length(arguments: &Arguments, index: usize, what: &str) -> Result<Option<usize>, OperatorError> {
    match arguments.integer(index)? {
        None => Ok(None),
        Some(value) => match size_of_input(value, what)? {
            0 => unfit(format!("{what} is 0; expected 1 or more")),
            length => Ok(Some(length)),
        },
    }
}

fn transform(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let attributes = definition.attributes;
        let inverse = attributes.flag("inverse", false)?;
        let onesided = attributes.flag("onesided", false)?;
        let fixed = if definition.opset < 20 { Some(attributes.integer("axis")?.unwrap_or(1)) } else { None };
        for index in [1, 2] {
            if definition.has_input(index)
                && !matches!(definition.tensor_type(index)?, ElementType::Int32 | ElementType::Int64)
            {
                return Err(definition.unsupported_type(index));
            }
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let axis = match fixed {
                    Some(axis) => axis,
                    None => arguments.integer(2)?.unwrap_or(-2),
                };
                let (shape, values) = spectrum(&arguments, axis, inverse, onesided, context)?;
                tensor_of::<T>(shape, values.into_iter().map(T::from_f64).collect())
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn spectrum(
    arguments: &Arguments,
    axis: i64,
    inverse: bool,
    onesided: bool,
    context: &Context<'_>,
) -> Result<(Vec<usize>, Vec<f64>), OperatorError> {
    let tensor = arguments.tensor(0)?;
    let shape = tensor.shape();
    let Some((parts, signal)) = shape.split_last().filter(|(parts, _)| matches!(**parts, 1 | 2)) else {
        return unfit(format!("the last dimension of {shape:?} is not of real and imaginary parts"));
    };
    let axis = axis_of(axis, shape.len())?;
    if axis >= signal.len() {
        return unfit("the last dimension, of real and imaginary parts, can't be transformed");
    }
    if onesided && !inverse && *parts == 2 {
        return unfit("half a spectrum is asked for, but the signal is complex");
    }
    let (outer, size, inner) = around(signal, axis);
    let real_result = onesided && inverse;
    let default = if real_result { 2 * size.saturating_sub(1) } else { size };
    let length = match length(arguments, 1, "the dft_length")? {
        Some(length) => length,
        None if default > 0 => default,
        None => return unfit("a signal without elements can't be transformed"),
    };
    let kept = if onesided && !inverse { length / 2 + 1 } else { length };
    let mut result_shape = shape.to_vec();
    result_shape[axis] = kept;
    if let Some(last) = result_shape.last_mut() {
        *last = if real_result { 1 } else { 2 };
    }
    let count = context.reserve(ElementType::Double, &result_shape)?;
    context.reserve(ElementType::Double, &[Transform::scratch(length)])?;
    context.reserve(ElementType::Double, shape)?;
    let values = as_doubles(tensor)?;
    let mut result = vec![0.0; count];
    let plan = Transform::new(length);
    let mut row = vec![(0.0, 0.0); length];
    let per_result = if real_result { 1 } else { 2 };
    for start in 0..outer {
        context.check()?;
        for column in 0..inner {
            row.fill((0.0, 0.0));
            for (place, value) in row.iter_mut().enumerate().take(size) {
                let at = ((start * size + place) * inner + column) * parts;
                *value = (values[at], if *parts == 2 { values[at + 1] } else { 0.0 });
            }
            if real_result {
                mirror(&mut row, size);
            }
            if inverse {
                plan.run_inverse(&mut row)
            } else {
                plan.run(&mut row)
            }
            for (place, (real, imaginary)) in row.iter().take(kept).enumerate() {
                let at = ((start * kept + place) * inner + column) * per_result;
                result[at] = *real;
                if !real_result {
                    result[at + 1] = *imaginary;
                }
            }
        }
    }
    Ok((result_shape, result))
}

/// The other half of the spectrum of a real signal, of which `given` elements are there.
fn mirror(row: &mut [(f64, f64)], given: usize) {
    let length = row.len();
    let half = length / 2 + 1;
    for place in half..length {
        let (real, imaginary) = if length - place < given { row[length - place] } else { (0.0, 0.0) };
        row[place] = (real, -imaginary);
    }
    // What must be real is taken as real.
    row[0].1 = 0.0;
    if length.is_multiple_of(2) {
        row[length / 2].1 = 0.0;
    }
}

fn short_time(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let onesided = definition.attributes.flag("onesided", true)?;
        for index in [1, 3] {
            if (index == 1 || definition.has_input(index))
                && !matches!(definition.tensor_type(index)?, ElementType::Int32 | ElementType::Int64)
            {
                return Err(definition.unsupported_type(index));
            }
        }
        if definition.has_input(2) && definition.tensor_type(2)? != element_type {
            return Err(definition.unsupported_type(2));
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let (shape, values) = frames(&arguments, onesided, context)?;
                tensor_of::<T>(shape, values.into_iter().map(T::from_f64).collect())
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn frames(
    arguments: &Arguments,
    onesided: bool,
    context: &Context<'_>,
) -> Result<(Vec<usize>, Vec<f64>), OperatorError> {
    let tensor: &Tensor = arguments.tensor(0)?;
    let (batch, samples, parts) = match tensor.shape() {
        [batch, samples, parts @ (1 | 2)] => (*batch, *samples, *parts),
        [batch, samples] => (*batch, *samples, 1),
        shape => return unfit(format!("a signal has the shape {shape:?}; expected batch, samples, parts")),
    };
    if onesided && parts == 2 {
        return unfit("half a spectrum is asked for, but the signal is complex");
    }
    let step = length(arguments, 1, "the frame_step")?.unwrap_or(1);
    let window = arguments.optional(2).map(as_doubles).transpose()?;
    let frame = match (length(arguments, 3, "the frame_length")?, &window) {
        (Some(frame), Some(window)) if window.len() != frame => {
            return unfit(format!("the window has {} elements; the frame_length is {frame}", window.len()));
        }
        (Some(frame), _) => frame,
        (None, Some(window)) => window.len(),
        (None, None) => samples,
    };
    if frame == 0 || frame > samples {
        return unfit(format!("a frame of {frame} samples does not fit a signal of {samples}"));
    }
    let count = (samples - frame) / step + 1;
    let kept = if onesided { frame / 2 + 1 } else { frame };
    let shape = vec![batch, count, kept, 2];
    let total = context.reserve(ElementType::Double, &shape)?;
    context.reserve(ElementType::Double, &[Transform::scratch(frame)])?;
    context.reserve(ElementType::Double, tensor.shape())?;
    let values = as_doubles(tensor)?;
    let mut result = Vec::with_capacity(total);
    let plan = Transform::new(frame);
    let mut row = vec![(0.0, 0.0); frame];
    for signal in values.chunks_exact(samples * parts) {
        for number in 0..count {
            context.check()?;
            for (place, value) in row.iter_mut().enumerate() {
                let at = (number * step + place) * parts;
                let weight = window.as_ref().map_or(1.0, |window| window[place]);
                *value = (signal[at] * weight, if parts == 2 { signal[at + 1] * weight } else { 0.0 });
            }
            plan.run(&mut row);
            result.extend(row.iter().take(kept).flat_map(|(real, imaginary)| [*real, *imaginary]));
        }
    }
    Ok((shape, result))
}
