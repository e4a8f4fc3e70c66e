//! Compiled regions answer as our own operators do, node by node: random graphs of what regions are made
//! of, at each level of instructions, for several sizes of inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use std::collections::HashMap;

use adytum_engine::{
    difference::difference,
    engine::Run,
    operators::{Cancellation, Memory},
    plan::Worker,
    precision::Precision,
    tensor::{Tensor, Value},
    threads::Threads,
};
use adytum_kernels::{Level, limit};
use fixture::{
    graphs::{Random, answers, assert_nearly},
    images::Graph,
    onnx::{Attribute, FLOAT, floats, model, node, value},
    runs::{load, load_narrow},
};

/// One test: the limit holds for the whole process.
#[test]
fn random_graphs_are_answered_as_by_our_operators() {
    let count = std::env::var("REGION_GRAPHS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 24 } else { 500 });
    let threads = [Threads::new(1), Threads::new(3)];
    let mut regions = 0;
    for seed in 0..count {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1_0000_0001));
        let graph = Graph::random(&mut random);
        // None of the random nodes had inputs that fit.
        if graph.nodes.is_empty() {
            continue;
        }
        let outputs = graph.outputs(&mut random);
        let file = graph.file(&outputs);
        let size = graph.values[0].1;
        let inputs: Vec<Tensor> = [1, 3]
            .into_iter()
            .map(|batch| {
                let values = random.numbers(batch * size.iter().product::<usize>(), 1.0);
                Tensor::from_vec([batch, size[0], size[1], size[2]], values).unwrap()
            })
            .collect();
        let expected: Vec<HashMap<String, Tensor>> =
            inputs.iter().map(|input| graph.by_operators(input.clone())).collect();
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            limit(level);
            let model = load(file.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let plan = model.plan().unwrap();
            regions += plan.regions;
            let all: Vec<usize> = (0..outputs.len()).collect();
            for (input, expected) in inputs.iter().zip(&expected) {
                for threads in &threads {
                    let found = answers(model.as_ref(), [input], &all, threads);
                    for (found, (name, _)) in found.iter().zip(&outputs) {
                        let what = format!("seed {seed}, {level:?}, {name}\n{plan}");
                        assert_nearly(found, &expected[name], &what, || {
                            graph.sensitivity(input.clone(), name, &expected[name])
                        });
                    }
                }
                // One output alone is the same, to the last bit.
                let last = answers(model.as_ref(), [input], &[outputs.len() - 1], &threads[0]);
                let found = answers(model.as_ref(), [input], &all, &threads[1]);
                assert_eq!(last[0], found[outputs.len() - 1], "seed {seed}, {level:?}");
            }
            // An answer does not depend on the others of its batch.
            let image = inputs[1].values::<f32>().unwrap();
            let one = image[image.len() / 3..][..image.len() / 3].to_vec();
            let one = Tensor::from_vec([1, size[0], size[1], size[2]], one).unwrap();
            let alone = answers(model.as_ref(), [&one], &all, &threads[0]);
            let together = answers(model.as_ref(), [&inputs[1]], &all, &threads[0]);
            if plan.lines.iter().all(|line| matches!(line.worker, Worker::Region(_))) {
                for (alone, together) in alone.iter().zip(&together) {
                    let part = alone.len();
                    let all = together.values::<f32>().unwrap();
                    assert_eq!(
                        alone.values::<f32>().unwrap(),
                        &all[part..2 * part],
                        "seed {seed}, {level:?}"
                    );
                }
            }
        }
    }
    limit(Level::Avx512);
    assert!(regions >= count as usize, "{regions} regions in {count} graphs");
    check_16_bit_floats();
}

