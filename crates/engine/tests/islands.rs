//! Islands compute their nodes right: special numbers, large numbers, and groups of
//! nodes that rten's optimizer mistakes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::tensor::Tensor;
use fixture::{
    onnx::{Attribute, FLOAT, INT64, floats, graph, longs, model, model_with, node, value},
    runs::{load, run},
};

/// A model in which the nodes are in an island: a product with the identity matrix comes first.
fn after_product(nodes: &[Vec<u8>], constants: &[Vec<u8>], output: &[i64]) -> Vec<u8> {
    let mut all = vec![node("MatMul", &["x", "identity"], &["a"], &[])];
    all.extend_from_slice(nodes);
    let identity: Vec<f32> = (0..16).map(|index| if index % 5 == 0 { 1.0 } else { 0.0 }).collect();
    let mut initializers = vec![floats("identity", &[4, 4], &identity)];
    initializers.extend_from_slice(constants);
    model(&all, &[value("x", FLOAT, &[-1, 4])], &[value("y", FLOAT, output)], &initializers)
}

fn row(values: [f32; 4]) -> Tensor {
    Tensor::from_vec([1, 4], values.to_vec()).unwrap()
}

/// In one island: the whole model.
fn is_one_island(file: &[u8]) -> bool {
    let model = load(file.to_vec()).unwrap();
    let plan = model.plan().unwrap();
    plan.islands == 1 && plan.lines.iter().all(|line| line.worker.to_string().starts_with("rten"))
}

