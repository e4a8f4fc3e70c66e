//! Regions of quantised numbers answer as our own operators do, node by node, bit for bit: random graphs of
//! what regions are made of, at each level of instructions, for several sizes of inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use std::collections::HashMap;

use adytum_engine::{operators::Attribute as Setting, tensor::Tensor, threads::Threads};
use adytum_kernels::{Level, limit};
use fixture::{
    graphs::{Built, INT8, Random, UINT8, add_constant, answers, by_operators, encoded, list},
    onnx::{FLOAT, graph, model_with, put_bytes, put_number, value},
    runs::load,
};

const MICROSOFT: &str = "com.microsoft";

/// A quantised value: its name, scale, zero point, channels and size. The names of both constants.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    scale: String,
    zero: String,
    size: [usize; 3],
}

/// A random graph of quantised images.
struct Graph {
    /// Whether all numbers are of int8.
    is_signed: bool,
    nodes: Vec<Built>,
    constants: Vec<(String, Tensor)>,
    values: Vec<Known>,
}

impl Graph {
    fn constant(&mut self, tensor: Tensor) -> String {
        add_constant(&mut self.constants, tensor)
    }

    fn byte(&mut self, value: u8) -> String {
        self.constant(if self.is_signed {
            Tensor::scalar(value.cast_signed())
        } else {
            Tensor::scalar(value)
        })
    }

    /// A result in a scale of its own.
    fn result(&mut self, random: &mut Random, size: [usize; 3], factor: f32) -> Known {
        let scale = random.scale() * factor;
        let scale = self.constant(Tensor::scalar(scale));
        let zero = random.one(&[0, 128, 255, 3, 131, 90]);
        let zero = self.byte(zero);
        Known { name: format!("v{}", self.nodes.len()), scale, zero, size }
    }

