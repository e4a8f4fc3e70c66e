//! com.microsoft's operators of transformers, as ONNX Runtime's optimizer writes them, are answered as by our operators,
//! node by node: random blocks for several batches, lengths and masks, at each level of instructions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use std::collections::HashMap;

use adytum_engine::{engine::LoadedModel, operators::Attribute as Setting, tensor::Tensor, threads::Threads};
use adytum_kernels::{Level, limit};
use fixture::{
    graphs::{Built, Random, answers, assert_near, by_operators, encoded},
    onnx::{Attribute, FLOAT, INT32, floats, model, node_of, put_bytes, put_number, value},
    runs::load,
};

const MICROSOFT: &str = "com.microsoft";

/// A block. Its inputs are `x`, `mask` and `past`.
struct Graph {
    random: Random,
    nodes: Vec<Built>,
    constants: Vec<(String, Tensor)>,
    heads: usize,
    width: usize,
    has_past: bool,
    outputs: Vec<String>,
}

impl Graph {
    fn constant(&mut self, shape: &[usize], scale: f32) -> String {
        let name = format!("c{}", self.constants.len());
        let tensor = self.random.tensor(shape, scale);
        self.constants.push((name.clone(), tensor));
        name
    }

    fn add(
        &mut self,
        (domain, operator): (&'static str, &'static str),
        inputs: &[&str],
        count: usize,
        settings: &[(&'static str, Setting)],
    ) -> Vec<String> {
        let outputs: Vec<String> = (0..count).map(|index| format!("v{}_{index}", self.nodes.len())).collect();
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        self.nodes.push(Built {
            domain,
            operator,
            inputs,
            outputs: outputs.clone(),
            settings: settings.to_vec(),
        });
        outputs
    }

    fn one(
        &mut self,
        operator: (&'static str, &'static str),
        inputs: &[&str],
        settings: &[(&'static str, Setting)],
    ) -> String {
        self.add(operator, inputs, 1, settings).remove(0)
    }

    fn linear(&mut self, x: &str, depth: usize, columns: usize) -> String {
        let scale = 2.0 / (depth as f32).sqrt();
        if self.random.below(3) > 0 {
            let weights = self.constant(&[depth, columns], scale);
            return self.one(("", "MatMul"), &[x, &weights], &[]);
        }
        let weights = self.constant(&[columns, depth], scale);
        let settings = [("transB", Setting::Integer(1)), ("alpha", Setting::Float(0.75))];
        self.one((MICROSOFT, "FusedMatMul"), &[x, &weights], &settings)
    }

    fn attend(&mut self, x: &str, has_mask: bool) -> String {
        let width = self.width;
        let mask = if has_mask { "mask" } else { "" };
        let mut settings = vec![("num_heads", Setting::Integer(self.heads as i64))];
        if self.random.below(2) == 0 {
            settings.push(("unidirectional", Setting::Integer(1)));
        }
        if self.random.below(2) == 0 {
            settings.push(("scale", Setting::Float(0.2)));
        }
        if self.has_past || self.random.below(2) == 0 {
            let weights = self.constant(&[width, 3 * width], 0.3);
            let bias = self.constant(&[3 * width], 0.5);
            let mut inputs = vec![x, &weights, &bias, mask];
            if self.has_past {
                inputs.push("past");
            }
            let count = 1 + usize::from(self.has_past);
            let found = self.add((MICROSOFT, "Attention"), &inputs, count, &settings);
            self.outputs.extend(found.get(1).cloned());
            return found[0].clone();
        }
        let parts: Vec<String> = (0..3).map(|_| self.linear(x, width, width)).collect();
        let bias = if self.random.below(3) > 0 { self.constant(&[3 * width], 0.5) } else { String::new() };
        let inputs = [parts[0].as_str(), &parts[1], &parts[2], &bias, mask];
        self.one((MICROSOFT, "MultiHeadAttention"), &inputs, &settings)
    }

    /// The normalization of a sum, and the sum.
    fn normalize(&mut self, x: &str, y: &str) -> Vec<String> {
        let width = self.width;
        let (scale, shift) = (self.constant(&[width], 1.0), self.constant(&[width], 0.5));
        let bias = if self.random.below(2) == 0 { self.constant(&[width], 0.5) } else { String::new() };
        let settings = [("epsilon", Setting::Float(1e-4))];
        let (first, second) = if self.random.below(2) == 0 { (x, y) } else { (y, x) };
        if self.random.below(2) == 0 {
            let inputs = [first, second, &scale, &shift, &bias];
            self.add((MICROSOFT, "SkipLayerNormalization"), &inputs, 4, &settings)
        } else {
            self.add(
                (MICROSOFT, "SkipSimplifiedLayerNormalization"),
                &[first, second, &scale, &bias],
                4,
                &settings,
            )
        }
    }

    fn new(seed: u64) -> Self {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1_0000_0001));
        let heads = [2, 3, 4][random.below(3)];
        let (width, has_past) = (heads * [16, 24][random.below(2)], random.below(3) == 0);
        let mut graph = Self {
            random,
            nodes: Vec::new(),
            constants: Vec::new(),
            heads,
            width,
            has_past,
            outputs: Vec::new(),
        };
        let attended = graph.attend("x", !seed.is_multiple_of(4));
        let projected = graph.linear(&attended, width, width);
        let middle = graph.normalize("x", &projected);
        let inner = 2 * width + 8;
        let wide = graph.linear(&middle[0], width, inner);
        let bias = graph.constant(&[inner], 0.5);
        let gated = match graph.random.below(4) {
            0 => graph.one((MICROSOFT, "BiasGelu"), &[&wide, &bias], &[]),
            1 => graph.one((MICROSOFT, "FastGelu"), &[&wide, &bias], &[]),
            2 => graph.one((MICROSOFT, "FastGelu"), &[&wide], &[]),
            _ => graph.one((MICROSOFT, "QuickGelu"), &[&wide], &[("alpha", Setting::Float(1.5))]),
        };
        let narrow = graph.linear(&gated, inner, width);
        // The sum goes around the block, as where the normalization comes first.
        let skipped = if graph.random.below(2) == 0 { &middle[3] } else { &middle[0] };
        let last = graph.normalize(skipped, &narrow);
        graph.outputs.extend([last[0].clone(), last[3].clone()]);
        graph
    }

    fn file(&self, inputs: &[(&'static str, Tensor)], known: &HashMap<String, Tensor>) -> Vec<u8> {
        // The mean and the deviation are asked for by nobody.
        let asked = |built: &Built| {
            let is_asked = |index: usize| built.outputs.len() != 4 || index.is_multiple_of(3);
            let outputs = built.outputs.iter().enumerate();
            outputs.map(|(index, name)| if is_asked(index) { name.clone() } else { String::new() }).collect()
        };
        let nodes: Vec<Vec<u8>> = (self.nodes.iter())
            .map(|built| Built { outputs: asked(built), ..built.clone() }.encoded())
            .collect();
        let constants: Vec<Vec<u8>> =
            self.constants.iter().map(|(name, tensor)| encoded(name, tensor)).collect();
        let given: Vec<Vec<u8>> = inputs
            .iter()
            .map(|(name, tensor)| {
                let mut shape = vec![-1; tensor.rank()];
                if *name == "x" {
                    shape[2] = self.width as i64;
                }
                value(name, if *name == "mask" { INT32 } else { FLOAT }, &shape)
            })
            .collect();
        let outputs: Vec<Vec<u8>> =
            self.outputs.iter().map(|name| value(name, FLOAT, &vec![-1; known[name].rank()])).collect();
        let mut file = model(&nodes, &given, &outputs, &constants);
        let mut domain = Vec::new();
        put_bytes(&mut domain, 1, MICROSOFT.as_bytes());
        put_number(&mut domain, 2, 1);
        put_bytes(&mut file, 8, &domain);
        file
    }

    /// All values by our own operators, one after the other.
    fn by_operators(&self, inputs: &[(&'static str, Tensor)]) -> HashMap<String, Tensor> {
        by_operators(&self.nodes, &self.constants, inputs)
    }

    fn inputs(&mut self, batch: usize, rows: usize, kind: usize) -> Vec<(&'static str, Tensor)> {
        let mut inputs = vec![("x", self.random.tensor(&[batch, rows, self.width], 1.0))];
        let before = if self.has_past { 3 } else { 0 };
        let keys = before + rows;
        let shape = match kind {
            0 => vec![batch],
            1 => vec![batch, keys],
            _ => vec![batch, rows, keys],
        };
        let count: usize = shape.iter().product();
        let marks: Vec<i32> = (0..count)
            .map(|_| {
                if kind == 0 {
                    keys.min(2 + self.random.below(keys)) as i32
                } else {
                    i32::from(self.random.below(4) > 0)
                }
            })
            .collect();
        if self.nodes.iter().any(|node| node.inputs.iter().any(|input| input == "mask")) {
            inputs.push(("mask", Tensor::from_vec(shape, marks).unwrap()));
        }
        if self.has_past {
            inputs.push((
                "past",
                self.random.tensor(&[2, batch, self.heads, before, self.width / self.heads], 1.0),
            ));
        }
        inputs
    }
}

/// The wanted outputs, computed by this number of threads.
fn answer(
    model: &dyn LoadedModel,
    inputs: &[(&str, Tensor)],
    wanted: &[usize],
    threads: usize,
) -> Vec<Tensor> {
    answers(model, inputs.iter().map(|(_, input)| input), wanted, &Threads::new(threads))
}

/// One test: the limit holds for the whole process.
#[test]
fn random_blocks_are_answered_as_by_our_operators() {
    let count = std::env::var("FUSION_GRAPHS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 12 } else { 200 });
    for seed in 0..count {
        let mut graph = Graph::new(seed);
        let kind = graph.random.below(3);
        let inputs = [graph.inputs(1, 7, kind), graph.inputs(3, 12, kind), graph.inputs(2, 1, kind)];
        let expected: Vec<HashMap<String, Tensor>> =
            inputs.iter().map(|inputs| graph.by_operators(inputs)).collect();
        let file = graph.file(&inputs[0], &expected[0]);
        let all: Vec<usize> = (0..graph.outputs.len()).collect();
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            limit(level);
            let model = load(file.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let plan = model.plan().unwrap();
            let has = |what: &str| plan.fusions.iter().filter(|fusion| fusion.contains(what)).count();
            assert_eq!(has("normalization"), 2, "seed {seed}\n{plan}");
            assert!(has("product") >= 4 && has("gelu") + has("swish") == 1, "seed {seed}\n{plan}");
            for (inputs, expected) in inputs.iter().zip(&expected) {
                let found = answer(model.as_ref(), inputs, &all, 1);
                for (found, name) in found.iter().zip(&graph.outputs) {
                    assert_near(found, &expected[name], &format!("seed {seed}, {level:?}, {name}\n{plan}"));
                }
                // Threads and wanted outputs change nothing, to the last bit.
                assert_eq!(answer(model.as_ref(), inputs, &all, 3), found, "seed {seed}, {level:?}");
                let last = all.len() - 1;
                assert_eq!(
                    answer(model.as_ref(), inputs, &[last], 1)[0],
                    found[last],
                    "seed {seed}, {level:?}"
                );
            }
        }
    }
    limit(Level::Avx512);
}

#[test]
fn a_gemm_with_a_function_is_both() {
    let mut random = Random(77);
    let (rows, weights, bias) =
        (random.tensor(&[5, 40], 1.0), random.tensor(&[48, 40], 0.5), random.tensor(&[48], 1.0));
    let settings = [
        Attribute::Integer("transB", 1),
        Attribute::Float("alpha", 0.5),
        Attribute::Text("activation", "LeakyRelu"),
        Attribute::Float("activation_alpha", 0.25),
    ];
    let mut file = model(
        &[node_of(MICROSOFT, "FusedGemm", &["x", "w", "b"], &["y"], &settings)],
        &[value("x", FLOAT, &[-1, 40])],
        &[value("y", FLOAT, &[-1, 48])],
        &[
            floats("w", &[48, 40], weights.values::<f32>().unwrap()),
            floats("b", &[48], bias.values::<f32>().unwrap()),
        ],
    );
    let mut domain = Vec::new();
    put_bytes(&mut domain, 1, MICROSOFT.as_bytes());
    put_number(&mut domain, 2, 1);
    put_bytes(&mut file, 8, &domain);
    let found = answer(load(file).unwrap().as_ref(), &[("x", rows.clone())], &[0], 1);
    let number = |tensor: &Tensor, place: usize| f64::from(tensor.values::<f32>().unwrap()[place]);
    for (place, found) in found[0].values::<f32>().unwrap().iter().enumerate() {
        let (row, column) = (place / 48, place % 48);
        let sum: f64 =
            (0..40).map(|step| number(&rows, row * 40 + step) * number(&weights, column * 40 + step)).sum();
        let sum = 0.5 * sum + number(&bias, column);
        let expected = if sum < 0.0 { 0.25 * sum } else { sum };
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
    }
}
