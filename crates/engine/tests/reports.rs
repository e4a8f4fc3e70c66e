//! Faults that people reported of other model servers, each with the values that are right.
//! The expected values follow from ONNX's definitions, and ONNX Runtime gives the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::tensor::{Element, Tensor};
use fixture::{
    onnx::{
        Attribute, BOOL, FLOAT, INT32, INT64, floats, graph, initializer, longs, model_with, node, node_of,
        put_bytes, put_number, value,
    },
    runs::{load, run},
};

const UINT8: u64 = 2;
const INT8: u64 = 3;
const DOUBLE: u64 = 11;

fn tensor<T: Element>(shape: &[usize], values: Vec<T>) -> Tensor {
    Tensor::from_vec(shape.to_vec(), values).unwrap()
}

fn near(found: &Tensor, shape: &[usize], expected: &[f32]) {
    assert_eq!(found.shape(), shape);
    for (found, expected) in found.values::<f32>().unwrap().iter().zip(expected) {
        let same =
            (found - expected).abs() <= 1e-6 * expected.abs().max(1.0) || found.is_nan() && expected.is_nan();
        assert!(same, "{found}, expected {expected}");
    }
}

/// One node on `x`, with constants.
fn one_node(
    opset: u64,
    node: Vec<u8>,
    input: (u64, &[i64]),
    output: (u64, &[i64]),
    constants: &[Vec<u8>],
) -> Vec<u8> {
    let graph = graph(&[node], &[value("x", input.0, input.1)], &[value("y", output.0, output.1)], constants);
    model_with(&graph, &[], opset)
}

