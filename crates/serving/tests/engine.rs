//! The engine: models that it loads or refuses, and the results of runs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use adytum_serving::{
    engine::{Engine, LoadedModel, RtenEngine, Threads},
    tensor::{ElementType, Elements, Tensor},
};
use support::onnx::{self, Attribute, FLOAT, INT32, INT64};

fn load(file: Vec<u8>) -> Box<dyn LoadedModel> {
    RtenEngine.load(file).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(file: Vec<u8>) -> (&'static str, String) {
    match RtenEngine.load(file) {
        Ok(_) => panic!("the model was loaded"),
        Err(error) => (error.code(), error.to_string()),
    }
}

fn run_one(model: &dyn LoadedModel, input: Tensor) -> Tensor {
    model.run(vec![input], &[0], &Threads::new(1)).unwrap_or_else(|error| panic!("{error}")).remove(0)
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), Elements::Float(values.to_vec())).unwrap()
}

#[test]
fn outputs_are_chosen_and_ordered() {
    let model = load(onnx::arithmetic());
    let input = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let answers = model.run(vec![input], &[1, 0], &Threads::new(2)).unwrap();
    assert_eq!(answers[0], floats(&[2, 3], &[1.0, 4.0, 9.0, 16.0, 25.0, 36.0]));
    assert_eq!(answers[1], floats(&[2, 3], &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]));
    let names: Vec<&str> = model.signature().outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["double", "square"]);
    assert_eq!(model.signature().inputs[0].shape, Some(vec![None, Some(3)]));
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    let samples = [
        (1, Elements::Float(vec![1.5, -0.0, f32::MAX])),
        (2, Elements::Uint8(vec![0, 7, 255])),
        (3, Elements::Int8(vec![-128, 0, 127])),
        (4, Elements::Uint16(vec![0, 1, u16::MAX])),
        (5, Elements::Int16(vec![i16::MIN, 0, i16::MAX])),
        (6, Elements::Int32(vec![i32::MIN, 0, i32::MAX])),
        (7, Elements::Int64(vec![i64::from(i32::MIN), 0, i64::from(i32::MAX)])),
        (9, Elements::Bool(vec![true, false, true])),
        (10, Elements::Half(vec![0x3c00, 0x8000, 0x7bff])),
        (11, Elements::Double(vec![0.5, -3.0, 1e30_f32.into()])),
        (12, Elements::Uint32(vec![0, 1, 0x7fff_ffff])),
        (13, Elements::Uint64(vec![0, 1, 0x7fff_ffff])),
        (16, Elements::Bfloat16(vec![0x3f80, 0xbf80, 0x0001])),
    ];
    assert_eq!(samples.len(), ElementType::ALL.len());
    for (onnx_type, elements) in samples {
        let model = load(onnx::identity(onnx_type));
        assert_eq!(model.signature().inputs[0].element_type, Some(elements.element_type()));
        let input = Tensor::new(vec![3], elements).unwrap();
        assert_eq!(run_one(model.as_ref(), input.clone()), input);
    }
}

#[test]
fn values_that_the_engine_cannot_hold_are_refused() {
    for (onnx_type, elements) in [
        (INT64, Elements::Int64(vec![0, i64::from(i32::MAX) + 1])),
        (INT64, Elements::Int64(vec![i64::MIN])),
        (12, Elements::Uint32(vec![u32::MAX])),
        (13, Elements::Uint64(vec![1 << 40])),
        (11, Elements::Double(vec![1e300])),
    ] {
        let model = load(onnx::identity(onnx_type));
        let input = Tensor::new(vec![elements.len()], elements).unwrap();
        let error = model.run(vec![input], &[0], &Threads::new(1)).unwrap_err();
        assert_eq!(error.code(), "engine-value-range", "{error}");
        assert!(error.to_string().contains("\"x\""), "{error}");
    }
    let model = load(onnx::identity(11));
    let infinite = Tensor::new(vec![1], Elements::Double(vec![f64::INFINITY])).unwrap();
    assert_eq!(run_one(model.as_ref(), infinite.clone()), infinite);
}

