//! Forms of exporters that the plan sees through: a token that is expanded to the batch, a normalization of columns, the
//! masks of shifted windows, and a gate that is expanded to the size of an image.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    difference::difference,
    engine::Run,
    operators::{Cancellation, Memory},
    plan::Worker,
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{Attribute, FLOAT, floats, graph, longs, model, model_with, node, value},
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

#[test]
fn masks_of_shifted_windows_go_into_the_attention() {
    let list = |name: &'static str, values: &'static [i64]| Attribute::Integers(name, values);
    let axis = |axis: i64| Attribute::Integer("axis", axis);
    let nodes = [
        node("MatMul", &["x", "w"], &["all"], &[]),
        node("Reshape", &["all", "parts"], &["apart"], &[]),
        node("Transpose", &["apart"], &["turned"], &[list("perm", &[2, 0, 3, 1, 4])]),
        node("Gather", &["turned", "zero"], &["query"], &[axis(0)]),
        node("Gather", &["turned", "one"], &["key"], &[axis(0)]),
        node("Gather", &["turned", "two"], &["value"], &[axis(0)]),
        node("Mul", &["query", "scale"], &["scaled"], &[]),
        node("Transpose", &["key"], &["columns"], &[list("perm", &[0, 1, 3, 2])]),
        node("MatMul", &["scaled", "columns"], &["scores"], &[]),
        node("Add", &["scores", "bias"], &["biased"], &[]),
        node("Reshape", &["biased", "of_images"], &["windows"], &[]),
        node("Add", &["windows", "mask"], &["masked"], &[]),
        node("Reshape", &["masked", "of_windows"], &["flat"], &[]),
        node("Softmax", &["flat"], &["weights"], &[axis(-1)]),
        node("MatMul", &["weights", "value"], &["result"], &[]),
        node("Transpose", &["result"], &["rows"], &[list("perm", &[0, 2, 1, 3])]),
        node("Reshape", &["rows", "joined"], &["y"], &[]),
    ];
    let numbers = |count: usize, step: usize| -> Vec<f32> {
        (0..count).map(|place| (place * step % 97) as f32 / 48.0 - 1.0).collect()
    };
    let mask = numbers(144, 31).into_iter().map(|number| if number < -0.5 { -100.0 } else { 0.0 });
    let constants = [
        longs("zero", &[], &[0]),
        longs("one", &[], &[1]),
        longs("two", &[], &[2]),
        longs("parts", &[5], &[4, 6, 3, 2, 8]),
        longs("of_images", &[5], &[1, 4, 2, 6, 6]),
        longs("of_windows", &[4], &[-1, 2, 6, 6]),
        longs("joined", &[3], &[4, 6, 16]),
        floats("w", &[16, 48], &numbers(768, 11)),
        floats("scale", &[], &[0.3]),
        floats("bias", &[1, 2, 6, 6], &numbers(72, 13)),
        floats("mask", &[1, 4, 1, 6, 6], &mask.collect::<Vec<f32>>()),
    ];
    let ports = [value("x", FLOAT, &[4, 6, 16])];
    let outputs = [value("y", FLOAT, &[4, 6, 16]), value("weights", FLOAT, &[4, 2, 6, 6])];
    // Where the weights are an output, the nodes stay as they are.
    let found = [1, 2].map(|count| {
        let model = load(model(&nodes, &ports, &outputs[..count], &constants)).unwrap();
        let plan = model.plan().unwrap();
        let attentions = plan.fusions.iter().filter(|fusion| fusion.starts_with("attention")).count();
        assert_eq!(attentions, 2 - count, "{plan}");
        let (threads, memory, cancellation) =
            (Threads::new(1), Memory::new(1 << 30), Cancellation::default());
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        let input = Tensor::from_vec([4, 6, 16], numbers(384, 17)).unwrap();
        model.run(vec![Some(Value::Tensor(input))], &[0], run).unwrap().remove(0).into_tensor().unwrap()
    });
    assert!(difference(&found[0], &found[1]).unwrap() < 1e-6);
}

