//! Models with a table of signatures, as imported SavedModels have it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use adytum_engine::{operators::Cancellation, tensor::Tensor, threads::Threads};
use adytum_serving::models::{DEFAULT_SIGNATURE, Method, Servable, ServableError};
use fixture::onnx::{self, FLOAT};

/// `sum = x + y`, `negative = -x`.
fn graph() -> Vec<u8> {
    onnx::model(
        &[onnx::node("Add", &["x", "y"], &["sum"], &[]), onnx::node("Neg", &["x"], &["negative"], &[])],
        &[onnx::value("x", FLOAT, &[-1]), onnx::value("y", FLOAT, &[-1])],
        &[onnx::value("sum", FLOAT, &[-1]), onnx::value("negative", FLOAT, &[-1])],
        &[],
    )
}

fn binding(name: &str, tensor: &str) -> String {
    format!(r#"{{"name": "{name}", "tensor": "{tensor}", "element_type": "float32", "shape": [null]}}"#)
}

fn signature(name: &str, method: &str, inputs: &[String], outputs: &[String], more: &str) -> String {
    format!(
        r#"{{"name": "{name}", "method": "{method}", "inputs": [{}], "outputs": [{}]{more}}}"#,
        inputs.join(","),
        outputs.join(",")
    )
}

fn load(table: &str) -> Result<Servable, ServableError> {
    let file = onnx::with_metadata(graph(), "adytum.signatures", table);
    Servable::new("m".to_owned(), 1, fixture::load(file).unwrap(), fixture::resources())
}

fn run(model: &Servable, signature: &str, inputs: Vec<Tensor>, outputs: &[usize]) -> Vec<Vec<f32>> {
    let signature = model.signature(signature).unwrap();
    let answers = model.run(signature, inputs, outputs, &Threads::new(1), &Cancellation::default()).unwrap();
    answers.iter().map(|tensor| tensor.values::<f32>().unwrap().to_vec()).collect()
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::vector(values.to_vec())
}

#[test]
fn each_signature_runs_its_part_of_the_graph() {
    let feature = r#"{"name": "age", "tensor": "x", "list": "float", "shape": [], "default": null}"#;
    let examples = format!(r#", "examples": {{"input": "examples", "features": [{feature}]}}"#);
    let table = format!(
        "[{},{}]",
        // Its inputs are not in the graph's order, and two of its outputs are one tensor.
        signature(
            DEFAULT_SIGNATURE,
            "predict",
            &[binding("b", "y"), binding("a", "x")],
            &[binding("total", "sum"), binding("minus", "negative"), binding("again", "sum")],
            ""
        ),
        signature("regress", "regress", &[], &[binding("outputs", "negative")], &examples),
    );
    let model = load(&table).unwrap();
    let inputs = vec![vector(&[1.0, 2.0]), vector(&[10.0, 20.0])];
    let answers = run(&model, "", inputs.clone(), &[1, 0, 2]);
    assert_eq!(answers, [vec![-10.0, -20.0], vec![11.0, 22.0], vec![11.0, 22.0]]);
    assert_eq!(run(&model, DEFAULT_SIGNATURE, inputs, &[2]), [vec![11.0, 22.0]]);
    // It needs no `y`.
    assert_eq!(run(&model, "regress", vec![vector(&[3.0])], &[0]), [vec![-3.0]]);
    let regress = model.signature("regress").unwrap();
    assert_eq!(regress.method, Method::Regress);
    assert_eq!((regress.inputs.len(), regress.features[0].name.as_str()), (0, "age"));
    assert_eq!(regress.examples.as_ref().unwrap().input, "examples");
    let error = model.signature("classify").err().unwrap();
    assert!(error.to_string().contains("regress,serving_default"), "{error}");
}

#[test]
fn a_table_that_does_not_fit_the_graph_is_refused() {
    let one = |inputs: &[(&str, &str)], outputs: &[(&str, &str)]| {
        let bind =
            |all: &[(&str, &str)]| all.iter().map(|(name, tensor)| binding(name, tensor)).collect::<Vec<_>>();
        signature("s", "predict", &bind(inputs), &bind(outputs), "")
    };
    let (x, negative) = (("x", "x"), ("negative", "negative"));
    let good = one(&[x], &[negative]);
    for (table, reason) in [
        ("{".to_owned(), "not read as JSON"),
        ("[]".to_owned(), "empty"),
        (format!("[{good},{good}]"), "two signatures"),
        (format!("[{}]", one(&[("z", "z")], &[negative])), "no tensor \"z\""),
        (format!("[{}]", one(&[x, x], &[negative])), "twice"),
        (format!("[{}]", one(&[x, ("a", "x")], &[negative])), "one tensor"),
        (format!("[{}]", one(&[x], &[])), "no outputs"),
        (format!("[{}]", one(&[x], &[("sum", "sum")])), "need the graph's input \"y\""),
        (format!("[{}]", one(&[("y", "y")], &[("y", "y")])), "no tensor \"y\""),
    ] {
        let error = load(&table).err().unwrap();
        assert_eq!(error.code(), "model-signature-table", "{table}");
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    load(&format!("[{good}]")).unwrap();
}
