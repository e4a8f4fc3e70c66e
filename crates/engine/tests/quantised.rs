//! Quantised convolutions: those between `DequantizeLinear` and `QuantizeLinear` are computed in
//! whole numbers, and threads change nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    engine::{LoadedModel, Run},
    operators::{Cancellation, Memory},
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{
        Attribute, FLOAT, floats, graph, initializer, model_with, node, node_of, put_bytes, put_number, value,
    },
    runs::{self, load},
};

const UINT8: u64 = 2;
const INT8: u64 = 3;
const INT32: u64 = 6;

/// Filters, channels, and the side of the images and of the kernel.
const FILTERS: usize = 5;
const CHANNELS: usize = 3;
const SIDE: usize = 13;
const KERNEL: usize = 3;

/// A convolution as quantisers write it, of images whose number may vary. `relu` is between it
/// and the quantisation, and `zero` is the zero point of the result.
fn file(weights: &[i8], bias: &[i32], relu: bool, zero: u8, outputs: &[&str]) -> Vec<u8> {
    let bytes: Vec<u8> = weights.iter().map(|weight| weight.cast_unsigned()).collect();
    let biases: Vec<u8> = bias.iter().flat_map(|bias| bias.to_le_bytes()).collect();
    let scales: Vec<f32> = (0..FILTERS).map(|filter| 0.01 * (filter + 1) as f32).collect();
    let of_bias: Vec<f32> = scales.iter().map(|scale| scale * 0.05).collect();
    let axis = [Attribute::Integer("axis", 0)];
    let pads = [Attribute::Integers("pads", &[1, 1, 1, 1])];
    let mut nodes = vec![
        node("DequantizeLinear", &["q", "qs", "qz"], &["x"], &[]),
        node("DequantizeLinear", &["w", "ws", "wz"], &["K"], &axis),
        node("DequantizeLinear", &["b", "bs"], &["B"], &axis),
        node("Conv", &["x", "K", "B"], &["sum"], &pads),
        node("QuantizeLinear", &[if relu { "cut" } else { "sum" }, "ys", "yz"], &["y"], &[]),
    ];
    if relu {
        nodes.insert(4, node("Relu", &["sum"], &["cut"], &[]));
    }
    let kernel = [FILTERS as i64, CHANNELS as i64, KERNEL as i64, KERNEL as i64];
    let outputs: Vec<_> = outputs
        .iter()
        .map(|output| value(output, if *output == "y" { UINT8 } else { FLOAT }, &[-1, -1, -1, -1]))
        .collect();
    let graph = graph(
        &nodes,
        &[value("q", UINT8, &[-1, CHANNELS as i64, SIDE as i64, SIDE as i64])],
        &outputs,
        &[
            floats("qs", &[], &[0.05]),
            initializer("qz", UINT8, &[], &[117]),
            initializer("w", INT8, &kernel, &bytes),
            floats("ws", &[FILTERS as i64], &scales),
            initializer("wz", INT8, &[FILTERS as i64], &[0; FILTERS]),
            initializer("b", INT32, &[FILTERS as i64], &biases),
            floats("bs", &[FILTERS as i64], &of_bias),
            floats("ys", &[], &[0.2]),
            initializer("yz", UINT8, &[], &[zero]),
        ],
    );
    model_with(&graph, &[], 17)
}

fn classify(model: &dyn LoadedModel, images: &Tensor, threads: usize) -> Tensor {
    let threads = Threads::new(threads);
    let memory = Memory::new(1 << 30);
    let cancellation = Cancellation::default();
    let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
    let found = model.run(vec![Some(Value::Tensor(images.clone()))], &[0], run).unwrap();
    assert_eq!(memory.used(), 0);
    found.into_iter().next().unwrap().into_tensor().unwrap()
}

