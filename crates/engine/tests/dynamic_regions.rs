//! Convolutions of bytes whose scale follows from the numbers of a run, as ONNX Runtime's `quantize_dynamic`
//! writes them, answer as our own operators do, node by node, bit for bit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use std::collections::HashMap;

use adytum_engine::{operators::Attribute as Setting, plan::Worker, tensor::Tensor, threads::Threads};
use adytum_kernels::{Level, limit};
use fixture::{
    graphs::{Built, INT8, Random, UINT8, add_constant, add_node, answers, by_operators, encoded, list},
    onnx::{FLOAT, INT32, graph, model_with, value},
    runs::load,
};

/// A random graph of real images.
#[derive(Default)]
struct Graph {
    nodes: Vec<Built>,
    constants: Vec<(String, Tensor)>,
    /// Values, with their channels and sizes.
    values: Vec<(String, [usize; 3])>,
    /// Values that were made bytes already: the bytes, their scale and their zero point.
    quantised: HashMap<String, [String; 3]>,
    convolutions: usize,
}

impl Graph {
    fn constant(&mut self, tensor: Tensor) -> String {
        add_constant(&mut self.constants, tensor)
    }

    fn add(
        &mut self,
        operator: &'static str,
        inputs: Vec<String>,
        settings: Vec<(&'static str, Setting)>,
    ) -> String {
        add_node(&mut self.nodes, operator, inputs, settings)
    }

    fn pick(&self, random: &mut Random) -> (String, [usize; 3]) {
        self.values[random.below(self.values.len())].clone()
    }

    /// The bytes of a value, their scale and their zero point.
    fn bytes(&mut self, value: &str) -> [String; 3] {
        if let Some(known) = self.quantised.get(value) {
            return known.clone();
        }
        let outputs = ["q", "s", "z"].map(|kind| format!("{kind}{}", self.nodes.len()));
        let (inputs, settings) = (vec![value.to_owned()], Vec::new());
        let operator = "DynamicQuantizeLinear";
        self.nodes.push(Built { domain: "", operator, inputs, outputs: outputs.to_vec(), settings });
        self.quantised.insert(value.to_owned(), outputs.clone());
        outputs
    }

    fn convolution(&mut self, random: &mut Random) {
        let (from, [channels, height, width]) = self.pick(random);
        let groups = match random.below(4) {
            0 => channels,
            1 if channels.is_multiple_of(32) => random.one(&[2, 4, 8]),
            _ => 1,
        };
        let outputs = if groups == 1 { random.one(&[1, 3, 8, 16, 20, 32, 48]) } else { channels };
        let kernel = [random.below(4) + 1, random.below(4) + 1];
        let (strides, dilations) = ([random.below(3) + 1, random.below(2) + 1], [random.below(2) + 1, 1]);
        let pads = [random.below(3), random.below(3), random.below(3), random.below(3)];
        let extent = [0, 1].map(|axis| (kernel[axis] - 1) * dilations[axis] + 1);
        let room = [height, width];
        if (0..2).any(|axis| room[axis] + pads[axis] + pads[axis + 2] < extent[axis]) {
            return;
        }
        let size =
            [0, 1].map(|axis| (room[axis] + pads[axis] + pads[axis + 2] - extent[axis]) / strides[axis] + 1);
        let shape = [outputs, channels / groups, kernel[0], kernel[1]];
        let weights = random.bytes(shape.iter().product());
        let (weights, zero) = if random.below(2) == 0 {
            let zero = random.one(&[128_u8, 120, 0, 255]);
            (Tensor::from_vec(shape, weights).unwrap(), Tensor::scalar(zero))
        } else {
            let weights: Vec<i8> = weights.into_iter().map(u8::cast_signed).collect();
            (Tensor::from_vec(shape, weights).unwrap(), Tensor::scalar(random.one(&[0_i8, 0, -3])))
        };
        let [bytes, scale, zero_point] = self.bytes(&from);
        let (weights, zero) = (self.constant(weights), self.constant(zero));
        let settings = vec![
            ("group", Setting::Integer(groups as i64)),
            ("strides", list(&strides)),
            ("dilations", list(&dilations)),
            ("pads", list(&pads)),
        ];
        let mut inputs = vec![bytes, weights, zero_point, zero];
        if random.below(5) == 0 {
            inputs.truncate(3);
        }
        let sums = self.add("ConvInteger", inputs, settings);
        let real = self.add("Cast", vec![sums], vec![("to", Setting::Integer(1))]);
        let by_channel = random.below(4) == 0;
        let count = if by_channel { outputs } else { 1 };
        let own: Vec<f32> = (0..count).map(|_| random.scale() * 0.02).collect();
        let mut shape = if by_channel { vec![1, outputs, 1, 1] } else { Vec::new() };
        if by_channel && random.below(2) == 0 {
            shape.remove(0);
        }
        let own = self.constant(Tensor::from_vec(shape, own).unwrap());
        let mut sides = vec![scale, own];
        if random.below(2) == 0 {
            sides.reverse();
        }
        let scales = self.add("Mul", sides, Vec::new());
        let mut sides = vec![real, scales];
        if random.below(2) == 0 {
            sides.reverse();
        }
        let mut value = self.add("Mul", sides, Vec::new());
        let size = [outputs, size[0], size[1]];
        self.convolutions += 1;
        if random.below(3) > 0 {
            let bias: Vec<f32> = (0..outputs).map(|_| random.scale() * 20.0 - 0.2).collect();
            let bias = self.constant(Tensor::from_vec([1, outputs, 1, 1], bias).unwrap());
            value = self.add("Add", vec![value, bias], Vec::new());
        }
        let others: Vec<String> =
            self.values.iter().filter(|(_, other)| *other == size).map(|(name, _)| name.clone()).collect();
        if !others.is_empty() && random.below(2) == 0 {
            let other = others[random.below(others.len())].clone();
            value = self.add("Add", vec![value, other], Vec::new());
        }
        match random.below(3) {
            0 => value = self.add("Relu", vec![value], Vec::new()),
            1 => {
                let bounds = [-0.4_f32, 1.3].map(|bound| self.constant(Tensor::scalar(bound)));
                value = self.add("Clip", [vec![value], bounds.to_vec()].concat(), Vec::new());
            }
            _ => {}
        }
        self.values.push((value, size));
    }

    fn pool(&mut self, random: &mut Random) {
        let (from, [channels, height, width]) = self.pick(random);
        if height < 2 || width < 2 {
            return;
        }
        let settings = vec![("kernel_shape", list(&[2, 2])), ("strides", list(&[1, 2]))];
        let value = self.add("MaxPool", vec![from], settings);
        self.values.push((value, [channels, height - 1, width / 2]));
    }

    fn random(random: &mut Random) -> Self {
        let size = [random.one(&[1, 3, 5, 16, 19, 32]), random.below(12) + 3, random.below(12) + 3];
        let mut graph = Self { values: vec![("x".to_owned(), size)], ..Self::default() };
        for _ in 0..random.below(8) + 3 {
            if random.below(5) == 0 {
                graph.pool(random);
            } else {
                graph.convolution(random);
            }
        }
        graph
    }

    /// Values that nobody takes.
    fn outputs(&self) -> Vec<(String, [usize; 3])> {
        let taken = |name: &str| self.nodes.iter().any(|node| node.inputs.iter().any(|input| input == name));
        self.values.iter().filter(|(name, _)| !taken(name) && name != "x").cloned().collect()
    }

    fn file(&self, outputs: &[(String, [usize; 3])]) -> Vec<u8> {
        let nodes: Vec<Vec<u8>> = self.nodes.iter().map(Built::encoded).collect();
        let constants: Vec<Vec<u8>> =
            self.constants.iter().map(|(name, tensor)| encoded(name, tensor)).collect();
        let port = |name: &str, size: [usize; 3]| {
            value(name, FLOAT, &[-1, size[0] as i64, size[1] as i64, size[2] as i64])
        };
        let outputs: Vec<Vec<u8>> = outputs.iter().map(|(name, size)| port(name, *size)).collect();
        model_with(&graph(&nodes, &[port("x", self.values[0].1)], &outputs, &constants), &[], 17)
    }
}

/// `ConvInteger` of images that enter as bytes: no pattern, one operator.
fn check_single(seed: u64, level: Level) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1_0000_0003));
    let groups = random.one(&[1, 1, 2, 5]);
    let channels = groups * random.one(&[1, 3, 16, 20]);
    let outputs = groups * random.one(&[1, 16, 9]);
    let shape = [outputs, channels / groups, random.below(3) + 1, random.below(3) + 1];
    let count = shape.iter().product();
    let weights = Tensor::from_vec(shape, random.bytes(count)).unwrap();
    let settings = vec![
        ("group", Setting::Integer(groups as i64)),
        ("strides", list(&[random.below(2) + 1, 1])),
        ("pads", list(&[random.below(2), 1, 0, random.below(2)])),
    ];
    let is_signed = random.below(2) == 0;
    let size = [random.below(3) + 1, channels, random.below(7) + 3, random.below(7) + 3];
    let bytes = random.bytes(size.iter().product());
    let (input, zero) = if is_signed {
        let bytes: Vec<i8> = bytes.into_iter().map(u8::cast_signed).collect();
        (Tensor::from_vec(size, bytes).unwrap(), Tensor::scalar(-7_i8))
    } else {
        (Tensor::from_vec(size, bytes).unwrap(), Tensor::scalar(200_u8))
    };
    let zeros = Tensor::vector(random.bytes(outputs));
    let constants = vec![("w".to_owned(), weights), ("z".to_owned(), zero), ("wz".to_owned(), zeros)];
    let inputs = ["x", "w", "z", "wz"].map(str::to_owned).to_vec();
    let outputs = vec!["y".to_owned()];
    let nodes = [Built { domain: "", operator: "ConvInteger", inputs, outputs, settings }];
    let given: Vec<Vec<u8>> = constants.iter().map(|(name, tensor)| encoded(name, tensor)).collect();
    let of_bytes = if is_signed { INT8 } else { UINT8 };
    let port = [value("x", of_bytes, &[-1, channels as i64, -1, -1])];
    let graph =
        graph(&[nodes[0].encoded()], &port, &[value("y", INT32, &[-1, shape[0] as i64, -1, -1])], &given);
    let model = load(model_with(&graph, &[], 17)).unwrap();
    let expected = by_operators(&nodes, &constants, &[("x", input.clone())]);
    for count in [1, 3] {
        let found = answers(model.as_ref(), [&input], &[0], &Threads::new(count));
        assert_eq!(found[0], expected["y"], "seed {seed}, {level:?}");
    }
}