fn softmax_of(numbers: &[f64]) -> Vec<f64> {
    let powers: Vec<f64> = numbers.iter().map(|number| number.exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[test]
fn before_opset_13_softmax_normalises_all_that_follows_its_axis() {
    for operator in ["Softmax", "LogSoftmax"] {
        let expected = |numbers: &[f64]| -> Vec<f32> {
            let answers = softmax_of(numbers).into_iter();
            answers.map(|value| if operator == "Softmax" { value } else { value.ln() } as f32).collect()
        };
        // A classifier that ends in a convolution of 1 by 1: the default axis.
        let plain = node(operator, &["x"], &["y"], &[]);
        let file = one_node(9, plain.clone(), (FLOAT, &[-1, 3, 1, 1]), (FLOAT, &[-1, 3, 1, 1]), &[]);
        let found = run(file, vec![tensor(&[1, 3, 1, 1], vec![1.0_f32, 2.0, 3.0])]);
        near(&found[0], &[1, 3, 1, 1], &expected(&[1.0, 2.0, 3.0]));
        let four = vec![1.0_f32, 2.0, 3.0, 4.0];
        let axis = node(operator, &["x"], &["y"], &[Attribute::Integer("axis", 1)]);
        let file = one_node(11, axis, (FLOAT, &[-1, 2, 2, 1]), (FLOAT, &[-1, 2, 2, 1]), &[]);
        let found = run(file, vec![tensor(&[1, 2, 2, 1], four.clone())]);
        near(&found[0], &[1, 2, 2, 1], &expected(&[1.0, 2.0, 3.0, 4.0]));
        let file = one_node(12, plain, (FLOAT, &[-1, 2, 2]), (FLOAT, &[-1, 2, 2]), &[]);
        let found = run(file, vec![tensor(&[1, 2, 2], four)]);
        near(&found[0], &[1, 2, 2], &expected(&[1.0, 2.0, 3.0, 4.0]));
    }
    let axis = node("Softmax", &["x"], &["y"], &[Attribute::Integer("axis", 1)]);
    let file = one_node(13, axis, (FLOAT, &[-1, 2, 2]), (FLOAT, &[-1, 2, 2]), &[]);
    let found = run(file, vec![tensor(&[1, 2, 2], vec![1.0_f32, 5.0, 2.0, 5.0])]);
    let columns = softmax_of(&[1.0, 2.0]);
    near(&found[0], &[1, 2, 2], &[columns[0] as f32, 0.5, columns[1] as f32, 0.5]);
}

#[test]
fn same_lower_pads_at_the_beginning() {
    let numbers = tensor(&[1, 1, 3, 3], (1..=9).map(|value| value as f32).collect());
    let windows = |auto_pad: &'static str| {
        [
            Attribute::Integers("kernel_shape", &[2, 2]),
            Attribute::Integers("strides", &[2, 2]),
            Attribute::Text("auto_pad", auto_pad),
        ]
    };
    let kernel = floats("K", &[1, 1, 2, 2], &[1.0, 10.0, 100.0, 1000.0]);
    for (operator, auto_pad, expected) in [
        ("MaxPool", "SAME_LOWER", [1.0, 3.0, 7.0, 9.0]),
        ("AveragePool", "SAME_LOWER", [1.0, 2.5, 5.5, 7.0]),
        ("Conv", "SAME_LOWER", [1000.0, 3200.0, 7040.0, 9865.0]),
        ("MaxPool", "SAME_UPPER", [5.0, 6.0, 8.0, 9.0]),
    ] {
        let inputs: &[&str] = if operator == "Conv" { &["x", "K"] } else { &["x"] };
        let node = node(operator, inputs, &["y"], &windows(auto_pad));
        let constants = if operator == "Conv" { vec![kernel.clone()] } else { vec![] };
        let file = one_node(17, node, (FLOAT, &[1, 1, 3, 3]), (FLOAT, &[-1, -1, -1, -1]), &constants);
        near(&run(file, vec![numbers.clone()])[0], &[1, 1, 2, 2], &expected);
    }
    let attributes = [Attribute::Integers("kernel_shape", &[2]), Attribute::Text("auto_pad", "SAME_LOWER")];
    let file = one_node(
        17,
        node("Conv", &["x", "K"], &["y"], &attributes),
        (FLOAT, &[1, 1, 3]),
        (FLOAT, &[-1, -1, -1]),
        &[floats("K", &[1, 1, 2], &[1.0, 10.0])],
    );
    near(&run(file, vec![tensor(&[1, 1, 3], vec![1.0_f32, 2.0, 3.0])])[0], &[1, 1, 3], &[10.0, 21.0, 32.0]);
}

#[test]
fn the_same_image_twice_gives_the_same_answer_twice() {
    let image: Vec<u8> = (0..16_u32).map(|place| (place * 37 % 251) as u8).collect();
    let weights: Vec<u8> = (0..18_u32).map(|place| (place * 91 % 253) as u8).collect();
    let mut expected = Vec::new();
    for output in 0..2 {
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let products = (0..9).map(|place| {
                let pixel = i32::from(image[(row + place / 3) * 4 + column + place % 3]) - 7;
                pixel * (i32::from(weights[output * 9 + place]) - 129)
            });
            expected.push(products.sum::<i32>());
        }
    }
    let file = one_node(
        17,
        node("ConvInteger", &["x", "w", "xz", "wz"], &["y"], &[Attribute::Integers("kernel_shape", &[3, 3])]),
        (UINT8, &[-1, 1, 4, 4]),
        (INT32, &[-1, -1, -1, -1]),
        &[
            initializer("w", UINT8, &[2, 1, 3, 3], &weights),
            initializer("xz", UINT8, &[], &[7]),
            initializer("wz", UINT8, &[], &[129]),
        ],
    );
    assert_eq!(
        run(file.clone(), vec![tensor(&[1, 1, 4, 4], image.clone())]),
        [tensor(&[1, 2, 2, 2], expected.clone())]
    );
    let found = run(file, vec![tensor(&[2, 1, 4, 4], [image.clone(), image].concat())]);
    assert_eq!(found, [tensor(&[2, 2, 2, 2], [expected.clone(), expected].concat())]);
}