#[test]
fn a_convolution_between_quantisers_is_one_of_whole_numbers() {
    let weights: Vec<i8> = (0..FILTERS * CHANNELS * KERNEL * KERNEL)
        .map(|place| ((place * 83 % 251) as i16 - 125) as i8)
        .collect();
    let bias: Vec<i32> = (0..FILTERS).map(|filter| filter as i32 * 700 - 1500).collect();
    for (count, relu, zero) in [(1, false, 100), (3, false, 100), (1, true, 0), (1, true, 9)] {
        let bytes: Vec<u8> =
            (0..count * CHANNELS * SIDE * SIDE).map(|place| (place * 61 % 253) as u8).collect();
        let images = Tensor::from_vec([count, CHANNELS, SIDE, SIDE], bytes.clone()).unwrap();
        let model = load(file(&weights, &bias, relu, zero, &["y"])).unwrap();
        let operators: Vec<&str> =
            model.plan().unwrap().lines.iter().map(|line| line.operator.as_str()).collect();
        // A rectifier is part of the rounding only if the lowest number is 0.
        assert_eq!(operators.contains(&"QLinearConv"), !relu || zero == 0, "{operators:?}");

        let found = classify(model.as_ref(), &images, 1);
        assert_eq!(found, classify(model.as_ref(), &images, 4), "threads change nothing");
        for (place, found) in found.values::<u8>().unwrap().iter().enumerate() {
            let (row, column) = (place / SIDE % SIDE, place % SIDE);
            let (filter, image) = (place / SIDE / SIDE % FILTERS, place / SIDE / SIDE / FILTERS);
            let mut sum = i64::from(bias[filter]);
            for tap in 0..CHANNELS * KERNEL * KERNEL {
                let (channel, y, x) = (tap / 9, row + tap / 3 % 3, column + tap % 3);
                if (1..=SIDE).contains(&y) && (1..=SIDE).contains(&x) {
                    let pixel = bytes[((image * CHANNELS + channel) * SIDE + y - 1) * SIDE + x - 1];
                    sum += (i64::from(pixel) - 117) * i64::from(weights[filter * CHANNELS * 9 + tap]);
                }
            }
            let real = sum as f64 * 0.05 * 0.01 * (filter + 1) as f64 / 0.2;
            let real = if relu { real.max(0.0) } else { real };
            let expected = (real + f64::from(zero)).clamp(0.0, 255.0);
            // Half a step, and what single precision adds to it.
            assert!(
                (f64::from(*found) - expected).abs() <= 0.5 + 1e-3,
                "{found} at {place}, expected {expected}"
            );
        }
    }
}

#[test]
fn a_sum_that_others_take_stays_a_float() {
    let weights = vec![1_i8; FILTERS * CHANNELS * KERNEL * KERNEL];
    let model = load(file(&weights, &[0; FILTERS], false, 0, &["sum"])).unwrap();
    let lines = &model.plan().unwrap().lines;
    assert!(lines.iter().all(|line| line.operator != "QLinearConv"));
}

/// The definition of the operators rounds the float sum once, and so does the fused form, whose
/// sum is exact. They differ only where the sum is so near the middle of two steps that the
/// rounding of single precision decides.
#[test]
fn the_fused_form_answers_as_the_definition_does() {
    let count = FILTERS * CHANNELS * KERNEL * KERNEL;
    let weights: Vec<i8> = (0..count).map(|place| ((place * 83 % 251) as i16 - 125) as i8).collect();
    let bias: Vec<i32> = (0..FILTERS).map(|filter| filter as i32 * 701 - 1500).collect();
    let bytes: Vec<u8> = (0..2 * CHANNELS * SIDE * SIDE).map(|place| (place * 61 % 253) as u8).collect();
    let images = Tensor::from_vec([2, CHANNELS, SIDE, SIDE], bytes).unwrap();
    for (relu, zero) in [(false, 100), (true, 0)] {
        let fused = load(file(&weights, &bias, relu, zero, &["y"])).unwrap();
        // The float sum is an output too, so the nodes stay as they are.
        let defined = load(file(&weights, &bias, relu, zero, &["y", "sum"])).unwrap();
        assert!(fused.plan().unwrap().lines.iter().any(|line| line.operator == "QLinearConv"));
        assert!(defined.plan().unwrap().lines.iter().all(|line| line.operator != "QLinearConv"));
        let (fused, defined) = (classify(fused.as_ref(), &images, 1), classify(defined.as_ref(), &images, 1));
        let (fused, defined) = (fused.values::<u8>().unwrap(), defined.values::<u8>().unwrap());
        let steps: Vec<u8> = fused.iter().zip(defined).map(|(one, other)| one.abs_diff(*other)).collect();
        assert!(steps.iter().all(|step| *step <= 1), "one step at most");
        let differ = steps.iter().filter(|step| **step > 0).count();
        assert!(differ * 100 <= steps.len(), "{differ} of {} differ", steps.len());
    }
}