/// One test: the limit holds for the whole process.
#[test]
fn random_graphs_of_dynamic_convolutions_are_answered_as_by_our_operators() {
    let count = std::env::var("REGION_GRAPHS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 20 } else { 400 });
    let threads = [Threads::new(1), Threads::new(3)];
    let (mut convolutions, mut single) = (0, 0);
    for seed in 0..count {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1_0000_0001));
        let graph = Graph::random(&mut random);
        let outputs = graph.outputs();
        if outputs.is_empty() {
            continue;
        }
        let file = graph.file(&outputs);
        let size = graph.values[0].1;
        let inputs: Vec<Tensor> = [1, 3]
            .into_iter()
            .map(|batch| {
                let count = batch * size.iter().product::<usize>();
                let mut values: Vec<f32> =
                    (0..count).map(|_| random.next() as u16 as f32 / 9000.0 - 3.6).collect();
                if seed % 4 == 0 {
                    values[count / 2] = f32::NAN;
                }
                Tensor::from_vec([batch, size[0], size[1], size[2]], values).unwrap()
            })
            .collect();
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            limit(level);
            // A function of real numbers may differ in its last bit at another level.
            let expected: Vec<HashMap<String, Tensor>> = inputs
                .iter()
                .map(|input| by_operators(&graph.nodes, &graph.constants, &[("x", input.clone())]))
                .collect();
            let model = load(file.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let plan = model.plan().unwrap();
            convolutions += graph.convolutions;
            let is_single = |line: &&adytum_engine::plan::Line| {
                line.operator == "ConvInteger" && !matches!(line.worker, Worker::Region(_))
            };
            single += plan.lines.iter().filter(is_single).count();
            let all: Vec<usize> = (0..outputs.len()).collect();
            for (input, expected) in inputs.iter().zip(&expected) {
                for threads in &threads {
                    let found = answers(model.as_ref(), [input], &all, threads);
                    for (found, (name, _)) in found.iter().zip(&outputs) {
                        let values = found.values::<f32>().unwrap();
                        let expected = &expected[name];
                        assert_eq!(found.shape(), expected.shape());
                        for (found, expected) in values.iter().zip(expected.values::<f32>().unwrap()) {
                            assert!(
                                found == expected || found.is_nan() && expected.is_nan(),
                                "seed {seed}, {level:?}, {name}: {found}, expected {expected}\n{plan}"
                            );
                        }
                    }
                }
            }
        }
    }
    for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
        limit(level);
        (0..count).for_each(|seed| check_single(seed, level));
    }
    assert!(single * 4 < convolutions, "{single} of {convolutions} convolutions are not in a region");
}
