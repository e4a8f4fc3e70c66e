//! Lines, which are images of one row, volumes, which are images one behind the other, and normalizations as one node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    difference::difference,
    engine::{LoadedModel, Run},
    operators::{Attribute as Setting, Attributes, Cancellation, Context, Definition, Input, Memory, find},
    plan::Worker,
    tensor::{ElementType, Tensor, Value, ValueType},
    threads::Threads,
};
use adytum_kernels::{Level, limit};
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

#[test]
fn volumes_are_answered_as_by_our_operator() {
    // Inputs and outputs of a group, groups, window, strides, dilations, pads.
    let cases = [
        ([3, 16], 1, [3, 3, 3], [1, 1, 1], [1, 1, 1], [1, 1, 1, 1, 1, 1]),
        ([20, 5], 1, [1, 2, 3], [1, 2, 1], [1, 1, 1], [0, 0, 1, 0, 1, 1]),
        ([16, 33], 1, [3, 1, 2], [2, 1, 2], [2, 1, 1], [2, 0, 0, 1, 0, 0]),
        ([4, 8], 4, [2, 2, 2], [1, 1, 1], [1, 1, 1], [0, 0, 0, 0, 0, 0]),
    ];
    for (case, ([inputs, outputs], groups, window, strides, dilations, pads)) in cases.into_iter().enumerate()
    {
        let (channels, all) = (inputs * groups, outputs * groups);
        let shape = [all, inputs, window[0], window[1], window[2]];
        let weights = numbers(shape.iter().product(), case + 1);
        let bias = numbers(all, case + 2);
        let list = |values: &[usize]| values.iter().map(|value| *value as i64).collect::<Vec<i64>>();
        let settings = [("strides", list(&strides)), ("dilations", list(&dilations)), ("pads", list(&pads))];
        let mut attributes: Vec<Attribute<'_>> =
            settings.iter().map(|(name, values)| Attribute::Integers(name, values)).collect();
        attributes.push(Attribute::Integer("group", groups as i64));
        let constants = [floats("w", &list(&shape), &weights), floats("b", &[all as i64], &bias)];
        let ports = [value("x", FLOAT, &[2, channels as i64, -1, 7, 6])];
        let nodes = [node("Conv", &["x", "w", "b"], &["y"], &attributes)];
        let file = model(&nodes, &ports, &[value("y", FLOAT, &[2, all as i64, -1, -1, -1])], &constants);
        let own: Attributes = settings
            .into_iter()
            .map(|(name, values)| (name.to_owned(), Setting::Integers(values)))
            .chain([("group".to_owned(), Setting::Integer(groups as i64))])
            .collect();
        let float = ValueType::Tensor(ElementType::Float);
        let given = vec![Some(Input { value_type: &float, constant: None }); 3];
        let definition =
            Definition { operator: "Conv", opset: 17, attributes: &own, inputs: &given, outputs: 1 };
        let operator = find("", "Conv").unwrap()(&definition).unwrap().operator;
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            limit(level);
            let model = load(file.clone()).unwrap();
            for depth in [5, 8] {
                let count = 2 * channels * depth * 42;
                let input = Tensor::from_vec([2, channels, depth, 7, 6], numbers(count, depth)).unwrap();
                let weights = Tensor::from_vec(shape, weights.clone()).unwrap();
                let all = [input.clone(), weights, Tensor::vector(bias.clone())];
                let (memory, cancellation) = (Memory::new(1 << 30), Cancellation::default());
                let all = all.into_iter().map(|tensor| Some(Value::Tensor(tensor))).collect();
                let expected = operator.run(all, &Context::new(&memory, &cancellation)).unwrap();
                let found = answer(model.as_ref(), input);
                let far = difference(&found[0], expected[0].tensor().unwrap()).unwrap();
                assert!(far < 1e-5, "case {case}, {level:?}: {far}");
            }
        }
    }
    limit(Level::Avx512);
}
