//! Products of matrices, normalisations over axes, recurrent networks.

use super::{View, axis, heavy, node, single};
use crate::{
    island::{IslandNode, Target, Translation},
    operators::Attribute,
};

pub(super) fn translate(view: &View<'_>) -> Option<Translation> {
    match view.operator() {
        "MatMul" => matmul(view),
        "Gemm" => gemm(view),
        "Softmax" | "LogSoftmax" => softmax(view),
        "LayerNormalization" => layer_normalization(view),
        "BatchNormalization" => batch_normalization(view),
        "InstanceNormalization" => instance_normalization(view),
        "LSTM" | "GRU" => recurrent(view),
        _ => None,
    }
}

/// Operators of the domain com.microsoft.
pub(super) fn translate_contributed(view: &View<'_>) -> Option<Translation> {
    let contributed = |count: usize, attributes: Vec<(&'static str, Attribute)>| {
        let node =
            IslandNode { domain: "com.microsoft", ..node(view.operator(), view.operands(count), attributes) };
        single(node, view.value_type(0)?)
    };
    let count = view.input_count();
    let floats = || (0..count).all(|index| !view.has_input(index) || view.is_float(index));
    match view.operator() {
        "Gelu" if floats() && count == 1 => contributed(1, Vec::new()),
        "QuickGelu" if floats() && count == 1 => {
            contributed(1, vec![("alpha", Attribute::Float(view.attribute_float("alpha", 1.702)?))])
        }
        "FastGelu" | "BiasGelu" if floats() && (count == 2 || view.operator() == "FastGelu") => {
            // The bias is a vector as long as the last dimension.
            let rank = view.rank(0)?;
            let fits = count == 1
                || view.rank(1)? == 1
                    && view.input(1)?.dimension(0) == view.input(0)?.dimension(rank.checked_sub(1)?);
            if fits { contributed(count, Vec::new()) } else { None }
        }
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization"
            if floats() && count >= 3 && matches!(view.rank(0), Some(2 | 3)) =>
        {
            let outputs = view.output_count();
            if [1, 2].into_iter().any(|index| view.node.outputs.get(index).copied().flatten().is_some()) {
                return None;
            }
            let epsilon = view.attribute_float("epsilon", 1e-12)?;
            let targets = (0..outputs)
                .map(|index| if matches!(index, 1 | 2) { Target::Unused } else { Target::Output(index) })
                .collect();
            let node = IslandNode {
                domain: "com.microsoft",
                outputs: targets,
                ..node(view.operator(), view.operands(count), vec![("epsilon", Attribute::Float(epsilon))])
            };
            Some(Translation { nodes: vec![node], types: vec![view.value_type(0)?; outputs], heavy: false })
        }
        _ => None,
    }
}

/// rten's product of a tensor of many dimensions and a vector is wrong.
fn matmul(view: &View<'_>) -> Option<Translation> {
    if !view.is_float(0) || !view.is_float(1) {
        return None;
    }
    let (left, right) = (view.rank(0)?, view.rank(1)?);
    if left < 2 || right < 2 {
        return None;
    }
    heavy(node("MatMul", view.operands(2), Vec::new()), view.value_type(0)?)
}

fn gemm(view: &View<'_>) -> Option<Translation> {
    // Before opset 7 broadcasting was an attribute.
    if !view.is_float(0) || !view.is_float(1) || view.node.opset < 7 {
        return None;
    }
    if view.has_input(2) && !view.is_float(2) {
        return None;
    }
    let attributes = vec![
        ("alpha", Attribute::Float(view.attribute_float("alpha", 1.0)?)),
        ("beta", Attribute::Float(view.attribute_float("beta", 1.0)?)),
        ("transA", Attribute::Integer(view.attribute_integer("transA", 0)?)),
        ("transB", Attribute::Integer(view.attribute_integer("transB", 0)?)),
    ];
    heavy(node("Gemm", view.operands(view.input_count()), attributes), view.value_type(0)?)
}

