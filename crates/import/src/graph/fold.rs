//! Operators over constants, computed at import: the arithmetic of shapes, the
//! constants of normalisations, the order of weights.

use super::{
    Attributes, Family, Operator,
    strided::{self, View},
    type_codes::type_of_code,
};
use crate::tensor::{ElementType, Numbers, Tensor, count};

/// The result of `operator`, or `None` if it is not computed here: because it is
/// not one of those below, because the inputs don't fit, or because the result
/// would have more than `limit` elements.
pub(crate) fn fold(
    operator: Operator,
    attributes: &Attributes,
    inputs: &[Option<&Tensor>],
    limit: usize,
) -> Option<Tensor> {
    let first = inputs.first().copied().flatten();
    let result = match operator {
        Operator::Identity => first?.clone(),
        Operator::Cast => cast(first?, target(attributes)?)?,
        Operator::Where => select(inputs, limit)?,
        Operator::Shape => {
            Tensor::vector(&first?.dimensions().iter().map(|size| *size as i64).collect::<Vec<_>>())
        }
        Operator::Size => Tensor::integer(first?.len() as i64),
        Operator::Reshape => reshape(first?, second(inputs)?)?,
        Operator::Squeeze => squeeze(first?, second(inputs))?,
        Operator::Unsqueeze => unsqueeze(first?, second(inputs)?)?,
        Operator::Transpose => strided::transpose(first?, attributes.integers("perm")?)?,
        Operator::Concat => {
            let tensors = inputs.iter().copied().collect::<Option<Vec<_>>>()?;
            let rank = tensors.first()?.dimensions().len();
            strided::concatenate(&tensors, axis_of(attributes.integer("axis")?, rank)?)?
        }
        Operator::Gather => {
            let axis = axis_of(attributes.integer("axis").unwrap_or(0), first?.dimensions().len())?;
            let indices = second(inputs)?;
            let inner = first?.len().checked_div(*first?.dimensions().get(axis)?).unwrap_or(0);
            inner.checked_mul(indices.len()).filter(|total| *total <= limit)?;
            strided::gather(first?, indices, axis)?
        }
        Operator::Slice => slice(inputs)?,
        Operator::Expand => expand(first?, second(inputs)?, limit)?,
        Operator::Tile => tile(first?, second(inputs)?, limit)?,
        Operator::Range => range(inputs, limit)?,
        _ => match operator.family() {
            Family::Unary => unary(operator, first?)?,
            Family::Broadcast | Family::Comparison => {
                let mut result = first?.clone();
                for other in inputs.get(1..)? {
                    result = binary(operator, &result, (*other)?, limit)?;
                }
                result
            }
            Family::Reduction => reduce(operator, attributes, first?, second(inputs))?,
            Family::Other => return None,
        },
    };
    Some(result)
}

fn second<'t>(inputs: &[Option<&'t Tensor>]) -> Option<&'t Tensor> {
    inputs.get(1).copied().flatten()
}

/// The type a `Cast` leads to.
pub(crate) fn target(attributes: &Attributes) -> Option<ElementType> {
    type_of_code(attributes.integer("to")?)
}

/// An axis that may count from the end.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

fn sizes(tensor: &Tensor) -> Option<Vec<usize>> {
    tensor.integers()?.into_iter().map(|size| usize::try_from(size).ok()).collect()
}