/// In 16-bit floats, answers are near to those in 32-bit floats, and the same bits alone, in a batch, with any number
/// of threads and with any outputs wanted.
fn check_16_bit_floats() {
    if !Precision::BFloat16.is_available() {
        return;
    }
    let threads = [Threads::new(1), Threads::new(3)];
    let (mut accepted, mut narrow) = (0, 0);
    for seed in 0..if cfg!(debug_assertions) { 80 } else { 400 } {
        let mut random = Random(0x2545_f491_4f6c_dd1d ^ ((seed + 1) * 0x1_0000_0001));
        let graph = Graph::random(&mut random);
        // None of the random nodes had inputs that fit.
        if graph.nodes.is_empty() {
            continue;
        }
        let outputs = graph.outputs(&mut random);
        let size = graph.values[0].1;
        let input = random.numbers(3 * size.iter().product::<usize>(), 1.0);
        let input = Tensor::from_vec([3, size[0], size[1], size[2]], input).unwrap();
        let model = match load_narrow(graph.file(&outputs)) {
            Ok(model) => model,
            Err(error) => {
                assert_eq!(error.code(), "precision-inaccurate", "seed {seed}: {error}");
                continue;
            }
        };
        let plan = model.plan().unwrap();
        (accepted, narrow) = (accepted + 1, narrow + plan.narrow);
        let all: Vec<usize> = (0..outputs.len()).collect();
        let found = answers(model.as_ref(), [&input], &all, &threads[0]);
        assert_eq!(answers(model.as_ref(), [&input], &all, &threads[1]), found, "seed {seed}\n{plan}");
        let last = answers(model.as_ref(), [&input], &[outputs.len() - 1], &threads[0]);
        assert_eq!(last[0], found[outputs.len() - 1], "seed {seed}\n{plan}");
        let expected = graph.by_operators(input.clone());
        for (found, (name, _)) in found.iter().zip(&outputs) {
            let far = difference(found, &expected[name]).unwrap();
            assert!(far < 0.2, "seed {seed}, {name}: {far}\n{plan}");
        }
        if plan.lines.iter().all(|line| matches!(line.worker, Worker::Region(_))) {
            let image = input.values::<f32>().unwrap();
            let one = image[image.len() / 3..][..image.len() / 3].to_vec();
            let one = Tensor::from_vec([1, size[0], size[1], size[2]], one).unwrap();
            for (alone, together) in answers(model.as_ref(), [&one], &all, &threads[0]).iter().zip(&found) {
                let part = alone.len();
                let all = together.values::<f32>().unwrap();
                assert_eq!(alone.values::<f32>().unwrap(), &all[part..2 * part], "seed {seed}\n{plan}");
            }
        }
    }
    assert!(accepted > 40 && narrow > 15, "{accepted} accepted, {narrow} convolutions");
}

#[test]
fn images_that_do_not_fit_are_errors_and_memory_is_limited() {
    let nodes = [
        node("Conv", &["x", "w"], &["a"], &[]),
        node("Conv", &["z", "w"], &["b"], &[]),
        node("Concat", &["a", "b"], &["y"], &[Attribute::Integer("axis", 1)]),
    ];
    let file = model(
        &nodes,
        &[value("x", FLOAT, &[-1, 2, 4, 4]), value("z", FLOAT, &[1, 2, 4, 4])],
        &[value("y", FLOAT, &[-1, 4, 4, 4]), value("b", FLOAT, &[-1, 2, 4, 4])],
        &[floats("w", &[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0])],
    );
    let model = load(file).unwrap();
    assert_eq!(model.plan().unwrap().regions, 1, "{}", model.plan().unwrap());
    assert_eq!(model.needed_inputs(&[1]), [false, true]);
    let (threads, cancellation) = (Threads::new(1), Cancellation::default());
    let run = |inputs: Vec<Option<Value>>, wanted: &[usize], bytes: usize| {
        let memory = Memory::new(bytes);
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        let found = model.run(inputs, wanted, run).map_err(|error| error.code().to_owned());
        assert_eq!(memory.used(), 0, "all memory is given back");
        found
    };
    let images = |count: usize| {
        let values = (0..count * 32).map(|value| value as f32).collect();
        Some(Value::Tensor(Tensor::from_vec([count, 2, 4, 4], values).unwrap()))
    };
    assert!(run(vec![images(1), images(1)], &[0, 1], 1 << 20).is_ok());
    assert_eq!(run(vec![images(2), images(1)], &[0], 1 << 20), Err("engine-inputs".to_owned()));
    assert_eq!(run(vec![images(1), images(1)], &[0], 600), Err("engine-budget".to_owned()));
    let found = run(vec![None, images(1)], &[1], 1 << 20).unwrap();
    let found = found[0].tensor().unwrap().values::<f32>().unwrap().to_vec();
    assert_eq!(found[..2], [32.0, 35.0]);
    assert_eq!(run(vec![images(0), images(1)], &[0], 1 << 20), Err("engine-inputs".to_owned()));
}
