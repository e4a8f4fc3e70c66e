//! Operators that move elements and compute none.

use super::{View, axis, fusions::is_repetition_mistaken, node, single, vector};
use crate::{
    island::{IslandNode, Kind, Target, Translation},
    operators::Attribute,
    tensor::{ElementType, Tensor, ValueType},
};

pub(super) fn translate(view: &View<'_>) -> Option<Translation> {
    match view.operator() {
        "Shape" => shape(view),
        "Reshape" => reshape(view),
        "Flatten" => with_axis(view, 1),
        "Transpose" => transpose(view),
        "Squeeze" | "Unsqueeze" => squeeze(view),
        "Concat" => concat(view),
        "Gather" => gather(view),
        "GatherElements" | "GatherND" => gather_elements(view),
        "Slice" => slice(view),
        "Split" => split(view),
        "Expand" => expand(view),
        "ConstantOfShape" => constant_of_shape(view),
        "Range" => range(view),
        "Tile" => tile(view),
        "Trilu" => trilu(view),
        "DepthToSpace" => depth_to_space(view),
        _ => None,
    }
}

/// The kinds that rten's operators of this file move.
fn movable(view: &View<'_>, index: usize) -> bool {
    view.kind(index).is_some()
}

/// Kinds that all of rten's operators move.
fn wide(view: &View<'_>, index: usize) -> bool {
    matches!(view.kind(index), Some(Kind::Float | Kind::Int32))
}

/// What enters an island only by its shape may be of any type, but it must be there: a
/// tensor of another type would have to be converted.
fn shape(view: &View<'_>) -> Option<Translation> {
    movable(view, 0).then_some(())?;
    // rten reads `start` and `end` as ONNX does.
    let mut attributes = Vec::new();
    for name in ["start", "end"] {
        if let Some(value) = view.node.attributes.integer(name).ok()? {
            attributes.push((name, Attribute::Integer(value)));
        }
    }
    single(node("Shape", view.operands(1), attributes), ValueType::Tensor(ElementType::Int64))
}

fn reshape(view: &View<'_>) -> Option<Translation> {
    if !movable(view, 0) || is_repetition_mistaken(view) {
        return None;
    }
    let allow_zero = view.attribute_integer("allowzero", 0)?;
    let target = match view.attribute_integers("shape")? {
        Some(shape) => vector(&shape),
        None => match view.integers(1) {
            Some(shape) if shape.iter().all(|size| i32::try_from(*size).is_ok()) => vector(&shape),
            Some(_) => return None,
            None => {
                view.is_integer(1).then_some(())?;
                view.operand(1)?
            }
        },
    };
    let attributes = vec![("allowzero", Attribute::Integer(allow_zero))];
    single(node("Reshape", vec![view.operand(0), Some(target)], attributes), view.value_type(0)?)
}

fn with_axis(view: &View<'_>, default: i64) -> Option<Translation> {
    movable(view, 0).then_some(())?;
    let axis = view.attribute_integer("axis", default)?;
    single(
        node(view.operator(), view.operands(1), vec![("axis", Attribute::Integer(axis))]),
        view.value_type(0)?,
    )
}

fn transpose(view: &View<'_>) -> Option<Translation> {
    movable(view, 0).then_some(())?;
    let order = match view.attribute_integers("perm")? {
        Some(order) => order,
        None => (0..i64::try_from(view.rank(0)?).ok()?).rev().collect(),
    };
    single(
        node("Transpose", view.operands(1), vec![("perm", Attribute::Integers(order))]),
        view.value_type(0)?,
    )
}

fn squeeze(view: &View<'_>) -> Option<Translation> {
    movable(view, 0).then_some(())?;
    let axes = match view.attribute_integers("axes")? {
        Some(axes) => Some(axes),
        None if view.has_input(1) => Some(view.integers(1)?),
        None => None,
    };
    let mut inputs = vec![view.operand(0)];
    match axes {
        Some(axes) => inputs.push(Some(vector(&axes))),
        None if view.operator() == "Unsqueeze" => return None,
        None => {}
    }
    single(node(view.operator(), inputs, Vec::new()), view.value_type(0)?)
}

fn concat(view: &View<'_>) -> Option<Translation> {
    let kind = view.kind(0)?;
    let count = view.input_count();
    // Before opset 4 the axis had a default.
    let axis = view.node.attributes.integer("axis").ok()??;
    if !(0..count).all(|index| view.kind(index) == Some(kind)) {
        return None;
    }
    single(
        node("Concat", view.operands(count), vec![("axis", Attribute::Integer(axis))]),
        view.value_type(0)?,
    )
}

fn gather(view: &View<'_>) -> Option<Translation> {
    if !movable(view, 0) || !view.is_integer(1) {
        return None;
    }
    let axis = view.attribute_integer("axis", 0)?;
    single(node("Gather", view.operands(2), vec![("axis", Attribute::Integer(axis))]), view.value_type(0)?)
}

fn gather_elements(view: &View<'_>) -> Option<Translation> {
    if !wide(view, 0) || !view.is_integer(1) {
        return None;
    }
    let name = if view.operator() == "GatherND" { "batch_dims" } else { "axis" };
    let value = view.attribute_integer(name, 0)?;
    let name = if name == "axis" { "axis" } else { "batch_dims" };
    single(
        node(view.operator(), view.operands(2), vec![(name, Attribute::Integer(value))]),
        view.value_type(0)?,
    )
}

