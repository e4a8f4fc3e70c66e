//! Transposes around regions are done where images enter and leave, and the answers are those of our operators.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    engine::Run,
    operators::{Attribute as Setting, Cancellation, Memory},
    plan::Worker,
    tensor::{Tensor, Value},
    threads::Threads,
};
use adytum_kernels::{Level, limit};
use fixture::{
    graphs::{Built, Random, add_constant, add_node, answers, assert_near, by_operators, encoded, list},
    onnx::{FLOAT, model, value},
    runs::load,
};

/// A graph whose nodes are added one by one.
struct Graph {
    random: Random,
    nodes: Vec<Built>,
    constants: Vec<(String, Tensor)>,
}

impl Graph {
    fn add(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        settings: Vec<(&'static str, Setting)>,
    ) -> String {
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        add_node(&mut self.nodes, operator, inputs, settings)
    }

    fn constant(&mut self, tensor: Tensor) -> String {
        add_constant(&mut self.constants, tensor)
    }

    fn convolution(&mut self, image: &str, shape: &[usize]) -> String {
        let weights = self.random.tensor(shape, 0.5);
        let weights = self.constant(weights);
        let pads = vec![1; 2 * (shape.len() - 2)];
        self.add("Conv", &[image, &weights], vec![("pads", list(&pads))])
    }

    fn transpose(&mut self, from: &str, axes: &[usize]) -> String {
        self.add("Transpose", &[from], vec![("perm", list(axes))])
    }

    fn reshape(&mut self, from: &str, shape: &[i64]) -> String {
        let shape = self.constant(Tensor::vector(shape.to_vec()));
        self.add("Reshape", &[from, &shape], vec![])
    }

    /// A layer of a transformer: a normalization of rows and a product.
    fn layer(&mut self, rows: &str, width: usize) -> String {
        let (scale, bias) = (self.random.tensor(&[width], 1.0), self.random.tensor(&[width], 0.5));
        let weights = self.random.tensor(&[width, width], 0.4);
        let [scale, bias, weights] = [scale, bias, weights].map(|tensor| self.constant(tensor));
        let normal = self.add("LayerNormalization", &[rows, &scale, &bias], vec![]);
        self.add("MatMul", &[&normal, &weights], vec![])
    }
}

/// Builds a graph of an input of a shape, compares it, and tells who does its transposes and reshapes.
fn compare(shape: &[i64], build: impl Fn(&mut Graph) -> Vec<(String, Vec<i64>)>) -> Vec<Worker> {
    let mut graph = Graph { random: Random(77), nodes: Vec::new(), constants: Vec::new() };
    let outputs = build(&mut graph);
    let nodes: Vec<Vec<u8>> = graph.nodes.iter().map(Built::encoded).collect();
    let constants: Vec<Vec<u8>> =
        graph.constants.iter().map(|(name, tensor)| encoded(name, tensor)).collect();
    let ports: Vec<Vec<u8>> = outputs.iter().map(|(name, shape)| value(name, FLOAT, shape)).collect();
    let file = model(&nodes, &[value("x", FLOAT, shape)], &ports, &constants);
    let mut workers = Vec::new();
    for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
        limit(level);
        let loaded = load(file.clone()).unwrap();
        let plan = loaded.plan().unwrap();
        for images in [1, 3] {
            let sizes = shape.iter().map(|size| usize::try_from(*size).unwrap_or(images)).collect::<Vec<_>>();
            let input = graph.random.tensor(&sizes, 1.0);
            let expected = by_operators(&graph.nodes, &graph.constants, &[("x", input.clone())]);
            let all: Vec<usize> = (0..outputs.len()).collect();
            for threads in [Threads::new(1), Threads::new(3)] {
                let found = answers(loaded.as_ref(), [&input], &all, &threads);
                for (place, (found, (name, _))) in found.iter().zip(&outputs).enumerate() {
                    assert_near(found, &expected[name], &format!("{level:?}, {name}\n{plan}"));
                    let alone = answers(loaded.as_ref(), [&input], &[place], &threads);
                    assert_eq!(alone[0], *found, "{level:?}, {name}");
                }
            }
        }
        let is_moved = |operator: &str| matches!(operator, "Transpose" | "Reshape");
        workers = plan.lines.iter().filter(|line| is_moved(&line.operator)).map(|line| line.worker).collect();
    }
    workers
}

#[test]
fn transposes_around_regions_are_done_as_images_leave_and_enter() {
    // As ConvNeXt has it; 20 channels are a block and a part of one.
    let workers = compare(&[-1, 3, 9, 7], |graph| {
        let image = graph.convolution("x", &[20, 3, 3, 3]);
        let pixels = graph.transpose(&image, &[0, 2, 3, 1]);
        let pixels = graph.layer(&pixels, 20);
        let turned = graph.transpose(&pixels, &[0, 3, 1, 2]);
        let last = graph.convolution(&turned, &[5, 20, 3, 3]);
        vec![(last, vec![-1, 5, 9, 7])]
    });
    assert_eq!(workers, [Worker::Region(0), Worker::Region(1)]);
    // Photos have few channels, which the first convolution takes side by side.
    let workers = compare(&[-1, 9, 7, 3], |graph| {
        let image = graph.transpose("x", &[0, 3, 1, 2]);
        let image = graph.convolution(&image, &[33, 3, 3, 3]);
        let pixels = graph.transpose(&image, &[0, 2, 3, 1]);
        vec![(pixels, vec![-1, 9, 7, 33]), (image, vec![-1, 33, 9, 7])]
    });
    assert_eq!(workers, [Worker::Region(0), Worker::Region(0)]);
}

