//! Operators of quantised models.
//!
//! rten multiplies by the reciprocal of a scale where ONNX divides by it: a number in the
//! middle between two steps may become the other one. That is within a quantised form's own error,
//! and so these operators are not worth an island of their own: alone, ours compute them.

use super::{View, axis, node, single};
use crate::{
    island::{IslandNode, Kind, Target, Translation},
    operators::Attribute,
    tensor::{ElementType, ValueType},
};

pub(super) fn translate(view: &View<'_>) -> Option<Translation> {
    match view.operator() {
        "QuantizeLinear" => quantize(view),
        "DequantizeLinear" => dequantize(view),
        "DynamicQuantizeLinear" => dynamic(view),
        "MatMulInteger" => matmul_integer(view),
        _ => None,
    }
}

/// The axis of a scale that is a vector; `None` if rten does not have the form.
fn scale_axis(view: &View<'_>, scale: usize) -> Option<i64> {
    let position = view.attribute_integer("axis", 1)?;
    match view.rank(scale)? {
        0 => Some(0),
        1 if view.input(scale)?.dimension(0) == Some(1) => Some(0),
        // Before opset 13 there was no axis, and no vector.
        1 if view.node.opset >= 13 => i64::try_from(axis(position, view.rank(0)?)?).ok(),
        _ => None,
    }
}

fn is_plain(view: &View<'_>) -> bool {
    view.attribute_integer("block_size", 0) == Some(0)
        && view.attribute_integer("output_dtype", 0) == Some(0)
        && view.attribute_integer("precision", 0) == Some(0)
}

fn quantize(view: &View<'_>) -> Option<Translation> {
    if view.element_type(0) != Some(ElementType::Float)
        || view.element_type(1) != Some(ElementType::Float)
        || !is_plain(view)
    {
        return None;
    }
    let kind = match view.input(2) {
        None => Kind::Uint8,
        Some(_) => view.kind(2).filter(|kind| matches!(kind, Kind::Int8 | Kind::Uint8))?,
    };
    // The zero point must have the scale's shape.
    if view.has_input(2) && view.rank(2)? != view.rank(1)? {
        return None;
    }
    let attributes = vec![
        ("axis", Attribute::Integer(scale_axis(view, 1)?)),
        ("output_dtype", Attribute::Integer(kind.to_onnx().cast_signed())),
    ];
    let element_type = if kind == Kind::Int8 { ElementType::Int8 } else { ElementType::Uint8 };
    single(
        node("QuantizeLinear", view.operands(view.input_count()), attributes),
        ValueType::Tensor(element_type),
    )
}

fn dequantize(view: &View<'_>) -> Option<Translation> {
    let quantized = view.kind(0)?;
    let narrow = matches!(quantized, Kind::Int8 | Kind::Uint8);
    let wide = view.element_type(0) == Some(ElementType::Int32) && !view.has_input(2);
    if !(narrow || wide) || view.element_type(1) != Some(ElementType::Float) || !is_plain(view) {
        return None;
    }
    if view.has_input(2) && (view.kind(2) != Some(quantized) || view.rank(2)? != view.rank(1)?) {
        return None;
    }
    let attributes = vec![("axis", Attribute::Integer(scale_axis(view, 1)?))];
    single(
        node("DequantizeLinear", view.operands(view.input_count()), attributes),
        ValueType::Tensor(ElementType::Float),
    )
}

fn dynamic(view: &View<'_>) -> Option<Translation> {
    if view.element_type(0) != Some(ElementType::Float) {
        return None;
    }
    let node = IslandNode {
        outputs: vec![Target::Output(0), Target::Output(1), Target::Output(2)],
        ..node("DynamicQuantizeLinear", view.operands(1), Vec::new())
    };
    let types = vec![
        ValueType::Tensor(ElementType::Uint8),
        ValueType::Tensor(ElementType::Float),
        ValueType::Tensor(ElementType::Uint8),
    ];
    Some(Translation { nodes: vec![node], types, heavy: false })
}

/// On processors without instructions for products of 8-bit numbers, rten's sums saturate.
fn saturates() -> bool {
    rten_gemm::GemmExecutor::<u8, i8, i32>::default().may_saturate()
}

fn matmul_integer(view: &View<'_>) -> Option<Translation> {
    let narrow = |index: usize| matches!(view.kind(index), Some(Kind::Int8 | Kind::Uint8));
    if !narrow(0) || !narrow(1) || view.rank(0)? < 2 || view.rank(1)? < 2 || saturates() {
        return None;
    }
    // A zero point is a number, or one a row (of the first) or a column (of the second).
    for (index, of, from_end) in [(2, 0, 2), (3, 1, 1)] {
        if !view.has_input(index) {
            continue;
        }
        let many = view.rank(of)?.checked_sub(from_end).and_then(|axis| view.input(of)?.dimension(axis));
        let fits = match view.rank(index)? {
            0 => true,
            1 => many.is_some() && view.input(index)?.dimension(0) == many,
            _ => false,
        };
        if !narrow(index) || !fits {
            return None;
        }
    }
    let node = node("MatMulInteger", view.operands(view.input_count()), Vec::new());
    Some(Translation { nodes: vec![node], types: vec![ValueType::Tensor(ElementType::Int32)], heavy: true })
}
