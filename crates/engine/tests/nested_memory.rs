//! The memory of a run is charged in nested graphs, too: an outer product of a value that comes
//! from outside is refused before it is made, in each kind of graph.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::tensor::Tensor;
use fixture::{
    onnx::{Attribute, BOOL, FLOAT, INT64, graph, longs, model, node, put_bytes, put_number, value},
    runs::{load, run_within},
};

/// Numbers of the input: their outer product takes 4 MB.
const COUNT: usize = 1000;

/// A value of which the file does not say how many dimensions it has.
fn of_any_shape(name: &str) -> Vec<u8> {
    let (mut tensor, mut type_proto, mut value) = (Vec::new(), Vec::new(), Vec::new());
    put_number(&mut tensor, 1, FLOAT);
    put_bytes(&mut type_proto, 1, &tensor);
    put_bytes(&mut value, 1, name.as_bytes());
    put_bytes(&mut value, 2, &type_proto);
    value
}

/// Nodes that make `largest`, the largest number of the outer product of `from` with itself.
fn outer_product(from: &str) -> Vec<Vec<u8>> {
    vec![
        node("Reshape", &[from, "tall"], &["column"], &[]),
        node("Reshape", &[from, "wide"], &["row"], &[]),
        node("MatMul", &["column", "row"], &["products"], &[]),
        node("ReduceMax", &["products"], &["largest"], &[Attribute::Integer("keepdims", 0)]),
    ]
}

fn shapes() -> [Vec<u8>; 2] {
    [longs("tall", &[2], &[-1, 1]), longs("wide", &[2], &[1, -1])]
}

fn branch() -> Vec<u8> {
    let yes = graph(&outer_product("x"), &[], &[value("largest", FLOAT, &[])], &[]);
    let no = graph(
        &[node("ReduceMax", &["x"], &["other"], &[Attribute::Integer("keepdims", 0)])],
        &[],
        &[value("other", FLOAT, &[])],
        &[],
    );
    model(
        &[node(
            "If",
            &["c"],
            &["y"],
            &[Attribute::Graph("then_branch", yes), Attribute::Graph("else_branch", no)],
        )],
        &[value("c", BOOL, &[]), value("x", FLOAT, &[-1])],
        &[value("y", FLOAT, &[])],
        &shapes(),
    )
}

/// The product is made after the branch, of what the branch gives.
fn after_a_branch() -> Vec<u8> {
    let leaf = |operator: &str, name: &str| {
        graph(&[node(operator, &["x"], &[name], &[])], &[], &[value(name, FLOAT, &[-1])], &[])
    };
    let branches = [
        Attribute::Graph("then_branch", leaf("Neg", "negated")),
        Attribute::Graph("else_branch", leaf("Abs", "positive")),
    ];
    let mut nodes = vec![node("If", &["c"], &["chosen"], &branches)];
    nodes.extend(outer_product("chosen"));
    model(
        &nodes,
        &[value("c", BOOL, &[]), value("x", FLOAT, &[-1])],
        &[value("largest", FLOAT, &[])],
        &shapes(),
    )
}

/// A loop of one turn that carries `v`.
fn repetition(carried: Vec<u8>) -> Vec<u8> {
    let mut nodes = vec![node("Identity", &["go"], &["again"], &[])];
    nodes.extend(outer_product("v"));
    nodes.push(node("Add", &["v", "largest"], &["w"], &[]));
    let body = graph(
        &nodes,
        &[value("turn", INT64, &[]), value("go", BOOL, &[]), carried],
        &[value("again", BOOL, &[]), value("w", FLOAT, &[-1])],
        &[],
    );
    model(
        &[node("Loop", &["count", "c", "x"], &["y"], &[Attribute::Graph("body", body)])],
        &[value("c", BOOL, &[]), value("x", FLOAT, &[-1])],
        &[value("y", FLOAT, &[-1])],
        &[longs("tall", &[2], &[-1, 1]), longs("wide", &[2], &[1, -1]), longs("count", &[], &[1])],
    )
}

/// A scan of one turn with the state `v`, over a line of numbers.
fn scan() -> Vec<u8> {
    let mut nodes = outer_product("v");
    nodes.push(node("Add", &["v", "largest"], &["w"], &[]));
    nodes.push(node("Identity", &["part"], &["same"], &[]));
    let body = graph(
        &nodes,
        &[value("v", FLOAT, &[-1]), value("part", BOOL, &[])],
        &[value("w", FLOAT, &[-1]), value("same", BOOL, &[])],
        &[],
    );
    model(
        &[
            node("Reshape", &["c", "one"], &["line"], &[]),
            node(
                "Scan",
                &["x", "line"],
                &["y", "all"],
                &[Attribute::Graph("body", body), Attribute::Integer("num_scan_inputs", 1)],
            ),
        ],
        &[value("c", BOOL, &[]), value("x", FLOAT, &[-1])],
        &[value("y", FLOAT, &[-1])],
        &[longs("tall", &[2], &[-1, 1]), longs("wide", &[2], &[1, -1]), longs("one", &[1], &[1])],
    )
}

#[test]
fn what_nested_graphs_make_is_charged_before_it_is_made() {
    let cases = [
        ("in a branch", branch(), 25.0_f32),
        ("after a branch", after_a_branch(), 25.0),
        ("in a loop of a declared shape", repetition(value("v", FLOAT, &[-1])), 30.0),
        ("in a loop of any shape", repetition(of_any_shape("v")), 30.0),
        ("in a scan", scan(), 30.0),
    ];
    for (case, file, expected) in cases {
        let model = load(file).unwrap_or_else(|error| panic!("{case}: {error}"));
        let inputs = vec![Tensor::scalar(true), Tensor::vector(vec![5.0_f32; COUNT])];
        let refused = run_within(model.as_ref(), inputs.clone(), 1 << 20);
        let code = refused.map(|_| ()).expect_err(case).code();
        assert_eq!(code, "engine-budget", "{case}");
        let found = run_within(model.as_ref(), inputs, 16 << 20).unwrap();
        let largest = found[0].values::<f32>().unwrap()[0];
        assert!((largest - expected).abs() < 1e-6, "{case}: {largest}");
    }
}

#[test]
fn a_loop_keeps_to_the_dimensions_that_its_graph_declares() {
    let body = graph(
        &[node("Identity", &["go"], &["again"], &[]), node("Unsqueeze", &["v", "zero"], &["w"], &[])],
        &[value("turn", INT64, &[]), value("go", BOOL, &[]), value("v", FLOAT, &[-1])],
        &[value("again", BOOL, &[]), value("w", FLOAT, &[-1, -1])],
        &[],
    );
    let file = model(
        &[node("Loop", &["count", "c", "x"], &["y"], &[Attribute::Graph("body", body)])],
        &[value("c", BOOL, &[]), value("x", FLOAT, &[-1])],
        &[value("y", FLOAT, &[-1, -1])],
        &[longs("zero", &[1], &[0]), longs("count", &[], &[1])],
    );
    let model = load(file).unwrap();
    let inputs = vec![Tensor::scalar(true), Tensor::vector(vec![5.0_f32])];
    let error = run_within(model.as_ref(), inputs, 1 << 20).unwrap_err();
    assert!(error.to_string().contains("1 dimensions before the turn and 2 after it"), "{error}");
}
