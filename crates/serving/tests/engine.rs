//! The engine: models that it loads or refuses, and the results of runs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{num::NonZeroUsize, sync::Arc};

use adytum_engine::{
    engine::LoadedModel,
    operators::Cancellation,
    tensor::{Element, ElementType, Elements, Tensor, Text},
    threads::Threads,
};
use adytum_serving::{
    limits::RunMemory,
    models::{Resources, Servable},
};
use fixture::onnx::{self, Attribute, FLOAT, INT32, INT64};
use half::{bf16, f16};

fn load(file: Vec<u8>) -> Servable {
    serve(fixture::load(file).unwrap_or_else(|error| panic!("{error}")))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn serve(model: Box<dyn LoadedModel>) -> Result<Servable, adytum_serving::models::ServableError> {
    Servable::new("m".to_owned(), 1, model, fixture::resources())
}

fn refusal(file: Vec<u8>) -> (&'static str, String) {
    match fixture::load(file) {
        Ok(_) => panic!("the model was loaded"),
        Err(error) => (error.code(), error.to_string()),
    }
}

fn run(model: &Servable, input: Tensor, outputs: &[usize], threads: usize) -> Vec<Tensor> {
    model
        .run(
            model.signature("").unwrap(),
            vec![input],
            outputs,
            &Threads::new(threads),
            &Cancellation::default(),
        )
        .unwrap_or_else(|error| panic!("{error}"))
}

fn run_one(model: &Servable, input: Tensor) -> Tensor {
    run(model, input, &[0], 1).remove(0)
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), values.to_vec()).unwrap()
}

fn elements<T: Element>(values: Vec<T>) -> Elements {
    T::wrap(Arc::new(values))
}

#[test]
fn outputs_are_chosen_and_ordered() {
    let model = load(onnx::arithmetic());
    let input = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let answers = run(&model, input, &[1, 0], 2);
    assert_eq!(answers[0], floats(&[2, 3], &[1.0, 4.0, 9.0, 16.0, 25.0, 36.0]));
    assert_eq!(answers[1], floats(&[2, 3], &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]));
    let names: Vec<&str> =
        model.signature("").unwrap().outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["double", "square"]);
    assert_eq!(model.signature("").unwrap().inputs[0].shape, Some(vec![None, Some(3)]));
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    let samples = [
        (1, elements(vec![1.5_f32, -0.0, f32::MAX])),
        (2, elements(vec![0_u8, 7, 255])),
        (3, elements(vec![-128_i8, 0, 127])),
        (4, elements(vec![0_u16, 1, u16::MAX])),
        (5, elements(vec![i16::MIN, 0, i16::MAX])),
        (6, elements(vec![i32::MIN, 0, i32::MAX])),
        (7, elements(vec![i64::MIN, i64::from(i32::MAX) + 1, i64::MAX])),
        (8, elements(vec![Text::new(), Text::from_static(b"a text"), Text::from_static(&[0xff])])),
        (9, elements(vec![true, false, true])),
        (10, elements(vec![f16::ONE, f16::NEG_ZERO, f16::MAX])),
        (11, elements(vec![0.1_f64, -3.0, 1e300])),
        (12, elements(vec![0_u32, 1, u32::MAX])),
        (13, elements(vec![0_u64, 1 << 40, u64::MAX])),
        (16, elements(vec![bf16::ONE, bf16::NEG_ONE, bf16::from_bits(1)])),
    ];
    assert_eq!(samples.len(), ElementType::ALL.len());
    for (onnx_type, elements) in samples {
        let model = load(onnx::identity(onnx_type));
        assert_eq!(model.signature("").unwrap().inputs[0].element_type, elements.element_type());
        let input = Tensor::new(vec![3], elements).unwrap();
        assert_eq!(run_one(&model, input.clone()), input);
    }
}

#[test]
fn sums_of_64_bits_are_exact() {
    let double = |onnx_type| {
        onnx::model(
            &[onnx::node("Add", &["x", "x"], &["y"], &[])],
            &[onnx::value("x", onnx_type, &[-1])],
            &[onnx::value("y", onnx_type, &[-1])],
            &[],
        )
    };
    let integers = Tensor::vector(vec![1_i64 << 40, i64::from(i32::MAX)]);
    assert_eq!(
        run_one(&load(double(INT64)), integers),
        Tensor::vector(vec![1_i64 << 41, 2 * i64::from(i32::MAX)])
    );
    let doubles = Tensor::vector(vec![0.1_f64, 1e300]);
    assert_eq!(run_one(&load(double(11)), doubles), Tensor::vector(vec![0.2_f64, 2e300]));
}