#[test]
fn pixels_in_one_dimension_are_images_too() {
    // As SegFormer has it.
    let workers = compare(&[-1, 3, 6, 8], |graph| {
        let image = graph.convolution("x", &[16, 3, 3, 3]);
        let rows = graph.reshape(&image, &[0, 16, -1]);
        let rows = graph.transpose(&rows, &[0, 2, 1]);
        let rows = graph.layer(&rows, 16);
        let turned = graph.transpose(&rows, &[0, 2, 1]);
        let image = graph.reshape(&turned, &[0, 16, 6, 8]);
        let image = graph.convolution(&image, &[7, 16, 3, 3]);
        vec![(image, vec![-1, 7, 6, 8]), (rows, vec![-1, 48, 16])]
    });
    assert_eq!(workers, [Worker::Region(0), Worker::Region(0), Worker::Region(1), Worker::Region(1)]);
    // Lines, as networks for sounds have them.
    let workers = compare(&[-1, 4, 30], |graph| {
        let line = graph.convolution("x", &[24, 4, 3]);
        let rows = graph.transpose(&line, &[0, 2, 1]);
        let rows = graph.layer(&rows, 24);
        let line = graph.transpose(&rows, &[0, 2, 1]);
        let line = graph.convolution(&line, &[6, 24, 3]);
        vec![(line, vec![-1, 6, 30])]
    });
    assert_eq!(workers, [Worker::Region(0), Worker::Region(1)]);
}

#[test]
fn what_others_take_too_is_turned_by_an_operator() {
    let workers = compare(&[-1, 3, 6, 8], |graph| {
        let image = graph.convolution("x", &[16, 3, 3, 3]);
        let rows = graph.reshape(&image, &[0, 16, -1]);
        let pixels = graph.transpose(&rows, &[0, 2, 1]);
        let pixels = graph.layer(&pixels, 16);
        let turned = graph.transpose(&pixels, &[0, 2, 1]);
        let again = graph.reshape(&turned, &[0, 16, 6, 8]);
        let last = graph.convolution(&again, &[7, 16, 3, 3]);
        // The rows and the image are answers, too.
        vec![(last, vec![-1, 7, 6, 8]), (rows, vec![-1, 16, 48]), (again, vec![-1, 16, 6, 8])]
    });
    assert!(workers.iter().all(|worker| !matches!(worker, Worker::Region(_))), "{workers:?}");
    // Another number of channels in a reshape is no image.
    let workers = compare(&[-1, 3, 6, 8], |graph| {
        let image = graph.convolution("x", &[16, 3, 3, 3]);
        let rows = graph.reshape(&image, &[0, 32, -1]);
        let pixels = graph.transpose(&rows, &[0, 2, 1]);
        vec![(pixels, vec![-1, 24, 32])]
    });
    assert!(workers.iter().all(|worker| !matches!(worker, Worker::Region(_))), "{workers:?}");
}

#[test]
fn pixels_that_do_not_fit_are_errors() {
    let file = model(
        &[
            fixture::onnx::node(
                "Transpose",
                &["x"],
                &["t"],
                &[fixture::onnx::Attribute::Integers("perm", &[0, 2, 1])],
            ),
            fixture::onnx::node("Reshape", &["t", "shape"], &["i"], &[]),
            fixture::onnx::node("Conv", &["i", "w"], &["y"], &[]),
        ],
        &[value("x", FLOAT, &[-1, -1, 2])],
        &[value("y", FLOAT, &[-1, 2, 4, 4])],
        &[
            fixture::onnx::longs("shape", &[4], &[0, 2, 4, 4]),
            fixture::onnx::floats("w", &[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0]),
        ],
    );
    let loaded = load(file).unwrap();
    let (threads, memory, cancellation) = (Threads::new(1), Memory::new(1 << 20), Cancellation::default());
    for (shape, fits) in [([2, 16, 2], true), ([2, 15, 2], false), ([1, 32, 2], false)] {
        let input = Tensor::from_vec(shape.to_vec(), vec![1.0_f32; shape.iter().product()]).unwrap();
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        let found = loaded.run(vec![Some(Value::Tensor(input))], &[0], run);
        let found = found.map_err(|error| error.code().to_owned()).err();
        assert_eq!(found, (!fits).then(|| "engine-inputs".to_owned()), "{shape:?}");
        assert_eq!(memory.used(), 0);
    }
}
