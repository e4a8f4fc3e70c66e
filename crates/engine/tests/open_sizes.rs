//! What exporters write around products leaves the fusions as they are: a token that is expanded to the batch, and a
//! normalization of the columns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    engine::Run,
    operators::{Cancellation, Memory},
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{Attribute, FLOAT, floats, longs, model, node, value},
    runs::load,
};

#[test]
fn a_token_for_each_entry_of_the_batch_has_a_known_shape() {
    // `token.expand(batch, -1, -1)`: -1 stands for the size that is there.
    let nodes = [
        node("Shape", &["x"], &["shape"], &[]),
        node("Gather", &["shape", "zero"], &["batch"], &[Attribute::Integer("axis", 0)]),
        node("Unsqueeze", &["batch", "first"], &["batches"], &[]),
        node("Concat", &["batches", "same", "same"], &["wanted"], &[Attribute::Integer("axis", 0)]),
        node("Equal", &["wanted", "all_same"], &["is_same"], &[]),
        node("Where", &["is_same", "ones", "wanted"], &["target"], &[]),
        node("Expand", &["token", "target"], &["tokens"], &[]),
        node("Concat", &["tokens", "x"], &["rows"], &[Attribute::Integer("axis", 1)]),
        node("LayerNormalization", &["rows", "scale", "bias"], &["normal"], &[]),
        node("MatMul", &["normal", "w"], &["product"], &[]),
        node("Add", &["product", "b"], &["sum"], &[]),
        node("Add", &["rows", "sum"], &["y"], &[]),
    ];
    let numbers = |count: usize, step: usize| -> Vec<f32> {
        (0..count).map(|place| (place * step % 17) as f32 / 8.0 - 1.0).collect()
    };
    let (token, scale, bias) = (numbers(32, 3), numbers(32, 5), numbers(32, 7));
    let constants = [
        longs("zero", &[], &[0]),
        longs("first", &[1], &[0]),
        longs("same", &[1], &[-1]),
        longs("all_same", &[3], &[-1; 3]),
        longs("ones", &[3], &[1; 3]),
        floats("token", &[1, 1, 32], &token),
        floats("scale", &[32], &scale),
        floats("bias", &[32], &bias),
        floats("w", &[32, 32], &numbers(1024, 11)),
        floats("b", &[32], &bias),
    ];
    let port = |name: &str, rows: i64| value(name, FLOAT, &[-1, rows, 32]);
    let model = load(model(&nodes, &[port("x", 5)], &[port("y", 6)], &constants)).unwrap();
    let plan = model.plan().unwrap();
    let text = plan.to_string();
    assert!(text.contains("float[input0[0],6,32]"), "{text}");
    assert_eq!(plan.fusions, ["layer normalization of rows of 32", "product with 32 by 32, sum"], "{text}");
    let (threads, memory, cancellation) = (Threads::new(1), Memory::new(1 << 30), Cancellation::default());
    for batch in [1, 3] {
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        let input = Tensor::from_vec([batch, 5, 32], numbers(batch * 160, 13)).unwrap();
        let found = model.run(vec![Some(Value::Tensor(input))], &[0], run).unwrap();
        let found = found[0].tensor().unwrap();
        assert_eq!(found.shape(), [batch, 6, 32]);
        // The token is the first row of each entry.
        let values = found.values::<f32>().unwrap();
        assert!(values.chunks_exact(192).all(|entry| entry[..32] == values[..32]));
    }
}

#[test]
fn a_normalization_of_columns_goes_into_the_product() {
    let nodes = [
        node("Gemm", &["x", "w", "b"], &["product"], &[]),
        node(
            "BatchNormalization",
            &["product", "scale", "bias", "mean", "variance"],
            &["normal"],
            &[Attribute::Float("epsilon", 0.01)],
        ),
        node("Relu", &["normal"], &["y"], &[]),
        node("Sub", &["product", "mean"], &["centred"], &[]),
    ];
    let numbers = |count: usize, step: usize| -> Vec<f32> {
        (0..count).map(|place| (place * step % 17) as f32 / 8.0 - 1.0).collect()
    };
    let variance: Vec<f32> = numbers(40, 5).iter().map(|number| number + 1.5).collect();
    let columns = [("b", 2), ("scale", 3), ("bias", 4), ("mean", 6)];
    let mut constants: Vec<Vec<u8>> =
        columns.iter().map(|(name, step)| floats(name, &[40], &numbers(40, *step))).collect();
    constants.extend([floats("w", &[32, 40], &numbers(1280, 11)), floats("variance", &[40], &variance)]);
    let port = |name: &str, columns: i64| value(name, FLOAT, &[-1, columns]);
    // Where the product itself is taken, too, nothing goes into it.
    for (count, is_fused) in [(3, true), (4, false)] {
        let outputs = [port("y", 40), port("centred", 40)];
        let file = model(&nodes[..count], &[port("x", 32)], &outputs[..count - 2], &constants);
        let model = load(file).unwrap();
        let plan = model.plan().unwrap();
        assert_eq!(plan.fusions.contains(&"product with 32 by 40, relu".to_owned()), is_fused, "{plan}");
        let (threads, memory, cancellation) =
            (Threads::new(1), Memory::new(1 << 30), Cancellation::default());
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        let rows = numbers(96, 13);
        let input = Tensor::from_vec([3, 32], rows.clone()).unwrap();
        let found = model.run(vec![Some(Value::Tensor(input))], &[0], run).unwrap();
        let found = found[0].tensor().unwrap().values::<f32>().unwrap().to_vec();
        let [bias, scale, summand, mean] = [2, 3, 4, 6].map(|step| numbers(40, step));
        let weights = numbers(1280, 11);
        for (place, found) in found.iter().enumerate() {
            let (row, column) = (place / 40, place % 40);
            let sum: f64 = (0..32)
                .map(|step| f64::from(rows[row * 32 + step]) * f64::from(weights[step * 40 + column]))
                .sum::<f64>()
                + f64::from(bias[column]);
            let root = (f64::from(variance[column]) + 0.01).sqrt();
            let normal = (sum - f64::from(mean[column])) / root * f64::from(scale[column])
                + f64::from(summand[column]);
            assert!((f64::from(*found) - normal.max(0.0)).abs() < 1e-4, "{found} {normal}");
        }
    }
}
