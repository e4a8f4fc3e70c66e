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

/// Two signatures of one graph: `a` = `x` W and `b` = `x2` V have nothing in common, `c` = (`x` W)(`x2` V)
/// needs both. rten computes all of it in one island.
fn two_signatures() -> Vec<u8> {
    let square = |name: &str, factor: f32| floats(name, &[2, 2], &[factor, 0.0, 0.0, factor]);
    model(
        &[
            node("MatMul", &["x", "w"], &["a"], &[]),
            node("MatMul", &["x2", "v"], &["b"], &[]),
            node("MatMul", &["a", "b"], &["c"], &[]),
        ],
        &[value("x", FLOAT, &[-1, 2]), value("x2", FLOAT, &[-1, 2])],
        &[value("a", FLOAT, &[-1, 2]), value("b", FLOAT, &[-1, 2]), value("c", FLOAT, &[-1, 2])],
        &[square("w", 2.0), square("v", 3.0)],
    )
}

fn matrix(values: [f32; 4]) -> Value {
    Value::Tensor(Tensor::from_vec([2, 2], values.to_vec()).unwrap())
}

#[test]
fn an_island_runs_the_part_that_is_wanted() {
    let model = load(two_signatures()).unwrap();
    assert_eq!(model.plan().unwrap().islands, 1, "{}", model.plan().unwrap());
    assert_eq!(model.needed_inputs(&[0]), [true, false]);
    assert_eq!(model.needed_inputs(&[1]), [false, true]);
    assert_eq!(model.needed_inputs(&[0, 1]), [true, true]);
    assert_eq!(model.needed_inputs(&[2]), [true, true]);

    let (threads, cancellation) = (Threads::new(1), Cancellation::default());
    let run = |inputs, outputs: &[usize], bytes| {
        let memory = Memory::new(bytes);
        let found = model.run(
            inputs,
            outputs,
            Run { threads: &threads, budget: &memory, cancellation: &cancellation },
        );
        assert_eq!(memory.used(), 0, "all memory is given back");
        found.map_err(|error| error.code().to_owned())
    };
    let (x, x2) = (matrix([1.0, 2.0, 3.0, 4.0]), matrix([1.0, 0.0, 0.0, 1.0]));
    let (a, b) = (matrix([2.0, 4.0, 6.0, 8.0]), matrix([3.0, 0.0, 0.0, 3.0]));
    let enough = 1 << 20;
    assert_eq!(run(vec![Some(x.clone()), None], &[0], enough), Ok(vec![a.clone()]));
    assert_eq!(run(vec![None, Some(x2.clone())], &[1], enough), Ok(vec![b.clone()]));
    // Inputs that are given and not needed change nothing; outputs come in the order that was wanted.
    let both = vec![Some(x.clone()), Some(x2.clone())];
    assert_eq!(run(both.clone(), &[1], enough), Ok(vec![b.clone()]));
    assert_eq!(run(both.clone(), &[1, 0], enough), Ok(vec![b, a.clone()]));
    assert_eq!(run(both, &[2, 0], enough), Ok(vec![matrix([6.0, 12.0, 18.0, 24.0]), a]));
    assert_eq!(run(vec![Some(x.clone()), None], &[2], enough), Err("engine-inputs".to_owned()));
    // A part is charged for what it takes: its input of 16 bytes, its output of 16 bytes.
    assert!(run(vec![Some(x.clone()), None], &[0], 32).is_ok());
    assert_eq!(run(vec![Some(x), None], &[0], 20), Err("engine-budget".to_owned()));
}

#[test]
fn a_part_of_an_island_after_operators_of_ours_needs_what_these_need() {
    let file = model(
        &[
            node("Add", &["x", "x"], &["p"], &[]),
            node("Add", &["x2", "x2"], &["q"], &[]),
            node("MatMul", &["p", "w"], &["a"], &[]),
            node("MatMul", &["q", "w"], &["b"], &[]),
            node("Add", &["a", "one"], &["y"], &[]),
            node("Add", &["b", "one"], &["y2"], &[]),
        ],
        &[value("x", FLOAT, &[-1, 2]), value("x2", FLOAT, &[-1, 2])],
        &[value("y", FLOAT, &[-1, 2]), value("y2", FLOAT, &[-1, 2])],
        &[floats("w", &[2, 2], &[1.0, 0.0, 0.0, 1.0]), floats("one", &[1], &[1.0])],
    );
    let model = load(file).unwrap();
    assert_eq!(model.needed_inputs(&[0]), [true, false], "{}", model.plan().unwrap());
    assert_eq!(model.needed_inputs(&[1]), [false, true]);
}

#[test]
fn half_plus_two_answers_each_signature_from_its_own_inputs() {
    let directory =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/data/half_plus_two");
    let imported =
        adytum_import::saved_model::import(&directory, adytum_import::limits::Limits::default()).unwrap();
    let model = load(imported.onnx).unwrap();
    let signature = model.signature();
    let (threads, cancellation) = (Threads::new(1), Cancellation::default());
    let memory = Memory::new(1 << 20);
    let mut answered = 0;
    for wanted in &imported.signatures {
        let output =
            signature.outputs.iter().position(|output| output.name == wanted.outputs[0].tensor).unwrap();
        let needed = model.needed_inputs(&[output]);
        assert_eq!(needed.iter().filter(|needed| **needed).count(), 1, "{}", wanted.name);
        let inputs = needed
            .into_iter()
            .map(|needed| {
                needed.then(|| Value::Tensor(Tensor::from_vec([3, 1], vec![1.0_f32, 2.0, 5.0]).unwrap()))
            })
            .collect();
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        let found = model.run(inputs, &[output], run).unwrap();
        let offset = if wanted.name.ends_with(['2', '3']) { 3.0_f32 } else { 2.0 };
        let expected = vec![0.5 + offset, 1.0 + offset, 2.5 + offset];
        assert_eq!(found, [Value::Tensor(Tensor::from_vec([3, 1], expected).unwrap())], "{}", wanted.name);
        answered += 1;
    }
    assert!(answered >= 3, "{:?}", imported.signatures);
}
