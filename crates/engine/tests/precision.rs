//! Models in 16-bit floats: they are near to 32-bit floats, or refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    bfloat16_engine::BFloat16Engine,
    difference::difference,
    engine::{Engine, Example, Examples, LoadedModel, Source},
    onnx::{Limits, files::NoFiles},
    precision::Precision,
    tensor::{Tensor, Value},
};
use fixture::{
    onnx::{FLOAT, INT64, floats, longs, model, node, value},
    runs::{load, load_narrow, run_within},
};

/// Numbers that look random, from -1 to 1.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1_u32 << 23) as f32 - 1.0
        })
        .collect()
}

/// Rows of 40 numbers by a matrix, a rectifier, and another matrix.
fn products(second: Vec<f32>) -> Vec<u8> {
    let nodes = [
        node("MatMul", &["x", "a"], &["h"], &[]),
        node("Relu", &["h"], &["r"], &[]),
        node("MatMul", &["r", "b"], &["y"], &[]),
    ];
    let constants = [floats("a", &[40, 64], &numbers(1, 40 * 64)), floats("b", &[64, 33], &second)];
    model(&nodes, &[value("x", FLOAT, &[-1, 40])], &[value("y", FLOAT, &[-1, 33])], &constants)
}

#[test]
fn products_are_near_and_rows_do_not_depend_on_one_another() {
    let file = products(numbers(2, 64 * 33));
    let narrow = match load_narrow(file.clone()) {
        Ok(narrow) => narrow,
        Err(error) => {
            assert!(!Precision::BFloat16.is_available());
            assert_eq!(error.code(), "precision-unsupported");
            return;
        }
    };
    assert_eq!(narrow.plan().unwrap().narrow, 2);
    assert!(narrow.plan().unwrap().to_string().contains("2 convolutions and products in 16-bit floats"));
    let rows = numbers(3, 5 * 40);
    let input = Tensor::from_vec([5, 40], rows.clone()).unwrap();
    let exact = run_within(load(file).unwrap().as_ref(), vec![input.clone()], 1 << 24).unwrap();
    let found = run_within(narrow.as_ref(), vec![input], 1 << 24).unwrap();
    let far = difference(&found[0], &exact[0]).unwrap();
    assert!(far > 1e-5 && far < 0.02, "{far}");
    let third = Tensor::from_vec([1, 40], rows[80..120].to_vec()).unwrap();
    let alone = run_within(narrow.as_ref(), vec![third], 1 << 24).unwrap();
    assert_eq!(alone[0].values::<f32>().unwrap(), &found[0].values::<f32>().unwrap()[66..99]);
}

#[test]
fn sums_that_cancel_are_refused() {
    if !Precision::BFloat16.is_available() {
        return;
    }
    // Each column is the difference of two sums of a hundred, whose roundings are most of what is left.
    let nodes = [
        node("MatMul", &["x", "a"], &["h"], &[]),
        node("Add", &["h", "c"], &["s"], &[]),
        node("Sub", &["s", "c"], &["d"], &[]),
        node("MatMul", &["d", "b"], &["y"], &[]),
    ];
    let weights = numbers(4, 40 * 64);
    let column = |step: usize| if step.is_multiple_of(2) { 100.0 } else { -100.0 };
    let second: Vec<f32> =
        (0..64 * 33).map(|place| column(place / 33) + 0.01 * weights[place % 97]).collect();
    // Pairs of columns are nearly the same.
    let first: Vec<f32> = (0..40 * 64).map(|place| weights[place / 2] + 1e-4 * weights[place]).collect();
    let constants = [
        floats("a", &[40, 64], &first),
        floats("b", &[64, 33], &second),
        floats("c", &[64], &numbers(5, 64)),
    ];
    let file = model(&nodes, &[value("x", FLOAT, &[-1, 40])], &[value("y", FLOAT, &[-1, 33])], &constants);
    assert!(load(file.clone()).is_ok());
    let Err(error) = load_narrow(file) else { panic!("the model was loaded") };
    assert_eq!(error.code(), "precision-inaccurate");
    assert!(error.to_string().contains("\"y\"") && error.to_string().contains('%'), "{error}");
}