#[test]
fn a_gate_that_is_expanded_to_its_image_stays_in_the_region() {
    let nodes = [
        node("Conv", &["x", "w"], &["c"], &[]),
        node("GlobalAveragePool", &["c"], &["mean"], &[]),
        node("Sigmoid", &["mean"], &["gate"], &[]),
        node("Shape", &["c"], &["shape"], &[]),
        node("Expand", &["gate", "shape"], &["gates"], &[]),
        node("Mul", &["c", "gates"], &["y"], &[]),
        node("Add", &["gates", "gates"], &["twice"], &[]),
    ];
    let weights: Vec<f32> = (0..12).map(|place| place as f32 / 8.0 - 0.5).collect();
    let constants = [floats("w", &[4, 3, 1, 1], &weights)];
    let port = |name: &str, channels: i64| value(name, FLOAT, &[-1, channels, 5, 4]);
    let outputs = [port("y", 4), port("twice", 4)];
    let input: Vec<f32> = (0..120).map(|place| (place * 7 % 23) as f32 / 11.0 - 1.0).collect();
    // The gates are still there for another node that takes them.
    let found = [1, 2].map(|count| {
        let file = model(&nodes[..5 + count], &[port("x", 3)], &outputs[..count], &constants);
        let model = load(file).unwrap();
        let plan = model.plan().unwrap();
        let is_in_region = |operator: &str| {
            plan.lines
                .iter()
                .any(|line| line.operator == operator && matches!(line.worker, Worker::Region(_)))
        };
        assert!(is_in_region("Mul") && is_in_region("Sigmoid"), "{plan}");
        let (threads, memory, cancellation) =
            (Threads::new(1), Memory::new(1 << 30), Cancellation::default());
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        let input = Value::Tensor(Tensor::from_vec([2, 3, 5, 4], input.clone()).unwrap());
        let wanted: Vec<usize> = (0..count).collect();
        model.run(vec![Some(input)], &wanted, run).unwrap()
    });
    assert_eq!(found[0][0].tensor(), found[1][0].tensor());
    let [y, twice] = [0, 1].map(|index| found[1][index].tensor().unwrap().values::<f32>().unwrap().to_vec());
    for (place, (y, twice)) in y.iter().zip(&twice).enumerate() {
        let (image, channel, pixel) = (place / 80, place / 20 % 4, place % 20);
        let at = |from: usize| input[(image * 3 + from) * 20 + pixel] * weights[channel * 3 + from];
        let c = at(0) + at(1) + at(2);
        assert!((y - c * twice / 2.0).abs() < 1e-5, "{y} {c} {twice}");
    }
}

#[test]
fn resizing_with_all_of_its_attributes_stays_in_the_region() {
    // The exporters of today write them all.
    let nodes = [
        node("Conv", &["x", "w"], &["c"], &[]),
        node(
            "Resize",
            &["c", "", "scales"],
            &["wide"],
            &[
                Attribute::Text("keep_aspect_ratio_policy", "stretch"),
                Attribute::Integer("antialias", 0),
                Attribute::Integer("exclude_outside", 0),
                Attribute::Float("extrapolation_value", 0.0),
                Attribute::Float("cubic_coeff_a", -0.75),
                Attribute::Text("mode", "nearest"),
                Attribute::Text("nearest_mode", "floor"),
                Attribute::Text("coordinate_transformation_mode", "asymmetric"),
            ],
        ),
        node("Reshape", &["wide", "shape"], &["same"], &[]),
        node("Conv", &["same", "w"], &["y"], &[]),
    ];
    let constants = [
        longs("shape", &[4], &[0, 3, 8, -1]),
        floats("w", &[3, 3, 1, 1], &[1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0]),
        floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]),
    ];
    let ports = [value("x", FLOAT, &[-1, 3, 4, 4])];
    let outputs = [value("y", FLOAT, &[-1, 3, 8, 8])];
    let whole = graph(&nodes, &ports, &outputs, &constants);
    let model = load(model_with(&whole, &[], 18)).unwrap();
    let plan = model.plan().unwrap();
    assert_eq!(plan.regions, 1, "{plan}");
    assert!(plan.lines.iter().all(|line| matches!(line.worker, Worker::Region(_))), "{plan}");
}