#[test]
fn numbers_of_64_bits_are_exact() {
    let long = |nodes: Vec<u8>, constants: &[Vec<u8>], output: &[i64], given: Vec<i64>| {
        let file = one_node(17, nodes, (INT64, &[-1]), (INT64, output), constants);
        run(file, vec![Tensor::vector(given)])
    };
    let add = node("Add", &["x", "k"], &["y"], &[]);
    assert_eq!(
        long(add, &[longs("k", &[1], &[1 << 40])], &[-1], vec![1]),
        [Tensor::vector(vec![(1_i64 << 40) + 1])]
    );
    let square = node("Mul", &["x", "x"], &["y"], &[]);
    assert_eq!(long(square, &[], &[-1], vec![100_000]), [Tensor::vector(vec![10_000_000_000_i64])]);
    let sum = node("ReduceSum", &["x"], &["y"], &[Attribute::Integer("keepdims", 0)]);
    assert_eq!(long(sum, &[], &[], vec![(1 << 31) - 1, 10]), [tensor(&[], vec![(1_i64 << 31) + 9])]);
    let power = node("Pow", &["x", "k"], &["y"], &[]);
    assert_eq!(
        long(power, &[longs("k", &[], &[11])], &[-1], vec![10]),
        [Tensor::vector(vec![100_000_000_000_i64])]
    );

    let cast = node("Cast", &["x"], &["y"], &[Attribute::Integer("to", 7)]);
    let file = one_node(17, cast, (FLOAT, &[-1]), (INT64, &[-1]), &[]);
    assert_eq!(run(file, vec![Tensor::vector(vec![3e9_f32])]), [Tensor::vector(vec![3_000_000_000_i64])]);
    let file = one_node(
        17,
        node("Sub", &["x", "k"], &["y"], &[]),
        (DOUBLE, &[-1]),
        (DOUBLE, &[-1]),
        &[initializer("k", DOUBLE, &[1], &16_777_216.0_f64.to_le_bytes())],
    );
    assert_eq!(run(file, vec![Tensor::vector(vec![16_777_217.0_f64])]), [Tensor::vector(vec![1.0_f64])]);
    let square = node("Mul", &["x", "x"], &["y"], &[]);
    let file = one_node(17, square, (INT32, &[-1]), (INT32, &[-1]), &[]);
    assert_eq!(run(file, vec![Tensor::vector(vec![3_i32, 65_536])]), [Tensor::vector(vec![9_i32, 0])]);
}

#[test]
fn each_class_and_each_image_is_suppressed_by_itself() {
    let boxes: Vec<f32> =
        (0..3).flat_map(|place| [0.0, place as f32 * 10.0, 1.0, place as f32 * 10.0 + 1.0]).collect();
    let (first, second) = ([0.9_f32, 0.8, 0.1], [0.2_f32, 0.3, 0.95]);
    let graph = graph(
        &[node("NonMaxSuppression", &["b", "s", "most", "overlap"], &["y"], &[])],
        &[value("b", FLOAT, &[-1, 3, 4]), value("s", FLOAT, &[-1, -1, 3])],
        &[value("y", INT64, &[-1, 3])],
        &[longs("most", &[1], &[2]), floats("overlap", &[1], &[0.5])],
    );
    let file = model_with(&graph, &[], 17);
    let scores = [first, second].concat();
    let classes =
        run(file.clone(), vec![tensor(&[1, 3, 4], boxes.clone()), tensor(&[1, 2, 3], scores.clone())]);
    assert_eq!(classes, [tensor(&[4, 3], vec![0_i64, 0, 0, 0, 0, 1, 0, 1, 2, 0, 1, 1])]);
    let images =
        run(file, vec![tensor(&[2, 3, 4], [boxes.clone(), boxes].concat()), tensor(&[2, 1, 3], scores)]);
    assert_eq!(images, [tensor(&[4, 3], vec![0_i64, 0, 0, 0, 0, 1, 1, 0, 2, 1, 0, 1])]);
}

#[test]
fn zeros_and_nan_and_truths_keep_their_meaning() {
    let floats_to = |node: Vec<u8>, output: u64| one_node(17, node, (FLOAT, &[-1]), (output, &[-1]), &[]);
    let sign = floats_to(node("Sign", &["x"], &["y"], &[]), FLOAT);
    near(&run(sign, vec![Tensor::vector(vec![0.0_f32, -0.0, -2.0, 3.0])])[0], &[4], &[0.0, 0.0, -1.0, 1.0]);
    let cast = floats_to(node("Cast", &["x"], &["y"], &[Attribute::Integer("to", 9)]), BOOL);
    assert_eq!(
        run(cast, vec![Tensor::vector(vec![0.5_f32, 0.0, 2.0, -0.1])]),
        [Tensor::vector(vec![true, false, true, true])]
    );
    let there_and_back = graph(
        &[
            node("Cast", &["x"], &["b"], &[Attribute::Integer("to", 9)]),
            node("Cast", &["b"], &["y"], &[Attribute::Integer("to", 1)]),
        ],
        &[value("x", FLOAT, &[-1])],
        &[value("y", FLOAT, &[-1])],
        &[],
    );
    let found =
        run(model_with(&there_and_back, &[], 17), vec![Tensor::vector(vec![0.5_f32, 0.0, 2.0, -0.1])]);
    near(&found[0], &[4], &[1.0, 0.0, 1.0, 1.0]);
    let relu = floats_to(node("Relu", &["x"], &["y"], &[]), FLOAT);
    near(&run(relu, vec![Tensor::vector(vec![f32::NAN, -1.0])])[0], &[2], &[f32::NAN, 0.0]);
    let clip = one_node(
        17,
        node("Clip", &["x", "low", "high"], &["y"], &[]),
        (FLOAT, &[-1]),
        (FLOAT, &[-1]),
        &[floats("low", &[], &[0.0]), floats("high", &[], &[6.0])],
    );
    near(&run(clip, vec![Tensor::vector(vec![f32::NAN, 9.0])])[0], &[2], &[f32::NAN, 6.0]);
    let product = one_node(
        17,
        node("MatMul", &["x", "w"], &["y"], &[]),
        (FLOAT, &[1, 2, 4, 3]),
        (FLOAT, &[-1, -1, -1]),
        &[floats("w", &[3], &[1.0, 2.0, 3.0])],
    );
    near(&run(product, vec![tensor(&[1, 2, 4, 3], vec![1.0_f32; 24])])[0], &[1, 2, 4], &[6.0; 8]);
}