/// Before opset 13 the axis split the shape in two, and all after it was one dimension: the
/// same where it is the last one.
fn softmax(view: &View<'_>) -> Option<Translation> {
    if !view.is_float(0) {
        return None;
    }
    let default = if view.node.opset < 13 { 1 } else { -1 };
    let mut position = view.attribute_integer("axis", default)?;
    if view.node.opset < 13 {
        let rank = view.rank(0)?;
        if axis(position, rank)? + 1 != rank {
            return None;
        }
        position = -1;
    }
    single(
        node(view.operator(), view.operands(1), vec![("axis", Attribute::Integer(position))]),
        view.value_type(0)?,
    )
}

fn layer_normalization(view: &View<'_>) -> Option<Translation> {
    let inputs = view.input_count();
    if !(0..inputs).all(|index| view.is_float(index))
        || inputs < 2
        || view.output_count() > 1
        || view.attribute_integer("stash_type", 1)? != 1
    {
        return None;
    }
    let attributes = vec![
        ("axis", Attribute::Integer(view.attribute_integer("axis", -1)?)),
        ("epsilon", Attribute::Float(view.attribute_float("epsilon", 1e-5)?)),
    ];
    single(node("LayerNormalization", view.operands(inputs), attributes), view.value_type(0)?)
}

fn batch_normalization(view: &View<'_>) -> Option<Translation> {
    if !(0..5).all(|index| view.is_float(index))
        || view.node.opset < 7
        || view.output_count() > 1
        || view.attribute_integer("training_mode", 0)? != 0
        || view.attribute_integer("spatial", 1)? != 1
    {
        return None;
    }
    let epsilon = view.attribute_float("epsilon", 1e-5)?;
    single(
        node("BatchNormalization", view.operands(5), vec![("epsilon", Attribute::Float(epsilon))]),
        view.value_type(0)?,
    )
}

fn instance_normalization(view: &View<'_>) -> Option<Translation> {
    if !(0..3).all(|index| view.is_float(index)) || view.node.opset < 6 {
        return None;
    }
    let epsilon = view.attribute_float("epsilon", 1e-5)?;
    single(
        node("InstanceNormalization", view.operands(3), vec![("epsilon", Attribute::Float(epsilon))]),
        view.value_type(0)?,
    )
}

/// rten ignores `sequence_lens` and peepholes, and has one form of the GRU's reset gate.
fn recurrent(view: &View<'_>) -> Option<Translation> {
    let is_lstm = view.operator() == "LSTM";
    let names = ["direction", "hidden_size", "activations", "linear_before_reset", "layout", "input_forget"];
    if view.node.opset < 7 || !view.has_only(&names) || view.has_input(4) || view.has_input(7) {
        return None;
    }
    if view.attribute_integer("layout", 0)? != 0 || view.attribute_integer("input_forget", 0)? != 0 {
        return None;
    }
    let inputs = view.input_count();
    if !(0..inputs).all(|index| !view.has_input(index) || view.is_float(index)) {
        return None;
    }
    let direction = view.attribute_text("direction")?.unwrap_or("forward");
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    if view.node.attributes.contains("activations") {
        let activations = view.node.attributes.texts("activations").ok()??;
        let expected: &[&str] = if is_lstm { &["Sigmoid", "Tanh", "Tanh"] } else { &["Sigmoid", "Tanh"] };
        let matches =
            activations.iter().zip(expected.iter().cycle()).all(|(found, expected)| found == expected);
        if !matches || activations.len() != expected.len() * directions {
            return None;
        }
    }
    let hidden = match view.attribute_integer("hidden_size", 0)? {
        0 => view.input(2)?.dimension(2)?,
        hidden => hidden,
    };
    let mut attributes = vec![
        ("direction", Attribute::Text(direction.as_bytes().to_vec().into())),
        ("hidden_size", Attribute::Integer(hidden)),
    ];
    if !is_lstm {
        if view.attribute_integer("linear_before_reset", 0)? == 0 {
            return None;
        }
        attributes.push(("linear_before_reset", Attribute::Integer(1)));
    }
    let outputs = view.output_count();
    let node = IslandNode {
        outputs: (0..outputs)
            .map(|index| match view.node.outputs.get(index) {
                Some(Some(_)) => Target::Output(index),
                _ => Target::Unused,
            })
            .collect(),
        ..node(view.operator(), view.operands(inputs), attributes)
    };
    Some(Translation { nodes: vec![node], types: vec![view.value_type(0)?; outputs], heavy: true })
}
