//! The answer for an image is the same alone and in a batch, to the last bit, where the images of a batch are so large
//! that a region computes them in groups.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    engine::{LoadedModel, Run},
    operators::{Cancellation, Memory},
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{Attribute, FLOAT, floats, model, node, value},
    runs::load,
};

/// Height and width of the images, and their number: the last group has fewer than the others.
const SIZE: usize = 112;
const IMAGES: usize = 5;

/// Numbers between -1 and 1 that look random.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
    .take(count)
    .collect()
}

/// A network of all kinds of steps: large images first, then small ones, then large ones again.
fn network() -> Vec<u8> {
    let mut nodes = Vec::new();
    let mut constants = Vec::new();
    let mut convolution = |input: &str, output: &str, [outputs, inputs, window]: [usize; 3], stride: i64| {
        let weights = format!("{output}.weights");
        let scale = (3.0 / (inputs * window * window) as f32).sqrt();
        let values: Vec<f32> = numbers(outputs * inputs * window * window, constants.len() as u32 + 1)
            .into_iter()
            .map(|value| value * scale)
            .collect();
        let shape = [outputs as i64, inputs as i64, window as i64, window as i64];
        constants.push(floats(&weights, &shape, &values));
        let (pads, strides) = ([window as i64 / 2; 4], [stride; 2]);
        let group = if inputs == 1 { outputs as i64 } else { 1 };
        let settings = [
            Attribute::Integers("pads", &pads),
            Attribute::Integers("strides", &strides),
            Attribute::Integer("group", group),
        ];
        node("Conv", &[input, &weights], &[output], &settings)
    };
    let plain =
        |operator: &'static str, inputs: &[&str], output: &str| node(operator, inputs, &[output], &[]);
    let pool = [Attribute::Integers("kernel_shape", &[3, 3]), Attribute::Integers("pads", &[1; 4])];
    nodes.push(convolution("x", "c1", [32, 3, 3], 1));
    nodes.push(plain("Relu", &["c1"], "r1"));
    nodes.push(convolution("r1", "c2", [32, 32, 3], 1));
    nodes.push(plain("Relu", &["c2"], "r2"));
    nodes.push(convolution("r2", "c3", [32, 1, 3], 1));
    nodes.push(convolution("c3", "c4", [32, 32, 1], 1));
    nodes.push(plain("Add", &["c4", "r1"], "s1"));
    nodes.push(node("Concat", &["s1", "r2"], &["j1"], &[Attribute::Integer("axis", 1)]));
    nodes.push(convolution("j1", "c5", [32, 64, 1], 1));
    nodes.push(node("MaxPool", &["c5"], &["p1"], &pool));
    nodes.push(plain("GlobalAveragePool", &["p1"], "m1"));
    nodes.push(convolution("m1", "c6", [32, 32, 1], 1));
    nodes.push(plain("Sigmoid", &["c6"], "g1"));
    nodes.push(plain("Mul", &["p1", "g1"], "s2"));
    // A quarter of the pixels.
    nodes.push(convolution("s2", "c7", [32, 32, 3], 2));
    nodes.push(plain("Relu", &["c7"], "r3"));
    for step in 0..8 {
        let input = if step == 0 { "r3".to_owned() } else { format!("r{}", step + 3) };
        let (inner, output) = (format!("c{}", step + 8), format!("r{}", step + 4));
        nodes.push(convolution(&input, &inner, [32, 32, if step % 2 == 0 { 3 } else { 1 }], 1));
        nodes.push(node("Relu", &[&inner], &[&output], &[]));
    }
    nodes.push(plain("Add", &["r11", "r3"], "s3"));
    let settings = [
        Attribute::Text("mode", "nearest"),
        Attribute::Text("coordinate_transformation_mode", "asymmetric"),
        Attribute::Text("nearest_mode", "floor"),
    ];
    nodes.push(node("Resize", &["s3", "", "times"], &["u1"], &settings));
    nodes.push(node("Concat", &["u1", "s2"], &["j2"], &[Attribute::Integer("axis", 1)]));
    for step in 0..6 {
        let inner = if step == 0 { "j2".to_owned() } else { format!("d{}", step - 1) };
        let output = format!("d{step}");
        let inputs = if step == 0 { 64 } else { 32 };
        nodes.push(convolution(&inner, &output, [32, inputs, 3], 1));
    }
    constants.push(floats("times", &[4], &[1.0, 1.0, 2.0, 2.0]));
    let size = SIZE as i64;
    let image = |name: &str, channels: i64, size: i64| value(name, FLOAT, &[-1, channels, size, size]);
    let outputs = [image("d5", 32, size), image("s3", 32, size / 2), image("m1", 32, 1)];
    model(&nodes, &[image("x", 3, size)], &outputs, &constants)
}

fn answers(model: &dyn LoadedModel, images: &[f32], wanted: &[usize], threads: &Threads) -> Vec<Tensor> {
    let shape = vec![images.len() / (3 * SIZE * SIZE), 3, SIZE, SIZE];
    let input = Tensor::from_vec(shape, images.to_vec()).unwrap();
    let (memory, cancellation) = (Memory::new(1 << 30), Cancellation::default());
    let run = Run { threads, budget: &memory, cancellation: &cancellation };
    let found = model.run(vec![Some(Value::Tensor(input))], wanted, run).unwrap();
    assert_eq!(memory.used(), 0, "all memory is given back");
    found.into_iter().map(|value| value.into_tensor().unwrap()).collect()
}

#[test]
fn an_image_is_answered_alike_alone_and_in_groups() {
    let model = load(network()).unwrap();
    let plan = model.plan().unwrap();
    assert_eq!(plan.regions, 1, "{plan}");
    let images = numbers(IMAGES * 3 * SIZE * SIZE, 77);
    let one = 3 * SIZE * SIZE;
    let alone: Vec<Vec<Tensor>> = images
        .chunks_exact(one)
        .map(|image| answers(model.as_ref(), image, &[0, 1, 2], &Threads::new(1)))
        .collect();
    for (count, wanted) in [(IMAGES, &[0, 1, 2][..]), (IMAGES, &[1]), (IMAGES, &[2, 0]), (0, &[0])] {
        for threads in [1, 3] {
            let together = answers(model.as_ref(), &images[..count * one], wanted, &Threads::new(threads));
            for (found, output) in together.iter().zip(wanted) {
                let found = found.values::<f32>().unwrap();
                let expected: Vec<f32> = alone[..count]
                    .iter()
                    .flat_map(|alone| alone[*output].values::<f32>().unwrap().to_vec())
                    .collect();
                assert!(found == expected, "{count} images, output {output}, {threads} threads");
            }
        }
    }
}