#[test]
fn a_convolution_takes_its_weights_from_anywhere() {
    let weights: Vec<f32> = (0..54).map(|place| ((place * 29 % 23) as f32 - 11.0) / 8.0).collect();
    let image = tensor(
        &[1, 3, 6, 6],
        (0..108).map(|place| ((place * 17 % 31) as f32 - 15.0) / 4.0).collect::<Vec<f32>>(),
    );
    let (input, output) = (value("x", FLOAT, &[1, 3, 6, 6]), value("y", FLOAT, &[-1, -1, -1, -1]));
    let with = |nodes: &[Vec<u8>], more: &[Vec<u8>], constants: &[Vec<u8>]| {
        let inputs = [vec![input.clone()], more.to_vec()].concat();
        model_with(&graph(nodes, &inputs, std::slice::from_ref(&output), constants), &[], 17)
    };
    let plain = node("Conv", &["x", "K"], &["y"], &[]);
    let said = [Attribute::Integers("kernel_shape", &[3, 3]), Attribute::Integers("strides", &[1, 1])];
    let shape = [2, 3, 3, 3];
    let expected = run(
        with(&[node("Conv", &["x", "K"], &["y"], &said)], &[], &[floats("K", &shape, &weights)]),
        vec![image.clone()],
    );
    assert_eq!(expected[0].shape(), [1, 2, 4, 4]);

    let constant = node("Constant", &[], &["K"], &[Attribute::Tensor("value", floats("", &shape, &weights))]);
    assert_eq!(run(with(&[constant, plain.clone()], &[], &[]), vec![image.clone()]), expected);
    let same = node("Identity", &["K0"], &["K"], &[]);
    assert_eq!(
        run(with(&[same, plain.clone()], &[], &[floats("K0", &shape, &weights)]), vec![image.clone()]),
        expected
    );
    let given = with(std::slice::from_ref(&plain), &[value("K", FLOAT, &shape)], &[]);
    let found = run(given, vec![image.clone(), tensor(&[2, 3, 3, 3], weights.clone())]);
    near(&found[0], &[1, 2, 4, 4], expected[0].values::<f32>().unwrap());

    // Weights of 8 bits: these are whole eighths, so nothing is lost.
    let bytes: Vec<u8> = weights.iter().map(|weight| (weight * 8.0) as i8 as u8).collect();
    let quantised = with(
        &[node("DequantizeLinear", &["q", "s", "z"], &["K"], &[]), plain.clone()],
        &[],
        &[
            initializer("q", INT8, &shape, &bytes),
            floats("s", &[], &[0.125]),
            initializer("z", INT8, &[], &[0]),
        ],
    );
    near(&run(quantised, vec![image.clone()])[0], &[1, 2, 4, 4], expected[0].values::<f32>().unwrap());

    // Weights of the outer graph, used in a branch.
    let branch =
        graph(&[node("Conv", &["x", "K"], &["t"], &[])], &[], &[value("t", FLOAT, &[-1, -1, -1, -1])], &[]);
    let branches = [Attribute::Graph("then_branch", branch.clone()), Attribute::Graph("else_branch", branch)];
    let file = with(
        &[node("If", &["c"], &["y"], &branches)],
        &[value("c", BOOL, &[])],
        &[floats("K", &shape, &weights)],
    );
    let found = run(file, vec![image, tensor(&[], vec![true])]);
    near(&found[0], &[1, 2, 4, 4], expected[0].values::<f32>().unwrap());
}

