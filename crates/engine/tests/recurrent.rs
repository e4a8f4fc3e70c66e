//! Fused layers of cells answer as our own operator does: both kinds, both directions, with and without biases and states.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    difference::difference,
    engine::Run,
    operators::{Attribute as Setting, Attributes, Cancellation, Context, Definition, Input, Memory, find},
    tensor::{Tensor, Value, ValueType},
    threads::Threads,
};
use adytum_kernels::{Level, limit};
use fixture::{
    onnx::{Attribute, FLOAT, floats, model, node, value},
    runs::load,
};

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|place| ((place * 7919 + seed * 104_729) % 2003) as f32 / 2003.0 - 0.5).collect()
}

/// A layer, by our own operator: its outputs.
fn expected(operator: &str, direction: &str, inputs: &[Option<Tensor>]) -> Vec<Tensor> {
    let settings: Attributes = [
        ("direction".to_owned(), Setting::Text(direction.as_bytes().to_vec().into())),
        ("linear_before_reset".to_owned(), Setting::Integer(1)),
    ]
    .into_iter()
    .collect();
    let types: Vec<Option<ValueType>> =
        inputs.iter().map(|input| Some(ValueType::Tensor(input.as_ref()?.element_type()))).collect();
    let given: Vec<Option<Input<'_>>> = types
        .iter()
        .map(|value_type| Some(Input { value_type: value_type.as_ref()?, constant: None }))
        .collect();
    let definition = Definition {
        operator,
        opset: 17,
        attributes: &settings,
        inputs: &given,
        outputs: if operator == "LSTM" { 3 } else { 2 },
    };
    let built = find("", operator).unwrap()(&definition).unwrap().operator;
    let (memory, cancellation) = (Memory::new(1 << 30), Cancellation::default());
    let inputs = inputs.iter().map(|input| input.clone().map(Value::Tensor)).collect();
    let found = built.run(inputs, &Context::new(&memory, &cancellation)).unwrap();
    found.into_iter().map(|value| value.into_tensor().unwrap()).collect()
}

#[test]
fn layers_are_answered_as_by_our_operator() {
    let mut seed = 0;
    for (operator, gates) in [("LSTM", 4), ("GRU", 3)] {
        for direction in ["forward", "reverse", "bidirectional"] {
            for (depth, hidden, has_bias, has_state) in
                [(5, 3, true, false), (24, 40, false, true), (33, 16, true, true)]
            {
                seed += 1;
                let count = if direction == "bidirectional" { 2 } else { 1 };
                let rows = gates * hidden;
                let weights = numbers(count * rows * depth, seed);
                let recurrence = numbers(count * rows * hidden, seed + 1);
                let biases = numbers(count * 2 * rows, seed + 2);
                let size = |values: &[usize]| values.iter().map(|size| *size as i64).collect::<Vec<i64>>();
                let mut names = vec!["x", "w", "r", if has_bias { "b" } else { "" }];
                let mut ports = vec![value("x", FLOAT, &[-1, 3, depth as i64])];
                if has_state {
                    names.extend(["", "h"]);
                    ports.push(value("h", FLOAT, &size(&[count, 3, hidden])));
                    if operator == "LSTM" {
                        names.push("c");
                        ports.push(value("c", FLOAT, &size(&[count, 3, hidden])));
                    }
                }
                let outputs = if operator == "LSTM" { vec!["y", "yh", "yc"] } else { vec!["y", "yh"] };
                let nodes = [node(
                    operator,
                    &names,
                    &outputs,
                    &[
                        Attribute::Text("direction", direction),
                        Attribute::Integer("hidden_size", hidden as i64),
                        Attribute::Integer("linear_before_reset", 1),
                    ],
                )];
                let state = size(&[count, 3, hidden]);
                let shapes = [vec![-1, count as i64, 3, hidden as i64], state.clone(), state];
                let results: Vec<Vec<u8>> =
                    outputs.iter().zip(&shapes).map(|(name, shape)| value(name, FLOAT, shape)).collect();
                let constants = [
                    floats("w", &size(&[count, rows, depth]), &weights),
                    floats("r", &size(&[count, rows, hidden]), &recurrence),
                    floats("b", &size(&[count, 2 * rows]), &biases),
                ];
                let file = model(&nodes, &ports, &results, &constants[..if has_bias { 3 } else { 2 }]);
                for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
                    limit(level);
                    let model = load(file.clone()).unwrap();
                    let plan = model.plan().unwrap();
                    assert!(plan.fusions.iter().any(|fusion| fusion.starts_with(operator)), "{plan}");
                    for steps in [1, 7] {
                        let tensor = |shape: &[usize], values: Vec<f32>| {
                            Tensor::from_vec(shape.to_vec(), values).unwrap()
                        };
                        let mut inputs =
                            vec![tensor(&[steps, 3, depth], numbers(steps * 3 * depth, seed + 3))];
                        if has_state {
                            for number in 0..ports.len() - 1 {
                                inputs.push(tensor(
                                    &[count, 3, hidden],
                                    numbers(count * 3 * hidden, seed + 4 + number),
                                ));
                            }
                        }
                        let mut all = vec![
                            Some(inputs[0].clone()),
                            Some(tensor(&[count, rows, depth], weights.clone())),
                            Some(tensor(&[count, rows, hidden], recurrence.clone())),
                            has_bias.then(|| tensor(&[count, 2 * rows], biases.clone())),
                            None,
                        ];
                        all.extend(inputs[1..].iter().cloned().map(Some));
                        let expected = expected(operator, direction, &all);
                        let (memory, cancellation) = (Memory::new(1 << 30), Cancellation::default());
                        let threads = Threads::new(2);
                        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
                        let wanted: Vec<usize> = (0..outputs.len()).collect();
                        let given = inputs.into_iter().map(|input| Some(Value::Tensor(input))).collect();
                        let found = model.run(given, &wanted, run).unwrap();
                        assert_eq!(memory.used(), 0);
                        for (found, expected) in found.iter().zip(&expected) {
                            let far = difference(found.tensor().unwrap(), expected).unwrap();
                            assert!(far < 1e-5, "{operator} {direction} {level:?}: {far}");
                        }
                    }
                }
            }
        }
    }
    limit(Level::Avx512);
}
