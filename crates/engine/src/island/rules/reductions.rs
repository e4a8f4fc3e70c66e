//! Operators that make one of many along axes.

use super::{View, node, single, vector};
use crate::{
    island::{IslandNode, Operand, Target, Translation},
    operators::Attribute,
};

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
    let keep = view.attribute_integer("keepdims", 1)? != 0;
    let rank = i64::try_from(view.rank(0)?).ok()?;
    let axes = axes.filter(|axes| !axes.is_empty()).unwrap_or_else(|| (0..rank).collect());
    let attributes = vec![("keepdims", Attribute::Integer(1)), ("axes", Attribute::Integers(axes.clone()))];
    let reduction = node(view.operator(), view.operands(1), attributes);
    let value_type = view.value_type(0)?;
    if keep || rank == 0 {
        return single(reduction, value_type);
    }
    // rten takes a mean for part of a normalisation whether it keeps dimensions or not.
    let reduction = IslandNode { outputs: vec![Target::Inner(0)], ..reduction };
    let squeeze = node("Squeeze", vec![Some(Operand::Inner(0)), Some(vector(&axes))], Vec::new());
    Some(Translation { nodes: vec![reduction, squeeze], types: vec![value_type], heavy: false })
}