/// Models that other engines load and can run on no input: here they have answers.
#[test]
fn a_model_that_is_loaded_answers() {
    let sum = one_node(17, node("Add", &["x", "x"], &["y"], &[]), (UINT8, &[-1]), (UINT8, &[-1]), &[]);
    assert_eq!(run(sum, vec![Tensor::vector(vec![1_u8, 200])]), [Tensor::vector(vec![2_u8, 144])]);

    let gru = one_node(
        17,
        node("GRU", &["x", "w", "r"], &["y"], &[Attribute::Integer("hidden_size", 2)]),
        (FLOAT, &[-1, -1, 3]),
        (FLOAT, &[-1, -1, -1, -1]),
        &[floats("w", &[1, 6, 3], &[1.0; 18]), floats("r", &[1, 6, 2], &[1.0; 12])],
    );
    // From a state of zeros: (1 - z) times the new state, both of the sum of the inputs.
    let update = 1.0 / (1.0 + (-3.0_f64).exp());
    let expected = ((1.0 - update) * 3.0_f64.tanh()) as f32;
    near(&run(gru, vec![tensor(&[1, 1, 3], vec![1.0_f32; 3])])[0], &[1, 1, 1, 2], &[expected; 2]);

    let volume = one_node(
        17,
        node("Conv", &["x", "K"], &["y"], &[]),
        (FLOAT, &[1, 1, 4, 4, 4]),
        (FLOAT, &[-1, -1, -1, -1, -1]),
        &[floats("K", &[1, 1, 2, 2, 2], &[1.0; 8])],
    );
    near(&run(volume, vec![tensor(&[1, 1, 4, 4, 4], vec![1.0_f32; 64])])[0], &[1, 1, 3, 3, 3], &[8.0; 27]);
}

#[test]
fn dropout_is_nothing_when_a_model_infers() {
    let given = Tensor::vector(vec![1.0_f32, 2.0]);
    for (opset, attributes) in [
        (7, vec![Attribute::Float("ratio", 0.5)]),
        (10, vec![Attribute::Float("ratio", 0.5)]),
        (12, vec![]),
        (13, vec![]),
    ] {
        let node = node("Dropout", &["x"], &["y"], &attributes);
        let file = one_node(opset, node, (FLOAT, &[-1]), (FLOAT, &[-1]), &[]);
        assert_eq!(run(file, vec![given.clone()]), std::slice::from_ref(&given));
    }
    let file = one_node(
        17,
        node("Dropout", &["x", "r", "t"], &["y"], &[]),
        (FLOAT, &[-1]),
        (FLOAT, &[-1]),
        &[floats("r", &[], &[0.5]), initializer("t", BOOL, &[], &[0])],
    );
    assert_eq!(run(file, vec![given.clone()]), [given]);
}

/// A node of a quantised ResNet-50, whose exact answer is 135.4999997. ONNX Runtime computes in
/// floats, where that is a half, and gives the even number. A network that goes on with 135
/// has another answer in the end.
#[test]
fn quantised_sums_are_rounded_in_onnx_runtimes_order() {
    let graph = graph(
        &[node_of("com.microsoft", "QLinearAdd", &["x", "as", "z", "b", "bs", "z", "cs", "z"], &["y"], &[])],
        &[value("x", UINT8, &[-1])],
        &[value("y", UINT8, &[-1])],
        &[
            initializer("b", UINT8, &[1], &[134]),
            initializer("z", UINT8, &[], &[128]),
            floats("as", &[], &[0.000_109_997_6]),
            floats("bs", &[], &[0.000_246_601_62]),
            floats("cs", &[], &[0.000_285_279_38]),
        ],
    );
    let mut file = model_with(&graph, &[], 17);
    let mut contributed = Vec::new();
    put_bytes(&mut contributed, 1, b"com.microsoft");
    put_number(&mut contributed, 2, 1);
    put_bytes(&mut file, 8, &contributed);
    assert_eq!(
        run(file, vec![Tensor::vector(vec![134_u8, 128, 255])]),
        [Tensor::vector(vec![136_u8, 133, 182])]
    );
}

#[test]
fn random_draws_that_nobody_can_check_are_refused() {
    for operator in ["Bernoulli", "RandomUniformLike"] {
        let file = one_node(17, node(operator, &["x"], &["y"], &[]), (FLOAT, &[-1]), (FLOAT, &[-1]), &[]);
        let error = load(file).err().unwrap();
        assert_eq!(error.code(), "plan-node");
        assert!(error.to_string().contains("at random"), "{error}");
    }
}