#[test]
fn nan_goes_through_relu_and_clip() {
    let relu = after_product(&[node("Relu", &["a"], &["y"], &[])], &[], &[-1, 4]);
    assert!(is_one_island(&relu));
    let found = run(relu, vec![row([-1.5, 0.0, 3.0, f32::MAX])]);
    assert_eq!(found, [row([0.0, 0.0, 3.0, f32::MAX])]);
    for (low, high) in [(0.0, 6.0), (-1.0, 1.0)] {
        let clip = after_product(
            &[node("Clip", &["a", "low", "high"], &["y"], &[])],
            &[floats("low", &[], &[low]), floats("high", &[], &[high])],
            &[-1, 4],
        );
        assert!(is_one_island(&clip));
        let found = run(clip.clone(), vec![row([-9.0, 0.5, 9.0, 0.0])]);
        let near = found[0].values::<f32>().unwrap().iter().zip([low, 0.5, high, 0.0_f32.max(low)]);
        for (found, expected) in near {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let found = run(clip, vec![row([f32::NAN; 4])]);
        assert!(found[0].values::<f32>().unwrap().iter().all(|value| value.is_nan()));
    }
    let relu = after_product(&[node("Relu", &["a"], &["y"], &[])], &[], &[-1, 4]);
    let found = run(relu, vec![row([f32::NAN; 4])]);
    assert!(found[0].values::<f32>().unwrap().iter().all(|value| value.is_nan()));
    // Infinities: through an operator that keeps them.
    let relu =
        after_product(&[node("Log", &["a"], &["b"], &[]), node("Relu", &["b"], &["y"], &[])], &[], &[-1, 4]);
    let found = run(relu, vec![row([0.0, 1.0, 0.5, std::f32::consts::E])]);
    assert_eq!(found[0].values::<f32>().unwrap()[..3], [0.0, 0.0, 0.0]);
}

#[test]
fn numbers_beyond_32_bits_are_exact() {
    let file = model(
        &[node("Mul", &["x", "big"], &["a"], &[]), node("Add", &["a", "x"], &["y"], &[])],
        &[value("x", INT64, &[-1])],
        &[value("y", INT64, &[-1])],
        &[longs("big", &[1], &[1 << 40])],
    );
    let found = run(file, vec![Tensor::vector(vec![3_i64, -5])]);
    assert_eq!(found, [Tensor::vector(vec![(3_i64 << 40) + 3, (-5 * (1_i64 << 40)) - 5])]);
}

#[test]
fn a_number_of_higher_rank_keeps_its_dimensions() {
    // rten would take `a + [[[0]]]` for `a`.
    let file = after_product(
        &[node("Add", &["a", "zero"], &["y"], &[])],
        &[floats("zero", &[1, 1, 1], &[0.0])],
        &[1, -1, 4],
    );
    assert_eq!(run(file, vec![row([1.0, 2.0, 3.0, 4.0])])[0].shape(), [1, 1, 4]);
}

#[test]
fn repetitions_of_the_whole_are_no_repetitions_of_each() {
    // [1, 4] -> [1, 1, 4] -> [1, 2, 4] -> [1, 8]: the row twice, not each number twice.
    let file = after_product(
        &[
            node("Unsqueeze", &["a", "one"], &["b"], &[]),
            node("Expand", &["b", "twice"], &["c"], &[]),
            node("Reshape", &["c", "flat"], &["y"], &[]),
        ],
        &[longs("one", &[1], &[1]), longs("twice", &[3], &[1, 2, 4]), longs("flat", &[2], &[1, 8])],
        &[1, 8],
    );
    let mut fixed = file.clone();
    let found = run(std::mem::take(&mut fixed), vec![row([1.0, 2.0, 3.0, 4.0])]);
    assert_eq!(found[0].values::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_scale_of_a_column_is_no_scale_of_a_normalisation() {
    let normal = [
        node("ReduceMean", &["a"], &["mean"], &[Attribute::Integers("axes", &[-1])]),
        node("Sub", &["a", "mean"], &["centred"], &[]),
        node("Pow", &["centred", "two"], &["squared"], &[]),
        node("ReduceMean", &["squared"], &["variance"], &[Attribute::Integers("axes", &[-1])]),
        node("Add", &["variance", "epsilon"], &["safe"], &[]),
        node("Sqrt", &["safe"], &["deviation"], &[]),
        node("Div", &["centred", "deviation"], &["normal"], &[]),
        node("Mul", &["normal", "scale"], &["scaled"], &[]),
        node("Add", &["scaled", "bias"], &["y"], &[]),
    ];
    for (shape, scale) in [(vec![4], vec![1.0, 2.0, 3.0, 4.0]), (vec![2, 1], vec![1.0, 10.0])] {
        let file = after_product(
            &normal,
            &[
                floats("two", &[], &[2.0]),
                floats("epsilon", &[], &[0.0]),
                floats("scale", &shape, &scale),
                floats("bias", &[], &[0.5]),
            ],
            &[-1, 4],
        );
        let input = Tensor::from_vec([2, 4], vec![1.0_f32, -1.0, 1.0, -1.0, 2.0, -2.0, 2.0, -2.0]).unwrap();
        let found = run(file, vec![input]);
        for (index, found) in found[0].values::<f32>().unwrap().iter().enumerate() {
            let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
            let scale = if shape.len() == 1 { scale[index % 4] } else { scale[index / 4] };
            assert!((found - (sign * scale + 0.5)).abs() < 1e-5, "{index}: {found}");
        }
    }
}

#[test]
fn shape_arithmetic_stays_in_the_island() {
    let file = model_with(
        &graph(
            &[
                node("Shape", &["x"], &["shape"], &[]),
                node("Gather", &["shape", "zero"], &["batch"], &[]),
                node("Unsqueeze", &["batch", "axis"], &["batches"], &[]),
                node("Concat", &["batches", "heads"], &["target"], &[Attribute::Integer("axis", 0)]),
                node("MatMul", &["x", "w"], &["a"], &[]),
                node("Reshape", &["a", "target"], &["y"], &[]),
            ],
            &[value("x", FLOAT, &[-1, 4])],
            &[value("y", FLOAT, &[-1, 2, 2])],
            &[
                longs("zero", &[], &[0]),
                longs("axis", &[1], &[0]),
                longs("heads", &[2], &[2, 2]),
                floats("w", &[4, 4], &[1.0; 16]),
            ],
        ),
        &[],
        17,
    );
    assert!(is_one_island(&file));
    let found = run(file, vec![Tensor::from_vec([3, 4], vec![1.0_f32; 12]).unwrap()]);
    assert_eq!(found[0].shape(), [3, 2, 2]);
    assert_eq!(found[0].values::<f32>().unwrap(), [4.0; 12]);
}

/// The bound of a clip goes into the weights of the convolutions that follow, unless others take
/// the clip's value, too. Eleven groups of two channels, which a region does not have.
#[test]
fn a_clip_before_a_convolution_keeps_its_bound() {
    const CHANNELS: usize = 22;
    let given = [-3.0_f32, 0.5, 4.0, 7.0, 12.0, f32::MAX];
    for taken_elsewhere in [false, true] {
        let groups = [Attribute::Integer("group", 11)];
        let nodes = [
            node("Conv", &["x", "one"], &["a"], &groups),
            node("Clip", &["a", "low", "high"], &["b"], &[]),
            node("Conv", &["b", "two"], &["y"], &groups),
            node("Conv", &["b", "three"], &["z"], &groups),
        ];
        let output = |name: &str| value(name, FLOAT, &[1, 22, 6]);
        let mut outputs = vec![output("y"), output("z")];
        if taken_elsewhere {
            outputs.push(output("b"));
        }
        // Each channel by itself.
        let weights = |name: &str, factor: f32| {
            let numbers: Vec<f32> = (0..2 * CHANNELS)
                .map(|place| if place / 2 % 2 == place % 2 { factor } else { 0.0 })
                .collect();
            floats(name, &[22, 2, 1], &numbers)
        };
        let constants = [
            weights("one", 1.0),
            weights("two", 2.0),
            weights("three", 3.0),
            floats("low", &[], &[0.0]),
            floats("high", &[], &[6.0]),
        ];
        let graph = graph(&nodes, &[output("x")], &outputs, &constants);
        let file = model_with(&graph, &[], 17);
        assert!(is_one_island(&file));
        let found = run(file, vec![Tensor::from_vec([1, CHANNELS, 6], given.repeat(CHANNELS)).unwrap()]);
        for (found, factor) in found.iter().zip([2.0, 3.0, 1.0]) {
            let expected = given.map(|value| value.clamp(0.0, 6.0) * factor).repeat(CHANNELS);
            for (found, expected) in found.values::<f32>().unwrap().iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} {expected}");
            }
        }
    }
}