fn slice(view: &View<'_>) -> Option<Translation> {
    movable(view, 0).then_some(())?;
    let part = |name: &'static str, index: usize, needed: bool| -> Option<Option<_>> {
        if let Some(values) = view.attribute_integers(name)? {
            return Some(Some(vector(&values)));
        }
        if !view.has_input(index) {
            return (!needed).then_some(None);
        }
        match view.integers(index) {
            Some(values) => Some(Some(vector(&values))),
            None if view.is_integer(index) => Some(view.operand(index)),
            None => None,
        }
    };
    // Steps that are not known may be 0 or the smallest number.
    if view.has_input(4) && view.integers(4)?.iter().any(|step| *step == 0 || i32::try_from(*step).is_err()) {
        return None;
    }
    let inputs = vec![
        view.operand(0),
        part("starts", 1, true)?,
        part("ends", 2, true)?,
        part("axes", 3, false)?,
        part("steps", 4, false)?,
    ];
    single(node("Slice", inputs, Vec::new()), view.value_type(0)?)
}

fn split(view: &View<'_>) -> Option<Translation> {
    movable(view, 0).then_some(())?;
    let rank = view.rank(0)?;
    let position = axis(view.attribute_integer("axis", 0)?, rank)?;
    let outputs = view.node.outputs.len();
    let lengths = match view.attribute_integers("split")? {
        Some(lengths) => lengths,
        None if view.has_input(1) => view.integers(1)?,
        None => {
            let total = view.input(0)?.dimension(position)?;
            let parts = i64::try_from(outputs).ok()?;
            // Before opset 18 the parts had to be equal; since then the last is smaller.
            let length = total.div_euclid(parts) + i64::from(total % parts != 0);
            let last = total - length * (parts - 1);
            if view.node.opset < 18 && last != length || last < 0 {
                return None;
            }
            (0..parts).map(|part| if part == parts - 1 { last } else { length }).collect()
        }
    };
    if lengths.len() != outputs || lengths.iter().any(|length| *length < 0) {
        return None;
    }
    let node = IslandNode {
        outputs: (0..outputs).map(Target::Output).collect(),
        ..node(
            "Split",
            vec![view.operand(0), Some(vector(&lengths))],
            vec![("axis", Attribute::Integer(i64::try_from(position).ok()?))],
        )
    };
    Some(Translation { nodes: vec![node], types: vec![view.value_type(0)?; outputs], heavy: false })
}

/// The size of the output depends on a value: only where it follows from shapes.
fn expand(view: &View<'_>) -> Option<Translation> {
    if !wide(view, 0) || !view.is_integer(1) || view.input(1)?.contents.is_none() {
        return None;
    }
    single(node("Expand", view.operands(2), Vec::new()), view.value_type(0)?)
}

fn tile(view: &View<'_>) -> Option<Translation> {
    if !wide(view, 0) || view.node.opset < 6 {
        return None;
    }
    let repeats = view.integers(1).filter(|repeats| repeats.iter().all(|count| *count >= 0))?;
    single(node("Tile", vec![view.operand(0), Some(vector(&repeats))], Vec::new()), view.value_type(0)?)
}

fn trilu(view: &View<'_>) -> Option<Translation> {
    if !wide(view, 0) || view.has_input(1) && view.integers(1).is_none() {
        return None;
    }
    let upper = view.attribute_integer("upper", 1)?;
    let mut inputs = vec![view.operand(0)];
    if let Some(diagonal) = view.integers(1) {
        let diagonal = i32::try_from(*diagonal.first()?).ok()?;
        inputs.push(Some(crate::island::Operand::Constant(Tensor::scalar(diagonal))));
    }
    single(node("Trilu", inputs, vec![("upper", Attribute::Integer(upper))]), view.value_type(0)?)
}

fn depth_to_space(view: &View<'_>) -> Option<Translation> {
    if !view.is_float(0) {
        return None;
    }
    let block = view.attribute_integer("blocksize", 0).filter(|block| *block > 0)?;
    let mode = view.attribute_text("mode")?.unwrap_or("DCR");
    let attributes = vec![
        ("blocksize", Attribute::Integer(block)),
        ("mode", Attribute::Text(mode.as_bytes().to_vec().into())),
    ];
    single(node("DepthToSpace", view.operands(1), attributes), view.value_type(0)?)
}

/// The size of the output depends on a value: only where it follows from shapes.
fn constant_of_shape(view: &View<'_>) -> Option<Translation> {
    if !view.is_integer(0) || view.input(0)?.contents.is_none() {
        return None;
    }
    let value = view.node.attributes.tensor("value").ok()?;
    let element_type = value.map_or(ElementType::Float, Tensor::element_type);
    let value = match value {
        None => Tensor::vector(vec![0.0_f32]),
        Some(value) => match value.element_type() {
            ElementType::Float | ElementType::Int32 => value.clone(),
            ElementType::Int64 | ElementType::Bool => {
                let number = crate::facts::integers(value)?.first().copied()?;
                Tensor::vector(vec![i32::try_from(number).ok()?])
            }
            _ => return None,
        },
    };
    let attributes = vec![("value", Attribute::Tensor(value))];
    single(node("ConstantOfShape", view.operands(1), attributes), ValueType::Tensor(element_type))
}

/// The size of the output depends on values: only where it follows from shapes.
fn range(view: &View<'_>) -> Option<Translation> {
    let known = |index: usize| {
        view.is_integer(index) && view.input(index).is_some_and(|fact| fact.contents.is_some())
    };
    if !(0..3).all(known) || view.integers(2)?.first().is_none_or(|step| *step <= 0) {
        return None;
    }
    single(node("Range", view.operands(3), Vec::new()), view.value_type(0)?)
}
