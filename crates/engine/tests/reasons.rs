//! The plan says why a node is outside of regions and of fused operators.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::outside::Outside;
use fixture::{
    onnx::{Attribute, FLOAT, floats, model, node, value},
    runs::load,
};

/// The reason that the plan gives for the last node of this operator.
fn reason(file: &[u8], operator: &str) -> Option<Outside> {
    let model = load(file.to_vec()).unwrap();
    let plan = model.plan().unwrap();
    let line = plan.lines.iter().rev().find(|line| line.operator == operator).unwrap();
    let text = plan.to_string();
    if let Some(reason) = line.reason() {
        assert!(text.contains(&format!("; {reason}")), "{text}");
    }
    line.reason()
}

/// A model of images of four channels, and others of 22.
fn images(nodes: &[Vec<u8>], constants: &[Vec<u8>]) -> Vec<u8> {
    let mut initializers =
        vec![floats("weights", &[4, 4, 1, 1], &[0.5; 16]), floats("of_groups", &[22, 2, 1, 1], &[0.5; 44])];
    initializers.extend_from_slice(constants);
    let inputs = [
        value("x", FLOAT, &[-1, 4, 6, 6]),
        value("z", FLOAT, &[-1, 22, 6, 6]),
        value("run", FLOAT, &[4, 4, 1, 1]),
    ];
    model(nodes, &inputs, &[value("y", FLOAT, &[])], &initializers)
}

#[test]
fn what_a_region_has_needs_no_reason() {
    let file =
        images(&[node("Conv", &["x", "weights"], &["a"], &[]), node("Relu", &["a"], &["y"], &[])], &[]);
    assert_eq!(reason(&file, "Conv"), None);
    assert_eq!(reason(&file, "Relu"), None);
}

#[test]
fn a_region_says_why_it_does_not_have_a_node() {
    let convolution = |attributes: &[Attribute<'_>], weights: &str| {
        reason(&images(&[node("Conv", &["x", weights], &["y"], attributes)], &[]), "Conv")
    };
    let groups = [node("Conv", &["z", "of_groups"], &["y"], &[Attribute::Integer("group", 11)])];
    assert_eq!(reason(&images(&groups, &[]), "Conv"), Some(Outside::Groups));
    assert_eq!(convolution(&[], "run"), Some(Outside::Constant(1)));

    let behind = |operator: &str, inputs: &[&str], attributes: &[Attribute<'_>], constants: &[Vec<u8>]| {
        let nodes =
            [node("Conv", &["x", "weights"], &["a"], &[]), node(operator, inputs, &["y"], attributes)];
        reason(&images(&nodes, constants), operator)
    };
    let scales = floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
    let cubic = [Attribute::Text("mode", "cubic")];
    assert_eq!(behind("Sin", &["a"], &[], &[]), Some(Outside::Operator));
    assert_eq!(behind("Softmax", &["a"], &[], &[]), Some(Outside::Pattern));
    assert_eq!(
        behind("Resize", &["a", "", "scales"], &cubic, &[scales]),
        Some(Outside::Attribute("way of resizing"))
    );
    let column = floats("column", &[6, 1], &[2.0; 6]);
    assert_eq!(behind("Mul", &["a", "column"], &[], &[column]), Some(Outside::Constant(1)));
    // No convolution is before it.
    assert_eq!(reason(&images(&[node("Relu", &["x"], &["y"], &[])], &[]), "Relu"), Some(Outside::Alone));
}

#[test]
fn a_product_says_why_it_is_not_fused() {
    let product = |nodes: &[Vec<u8>], rows: &[i64]| {
        let matrix = |name: &str, size: i64| floats(name, &[size, size], &vec![0.5; (size * size) as usize]);
        let constants = [matrix("m", 64), matrix("small", 4), floats("three", &[1, 64, 64], &[0.5; 4096])];
        let inputs = [value("x", FLOAT, rows), value("z", FLOAT, &[-1, 64])];
        reason(&model(nodes, &inputs, &[value("y", FLOAT, &[])], &constants), "MatMul")
    };
    let one = |right: &str| [node("MatMul", &["x", right], &["y"], &[])];
    assert_eq!(product(&one("m"), &[-1, 64]), None);
    assert_eq!(product(&one("small"), &[-1, 4]), Some(Outside::Small));
    assert_eq!(product(&one("z"), &[-1, 64]), Some(Outside::Constant(1)));
    assert_eq!(product(&one("three"), &[-1, 64]), Some(Outside::Constant(1)));
    assert_eq!(product(&[node("MatMul", &["m", "x"], &["y"], &[])], &[64, -1]), Some(Outside::Rows(0)));
    let twice = [node("MatMul", &["x", "m"], &["a"], &[]), node("MatMul", &["a", "m"], &["y"], &[])];
    assert_eq!(product(&twice, &[-1, 64]), Some(Outside::Shared(1)));
}

#[test]
fn a_normalization_says_why_it_is_not_fused() {
    let normalization = |attributes: &[Attribute<'_>], scale: &[i64]| {
        let count = scale.iter().product::<i64>() as usize;
        let constants = [floats("scale", scale, &vec![0.5; count])];
        let nodes = [node("LayerNormalization", &["x", "scale"], &["y"], attributes)];
        let file = model(&nodes, &[value("x", FLOAT, &[-1, 3, 8])], &[value("y", FLOAT, &[])], &constants);
        reason(&file, "LayerNormalization")
    };
    assert_eq!(normalization(&[], &[8]), None);
    assert_eq!(normalization(&[Attribute::Integer("axis", 1)], &[3, 8]), Some(Outside::Attribute("axis")));
    assert_eq!(normalization(&[], &[1]), Some(Outside::Constant(1)));
}

#[test]
fn a_layer_of_cells_says_why_it_is_not_fused() {
    let layer = |attributes: &[Attribute<'_>]| {
        let constants = [floats("w", &[1, 12, 8], &[0.1; 96]), floats("r", &[1, 12, 4], &[0.1; 48])];
        let nodes = [node("GRU", &["x", "w", "r"], &["y"], attributes)];
        let outputs = [value("y", FLOAT, &[-1, 1, -1, 4])];
        reason(&model(&nodes, &[value("x", FLOAT, &[-1, 2, 8])], &outputs, &constants), "GRU")
    };
    let hidden = Attribute::Integer("hidden_size", 4);
    assert_eq!(layer(&[hidden, Attribute::Integer("linear_before_reset", 1)]), None);
    assert_eq!(layer(&[Attribute::Integer("hidden_size", 4)]), Some(Outside::Cell));
}
