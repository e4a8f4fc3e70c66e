//! Lines, which are images of one row, and normalizations as one node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    difference::difference,
    engine::{LoadedModel, Run},
    operators::{Cancellation, Memory},
    plan::Worker,
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{Attribute, FLOAT, floats, graph, longs, model, model_with, node, value},
    runs::load,
};

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|place| ((place * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn answer(model: &dyn LoadedModel, input: Tensor) -> Vec<Tensor> {
    let (threads, memory, cancellation) = (Threads::new(2), Memory::new(1 << 30), Cancellation::default());
    let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
    let outputs: Vec<usize> = (0..model.signature().outputs.len()).collect();
    let found = model.run(vec![Some(Value::Tensor(input))], &outputs, run).unwrap();
    found.into_iter().map(|value| value.into_tensor().unwrap()).collect()
}

/// A network of lines, or of images of one row.
fn network(of_lines: bool) -> Vec<u8> {
    let shape = |sizes: &[i64]| -> Vec<i64> {
        let mut sizes = sizes.to_vec();
        if !of_lines {
            sizes.insert(sizes.len() - 1, 1);
        }
        sizes
    };
    let one = |size: i64| if of_lines { vec![size] } else { vec![1, size] };
    let two = |before: i64, after: i64| {
        if of_lines { vec![before, after] } else { vec![0, before, 0, after] }
    };
    let (stride, dilation, window) = (one(2), one(2), one(3));
    let (pads, few, none) = (two(2, 1), two(1, 1), two(0, 0));
    let around = if of_lines { vec![0, 0, 3, 0, 0, 1] } else { vec![0, 0, 0, 3, 0, 0, 0, 1] };
    let rows = if of_lines { vec![2] } else { vec![2, 3] };
    let nodes = [
        node(
            "Conv",
            &["x", "w", "b"],
            &["first"],
            &[Attribute::Integers("strides", &stride), Attribute::Integers("pads", &pads)],
        ),
        node("BatchNormalization", &["first", "b", "b", "b", "v"], &["normal"], &[]),
        node("Relu", &["normal"], &["relu"], &[]),
        node("Pad", &["relu", "around"], &["padded"], &[Attribute::Text("mode", "reflect")]),
        node(
            "Conv",
            &["padded", "grouped"],
            &["second"],
            &[Attribute::Integer("group", 4), Attribute::Integers("dilations", &dilation)],
        ),
        node("Add", &["second", "relu"], &["sum"], &[]),
        node(
            "MaxPool",
            &["sum"],
            &["pool"],
            &[
                Attribute::Integers("kernel_shape", &window),
                Attribute::Integers("strides", &stride),
                Attribute::Integers("pads", &few),
            ],
        ),
        node("Mul", &["pool", "scale"], &["scaled"], &[]),
        node(
            "ConvTranspose",
            &["scaled", "t"],
            &["wide"],
            &[Attribute::Integers("strides", &stride), Attribute::Integers("pads", &none)],
        ),
        node("InstanceNormalization", &["wide", "b", "b"], &["instance"], &[]),
        node("Slice", &["instance", "from", "to", "axis"], &["part"], &[]),
        node(
            "Concat",
            &["part", "wide"],
            &["joined"],
            &[Attribute::Integer("axis", if of_lines { -2 } else { -3 })],
        ),
        node("ReduceMean", &["joined"], &["mean"], &[Attribute::Integers("axes", &rows)]),
        node("Mul", &["joined", "mean"], &["y"], &[]),
    ];
    let constants = [
        floats("w", &shape(&[20, 3, 4]), &numbers(240, 1)),
        floats("b", &[20], &numbers(20, 2)),
        floats("v", &[20], &[1.5; 20]),
        floats("grouped", &shape(&[20, 5, 3]), &numbers(300, 3)),
        floats("scale", &shape(&[20, 1]), &numbers(20, 4)),
        floats("t", &shape(&[20, 20, 4]), &numbers(1600, 5)),
        longs("around", &[around.len() as i64], &around),
        longs("from", &[1], &[-7]),
        longs("to", &[1], &[i64::MAX]),
        longs("axis", &[1], &[1]),
    ];
    let ports = [value("x", FLOAT, &shape(&[2, 3, -1]))];
    model(&nodes, &ports, &[value("y", FLOAT, &shape(&[2, 27, -1]))], &constants)
}

#[test]
fn lines_are_images_of_one_row() {
    let models = [true, false].map(|of_lines| load(network(of_lines)).unwrap());
    for model in &models {
        let plan = model.plan().unwrap();
        assert_eq!(plan.regions, 1, "{plan}");
        assert!(plan.lines.iter().all(|line| matches!(line.worker, Worker::Region(_))), "{plan}");
    }
    for (batch, length) in [(2, 20), (2, 37), (2, 64)] {
        let values = numbers(batch * 3 * length, length);
        let lines = Tensor::from_vec([batch, 3, length], values.clone()).unwrap();
        let images = Tensor::from_vec([batch, 3, 1, length], values).unwrap();
        let (lines, images) = (answer(models[0].as_ref(), lines), answer(models[1].as_ref(), images));
        let [batch, channels, 1, length] = *images[0].shape() else { panic!("{:?}", images[0].shape()) };
        assert_eq!(lines[0].shape(), [batch, channels, length]);
        assert_eq!(lines[0].values::<f32>(), images[0].values::<f32>());
    }
    let wrong = Tensor::from_vec([2, 3, 1, 20], numbers(120, 1)).unwrap();
    let (threads, memory, cancellation) = (Threads::new(1), Memory::new(1 << 30), Cancellation::default());
    let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
    assert!(models[0].run(vec![Some(Value::Tensor(wrong))], &[0], run).is_err());
}

#[test]
fn a_normalization_in_groups_is_the_nodes_that_it_stands_for() {
    for (opset, groups, count) in [(18, 4, 4), (21, 4, 24), (21, 24, 24), (21, 1, 24)] {
        let convolution = node("Conv", &["x", "w"], &["c"], &[]);
        let nodes = [
            convolution.clone(),
            node(
                "GroupNormalization",
                &["c", "s", "b"],
                &["y"],
                &[Attribute::Integer("num_groups", groups), Attribute::Float("epsilon", 0.02)],
            ),
            node("Reshape", &["c", "rows"], &["r"], &[]),
            node(
                "InstanceNormalization",
                &["r", "ones", "zeros"],
                &["n"],
                &[Attribute::Float("epsilon", 0.02)],
            ),
            node("Reshape", &["n", "all"], &["a"], &[]),
            node("Mul", &["a", "each"], &["m"], &[]),
            node("Add", &["m", "more"], &["z"], &[]),
        ];
        let (scale, bias) = (numbers(count, 5), numbers(count, 6));
        let each = |numbers: &[f32]| -> Vec<f32> {
            numbers.iter().flat_map(|number| std::iter::repeat_n(*number, 24 / count)).collect()
        };
        let ones = vec![1.0; groups as usize];
        let constants = [
            floats("w", &[24, 2, 1, 1], &numbers(48, 4)),
            floats("s", &[count as i64], &scale),
            floats("b", &[count as i64], &bias),
            floats("each", &[24, 1, 1], &each(&scale)),
            floats("more", &[24, 1, 1], &each(&bias)),
            floats("ones", &[groups], &ones),
            floats("zeros", &[groups], &vec![0.0; groups as usize]),
            longs("rows", &[3], &[0, groups, -1]),
            longs("all", &[4], &[-1, 24, 5, 6]),
        ];
        let port = |name: &str| value(name, FLOAT, &[-1, 24, 5, 6]);
        let whole = graph(&nodes, &[value("x", FLOAT, &[-1, 2, 5, 6])], &[port("y"), port("z")], &constants);
        let model = load(model_with(&whole, &[], opset)).unwrap();
        let plan = model.plan().unwrap();
        let own = plan.lines.iter().filter(|line| !matches!(line.worker, Worker::Region(0))).count();
        assert_eq!(own, 0, "{plan}");
        let steps = plan.steps[0].iter().filter(|step| step.contains("normalization")).count();
        assert_eq!(steps, 2, "{plan}");
        let input = Tensor::from_vec([2, 2, 5, 6], numbers(120, 7)).unwrap();
        let found = answer(model.as_ref(), input);
        assert!(difference(&found[0], &found[1]).unwrap() < 1e-6, "opset {opset}, {groups} groups");
    }
}