#[test]
fn models_without_products_need_no_comparison_and_others_do() {
    if !Precision::BFloat16.is_available() {
        return;
    }
    // Of any number of dimensions: nothing can be made up.
    let ports = (vec![value("x", FLOAT, &[])], vec![value("y", FLOAT, &[])]);
    let file = model(&[node("Relu", &["x"], &["y"], &[])], &ports.0, &ports.1, &[]);
    assert_eq!(load_narrow(file).unwrap().plan().unwrap().narrow, 0);
    // No made-up number is an index of the table but 0 and 1, which is enough.
    let nodes = [node("Gather", &["t", "i"], &["h"], &[]), node("MatMul", &["h", "a"], &["y"], &[])];
    let constants = [floats("t", &[2, 40], &numbers(6, 80)), floats("a", &[40, 64], &numbers(7, 40 * 64))];
    let file = |shape: &[i64]| {
        model(&nodes, &[value("i", INT64, shape)], &[value("y", FLOAT, &[-1, 64])], &constants)
    };
    assert_eq!(load_narrow(file(&[-1])).unwrap().plan().unwrap().narrow, 1);
    // The indices of an empty table are never right.
    let nodes = [node("Gather", &["t", "i"], &["h"], &[]), node("MatMul", &["h", "a"], &["y"], &[])];
    let constants = [
        floats("t", &[0, 40], &[]),
        longs("unused", &[1], &[0]),
        floats("a", &[40, 64], &numbers(7, 40 * 64)),
    ];
    let file = model(&nodes, &[value("i", INT64, &[-1])], &[value("y", FLOAT, &[-1, 64])], &constants);
    let Err(error) = load_narrow(file) else { panic!("the model was loaded") };
    assert_eq!(error.code(), "precision-unmeasured");
}

/// A difference of two products. The first half of the inputs have nearly the same weights in both, which 16-bit floats don't
/// tell apart; the second half have weights of this size in one.
fn nearly_the_same(size: f32) -> Vec<u8> {
    let nodes = [
        node("MatMul", &["x", "a"], &["s"], &[]),
        node("MatMul", &["x", "b"], &["t"], &[]),
        node("Sub", &["s", "t"], &["y"], &[]),
    ];
    let near = numbers(8, 20 * 64);
    let first: Vec<f32> = near.iter().map(|value| value + 0.003).chain(vec![size; 20 * 64]).collect();
    let second: Vec<f32> = near.iter().copied().chain(vec![0.0; 20 * 64]).collect();
    let constants = [floats("a", &[40, 64], &first), floats("b", &[40, 64], &second)];
    model(&nodes, &[value("x", FLOAT, &[-1, 40])], &[value("y", FLOAT, &[-1, 64])], &constants)
}

/// A row whose halves have these numbers.
fn halves(first: f32, second: f32) -> Tensor {
    let row: Vec<f32> = (0..40).map(|place| if place < 20 { first } else { second }).collect();
    Tensor::from_vec([1, 40], row).unwrap()
}

struct Given(Vec<Example>);

impl Examples for Given {
    fn of(&self, _: &dyn LoadedModel, most: usize) -> Vec<Example> {
        self.0.iter().take(most).cloned().collect()
    }
}

/// The code with which a model is refused, with the first row of an output or of none as an example.
fn refused(file: &[u8], row: Option<Tensor>, outputs: &[usize]) -> Option<&'static str> {
    let example = |row| Example { inputs: vec![Some(Value::Tensor(row))], outputs: outputs.to_vec() };
    let examples = Given(row.into_iter().map(example).collect());
    let source =
        Source { file: file.to_vec(), files: &NoFiles, limits: Limits::default(), examples: &examples };
    BFloat16Engine.load(source).err().map(|error| error.code())
}

#[test]
fn examples_are_compared_in_the_place_of_made_up_inputs() {
    if !Precision::BFloat16.is_available() {
        return;
    }
    let (small, large) = (nearly_the_same(0.01), nearly_the_same(100.0));
    assert_eq!(refused(&small, None, &[]), Some("precision-inaccurate"));
    assert_eq!(refused(&small, Some(halves(0.0, 1.0)), &[0]), None);
    assert_eq!(refused(&large, None, &[]), None);
    assert_eq!(refused(&large, Some(halves(1.0, 0.0)), &[0]), Some("precision-inaccurate"));
    // An example that the model does not answer, and one of no output, are none.
    let wrong = Tensor::from_vec([1, 3], vec![1.0_f32; 3]).unwrap();
    assert_eq!(refused(&small, Some(wrong), &[0]), Some("precision-inaccurate"));
    assert_eq!(refused(&small, Some(halves(0.0, 1.0)), &[]), Some("precision-inaccurate"));
}