#[test]
fn a_model_that_can_answer_no_input_is_not_available() {
    // The product of what can't be multiplied, whatever is sent.
    let never = fixture::load(onnx::model(
        &[onnx::node("MatMul", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[-1, 4])],
        &[onnx::value("y", FLOAT, &[-1, 2])],
        &[onnx::floats("w", &[3, 2], &[1.0; 6])],
    ));
    match never.map(serve) {
        // At load already, or at the first run.
        Err(error) => assert!(error.to_string().contains("MatMul"), "{error}"),
        Ok(served) => {
            let error = served.err().unwrap();
            assert_eq!(error.code(), "model-never-answers");
            assert!(error.to_string().contains("MatMul"), "{error}");
        }
    }
}

#[test]
fn a_run_has_a_limit_and_an_end() {
    let expand = onnx::model(
        &[onnx::node("Expand", &["x", "shape"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[1]), onnx::value("shape", INT64, &[2])],
        &[onnx::value("y", FLOAT, &[-1, -1])],
        &[],
    );
    let resources = Resources { cores: NonZeroUsize::MIN, run_memory: RunMemory::new(1 << 20, 1 << 20) };
    let model = Servable::new("m".to_owned(), 1, fixture::load(expand).unwrap(), resources).unwrap();
    let ask = |sides: [i64; 2], cancellation: &Cancellation| {
        let inputs = vec![floats(&[1], &[1.0]), Tensor::vector(sides.to_vec())];
        model.run(model.signature("").unwrap(), inputs, &[0], &Threads::new(1), cancellation)
    };
    assert_eq!(ask([8, 8], &Cancellation::default()).unwrap()[0].len(), 64);
    for sides in [[1 << 10, 1 << 10], [1 << 20, 1 << 20], [1 << 40, 1 << 40]] {
        assert_eq!(ask(sides, &Cancellation::default()).unwrap_err().code(), "engine-budget", "{sides:?}");
    }
    let gone = Cancellation::default();
    gone.cancel();
    assert_eq!(ask([8, 8], &gone).unwrap_err().code(), "engine-cancelled");
}

#[test]
fn weights_of_any_size_stay_right() {
    // y = x W with W[i][j] = i - j, of 32 x 32 floats: large enough to be kept apart;
    // and a bias that is not.
    let weights: Vec<f32> = (0..32 * 32).map(|index| (index / 32 - index % 32) as f32).collect();
    let bias: Vec<f32> = (0..32).map(|index| index as f32).collect();
    let mut file = onnx::model(
        &[onnx::node("MatMul", &["x", "w"], &["xw"], &[]), onnx::node("Add", &["xw", "b"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[-1, 32])],
        &[onnx::value("y", FLOAT, &[-1, 32])],
        &[onnx::floats("w", &[32, 32], &weights), onnx::floats("b", &[32], &bias)],
    );
    let input: Vec<f32> = (0..32).map(|index| if index == 3 { 1.0 } else { 0.0 }).collect();
    let expected: Vec<f32> = (0..32).map(|column| (3 - column) as f32 + column as f32).collect();
    assert_eq!(run_one(&load(file.clone()), floats(&[1, 32], &input)), floats(&[1, 32], &expected));

    file.truncate(file.len() - 40);
    assert_eq!(refusal(file).0, "onnx-malformed");
}

/// A 3 x 3 image, a 2 x 2 kernel of ones, and this node between them.
fn convolution(operator: &str, attributes: &[Attribute<'_>]) -> Vec<u8> {
    onnx::model(
        &[onnx::node(operator, &["x", "w"], &["y"], attributes)],
        &[onnx::value("x", FLOAT, &[1, 1, 3, 3])],
        &[onnx::value("y", FLOAT, &[1, 1, -1, -1])],
        &[onnx::floats("w", &[1, 1, 2, 2], &[1.0; 4])],
    )
}

#[test]
fn convolutions_and_pools_without_their_defaults_spelled_out_work() {
    let image = floats(&[1, 1, 3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let sums = floats(&[1, 1, 2, 2], &[12.0, 16.0, 24.0, 28.0]);
    for attributes in [
        vec![],
        vec![Attribute::Integers("kernel_shape", &[2, 2])],
        vec![Attribute::Integers("strides", &[1, 1])],
        vec![Attribute::Integers("dilations", &[1, 1]), Attribute::Integers("pads", &[0, 0, 0, 0])],
    ] {
        assert_eq!(run_one(&load(convolution("Conv", &attributes)), image.clone()), sums);
    }
    let pool = onnx::model(
        &[onnx::node("MaxPool", &["x"], &["y"], &[Attribute::Integers("kernel_shape", &[2, 2])])],
        &[onnx::value("x", FLOAT, &[1, 1, 3, 3])],
        &[onnx::value("y", FLOAT, &[1, 1, 2, 2])],
        &[],
    );
    assert_eq!(run_one(&load(pool), image), floats(&[1, 1, 2, 2], &[5.0, 6.0, 8.0, 9.0]));
}

fn integer_convolution(attributes: &[Attribute<'_>]) -> Vec<u8> {
    onnx::model(
        &[onnx::node("ConvInteger", &["x", "w"], &["y"], attributes)],
        &[onnx::value("x", 2, &[1, 1, 3, 3])],
        &[onnx::value("y", INT32, &[1, 1, -1, -1])],
        &[onnx::initializer("w", 2, &[1, 1, 2, 2], &[1; 4])],
    )
}

#[test]
fn integer_convolutions_are_right_with_padding_too() {
    let image = Tensor::from_vec(vec![1, 1, 3, 3], (1..=9_u8).collect()).unwrap();
    for (attributes, expected) in [
        (vec![Attribute::Integers("pads", &[0, 0, 0, 0])], vec![12, 16, 24, 28]),
        (vec![Attribute::Integers("pads", &[0, 0, 1, 1])], vec![12, 16, 9, 24, 28, 15, 15, 17, 9]),
        (vec![Attribute::Text("auto_pad", "SAME_UPPER")], vec![12, 16, 9, 24, 28, 15, 15, 17, 9]),
        (vec![Attribute::Text("auto_pad", "SAME_LOWER")], vec![1, 3, 5, 5, 12, 16, 11, 24, 28]),
    ] {
        let answer = run_one(&load(integer_convolution(&attributes)), image.clone());
        assert_eq!(answer.into_vec::<i32>().unwrap(), expected);
    }
}

#[test]
fn what_is_no_servable_model_is_refused_with_its_reason() {
    assert_eq!(refusal(Vec::new()).0, "onnx-no-graph");
    assert_eq!(refusal(b"hello, world".to_vec()).0, "onnx-malformed");
    let (code, message) = refusal(onnx::model(
        &[onnx::node("NoSuchOperator", &["x"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[1])],
        &[onnx::value("y", FLOAT, &[1])],
        &[],
    ));
    assert_eq!(code, "plan-node");
    assert!(message.contains("NoSuchOperator"), "{message}");
    // Complex numbers.
    let (code, message) = refusal(onnx::identity(14));
    assert_eq!(code, "onnx-declaration");
    assert!(message.contains("\"x\""), "{message}");
    // A graph that names an output which nothing makes, or none at all.
    let nowhere = onnx::model(&[], &[onnx::value("x", FLOAT, &[1])], &[], &[]);
    assert_eq!(refusal(nowhere).0, "engine-load");
    let mut external = onnx::initializer("w", FLOAT, &[1], &[]);
    adytum_wire::put_number(&mut external, 14, 1);
    let (code, message) = refusal(onnx::model(
        &[onnx::node("Add", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[1])],
        &[onnx::value("y", FLOAT, &[1])],
        &[external],
    ));
    assert_eq!(code, "onnx-tensor");
    assert!(message.contains("\"w\""), "{message}");
}

#[test]
fn inputs_with_initializers_are_constants() {
    let model = load(onnx::model(
        &[onnx::node("Add", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[1]), onnx::value("w", FLOAT, &[1])],
        &[onnx::value("y", FLOAT, &[1])],
        &[onnx::floats("w", &[1], &[2.0])],
    ));
    assert_eq!(model.signature("").unwrap().inputs.len(), 1);
    assert_eq!(run_one(&model, floats(&[1], &[1.0])), floats(&[1], &[3.0]));
}

#[test]
fn damaged_models_never_panic() {
    let file = convolution("Conv", &[Attribute::Integers("pads", &[1, 1, 1, 1])]);
    for position in 0..file.len() {
        for change in [1, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[position] ^= change;
            if let Ok(model) = fixture::load(damaged).map(serve)
                && let Ok(model) = model
            {
                let image = floats(&[1, 1, 3, 3], &[0.0; 9]);
                // Refused or answered; a panic in the engine is the scheduler's.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let _ = model.run(
                        model.signature("").unwrap(),
                        vec![image],
                        &[0],
                        &Threads::new(1),
                        &Cancellation::default(),
                    );
                }));
            }
        }
    }
}
