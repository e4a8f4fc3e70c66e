//! Operators that make one of many along axes.

use super::{View, node, single};
use crate::{island::Translation, operators::Attribute};

pub(super) fn translate(view: &View<'_>) -> Option<Translation> {
    match view.operator() {
        "ReduceMean" | "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceSum" | "ReduceSumSquare"
        | "ReduceMax" | "ReduceMin" => reduce(view),
        _ => None,
    }
}

fn reduce(view: &View<'_>) -> Option<Translation> {
    if !view.is_float(0) {
        return None;
    }
    let axes = match view.attribute_integers("axes")? {
        Some(axes) => Some(axes),
        None if view.has_input(1) => Some(view.integers(1)?),
        None => None,
    };
    let no_axes = axes.as_ref().is_none_or(Vec::is_empty);
    if no_axes && view.attribute_integer("noop_with_empty_axes", 0)? != 0 {
        return None;
    }
    let keep = view.attribute_integer("keepdims", 1)?;
    let mut attributes = vec![("keepdims", Attribute::Integer(keep))];
    if let Some(axes) = axes.filter(|axes| !axes.is_empty()) {
        attributes.push(("axes", Attribute::Integers(axes)));
    }
    single(node(view.operator(), view.operands(1), attributes), view.value_type(0)?)
}
