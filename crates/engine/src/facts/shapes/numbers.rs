//! Operators that compute numbers: their shapes, and whole numbers as far as they are known.

use super::{Inferred, Query, axis, broadcast, elements};
use crate::{
    facts::{
        fact::{Fact, dimension_bounds, type_bounds},
        size::{LARGEST_DIMENSION, Size, Sizes},
    },
    tensor::ElementType,
};

type Bounds = (i128, i128);

fn is_integer(fact: &Fact) -> bool {
    fact.element_type().is_some_and(|element_type| {
        use ElementType::{Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
        matches!(element_type, Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32 | Uint64 | Bool)
    })
}

/// Operators that work on each element, with broadcasting.
pub(super) fn elementwise(query: &Query<'_>, sizes: &mut Sizes) -> Inferred {
    // The bounds of Clip and the like of Cast do not take part in the shape.
    let inputs = match query.node.operator.as_str() {
        "Clip" | "Cast" | "CastLike" | "Identity" | "PRelu" => query.inputs.get(..1).unwrap_or_default(),
        _ => query.inputs,
    };
    let mut shape: Option<Vec<Size>> = None;
    for (index, input) in inputs.iter().enumerate() {
        let Some(next) = input.and_then(|input| input.shape.as_ref()) else {
            return Inferred::default();
        };
        shape = Some(match shape {
            None if index == 0 => next.clone(),
            None => return Inferred::default(),
            Some(shape) => broadcast(&shape, next, sizes),
        });
    }
    let Some(shape) = shape else { return Inferred::default() };
    let values = match query.node.operator.as_str() {
        "Where" => inputs.get(1..).unwrap_or_default(),
        _ => inputs,
    };
    let all_integers = values.iter().all(|input| input.is_some_and(is_integer));
    if !all_integers {
        return Inferred::shape(Some(shape));
    }
    let values: Vec<&Fact> = values.iter().copied().flatten().collect();
    let contents = contents(query, &shape, &values, sizes);
    let range = bounds(query, &values, sizes);
    Inferred { shape: Some(shape), contents, range }
}

/// The elements of the output, one by one.
fn contents(query: &Query<'_>, shape: &[Size], values: &[&Fact], sizes: &mut Sizes) -> Option<Vec<Size>> {
    let length = match shape {
        [] => 1,
        [length] => usize::try_from(length.value()?).ok()?,
        _ => return None,
    };
    let operator = query.node.operator.as_str();
    if operator == "Cast" && !casts_to_wide_integer(query) {
        return None;
    }
    (0..length)
        .map(|index| {
            let element = |fact: &Fact| {
                let contents = fact.contents.as_ref()?;
                contents.get(if contents.len() == 1 { 0 } else { index }).cloned()
            };
            let mut elements = values.iter().map(|fact| element(fact));
            let first = elements.next()??;
            match operator {
                "Identity" | "Cast" => Some(first),
                "Neg" => Size::from(0).minus(&first),
                "Equal" => {
                    is_equal(&first, &elements.next()??, sizes).map(|equal| Size::from(i64::from(equal)))
                }
                "Where" => {
                    let other = elements.next()??;
                    match element(query.input(0)?).and_then(|condition| condition.value()) {
                        Some(0) => Some(other),
                        Some(_) => Some(first),
                        None => (first == other).then_some(first),
                    }
                }
                "Add" | "Sum" => elements.try_fold(first, |sum, next| sum.plus(&next?)),
                "Sub" => first.minus(&elements.next()??),
                "Mul" => first.times(&elements.next()??),
                "Max" => elements.try_fold(first, |largest, next| Some(sizes.larger(&largest, &next?))),
                "Min" => elements.try_fold(first, |smallest, next| Some(sizes.smaller(&smallest, &next?))),
                "Div" => {
                    // Division rounds to zero; the quotient of sizes rounds down.
                    let divisor = elements.next()??;
                    let positive = divisor.value().is_some_and(|value| value > 0);
                    (positive && sizes.bounds(&first).0 >= 0).then(|| sizes.quotient(&first, &divisor))
                }
                _ => None,
            }
        })
        .collect()
}

/// Whether two numbers are equal, if that is the same in every run.
fn is_equal(left: &Size, right: &Size, sizes: &Sizes) -> Option<bool> {
    if let Some(difference) = left.minus(right).and_then(|difference| difference.value()) {
        return Some(difference == 0);
    }
    let (left, right) = (sizes.bounds(left), sizes.bounds(right));
    (left.1 < right.0 || right.1 < left.0).then_some(false)
}

fn casts_to_wide_integer(query: &Query<'_>) -> bool {
    let to = query.integer("to", 0).and_then(|to| i32::try_from(to).ok()).and_then(ElementType::from_onnx);
    matches!(to, Some(ElementType::Int64 | ElementType::Int32))
}

/// Bounds of all elements of the output, if they fit the type of the inputs: what overflows
/// has no bounds but those of its type.
fn bounds(query: &Query<'_>, values: &[&Fact], sizes: &Sizes) -> Option<Bounds> {
    let mut all = values.iter().map(|fact| fact.bounds(sizes));
    let first = all.next()??;
    let bounds = match query.node.operator.as_str() {
        "Identity" => first,
        // Only types that hold every value: others are bounded by themselves.
        "Cast" if casts_to_wide_integer(query) => first,
        "Neg" => (first.1.checked_neg()?, first.0.checked_neg()?),
        "Abs" => {
            let (low, high) = (first.0.checked_abs()?, first.1.checked_abs()?);
            (if first.0 <= 0 && first.1 >= 0 { 0 } else { low.min(high) }, low.max(high))
        }
        "Sign" => (-1, 1),
        "Add" | "Sum" => all.try_fold(first, |sum, next| {
            let next = next?;
            Some((sum.0.checked_add(next.0)?, sum.1.checked_add(next.1)?))
        })?,
        "Sub" => {
            let next = all.next()??;
            (first.0.checked_sub(next.1)?, first.1.checked_sub(next.0)?)
        }
        "Mul" => {
            let next = all.next()??;
            let products = [
                first.0.checked_mul(next.0)?,
                first.0.checked_mul(next.1)?,
                first.1.checked_mul(next.0)?,
                first.1.checked_mul(next.1)?,
            ];
            (products.iter().copied().min()?, products.iter().copied().max()?)
        }
        // A quotient is not larger than its dividend.
        "Div" => {
            let largest = first.0.checked_abs()?.max(first.1.checked_abs()?);
            (largest.checked_neg()?, largest)
        }
        "Mod" => {
            let next = all.next()??;
            let largest = next.0.checked_abs()?.max(next.1.checked_abs()?);
            (largest.checked_neg()?, largest)
        }
        "Max" | "Min" | "Where" => all.try_fold(first, |joined, next| {
            let next = next?;
            Some((joined.0.min(next.0), joined.1.max(next.1)))
        })?,
        // An element is its old value, or a bound.
        "Clip" => {
            [1, 2].into_iter().filter_map(|index| query.input(index)).try_fold(first, |joined, bound| {
                let bound = bound.bounds(sizes)?;
                Some((joined.0.min(bound.0), joined.1.max(bound.1)))
            })?
        }
        _ => return None,
    };
    let wraps = values.first().and_then(|fact| fact.element_type()).and_then(type_bounds);
    match (query.node.operator.as_str(), wraps) {
        ("Cast", _) => {
            let to = query.integer("to", 0).and_then(|to| ElementType::from_onnx(i32::try_from(to).ok()?))?;
            let (low, high) = type_bounds(to)?;
            (bounds.0 >= low && bounds.1 <= high).then_some(bounds)
        }
        (_, Some((low, high))) => (bounds.0 >= low && bounds.1 <= high).then_some(bounds),
        (_, None) => None,
    }
}

/// `CumSum`.
pub(super) fn cumulative_sum(query: &Query<'_>, sizes: &Sizes) -> Inferred {
    let shape = query.shape(0).cloned();
    let range = || {
        let (low, high) = query.input(0).filter(|input| is_integer(input))?.bounds(sizes)?;
        let count = sizes.bounds(&elements(shape.as_ref()?)?).1;
        Some((low.min(0).checked_mul(count)?, high.max(0).checked_mul(count)?))
    };
    Inferred { range: range(), contents: None, shape }
}

/// `Range`.
pub(super) fn range(query: &Query<'_>, sizes: &mut Sizes) -> Inferred {
    let first =
        |index: usize| query.input(index).filter(|input| is_integer(input))?.contents.as_ref()?.first();
    let (Some(start), Some(limit), Some(delta)) = (first(0), first(1), first(2)) else {
        return Inferred { shape: Some(vec![sizes.unknown(0, LARGEST_DIMENSION)]), ..Inferred::default() };
    };
    let Some(delta) = delta.value().filter(|delta| *delta > 0) else { return Inferred::default() };
    let (Some(span), low, high) = (limit.minus(start), sizes.bounds(start).0, sizes.bounds(limit).1) else {
        return Inferred::default();
    };
    let rounded = span.plus(&Size::from(delta - 1));
    let count = rounded.map(|rounded| sizes.quotient(&rounded, &Size::from(delta)));
    let count = count
        .map(|count| if sizes.bounds(&count).0 < 0 { sizes.larger(&count, &Size::from(0)) } else { count });
    Inferred { shape: count.map(|count| vec![count]), contents: None, range: Some((low, high.max(low))) }
}

/// `ArgMax`, `ArgMin`.
pub(super) fn index_of_extreme(query: &Query<'_>, _sizes: &Sizes) -> Inferred {
    let shape = || {
        let mut shape = query.shape(0)?.clone();
        let position = axis(query.integer("axis", 0)?, shape.len())?;
        if query.integer("keepdims", 1)? == 0 {
            shape.remove(position);
        } else if let Some(size) = shape.get_mut(position) {
            *size = Size::from(1);
        }
        Some(shape)
    };
    Inferred { shape: shape(), contents: None, range: Some(dimension_bounds()) }
}

/// `NonZero`.
pub(super) fn non_zero(query: &Query<'_>, sizes: &mut Sizes) -> Inferred {
    let rank = query.shape(0).and_then(|shape| Size::known(shape.len()));
    let count = sizes.unknown(0, LARGEST_DIMENSION);
    Inferred { shape: rank.map(|rank| vec![rank, count]), contents: None, range: Some(dimension_bounds()) }
}

/// `TopK`.
pub(super) fn top(query: &Query<'_>, _sizes: &Sizes) -> Vec<Inferred> {
    let shape = || {
        let mut shape = query.shape(0)?.clone();
        let position = axis(query.integer("axis", -1)?, shape.len())?;
        let count = if query.node.attributes.contains("k") {
            Size::from(query.integer("k", 0)?)
        } else {
            query.input(1)?.contents.as_ref()?.first()?.clone()
        };
        *shape.get_mut(position)? = count;
        Some(shape)
    };
    let shape = shape();
    vec![
        Inferred {
            range: query.input(0).and_then(|input| input.range),
            shape: shape.clone(),
            contents: None,
        },
        Inferred { shape, contents: None, range: Some(dimension_bounds()) },
    ]
}

/// `ReduceSum` and the like.
pub(super) fn reduce(query: &Query<'_>, sizes: &Sizes) -> Inferred {
    let Some(input) = query.input(0) else { return Inferred::default() };
    let Some(shape) = &input.shape else { return Inferred::default() };
    let Ok(axes) = query.integers_or_input("axes", 1) else { return Inferred::default() };
    let no_axes = axes.as_ref().is_none_or(Vec::is_empty);
    if no_axes && query.integer("noop_with_empty_axes", 0) != Some(0) {
        return Inferred { shape: Some(shape.clone()), ..Inferred::default() };
    }
    let axes: Option<Vec<usize>> = match axes.filter(|axes| !axes.is_empty()) {
        None => Some((0..shape.len()).collect()),
        Some(axes) => axes.iter().map(|position| axis(*position, shape.len())).collect(),
    };
    let Some(axes) = axes else { return Inferred::default() };
    let keep = query.integer("keepdims", 1) != Some(0);
    let mut reduced = Vec::new();
    for (index, size) in shape.iter().enumerate() {
        match (axes.contains(&index), keep) {
            (true, true) => reduced.push(Size::from(1)),
            (true, false) => {}
            (false, _) => reduced.push(size.clone()),
        }
    }
    let operator = query.node.operator.as_str();
    let contents = || {
        let contents = input.contents.as_ref().filter(|_| is_integer(input) && shape.len() == 1)?;
        let start = match operator {
            "ReduceProd" => Size::from(1),
            "ReduceSum" => Size::from(0),
            _ => return None,
        };
        let total = contents.iter().try_fold(start, |total, next| {
            if operator == "ReduceProd" { total.times(next) } else { total.plus(next) }
        })?;
        Some(vec![total])
    };
    let range = || {
        let (low, high) = Some(input).filter(|input| is_integer(input))?.bounds(sizes)?;
        match operator {
            "ReduceMax" | "ReduceMin" | "ReduceMean" => Some((low, high)),
            "ReduceSum" => {
                let count = sizes.bounds(&elements(shape)?).1;
                Some((low.min(0).checked_mul(count)?, high.max(0).checked_mul(count)?))
            }
            _ => None,
        }
    };
    Inferred { contents: contents(), range: range(), shape: Some(reduced) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_never_equal_to_what_no_size_is() {
        let mut sizes = Sizes::default();
        let shape = sizes.input(0, &[None, None]);
        let next = shape[0].plus(&Size::from(1)).unwrap();
        assert_eq!(is_equal(&shape[0], &Size::from(-1), &sizes), Some(false));
        assert_eq!(is_equal(&shape[0], &next, &sizes), Some(false));
        assert_eq!(is_equal(&shape[0], &shape[0], &sizes), Some(true));
        assert_eq!(is_equal(&Size::from(4), &Size::from(4), &sizes), Some(true));
        // A run decides.
        assert_eq!(is_equal(&shape[0], &Size::from(1), &sizes), None);
        assert_eq!(is_equal(&shape[0], &shape[1], &sizes), None);
    }
}