#[test]
fn large_weights_are_moved_out_of_the_file_and_stay_right() {
    // y = x W with W[i][j] = i - j, of 32 x 32 floats: above the limit for
    // staying in the graph; and a bias below it.
    let weights: Vec<f32> = (0..32 * 32).map(|index| (index / 32 - index % 32) as f32).collect();
    let bias: Vec<f32> = (0..32).map(|index| index as f32).collect();
    let mut file = onnx::model(
        &[onnx::node("MatMul", &["x", "w"], &["xw"], &[]), onnx::node("Add", &["xw", "b"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[-1, 32])],
        &[onnx::value("y", FLOAT, &[-1, 32])],
        &[onnx::floats("w", &[32, 32], &weights), onnx::floats("b", &[32], &bias)],
    );
    let prepared = adytum_serving::onnx::prepare::prepare(file.clone()).unwrap();
    assert_eq!(prepared.tensors.len(), 1);
    assert_eq!(prepared.tensors[0].1.len(), 32 * 32 * 4);
    assert!(prepared.graph.len() < 1024, "{}", prepared.graph.len());

    let input: Vec<f32> = (0..32).map(|index| if index == 3 { 1.0 } else { 0.0 }).collect();
    let expected: Vec<f32> = (0..32).map(|column| (3 - column) as f32 + column as f32).collect();
    assert_eq!(run_one(load(file.clone()).as_ref(), floats(&[1, 32], &input)), floats(&[1, 32], &expected));

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
        assert_eq!(run_one(load(convolution("Conv", &attributes)).as_ref(), image.clone()), sums);
    }
    let pool = onnx::model(
        &[onnx::node("MaxPool", &["x"], &["y"], &[Attribute::Integers("kernel_shape", &[2, 2])])],
        &[onnx::value("x", FLOAT, &[1, 1, 3, 3])],
        &[onnx::value("y", FLOAT, &[1, 1, 2, 2])],
        &[],
    );
    assert_eq!(run_one(load(pool).as_ref(), image), floats(&[1, 1, 2, 2], &[5.0, 6.0, 8.0, 9.0]));
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
fn integer_convolutions_with_padding_are_refused() {
    load(integer_convolution(&[Attribute::Integers("pads", &[0, 0, 0, 0])]));
    for attributes in
        [vec![Attribute::Integers("pads", &[0, 0, 1, 1])], vec![Attribute::Text("auto_pad", "SAME_UPPER")]]
    {
        let (code, message) = refusal(integer_convolution(&attributes));
        assert_eq!(code, "onnx-unsound-operator");
        assert!(message.contains("ConvInteger_node") && message.contains("padding"), "{message}");
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
    assert_eq!(code, "engine-load");
    assert!(message.contains("NoSuchOperator"), "{message}");
    let (code, message) = refusal(onnx::identity(8));
    assert_eq!(code, "onnx-element-type");
    assert!(message.contains("input \"x\""), "{message}");
    // A graph that names an output which nothing makes, or none at all.
    let nowhere = onnx::model(&[], &[onnx::value("x", FLOAT, &[1])], &[], &[]);
    assert_eq!(refusal(nowhere).0, "engine-load");
    let mut external = onnx::initializer("w", FLOAT, &[1], &[]);
    adytum_serving::wire::put_number(&mut external, 14, 1);
    let (code, message) = refusal(onnx::model(
        &[onnx::node("Add", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[1])],
        &[onnx::value("y", FLOAT, &[1])],
        &[external],
    ));
    assert_eq!(code, "onnx-external-data");
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
    assert_eq!(model.signature().inputs.len(), 1);
    assert_eq!(run_one(model.as_ref(), floats(&[1], &[1.0])), floats(&[1], &[3.0]));
}

#[test]
fn damaged_models_never_panic() {
    let file = convolution("Conv", &[Attribute::Integers("pads", &[1, 1, 1, 1])]);
    for position in 0..file.len() {
        for change in [1, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[position] ^= change;
            if let Ok(model) = RtenEngine.load(damaged) {
                let image = floats(&[1, 1, 3, 3], &[0.0; 9]);
                // Refused or answered; a panic in the engine is the scheduler's.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let _ = model.run(vec![image], &[0], &Threads::new(1));
                }));
            }
        }
    }
}
