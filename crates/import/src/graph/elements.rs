//! The elements of short vectors of integers, as far as they follow from shapes:
//! `Shape`, a slice of it, the batch next to known sizes. With them a reshape is
//! written with one constant and -1 for the batch.

use super::{Attributes, Dimension, Operator, Value, fold::axis_of, fold::slice_axis};
use crate::tensor::Tensor;

/// Longer vectors are not followed.
const LONGEST: usize = 64;

/// The elements of a value: its own symbols, or those of a constant.
pub(crate) fn elements(value: &Value) -> Option<Vec<Dimension>> {
    if let Some(elements) = &value.elements {
        return Some(elements.clone());
    }
    let constant = value.constant.as_ref()?;
    if constant.len() > LONGEST || constant.dimensions().len() > 1 || !constant.kind().is_integer() {
        return None;
    }
    Some(constant.integers()?.into_iter().map(Dimension::Known).collect())
}

/// The elements that `operator` gives.
pub(crate) fn infer(
    operator: Operator,
    attributes: &Attributes,
    inputs: &[Option<&Value>],
) -> Option<Vec<Dimension>> {
    let input = |index: usize| inputs.get(index).copied().flatten();
    let constants = |index: usize| input(index)?.constant.as_ref().and_then(Tensor::integers);
    let first = input(0)?;
    let result = match operator {
        Operator::Shape => first.shape.clone()?,
        Operator::Cast if super::fold::target(attributes)?.is_integer() && first.kind.is_integer() => {
            elements(first)?
        }
        Operator::Identity | Operator::Squeeze | Operator::Unsqueeze | Operator::Reshape => elements(first)?,
        Operator::Concat => {
            let parts = inputs.iter().map(|value| elements((*value)?)).collect::<Option<Vec<_>>>()?;
            parts.concat()
        }
        Operator::Gather => {
            let all = elements(first)?;
            let pick = |index: i64| all.get(axis_of(index, all.len())?).copied();
            constants(1)?.into_iter().map(pick).collect::<Option<Vec<_>>>()?
        }
        Operator::Slice => {
            let all = elements(first)?;
            let one = |index: usize| constants(index)?.first().copied();
            let step = if input(4).is_some() { one(4)? } else { 1 };
            let (start, length) = slice_axis(all.len() as i64, one(1)?, one(2)?, step)?;
            (0..length)
                .map(|i| all.get(usize::try_from(start + i * step).ok()?).copied())
                .collect::<Option<Vec<_>>>()?
        }
        Operator::Mul => {
            let (a, b) = (elements(first)?, elements(input(1)?)?);
            pairs(&a, &b, |x, y| match (x, y) {
                (Dimension::Known(1), other) | (other, Dimension::Known(1)) => Some(other),
                (Dimension::Known(x), Dimension::Known(y)) => Some(Dimension::Known(x.checked_mul(y)?)),
                _ => None,
            })?
        }
        Operator::Add => {
            let (a, b) = (elements(first)?, elements(input(1)?)?);
            pairs(&a, &b, |x, y| match (x, y) {
                (Dimension::Known(0), other) | (other, Dimension::Known(0)) => Some(other),
                (Dimension::Known(x), Dimension::Known(y)) => Some(Dimension::Known(x.checked_add(y)?)),
                _ => None,
            })?
        }
        Operator::ReduceProd => {
            let mut symbols = Vec::new();
            let mut product = 1i64;
            for element in elements(first)? {
                match element {
                    Dimension::Known(value) => product = product.checked_mul(value)?,
                    Dimension::Symbol(_) => symbols.push(element),
                }
            }
            match symbols.as_slice() {
                [] => vec![Dimension::Known(product)],
                [symbol] if product == 1 => vec![*symbol],
                _ => return None,
            }
        }
        _ => return None,
    };
    (result.len() <= LONGEST).then_some(result)
}

fn pairs(
    a: &[Dimension],
    b: &[Dimension],
    compute: impl Fn(Dimension, Dimension) -> Option<Dimension>,
) -> Option<Vec<Dimension>> {
    match (a, b) {
        ([x], many) => many.iter().map(|y| compute(*x, *y)).collect(),
        (many, [y]) => many.iter().map(|x| compute(*x, *y)).collect(),
        _ if a.len() == b.len() => a.iter().zip(b).map(|(x, y)| compute(*x, *y)).collect(),
        _ => None,
    }
}