#[test]
fn weights_that_the_graph_standardises_are_weights() {
    const CHANNELS: usize = 384;
    let size = CHANNELS as i64;
    let (mut nodes, mut constants) = (Vec::new(), Vec::new());
    let mut image = "x".to_owned();
    for layer in 0..3 {
        let name = |what: &str| format!("{what}{layer}");
        let [weights, scale, rows, mean, rest, some] =
            ["weights", "scale", "rows", "mean", "rest", "some"].map(name);
        let [normal, filters, next] = ["normal", "filters", "next"].map(name);
        nodes.extend([
            node("Reshape", &[&weights, "as_rows"], &[&rows], &[]),
            node("ReduceMean", &[&rows], &[&mean], &[Attribute::Integers("axes", &[2])]),
            node("Sub", &[&rows, &mean], &[&rest], &[]),
            node("Mul", &[&rest, "one"], &[&some], &[]),
            node(
                "BatchNormalization",
                &[&some, &scale, "zeros", "zeros", "ones"],
                &[&normal, &name("new_mean"), &name("new_variance")],
                &[Attribute::Integer("training_mode", 1)],
            ),
            node("Reshape", &[&normal, "as_filters"], &[&filters], &[]),
            node("Conv", &[&image, &filters], &[&next], &[]),
        ]);
        let numbers: Vec<f32> =
            (0..CHANNELS * CHANNELS).map(|place| ((place * 31 + layer) % 101) as f32 / 50.0 - 1.0).collect();
        constants.push(floats(&weights, &[size, size, 1, 1], &numbers));
        constants.push(floats(&scale, &[size], &[0.05; CHANNELS]));
        image = next;
    }
    constants.extend([
        floats("one", &[], &[1.0]),
        floats("zeros", &[size], &[0.0; CHANNELS]),
        floats("ones", &[size], &[1.0; CHANNELS]),
        longs("as_rows", &[3], &[1, size, -1]),
        longs("as_filters", &[4], &[size, size, 1, 1]),
    ]);
    let port = |name: &str| value(name, FLOAT, &[-1, size, 2, 2]);
    let model = load(model(&nodes, &[port("x")], &[port(&image)], &constants)).unwrap();
    let plan = model.plan().unwrap();
    let runs: Vec<&Worker> =
        plan.lines.iter().map(|line| &line.worker).filter(|worker| **worker != Worker::Folded).collect();
    assert_eq!(runs, [&Worker::Region(0); 3], "{plan}");
}

/// An average of windows with `ceil_mode`, as ResNet-D has it.
#[test]
fn the_size_of_a_rounded_up_average_is_known_where_no_window_is_left_out() {
    for (window, pads, expected) in
        [(2, [0; 4], "float[input0[0],8,3,3]"), (3, [1; 4], "float[input0[0],8,3,3]"), (1, [1; 4], "?")]
    {
        let settings = [
            Attribute::Integers("kernel_shape", &[window, window]),
            Attribute::Integers("strides", &[2, 2]),
            Attribute::Integers("pads", &pads),
            Attribute::Integer("ceil_mode", 1),
        ];
        let nodes = [
            node("Conv", &["x", "w"], &["a"], &[]),
            node("AveragePool", &["a"], &["b"], &settings),
            node("Conv", &["b", "w"], &["y"], &[]),
        ];
        let weights: Vec<f32> = (0..64).map(|place| (place * 7 % 13) as f32 / 8.0).collect();
        let file = model(
            &nodes,
            &[value("x", FLOAT, &[-1, 8, 5, 5])],
            &[value("y", FLOAT, &[-1, 8, -1, -1])],
            &[floats("w", &[8, 8, 1, 1], &weights)],
        );
        let text = load(file).unwrap().plan().unwrap().to_string();
        let line = text.lines().find(|line| line.contains("AveragePool")).unwrap();
        assert!(line.contains(expected), "{line}");
    }
}
