//! A run computes what the wanted outputs need, and takes no more inputs than that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    engine::Run,
    operators::{Cancellation, Memory},
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{FLOAT, floats, model, node, value},
    runs::load,
};

/// `y` needs `x` alone, `z` needs both.
fn two_outputs() -> Vec<u8> {
    model(
        &[node("Add", &["x", "one"], &["y"], &[]), node("Mul", &["y", "w"], &["z"], &[])],
        &[value("x", FLOAT, &[-1]), value("w", FLOAT, &[-1])],
        &[value("y", FLOAT, &[-1]), value("z", FLOAT, &[-1])],
        &[floats("one", &[1], &[1.0])],
    )
}

fn run(inputs: Vec<Option<Value>>, outputs: &[usize]) -> Result<Vec<Value>, String> {
    let model = load(two_outputs()).unwrap();
    let (threads, memory, cancellation) = (Threads::new(1), Memory::new(1 << 20), Cancellation::default());
    let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
    model.run(inputs, outputs, run).map_err(|error| error.to_string())
}

#[test]
fn an_output_names_the_inputs_that_it_needs() {
    let model = load(two_outputs()).unwrap();
    assert_eq!(model.needed_inputs(&[0]), [true, false]);
    assert_eq!(model.needed_inputs(&[1]), [true, true]);
    assert_eq!(model.needed_inputs(&[]), [false, false]);
}

#[test]
fn an_input_that_no_wanted_output_needs_may_be_missing() {
    let x = Value::Tensor(Tensor::vector(vec![1.0_f32, 2.0]));
    let found = run(vec![Some(x.clone()), None], &[0]).unwrap();
    assert_eq!(found, [Value::Tensor(Tensor::vector(vec![2.0_f32, 3.0]))]);
    let refusal = run(vec![Some(x), None], &[1]).unwrap_err();
    assert!(refusal.contains("\"w\"") && refusal.contains("not given"), "{refusal}");
}
