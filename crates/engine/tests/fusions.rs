//! Fused operators answer as our own operators do, node by node: random blocks of transformers, as exporters
//! write them, at each level of instructions, for several batches and lengths.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use std::collections::HashMap;

use adytum_engine::{operators::Attribute as Setting, plan::Worker, tensor::Tensor, threads::Threads};
use adytum_kernels::{Level, limit};
use fixture::{
    graphs::{Built, Random, add_constant, answers, assert_near, by_operators, encoded},
    onnx::{FLOAT, model, value},
    runs::load,
};

/// A random stack of blocks. Its inputs are `x` and `mask`.
struct Graph {
    random: Random,
    nodes: Vec<Built>,
    constants: Vec<(String, Tensor)>,
    heads: usize,
    size: usize,
    /// What the attention does with its mask.
    mask: usize,
}

impl Graph {
    fn constant(&mut self, tensor: Tensor) -> String {
        add_constant(&mut self.constants, tensor)
    }

    fn number(&mut self, number: f32) -> String {
        self.constant(Tensor::scalar(number))
    }

    fn whole(&mut self, numbers: &[i64]) -> String {
        self.constant(Tensor::vector(numbers.to_vec()))
    }

    fn random(&mut self, shape: &[usize], scale: f32) -> String {
        let numbers = self.random.numbers(shape.iter().product(), scale);
        self.constant(Tensor::from_vec(shape.to_vec(), numbers).unwrap())
    }

