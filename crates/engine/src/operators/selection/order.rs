//! TopK and Unique: what depends on the order of elements.

use std::cmp::Ordering;

use half::{bf16, f16};

use super::choose::rows_along;
use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{several, tensor_of, unfit, values_of},
        axes::{around, axis_of},
        definition::Builder,
        layout::reserve_places,
        types::{for_every_type, for_numbers},
    },
    tensor::{Element, ElementType, Tensor, Text},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "TopK", top), ("", "Unique", unique)];

/// An order of all values of a type. NaN is above all numbers.
pub(crate) trait Ordered {
    /// Compares.
    fn order(&self, other: &Self) -> Ordering;
}

macro_rules! ordered {
    ($($rust:ty),*) => {
        $( impl Ordered for $rust {
            fn order(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        } )*
    };
}

ordered!(i8, i16, i32, i64, u8, u16, u32, u64, bool, Text);

macro_rules! ordered_floats {
    ($($rust:ty),*) => {
        $( impl Ordered for $rust {
            fn order(&self, other: &Self) -> Ordering {
                self.partial_cmp(other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
            }
        } )*
    };
}

ordered_floats!(f32, f64, f16, bf16);

fn top(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let attributes = definition.attributes;
    let axis = attributes.integer("axis")?.unwrap_or(-1);
    let largest = attributes.flag("largest", true)?;
    attributes.flag("sorted", true)?;
    let fixed = if definition.opset < 10 {
        Some(attributes.integer("k")?.ok_or_else(|| Refusal::new("the attribute k is missing"))?)
    } else if definition.tensor_type(1)? == ElementType::Int64 {
        None
    } else {
        return Err(definition.unsupported_type(1));
    };
    for_numbers!(
        element_type,
        T => several(definition, vec![element_type, ElementType::Int64], move |arguments, context| {
            let tensor = arguments.tensor(0)?;
            let axis = axis_of(axis, tensor.rank())?;
            let (outer, size, inner) = around(tensor.shape(), axis);
            let k = match fixed {
                Some(k) => k,
                None => arguments.integer(1)?.unwrap_or(0),
            };
            let k = match usize::try_from(k) {
                Ok(k) if k <= size => k,
                _ => return unfit(format!("the {k} greatest of {size} elements are asked for")),
            };
            let values = values_of::<T>(tensor)?;
            let mut shape = tensor.shape().to_vec();
            shape[axis] = k;
            let count = context.reserve(T::TYPE, &shape)?;
            context.reserve(ElementType::Int64, &shape)?;
            let mut best = vec![T::default(); count];
            let mut indices = vec![0_i64; count];
            let mut order: Vec<usize> = Vec::with_capacity(size);
            if count == 0 {
                return Ok(vec![tensor_of(shape.as_slice(), best)?, tensor_of(shape, indices)?]);
            }
            for row in 0..outer {
                context.check()?;
                for column in 0..inner {
                    let start = row * size * inner + column;
                    let at = |place: &usize| &values[start + place * inner];
                    // Of equals, the first comes first.
                    let compare = |a: &usize, b: &usize| {
                        let order = at(a).order(at(b));
                        let order = if largest { order.reverse() } else { order };
                        order.then(a.cmp(b))
                    };
                    order.clear();
                    order.extend(0..size);
                    if k < size {
                        order.select_nth_unstable_by(k, compare);
                        order.truncate(k);
                    }
                    order.sort_unstable_by(compare);
                    for (rank, place) in order.iter().enumerate() {
                        let target = (row * k + rank) * inner + column;
                        best[target] = *at(place);
                        indices[target] = *place as i64;
                    }
                }
            }
            Ok(vec![tensor_of(shape.as_slice(), best)?, tensor_of(shape, indices)?])
        }),
        Err(definition.unsupported_type(0))
    )
}

fn unique(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let sorted = definition.attributes.flag("sorted", true)?;
    let axis = definition.attributes.integer("axis")?;
    let whole = ElementType::Int64;
    for_every_type!(
        element_type,
        T => several(definition, vec![element_type, whole, whole, whole], move |arguments, context| {
            let tensor = arguments.tensor(0)?;
            let (tensor, axis) = match axis {
                Some(axis) => (tensor.clone(), axis_of(axis, tensor.rank())?),
                None => (super::super::arguments::reshaped(tensor.clone(), [tensor.len()])?, 0),
            };
            reserve_places(tensor.shape()[axis].saturating_mul(5), context)?;
            let groups = groups::<T>(&tensor, axis, sorted)?;
            let chosen: Vec<usize> = groups.first.clone();
            let result = rows_along(&tensor, axis, &chosen, context)?;
            let list = |values: Vec<usize>| {
                Tensor::vector(values.into_iter().map(|value| value as i64).collect::<Vec<i64>>())
            };
            Ok(vec![result, list(groups.first), list(groups.group), list(groups.counts)])
        }),
        Err(definition.unsupported_type(0))
    )
}

/// Equal slices along an axis.
struct Groups {
    /// The first place of each group.
    first: Vec<usize>,
    /// The group of each place.
    group: Vec<usize>,
    /// How many are in each group.
    counts: Vec<usize>,
}

fn groups<T: Element + Ordered>(tensor: &Tensor, axis: usize, sorted: bool) -> Result<Groups, OperatorError> {
    let (outer, size, inner) = around(tensor.shape(), axis);
    let values = values_of::<T>(tensor)?;
    let compare = |a: usize, b: usize| {
        for row in 0..outer {
            for column in 0..inner {
                let at = |place: usize| &values[(row * size + place) * inner + column];
                let order = at(a).order(at(b));
                if order != Ordering::Equal {
                    return order;
                }
            }
        }
        Ordering::Equal
    };
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| compare(*a, *b));
    let mut groups = Groups { first: Vec::new(), group: vec![0; size], counts: Vec::new() };
    let mut before = None;
    for place in order {
        match before {
            Some(before) if compare(before, place) == Ordering::Equal => {}
            _ => {
                groups.first.push(place);
                groups.counts.push(0);
            }
        }
        before = Some(place);
        let number = groups.first.len() - 1;
        groups.group[place] = number;
        groups.counts[number] += 1;
    }
    if sorted {
        return Ok(groups);
    }
    // By first appearance: the sort is stable, so a group's first place is its least.
    let mut by_place: Vec<usize> = (0..groups.first.len()).collect();
    by_place.sort_by_key(|number| groups.first[*number]);
    let mut renumbered = vec![0; by_place.len()];
    for (new, old) in by_place.iter().enumerate() {
        renumbered[*old] = new;
    }
    Ok(Groups {
        first: by_place.iter().map(|number| groups.first[*number]).collect(),
        counts: by_place.iter().map(|number| groups.counts[*number]).collect(),
        group: groups.group.iter().map(|number| renumbered[*number]).collect(),
    })
}