fn cast(tensor: &Tensor, to: ElementType) -> Option<Tensor> {
    if tensor.kind() == to {
        return Some(tensor.clone());
    }
    let numbers = tensor.numbers()?;
    let converted = match (numbers, to) {
        (Numbers::Integers(values), ElementType::Float32) => {
            Numbers::Singles(values.into_iter().map(|v| v as f32).collect())
        }
        (Numbers::Integers(values), ElementType::Float64) => {
            Numbers::Doubles(values.into_iter().map(|v| v as f64).collect())
        }
        (Numbers::Singles(values), ElementType::Float64) => {
            Numbers::Doubles(values.into_iter().map(f64::from).collect())
        }
        (Numbers::Doubles(values), ElementType::Float32) => {
            Numbers::Singles(values.into_iter().map(|v| v as f32).collect())
        }
        (Numbers::Singles(values), ElementType::Bool) => {
            Numbers::Integers(values.into_iter().map(|v| i64::from(v != 0.0)).collect())
        }
        (Numbers::Singles(values), ElementType::Int32 | ElementType::Int64)
            if values.iter().all(|v| v.abs() < 1e9) =>
        {
            Numbers::Integers(values.into_iter().map(|v| v as i64).collect())
        }
        (Numbers::Integers(values), _) if !to.is_float() => Numbers::Integers(values),
        _ => return None,
    };
    Tensor::from_numbers(to, tensor.dimensions().to_vec(), converted)
}