/// A product of three rows of seven numbers with a matrix of five columns, which is constant or given.
fn product(operator: &str, left_type: u64, is_constant: bool) -> Vec<u8> {
    let matrix: Vec<u8> = (0..35).map(|number| (number * 53 % 256) as u8).collect();
    let right = initializer("b", UINT8, &[7, 5], &matrix);
    let mut constants = vec![
        initializer("bz", UINT8, &[5], &[0, 255, 128, 3, 90]),
        floats("bs", &[5], &[0.01, 0.02, 0.003, 0.5, 0.07]),
        floats("bias", &[5], &[1.0, -2.0, 0.25, 100.0, 0.0]),
        floats("as", &[], &[0.03]),
        initializer("az", left_type, &[], &[200]),
    ];
    let mut inputs =
        vec![value("a", if operator.starts_with("Dynamic") { FLOAT } else { left_type }, &[3, 7])];
    if is_constant {
        constants.push(right);
    } else {
        inputs.push(value("b", UINT8, &[7, 5]));
    }
    let (domain, names, result): (_, &[&str], _) = match operator {
        "MatMulIntegerToFloat" => ("com.microsoft", &["a", "b", "as", "bs", "az", "bz", "bias"], FLOAT),
        "DynamicQuantizeMatMul" => ("com.microsoft", &["a", "b", "bs", "bz", "bias"], FLOAT),
        _ => ("", &["a", "b", "az", "bz"], INT32),
    };
    let nodes = [node_of(domain, operator, names, &["y"], &[])];
    let graph = graph(&nodes, &inputs, &[value("y", result, &[3, 5])], &constants);
    let mut file = model_with(&graph, &[], 17);
    let mut contributed = Vec::new();
    put_bytes(&mut contributed, 1, b"com.microsoft");
    put_number(&mut contributed, 2, 1);
    put_bytes(&mut file, 8, &contributed);
    file
}

#[test]
fn a_constant_matrix_gives_the_answers_of_one_that_is_given() {
    let bytes: Vec<u8> = (0..21).map(|number| (number * 97 % 256) as u8).collect();
    let given = Tensor::from_vec([7, 5], (0..35).map(|number| (number * 53 % 256) as u8).collect()).unwrap();
    for operator in ["MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"] {
        for left_type in [UINT8, INT8] {
            let left = if operator == "DynamicQuantizeMatMul" {
                let reals = bytes.iter().map(|byte| f32::from(*byte) / 19.0 - 5.0).collect();
                Tensor::from_vec([3, 7], reals).unwrap()
            } else if left_type == UINT8 {
                Tensor::from_vec([3, 7], bytes.clone()).unwrap()
            } else {
                Tensor::from_vec([3, 7], bytes.iter().map(|byte| byte.cast_signed()).collect()).unwrap()
            };
            let packed = runs::run(product(operator, left_type, true), vec![left.clone()]);
            let plain = runs::run(product(operator, left_type, false), vec![left, given.clone()]);
            assert_eq!(packed, plain, "{operator} {left_type}");
        }
    }
}