    fn add(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        settings: &[(&'static str, Setting)],
    ) -> String {
        self.several(operator, inputs, 1, settings).remove(0)
    }

    fn several(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        count: usize,
        settings: &[(&'static str, Setting)],
    ) -> Vec<String> {
        let outputs: Vec<String> = (0..count).map(|index| format!("v{}_{index}", self.nodes.len())).collect();
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        let settings = settings.to_vec();
        self.nodes.push(Built { domain: "", operator, inputs, outputs: outputs.clone(), settings });
        outputs
    }

    /// Two inputs in any order.
    fn either(&mut self, operator: &'static str, left: &str, right: &str) -> String {
        if self.random.below(2) == 0 {
            self.add(operator, &[left, right], &[])
        } else {
            self.add(operator, &[right, left], &[])
        }
    }

    fn linear(&mut self, x: &str, depth: usize, columns: usize) -> String {
        let scale = 2.0 / (depth as f32).sqrt();
        if self.random.below(3) == 0 {
            // As a convolution of one dimension: a Gemm between reshapes.
            let shape = self.whole(&[-1, depth as i64]);
            let rows = self.add("Reshape", &[x, &shape], &[]);
            let turned = self.random.below(2);
            let sizes = if turned == 1 { [columns, depth] } else { [depth, columns] };
            let (weights, bias) = (self.random(&sizes, scale), self.random(&[columns], 0.5));
            let y =
                self.add("Gemm", &[&rows, &weights, &bias], &[("transB", Setting::Integer(turned as i64))]);
            let shape = self.shape(x, &[columns]);
            return self.add("Reshape", &[&y, &shape], &[]);
        }
        let weights = self.random(&[depth, columns], scale);
        let mut y = self.add("MatMul", &[x, &weights], &[]);
        if self.random.below(4) > 0 {
            let bias = self.random(&[columns], 0.5);
            y = self.either("Add", &y, &bias);
        }
        if self.random.below(4) == 0 {
            let factors = self.random(&[columns], 1.0);
            y = self.either("Mul", &y, &factors);
        }
        y
    }

    /// The first two dimensions of a value, and more.
    fn shape(&mut self, x: &str, more: &[usize]) -> String {
        let mut parts = Vec::new();
        for axis in 0..2 {
            let shape = self.add("Shape", &[x], &[]);
            let index = self.constant(Tensor::scalar(axis as i64));
            let size = self.add("Gather", &[&shape, &index], &[("axis", Setting::Integer(0))]);
            let axes = self.whole(&[0]);
            parts.push(self.add("Unsqueeze", &[&size, &axes], &[]));
        }
        for size in more {
            parts.push(self.whole(&[*size as i64]));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.add("Concat", &parts, &[("axis", Setting::Integer(0))])
    }

    fn normalize(&mut self, x: &str, width: usize) -> String {
        let (scale, bias) = (self.random(&[width], 1.0), self.random(&[width], 0.5));
        let last = [("axes", Setting::Integers(vec![-1]))];
        match self.random.below(4) {
            0 | 1 => {
                let settings = [("axis", Setting::Integer(-1)), ("epsilon", Setting::Float(1e-4))];
                self.add("LayerNormalization", &[x, &scale, &bias], &settings)
            }
            2 => {
                let mean = self.add("ReduceMean", &[x], &last);
                let difference = self.add("Sub", &[x, &mean], &[]);
                let two = self.number(2.0);
                let square = self.add("Pow", &[&difference, &two], &[]);
                let variance = self.add("ReduceMean", &[&square], &last);
                let epsilon = self.number(1e-4);
                let sum = self.either("Add", &variance, &epsilon);
                let root = self.add("Sqrt", &[&sum], &[]);
                let y = self.add("Div", &[&difference, &root], &[]);
                let y = self.either("Mul", &y, &scale);
                self.either("Add", &y, &bias)
            }
            _ => {
                let square = self.add("Mul", &[x, x], &[]);
                let mean = self.add("ReduceMean", &[&square], &last);
                let epsilon = self.number(1e-4);
                let sum = self.add("Add", &[&mean, &epsilon], &[]);
                let root = self.add("Sqrt", &[&sum], &[]);
                let inverse = self.add("Reciprocal", &[&root], &[]);
                let y = self.either("Mul", x, &inverse);
                self.either("Mul", &scale, &y)
            }
        }
    }

    fn activate(&mut self, x: &str) -> String {
        match self.random.below(5) {
            0 => self.add("Relu", &[x], &[]),
            1 => {
                let gate = self.add("Sigmoid", &[x], &[]);
                self.either("Mul", x, &gate)
            }
            2 | 3 => {
                let (root, one, half) = (self.number(2.0_f32.sqrt()), self.number(1.0), self.number(0.5));
                let inner = self.add("Div", &[x, &root], &[]);
                let error = self.add("Erf", &[&inner], &[]);
                let sum = self.either("Add", &error, &one);
                if self.random.below(2) == 0 {
                    let y = self.either("Mul", x, &sum);
                    self.either("Mul", &y, &half)
                } else {
                    let y = self.either("Mul", x, &half);
                    self.either("Mul", &y, &sum)
                }
            }
            _ => {
                let (three, one, half) = (self.number(3.0), self.number(1.0), self.number(0.5));
                let (small, root) = (self.number(0.044715), self.number((2.0 / std::f32::consts::PI).sqrt()));
                let cube = self.add("Pow", &[x, &three], &[]);
                let part = self.either("Mul", &cube, &small);
                let sum = self.either("Add", x, &part);
                let inner = self.either("Mul", &sum, &root);
                let tangent = self.add("Tanh", &[&inner], &[]);
                let gate = self.either("Add", &tangent, &one);
                let y = self.either("Mul", x, &half);
                self.either("Mul", &y, &gate)
            }
        }
    }

    fn attend(&mut self, x: &str) -> String {
        let (heads, size) = (self.heads, self.size);
        let width = heads * size;
        let turn = |axes: &[i64]| [("perm", Setting::Integers(axes.to_vec()))];
        let is_rooted = self.random.below(3) == 0;
        let [query, key, value] = match self.random.below(3) {
            0 => {
                let all = self.linear(x, width, 3 * width);
                let shape = self.shape(x, &[3, heads, size]);
                let all = self.add("Reshape", &[&all, &shape], &[]);
                let all = self.add("Transpose", &[&all], &turn(&[2, 0, 3, 1, 4]));
                let parts = [0, 1, 2].map(|part| {
                    let index = self.constant(Tensor::scalar(part as i64));
                    self.add("Gather", &[&all, &index], &[("axis", Setting::Integer(0))])
                });
                let [query, key, value] = parts;
                [query, self.add("Transpose", &[&key], &turn(&[0, 1, 3, 2])), value]
            }
            kind => {
                let rows = if kind == 1 {
                    let all = self.linear(x, width, 3 * width);
                    let sizes = self.whole(&[width as i64; 3]);
                    self.several("Split", &[&all, &sizes], 3, &[("axis", Setting::Integer(2))])
                } else {
                    (0..3).map(|_| self.linear(x, width, width)).collect()
                };
                let mut parts = Vec::new();
                for (place, rows) in rows.iter().enumerate() {
                    let shape = self.shape(rows, &[heads, size]);
                    let split = self.add("Reshape", &[rows, &shape], &[]);
                    let axes = if place == 1 { [0, 2, 3, 1] } else { [0, 2, 1, 3] };
                    parts.push(self.add("Transpose", &[&split], &turn(&axes)));
                }
                parts.try_into().unwrap()
            }
        };
        let root = (size as f32).sqrt();
        let (query, key, scores) = if is_rooted {
            let factor = self.number(1.0 / root.sqrt());
            let query = self.either("Mul", &query, &factor);
            let key = self.either("Mul", &key, &factor);
            let scores = self.add("MatMul", &[&query, &key], &[]);
            (query, key, scores)
        } else {
            let divisor = self.number(root);
            let scores = self.add("MatMul", &[&query, &key], &[]);
            let scores = self.add("Div", &[&scores, &divisor], &[]);
            (query, key, scores)
        };
        let _ = (query, key);
        let scores = match self.mask {
            0 => scores,
            1 => self.either("Add", &scores, "mask"),
            _ => {
                let (limit, low) = (self.number(0.0), self.number(f32::MIN));
                let keep = self.add("Less", &["mask", &limit], &[]);
                if self.random.below(2) == 0 {
                    let fill = self.add("Not", &[&keep], &[]);
                    self.add("Where", &[&fill, &low, &scores], &[])
                } else {
                    self.add("Where", &[&keep, &scores, &low], &[])
                }
            }
        };
        let weights = self.add("Softmax", &[&scores], &[("axis", Setting::Integer(-1))]);
        let result = self.add("MatMul", &[&weights, &value], &[]);
        let result = self.add("Transpose", &[&result], &turn(&[0, 2, 1, 3]));
        // The shape is often asked of the result itself.
        let shape =
            if self.random.below(2) == 0 { self.shape(&result, &[width]) } else { self.shape(x, &[width]) };
        let result = self.add("Reshape", &[&result, &shape], &[]);
        self.linear(&result, width, width)
    }

    fn block(&mut self, x: &str) -> String {
        let width = self.heads * self.size;
        let inner = 2 * width + 8;
        let is_before = self.random.below(2) == 0;
        let y = if is_before { self.normalize(x, width) } else { x.to_owned() };
        let y = self.attend(&y);
        let mut x = self.either("Add", x, &y);
        if !is_before {
            x = self.normalize(&x, width);
        }
        let y = if is_before { self.normalize(&x, width) } else { x.clone() };
        let y = self.linear(&y, width, inner);
        let y = self.activate(&y);
        let y = self.linear(&y, inner, width);
        let x = self.either("Add", &x, &y);
        if is_before { x } else { self.normalize(&x, width) }
    }

    /// A stack of blocks, and its output.
    fn stack(seed: u64) -> (Self, String) {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1_0000_0001));
        let (heads, size) = ([1, 2, 3, 4][random.below(4)], [32, 33, 40][random.below(3)]);
        let (mask, layers) = (random.below(3), random.below(2) + 1);
        let mut graph = Self { random, nodes: Vec::new(), constants: Vec::new(), heads, size, mask };
        let mut x = "x".to_owned();
        for _ in 0..layers {
            x = graph.block(&x);
        }
        (graph, x)
    }

    fn file(&self, outputs: &[&str], known: &HashMap<String, Tensor>) -> Vec<u8> {
        let nodes: Vec<Vec<u8>> = self.nodes.iter().map(Built::encoded).collect();
        let constants: Vec<Vec<u8>> =
            self.constants.iter().map(|(name, tensor)| encoded(name, tensor)).collect();
        let width = (self.heads * self.size) as i64;
        let inputs = [value("x", FLOAT, &[-1, -1, width]), value("mask", FLOAT, &[-1, 1, -1, -1])];
        let outputs: Vec<Vec<u8>> =
            outputs.iter().map(|name| value(name, FLOAT, &vec![-1; known[*name].rank()])).collect();
        model(&nodes, &inputs, &outputs, &constants)
    }

    /// All values by our own operators, one after the other.
    fn by_operators(&self, inputs: &[Tensor; 2]) -> HashMap<String, Tensor> {
        let [x, mask] = inputs.clone();
        by_operators(&self.nodes, &self.constants, &[("x", x), ("mask", mask)])
    }

    /// An input and a mask. The mask is the same for all entries, for all rows, or for none.
    fn inputs(&mut self, batch: usize, rows: usize, kind: usize) -> [Tensor; 2] {
        let width = self.heads * self.size;
        let x = self.random.numbers(batch * rows * width, 1.0);
        let shape = match kind {
            0 => [batch, 1, 1, rows],
            1 => [1, 1, rows, rows],
            _ => [batch, 1, rows, rows],
        };
        let mut mask = self.random.numbers(shape.iter().product(), 2.0);
        if self.mask == 1 {
            // One key is there for all.
            for row in mask.chunks_exact_mut(rows) {
                row.iter_mut().skip(1).filter(|value| **value > 1.0).for_each(|value| *value = f32::MIN);
            }
        }
        [Tensor::from_vec([batch, rows, width], x).unwrap(), Tensor::from_vec(shape.to_vec(), mask).unwrap()]
    }
}

/// One test: the limit holds for the whole process.
#[test]
fn random_blocks_are_answered_as_by_our_operators() {
    let count = std::env::var("FUSION_GRAPHS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 16 } else { 200 });
    let threads = [Threads::new(1), Threads::new(3)];
    let mut attentions = 0;
    for seed in 0..count {
        let (mut graph, output) = Graph::stack(seed);
        // A value from the middle is an output of some graphs, so that not all can be fused.
        let middle = graph.nodes[graph.random.below(graph.nodes.len())].outputs[0].clone();
        let is_middle = seed % 4 == 3 && middle != output;
        let kind = graph.random.below(3);
        let inputs = [graph.inputs(1, 7, kind), graph.inputs(3, 20, kind)];
        let expected: Vec<HashMap<String, Tensor>> =
            inputs.iter().map(|inputs| graph.by_operators(inputs)).collect();
        let is_middle = is_middle && expected[0][&middle].values::<f32>().is_some();
        let outputs: Vec<&str> = [output.as_str(), &middle][..1 + usize::from(is_middle)].to_vec();
        let file = graph.file(&outputs, &expected[0]);
        let all: Vec<usize> = (0..outputs.len()).collect();
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            limit(level);
            let model = load(file.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let plan = model.plan().unwrap();
            attentions += plan.fusions.iter().filter(|fusion| fusion.starts_with("attention")).count();
            for (inputs, expected) in inputs.iter().zip(&expected) {
                let found: Vec<Vec<Tensor>> =
                    threads.iter().map(|threads| answers(model.as_ref(), inputs, &all, threads)).collect();
                for (found, name) in found[0].iter().zip(&outputs) {
                    assert_near(found, &expected[*name], &format!("seed {seed}, {level:?}, {name}\n{plan}"));
                }
                // Threads and wanted outputs change nothing, to the last bit.
                assert_eq!(found[0], found[1], "seed {seed}, {level:?}");
                let alone = answers(model.as_ref(), inputs, &[0], &threads[0]);
                assert_eq!(alone[0], found[0][0], "seed {seed}, {level:?}");
            }
            // An answer does not depend on the others of its batch.
            let is_ours = |worker: &Worker| !matches!(worker, Worker::Island(_));
            if kind != 1 && plan.lines.iter().all(|line| is_ours(&line.worker)) {
                let together = answers(model.as_ref(), &inputs[1], &[0], &threads[0]);
                let one = [0, 1].map(|input| {
                    let tensor = &inputs[1][input];
                    let (values, count) = (tensor.values::<f32>().unwrap(), tensor.len() / 3);
                    let mut shape = tensor.shape().to_vec();
                    shape[0] = 1;
                    Tensor::from_vec(shape, values[count..2 * count].to_vec()).unwrap()
                });
                let alone = answers(model.as_ref(), &one, &[0], &threads[0]);
                let count = alone[0].len();
                assert_eq!(
                    alone[0].values::<f32>().unwrap(),
                    &together[0].values::<f32>().unwrap()[count..2 * count],
                    "seed {seed}, {level:?}"
                );
            }
        }
    }
    limit(Level::Avx512);
    assert!(attentions >= count as usize * 2, "{attentions} attentions in {count} graphs");
}