/// The dimensions of two tensors broadcast together.
fn broadcast_dimensions(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dimensions: &[usize], index: usize| match (index + dimensions.len()).checked_sub(rank) {
        Some(index) => dimensions.get(index).copied(),
        None => Some(1),
    };
    (0..rank)
        .map(|index| match (at(a, index)?, at(b, index)?) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

fn select(inputs: &[Option<&Tensor>], limit: usize) -> Option<Tensor> {
    let [condition, yes, no] = [0, 1, 2].map(|index| inputs.get(index).copied().flatten());
    let (condition, yes, no) = (condition?, yes?, no?);
    let dimensions = broadcast_dimensions(condition.dimensions(), yes.dimensions())?;
    let dimensions = broadcast_dimensions(&dimensions, no.dimensions())?;
    count(&dimensions).filter(|total| *total <= limit)?;
    let choice = strided::broadcast(condition, &dimensions)?.integers()?;
    // Both branches one after the other, of which one entry each is gathered.
    let total = choice.len();
    let both = [yes, no].map(|tensor| strided::broadcast(tensor, &dimensions)?.reshaped(vec![total]));
    let [yes, no] = both;
    let all = strided::concatenate(&[&yes?, &no?], 0)?;
    let picks: Vec<i64> =
        choice.iter().enumerate().map(|(i, c)| (if *c != 0 { i } else { i + total }) as i64).collect();
    strided::gather(&all, &Tensor::vector(&picks), 0)?.reshaped(dimensions)
}

fn reshape(tensor: &Tensor, shape: &Tensor) -> Option<Tensor> {
    let mut dimensions = Vec::new();
    let mut inferred = None;
    for (index, size) in shape.integers()?.into_iter().enumerate() {
        dimensions.push(match size {
            0 => *tensor.dimensions().get(index)?,
            -1 if inferred.is_none() => {
                inferred = Some(index);
                1
            }
            size => usize::try_from(size).ok()?,
        });
    }
    if let Some(index) = inferred {
        let known = count(&dimensions)?;
        *dimensions.get_mut(index)? = tensor.len().checked_div(known)?;
    }
    tensor.reshaped(dimensions)
}

fn squeeze(tensor: &Tensor, axes: Option<&Tensor>) -> Option<Tensor> {
    let rank = tensor.dimensions().len();
    let axes = match axes {
        Some(axes) => axes.integers()?.into_iter().map(|a| axis_of(a, rank)).collect::<Option<Vec<_>>>()?,
        None => (0..rank).filter(|axis| tensor.dimensions().get(*axis) == Some(&1)).collect(),
    };
    let kept = tensor.dimensions().iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    tensor.reshaped(kept.map(|(_, size)| *size).collect())
}

fn unsqueeze(tensor: &Tensor, axes: &Tensor) -> Option<Tensor> {
    let axes = axes.integers()?;
    let rank = tensor.dimensions().len() + axes.len();
    let axes = axes.into_iter().map(|axis| axis_of(axis, rank)).collect::<Option<Vec<_>>>()?;
    let mut old = tensor.dimensions().iter();
    let dimensions = (0..rank)
        .map(|axis| if axes.contains(&axis) { Some(1) } else { old.next().copied() })
        .collect::<Option<Vec<_>>>()?;
    tensor.reshaped(dimensions)
}

/// Where a slice of an axis starts, and how many entries it has.
pub(crate) fn slice_axis(size: i64, start: i64, end: i64, step: i64) -> Option<(i64, i64)> {
    let wrap = |position: i64| if position < 0 { position.saturating_add(size) } else { position };
    let (start, length) = match step {
        0 => return None,
        1.. => {
            let (start, end) = (wrap(start).clamp(0, size), wrap(end).clamp(0, size));
            (start, (end - start).max(0).checked_add(step - 1)? / step)
        }
        _ => {
            let (start, end) = (wrap(start).clamp(-1, size - 1), wrap(end).clamp(-1, size - 1));
            (start, (start - end).max(0).checked_add(step.checked_neg()? - 1)? / step.checked_neg()?)
        }
    };
    Some((start, length))
}

fn slice(inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let tensor = inputs.first().copied().flatten()?;
    let vector = |index: usize| inputs.get(index).copied().flatten().map(Tensor::integers);
    let (starts, ends) = (vector(1)??, vector(2)??);
    let axes = vector(3).unwrap_or_else(|| Some((0..starts.len() as i64).collect()))?;
    let steps = vector(4).unwrap_or_else(|| Some(vec![1; starts.len()]))?;
    let mut view = View::of(tensor);
    let rank = view.dimensions.len();
    for (((start, end), axis), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = axis_of(*axis, rank)?;
        let (start, length) = slice_axis(*view.dimensions.get(axis)? as i64, *start, *end, *step)?;
        let stride = view.strides.get_mut(axis)?;
        if length > 0 {
            view.offset = view.offset.checked_add_signed((start as isize).checked_mul(*stride)?)?;
        }
        *stride = stride.checked_mul(isize::try_from(*step).ok()?)?;
        *view.dimensions.get_mut(axis)? = usize::try_from(length).ok()?;
    }
    view.copy(tensor)
}

fn expand(tensor: &Tensor, shape: &Tensor, limit: usize) -> Option<Tensor> {
    let dimensions = broadcast_dimensions(tensor.dimensions(), &sizes(shape)?)?;
    count(&dimensions).filter(|total| *total <= limit)?;
    strided::broadcast(tensor, &dimensions)
}

fn tile(tensor: &Tensor, repeats: &Tensor, limit: usize) -> Option<Tensor> {
    let repeats = sizes(repeats)?;
    repeats.iter().try_fold(tensor.len(), |a, b| a.checked_mul(*b)).filter(|total| *total <= limit)?;
    let mut result = tensor.clone();
    for (axis, times) in repeats.iter().enumerate() {
        // Of no use, and it would be as many references as an attacker likes.
        if tensor.len() == 0 && *times > 1 {
            return None;
        }
        result = match times {
            1 => result,
            0 => return None,
            _ => strided::concatenate(&vec![&result; *times], axis)?,
        };
    }
    Some(result)
}

fn range(inputs: &[Option<&Tensor>], limit: usize) -> Option<Tensor> {
    let [start, end, step] = [0, 1, 2].map(|index| inputs.get(index).copied().flatten());
    let kind = start?.kind();
    if !kind.is_integer() {
        return None;
    }
    let value = |tensor: Option<&Tensor>| tensor?.integers()?.first().copied();
    let (start, end, step) = (value(start)?, value(end)?, value(step)?);
    let length = match step {
        0 => return None,
        1.. => end.checked_sub(start)?.max(0).checked_add(step - 1)? / step,
        _ => start.checked_sub(end)?.max(0).checked_sub(step + 1)? / step.checked_neg()?,
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= limit)?;
    let values = (0..length as i64).map(|i| start.wrapping_add(i.wrapping_mul(step))).collect();
    Tensor::from_numbers(kind, vec![length], Numbers::Integers(values))
}

fn unary(operator: Operator, tensor: &Tensor) -> Option<Tensor> {
    macro_rules! floats {
        ($values:expr) => {{
            let values = $values;
            match operator {
                Operator::Neg => values.iter().map(|v| -v).collect(),
                Operator::Abs => values.iter().map(|v| v.abs()).collect(),
                Operator::Sqrt => values.iter().map(|v| v.sqrt()).collect(),
                Operator::Reciprocal => values.iter().map(|v| v.recip()).collect(),
                Operator::Exp => values.iter().map(|v| v.exp()).collect(),
                Operator::Log => values.iter().map(|v| v.ln()).collect(),
                Operator::Floor => values.iter().map(|v| v.floor()).collect(),
                Operator::Ceil => values.iter().map(|v| v.ceil()).collect(),
                Operator::Sin => values.iter().map(|v| v.sin()).collect(),
                Operator::Cos => values.iter().map(|v| v.cos()).collect(),
                _ => return None,
            }
        }};
    }
    let numbers = match tensor.numbers()? {
        Numbers::Singles(values) => Numbers::Singles(floats!(values)),
        Numbers::Doubles(values) => Numbers::Doubles(floats!(values)),
        Numbers::Integers(values) => Numbers::Integers(match operator {
            Operator::Neg => values.iter().map(|v| v.wrapping_neg()).collect(),
            Operator::Abs => values.iter().map(|v| v.wrapping_abs()).collect(),
            Operator::Not => values.iter().map(|v| i64::from(*v == 0)).collect(),
            _ => return None,
        }),
    };
    Tensor::from_numbers(tensor.kind(), tensor.dimensions().to_vec(), numbers)
}

fn binary(operator: Operator, a: &Tensor, b: &Tensor, limit: usize) -> Option<Tensor> {
    if a.kind() != b.kind() {
        return None;
    }
    let dimensions = broadcast_dimensions(a.dimensions(), b.dimensions())?;
    count(&dimensions).filter(|total| *total <= limit)?;
    let left = strided::positions(&strided::broadcast_view(a.dimensions(), &dimensions)?)?;
    let right = strided::positions(&strided::broadcast_view(b.dimensions(), &dimensions)?)?;
    macro_rules! pairs {
        ($x:expr, $y:expr, $compute:expr) => {
            left.iter()
                .zip(&right)
                .map(|(i, j)| $compute(*$x.get(*i)?, *$y.get(*j)?))
                .collect::<Option<Vec<_>>>()?
        };
    }
    macro_rules! floats {
        ($x:expr, $y:expr, $variant:ident, $type:ty) => {{
            let compare: Option<fn($type, $type) -> bool> = match operator {
                Operator::Equal => Some(|x, y| x == y),
                Operator::Less => Some(|x, y| x < y),
                Operator::LessOrEqual => Some(|x, y| x <= y),
                Operator::Greater => Some(|x, y| x > y),
                Operator::GreaterOrEqual => Some(|x, y| x >= y),
                _ => None,
            };
            if let Some(compare) = compare {
                let values = pairs!($x, $y, |x, y| Some(i64::from(compare(x, y))));
                return Tensor::from_numbers(ElementType::Bool, dimensions, Numbers::Integers(values));
            }
            let compute: fn($type, $type) -> $type = match operator {
                Operator::Add => |x, y| x + y,
                Operator::Sub => |x, y| x - y,
                Operator::Mul => |x, y| x * y,
                Operator::Div => |x, y| x / y,
                // The order keeps a NaN of either side, as TensorFlow and ONNX do.
                Operator::Max => |x, y| if x > y || x.is_nan() { x } else { y },
                Operator::Min => |x, y| if x < y || x.is_nan() { x } else { y },
                Operator::Pow => |x, y| x.powf(y),
                _ => return None,
            };
            Numbers::$variant(pairs!($x, $y, |x, y| Some(compute(x, y))))
        }};
    }
    let numbers = match (a.numbers()?, b.numbers()?) {
        (Numbers::Singles(x), Numbers::Singles(y)) => floats!(x, y, Singles, f32),
        (Numbers::Doubles(x), Numbers::Doubles(y)) => floats!(x, y, Doubles, f64),
        (Numbers::Integers(x), Numbers::Integers(y)) => {
            Numbers::Integers(pairs!(x, y, |x, y| integer(operator, x, y)))
        }
        _ => return None,
    };
    let kind = if operator.family() == Family::Comparison { ElementType::Bool } else { a.kind() };
    Tensor::from_numbers(kind, dimensions, numbers)
}

fn integer(operator: Operator, x: i64, y: i64) -> Option<i64> {
    Some(match operator {
        Operator::Add => x.wrapping_add(y),
        Operator::Sub => x.wrapping_sub(y),
        Operator::Mul => x.wrapping_mul(y),
        Operator::Div => x.checked_div(y)?,
        // `fmod=0`: the result has the sign of the divisor.
        Operator::Mod => {
            let rest = x.checked_rem(y)?;
            if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest }
        }
        Operator::Max => x.max(y),
        Operator::Min => x.min(y),
        Operator::And => i64::from(x != 0 && y != 0),
        Operator::Or => i64::from(x != 0 || y != 0),
        Operator::Xor => i64::from((x != 0) != (y != 0)),
        Operator::Equal => i64::from(x == y),
        Operator::Less => i64::from(x < y),
        Operator::LessOrEqual => i64::from(x <= y),
        Operator::Greater => i64::from(x > y),
        Operator::GreaterOrEqual => i64::from(x >= y),
        _ => return None,
    })
}

fn reduce(
    operator: Operator,
    attributes: &Attributes,
    tensor: &Tensor,
    axes: Option<&Tensor>,
) -> Option<Tensor> {
    let Numbers::Integers(values) = tensor.numbers()? else { return None };
    let rank = tensor.dimensions().len();
    let axes = match (attributes.integers("axes"), axes) {
        (Some(axes), _) => axes.to_vec(),
        (None, Some(axes)) => axes.integers()?,
        (None, None) => (0..rank as i64).collect(),
    };
    let axes = axes.into_iter().map(|axis| axis_of(axis, rank)).collect::<Option<Vec<_>>>()?;
    let kept: Vec<usize> = (0..rank)
        .map(|axis| if axes.contains(&axis) { Some(1) } else { tensor.dimensions().get(axis).copied() })
        .collect::<Option<_>>()?;
    let start = match operator {
        Operator::ReduceSum => 0,
        Operator::ReduceProd => 1,
        Operator::ReduceMax => i64::MIN,
        Operator::ReduceMin => i64::MAX,
        _ => return None,
    };
    if tensor.len() == 0 && matches!(operator, Operator::ReduceMax | Operator::ReduceMin) {
        return None;
    }
    let mut results = vec![start; count(&kept)?];
    let view = strided::broadcast_view(&kept, tensor.dimensions())?;
    for (value, position) in values.iter().zip(strided::positions(&view)?) {
        let result = results.get_mut(position)?;
        *result = match operator {
            Operator::ReduceSum => result.wrapping_add(*value),
            Operator::ReduceProd => result.wrapping_mul(*value),
            Operator::ReduceMax => (*result).max(*value),
            _ => (*result).min(*value),
        };
    }
    let dimensions = match attributes.integer("keepdims") {
        Some(0) => {
            kept.into_iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, s)| s).collect()
        }
        _ => kept,
    };
    Tensor::from_numbers(tensor.kind(), dimensions, Numbers::Integers(results))
}

#[cfg(test)]
mod tests;