    fn add(
        &mut self,
        (domain, operator): (&'static str, &'static str),
        inputs: Vec<String>,
        result: Known,
        settings: Vec<(&'static str, Setting)>,
    ) {
        self.nodes.push(Built { domain, operator, inputs, outputs: vec![result.name.clone()], settings });
        self.values.push(result);
    }

    fn pick(&self, random: &mut Random) -> Known {
        self.values[random.below(self.values.len())].clone()
    }

    fn convolution(&mut self, random: &mut Random) {
        let from = self.pick(random);
        let [channels, height, width] = from.size;
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
        // Weights of uint8 less their zero point may not fit int8.
        let (weights, zero) = if random.below(4) == 0 {
            let zero = random.one(&[128_u8, 120, 0, 255]);
            (Tensor::from_vec(shape, weights).unwrap(), Tensor::scalar(zero))
        } else {
            let weights: Vec<i8> = weights.into_iter().map(u8::cast_signed).collect();
            (Tensor::from_vec(shape, weights).unwrap(), Tensor::scalar(0_i8))
        };
        let count = random.one(&[1, outputs]);
        let scales: Vec<f32> = (0..count).map(|_| random.scale()).collect();
        let scales = self.constant(Tensor::vector(scales));
        let (weights, zero) = (self.constant(weights), self.constant(zero));
        let depth = (shape[1] * kernel[0] * kernel[1]) as f32;
        let result = self.result(random, [outputs, size[0], size[1]], depth.sqrt());
        let mut inputs = vec![from.name, from.scale, from.zero, weights, scales, zero];
        inputs.extend([result.scale.clone(), result.zero.clone()]);
        if random.below(2) == 0 {
            let bias: Vec<i32> = random.bytes(outputs).iter().map(|byte| i32::from(*byte) * 16).collect();
            inputs.push(self.constant(Tensor::vector(bias)));
        }
        let settings = vec![
            ("group", Setting::Integer(groups as i64)),
            ("strides", list(&strides)),
            ("dilations", list(&dilations)),
            ("pads", list(&pads)),
        ];
        self.add(("", "QLinearConv"), inputs, result, settings);
    }

    fn pair(&mut self, random: &mut Random) {
        let left = self.pick(random);
        let [channels, height, width] = left.size;
        let is_product = random.below(3) == 0;
        let fits =
            |size: [usize; 3]| size == [channels, height, width] || is_product && size == [channels, 1, 1];
        let others: Vec<Known> = self.values.iter().filter(|value| fits(value.size)).cloned().collect();
        let right = others[random.below(others.len())].clone();
        let result = self.result(random, left.size, if is_product { 0.1 } else { 1.0 });
        let mut sides = [left, right];
        if random.below(2) == 0 {
            sides.reverse();
        }
        let mut inputs: Vec<String> =
            sides.into_iter().flat_map(|side| [side.name, side.scale, side.zero]).collect();
        inputs.extend([result.scale.clone(), result.zero.clone()]);
        let operator = if is_product { "QLinearMul" } else { "QLinearAdd" };
        self.add((MICROSOFT, operator), inputs, result, Vec::new());
    }

    fn pool(&mut self, random: &mut Random) {
        let from = self.pick(random);
        let [channels, height, width] = from.size;
        if random.below(3) == 0 {
            let result = self.result(random, [channels, 1, 1], 1.0);
            let mut inputs = vec![from.name, from.scale, from.zero];
            inputs.extend([result.scale.clone(), result.zero.clone()]);
            self.add((MICROSOFT, "QLinearGlobalAveragePool"), inputs, result, Vec::new());
            return;
        }
        let window = [random.below(3) + 1, random.below(3) + 1];
        let strides = [random.below(2) + 1, random.below(3) + 1];
        let pads = [random.below(window[0]), random.below(window[1]), 0, random.below(window[1])];
        if height + pads[0] < window[0] || width < window[1] {
            return;
        }
        let size = [
            channels,
            (height + pads[0] - window[0]) / strides[0] + 1,
            (width + pads[1] + pads[3] - window[1]) / strides[1] + 1,
        ];
        let mut settings =
            vec![("kernel_shape", list(&window)), ("strides", list(&strides)), ("pads", list(&pads))];
        if random.below(2) == 0 {
            let result = Known { name: format!("v{}", self.nodes.len()), size, ..from.clone() };
            self.add(("", "MaxPool"), vec![from.name], result, settings);
            return;
        }
        settings.push(("count_include_pad", Setting::Integer(random.below(2) as i64)));
        let result = self.result(random, size, 1.0);
        let inputs = vec![from.name, from.scale, from.zero, result.scale.clone(), result.zero.clone()];
        self.add((MICROSOFT, "QLinearAveragePool"), inputs, result, settings);
    }

    fn join(&mut self, random: &mut Random) {
        let first = self.pick(random);
        let others: Vec<Known> =
            self.values.iter().filter(|value| value.size[1..] == first.size[1..]).cloned().collect();
        let (second, third) = (others[random.below(others.len())].clone(), self.pick(random));
        let mut parts = vec![first.clone(), second];
        if third.size[1..] == first.size[1..] && random.below(2) == 0 {
            parts.push(third);
        }
        if random.below(5) == 0 {
            parts.truncate(1);
        }
        let channels = parts.iter().map(|part| part.size[0]).sum();
        let result = self.result(random, [channels, first.size[1], first.size[2]], 1.0);
        let mut inputs = vec![result.scale.clone(), result.zero.clone()];
        inputs.extend(parts.into_iter().flat_map(|part| [part.name, part.scale, part.zero]));
        self.add((MICROSOFT, "QLinearConcat"), inputs, result, vec![("axis", Setting::Integer(1))]);
    }

    /// What no step computes: from the scale of a value, through functions, to another scale.
    fn chain(&mut self, random: &mut Random) {
        let from = self.pick(random);
        let channels = from.size[0];
        let numbers = |random: &mut Random| -> Vec<f32> {
            (0..channels).map(|_| (random.next() % 2000) as f32 / 700.0 - 1.1).collect()
        };
        let mut name = format!("v{}r", self.nodes.len());
        let inputs = vec![from.name, from.scale, from.zero];
        let (operator, output) = ("DequantizeLinear", name.clone());
        self.nodes.push(Built { domain: "", operator, inputs, outputs: vec![output], settings: Vec::new() });
        for _ in 0..random.below(4) + 1 {
            let mut settings = Vec::new();
            let (operator, inputs) = match random.below(4) {
                0 => {
                    let mut inputs = vec![name];
                    for which in 0..4 {
                        let values = numbers(random);
                        let values =
                            values.into_iter().map(|value| if which == 3 { value.abs() } else { value });
                        inputs.push(self.constant(Tensor::vector(values.collect::<Vec<f32>>())));
                    }
                    ("BatchNormalization", inputs)
                }
                1 => {
                    let shape = random.one(&[&[1, channels, 1, 1][..], &[channels, 1, 1], &[]]).to_vec();
                    let values = numbers(random).into_iter().take(shape.iter().product()).collect();
                    let mut inputs = vec![name, self.constant(Tensor::from_vec(shape, values).unwrap())];
                    if random.below(3) == 0 {
                        inputs.reverse();
                    }
                    (random.one(&["Mul", "Add", "Sub", "Max"]), inputs)
                }
                2 => {
                    let bounds = [-0.4_f32, 1.3].map(|bound| self.constant(Tensor::scalar(bound)));
                    ("Clip", [vec![name], bounds.to_vec()].concat())
                }
                _ => {
                    let operator = random.one(&["Relu", "HardSwish", "Sigmoid", "LeakyRelu"]);
                    if operator == "LeakyRelu" {
                        settings.push(("alpha", Setting::Float(0.3)));
                    }
                    (operator, vec![name])
                }
            };
            name = format!("v{}r", self.nodes.len());
            self.nodes.push(Built { domain: "", operator, inputs, outputs: vec![name.clone()], settings });
        }
        let result = self.result(random, from.size, 2.0);
        let inputs = vec![name, result.scale.clone(), result.zero.clone()];
        self.add(("", "QuantizeLinear"), inputs, result, Vec::new());
    }

    /// The sum, or the product, of a value and a constant.
    fn pair_with_constant(&mut self, random: &mut Random) {
        let from = self.pick(random);
        let channels = from.size[0];
        let shape = random.one(&[&[1, channels, 1, 1][..], &[1]]).to_vec();
        let bytes = random.bytes(shape.iter().product());
        let constant = if self.is_signed {
            Tensor::from_vec(shape, bytes.into_iter().map(u8::cast_signed).collect::<Vec<i8>>())
        } else {
            Tensor::from_vec(shape, bytes)
        };
        let constant = self.constant(constant.unwrap());
        let scale = random.scale();
        let (scale, zero) = (self.constant(Tensor::scalar(scale)), self.byte(40));
        let result = self.result(random, from.size, 1.0);
        let mut sides = [[from.name, from.scale, from.zero], [constant, scale, zero]];
        if random.below(2) == 0 {
            sides.reverse();
        }
        let mut inputs = sides.concat();
        inputs.extend([result.scale.clone(), result.zero.clone()]);
        let operator = random.one(&["QLinearMul", "QLinearAdd"]);
        self.add((MICROSOFT, operator), inputs, result, Vec::new());
    }

    fn random(random: &mut Random) -> Self {
        let size = [random.one(&[1, 3, 5, 16, 19, 32]), random.below(12) + 3, random.below(12) + 3];
        let is_signed = random.below(2) == 0;
        let mut graph = Self { is_signed, nodes: Vec::new(), constants: Vec::new(), values: Vec::new() };
        let entering = graph.result(random, size, 1.0);
        let inputs = vec!["x".to_owned(), entering.scale.clone(), entering.zero.clone()];
        graph.add(("", "QuantizeLinear"), inputs, entering, Vec::new());
        graph.convolution(random);
        for _ in 0..random.below(14) + 2 {
            match random.below(12) {
                0..4 => graph.convolution(random),
                4..6 => graph.pair(random),
                6..8 => graph.pool(random),
                8..10 => graph.chain(random),
                10 => graph.pair_with_constant(random),
                _ => graph.join(random),
            }
        }
        graph
    }

    /// Values that nobody takes, some as real numbers.
    fn outputs(&mut self, random: &mut Random) -> Vec<(String, [usize; 3], bool)> {
        let taken = |name: &str| self.nodes.iter().any(|node| node.inputs.iter().any(|input| input == name));
        let last: Vec<Known> = self.values.iter().filter(|value| !taken(&value.name)).cloned().collect();
        let mut outputs = Vec::new();
        for value in last {
            if random.below(2) == 0 {
                outputs.push((value.name, value.size, false));
                continue;
            }
            let output = format!("r{}", value.name);
            let inputs = vec![value.name, value.scale, value.zero];
            outputs.push((output.clone(), value.size, true));
            let (domain, operator) = ("", "DequantizeLinear");
            self.nodes.push(Built { domain, operator, inputs, outputs: vec![output], settings: Vec::new() });
        }
        outputs
    }

    fn file(&self, outputs: &[(String, [usize; 3], bool)]) -> Vec<u8> {
        let nodes: Vec<Vec<u8>> = self.nodes.iter().map(Built::encoded).collect();
        let constants: Vec<Vec<u8>> =
            self.constants.iter().map(|(name, tensor)| encoded(name, tensor)).collect();
        let port = |name: &str, element_type: u64, size: [usize; 3]| {
            value(name, element_type, &[-1, size[0] as i64, size[1] as i64, size[2] as i64])
        };
        let byte = if self.is_signed { INT8 } else { UINT8 };
        let outputs: Vec<Vec<u8>> = outputs
            .iter()
            .map(|(name, size, real)| port(name, if *real { FLOAT } else { byte }, *size))
            .collect();
        let graph = graph(&nodes, &[port("x", FLOAT, self.values[0].size)], &outputs, &constants);
        let mut file = model_with(&graph, &[], 17);
        let mut contributed = Vec::new();
        put_bytes(&mut contributed, 1, MICROSOFT.as_bytes());
        put_number(&mut contributed, 2, 1);
        put_bytes(&mut file, 8, &contributed);
        file
    }
}

/// One test: the limit holds for the whole process.
#[test]
fn random_quantised_graphs_are_answered_as_by_our_operators() {
    let count = std::env::var("REGION_GRAPHS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 24 } else { 500 });
    let threads = [Threads::new(1), Threads::new(3)];
    let (mut regions, mut steps) = (0, 0);
    for seed in 0..count {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1_0000_0001));
        let mut graph = Graph::random(&mut random);
        let outputs = graph.outputs(&mut random);
        let file = graph.file(&outputs);
        let size = graph.values[0].size;
        let inputs: Vec<Tensor> = [1, 3]
            .into_iter()
            .map(|batch| {
                let count = batch * size.iter().product::<usize>();
                let values: Vec<f32> =
                    (0..count).map(|_| random.next() as u16 as f32 / 9000.0 - 3.6).collect();
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
            regions += plan.regions;
            steps += plan.steps.iter().map(Vec::len).sum::<usize>();
            let all: Vec<usize> = (0..outputs.len()).collect();
            for (input, expected) in inputs.iter().zip(&expected) {
                for threads in &threads {
                    let found = answers(model.as_ref(), [input], &all, threads);
                    for (found, (name, ..)) in found.iter().zip(&outputs) {
                        assert_eq!(*found, expected[name], "seed {seed}, {level:?}, {name}\n{plan}");
                    }
                }
                let last = answers(model.as_ref(), [input], &[outputs.len() - 1], &threads[0]);
                assert_eq!(last[0], expected[&outputs[outputs.len() - 1].0], "seed {seed}, {level:?}");
            }
        }
    }
    assert!(regions >= 3 * count as usize, "{regions} regions of {count} graphs");
    assert!(steps >= 12 * count as usize, "{steps} steps of {count} graphs");
}
