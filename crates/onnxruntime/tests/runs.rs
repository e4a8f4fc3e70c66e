//! Models that ONNX Runtime runs, against the static engine's answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{sync::Arc, thread};

use adytum_engine::{
    engine::Run,
    onnx::model::Dimension,
    operators::{Cancellation, Memory},
    static_engine::StaticEngine,
    tensor::{ElementType, Tensor, Text, Value, ValueType},
    threads::Threads,
};
use fixture::{
    load,
    onnx::{Attribute, FLOAT, INT64, floats, graph, model, model_with, node, node_of, value},
    run, run_within, runtime, same_answers,
};
use half::{bf16, f16};

#[test]
fn layers_are_the_static_engines() {
    let file = model(
        &[
            node("MatMul", &["x", "w"], &["a"], &[]),
            node("Add", &["a", "b"], &["c"], &[]),
            node("Softmax", &["c"], &["y"], &[Attribute::Integer("axis", -1)]),
        ],
        &[value("x", FLOAT, &[-1, 2])],
        &[value("y", FLOAT, &[-1, 3])],
        &[floats("w", &[2, 3], &[1.0, -2.0, 0.5, 3.0, 0.25, -1.0]), floats("b", &[3], &[0.1, 0.2, 0.3])],
    );
    let x = Tensor::from_vec([2, 2], vec![1.0_f32, 2.0, -3.0, 0.5]).unwrap();
    same_answers(&file, vec![x]);
}

#[test]
fn the_digits_are_recognised_alike() {
    let file =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/model.onnx")).unwrap();
    let input = load(&StaticEngine, &file).unwrap().signature().inputs[0].clone();
    let shape: Vec<usize> = input
        .shape
        .unwrap()
        .iter()
        .map(|size| if let Dimension::Fixed(size) = size { *size } else { 3 })
        .collect();
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|index| (index % 17) as f32 / 16.0).collect();
    same_answers(&file, vec![Tensor::from_vec(shape, values).unwrap()]);
}

/// `Identity` of each type, which neither engine may change.
#[test]
fn all_types_pass_unchanged() {
    let Some(runtime) = runtime() else { return };
    let tensors = [
        Tensor::vector(vec![1.5_f32, f32::NAN, -0.0]),
        Tensor::vector(vec![f64::MAX, 1e-300, 0.1]),
        Tensor::vector(vec![f16::MAX, f16::MIN_POSITIVE, f16::ZERO]),
        Tensor::vector(vec![bf16::MAX, bf16::MIN_POSITIVE, bf16::ZERO]),
        Tensor::vector(vec![i8::MIN, 0, i8::MAX]),
        Tensor::vector(vec![i16::MIN, 0, i16::MAX]),
        Tensor::vector(vec![i32::MIN, 0, i32::MAX]),
        Tensor::vector(vec![i64::MIN, (1 << 53) + 1, i64::MAX]),
        Tensor::vector(vec![0, 1, u8::MAX]),
        Tensor::vector(vec![0, 1, u16::MAX]),
        Tensor::vector(vec![0, 1, u32::MAX]),
        Tensor::vector(vec![0, 1, u64::MAX]),
        Tensor::vector(vec![true, false, true]),
        // With a NUL byte, not in UTF-8, and empty.
        Tensor::vector(vec![Text::from_static(b"a\0b"), Text::from_static(b"\xff\xfe"), Text::new()]),
    ];
    assert_eq!(tensors.len(), ElementType::ALL.len());
    for tensor in tensors {
        let number = tensor.element_type().to_onnx().unsigned_abs().into();
        let file = model(
            &[node("Identity", &["x"], &["y"], &[])],
            &[value("x", number, &[-1])],
            &[value("y", number, &[-1])],
            &[],
        );
        let loaded = load(&runtime, &file).unwrap();
        assert_eq!(loaded.signature(), load(&StaticEngine, &file).unwrap().signature());
        for tensor in [tensor.clone(), Tensor::zeros(tensor.element_type(), [0]).unwrap()] {
            let found = run(loaded.as_ref(), vec![tensor.clone()]).unwrap();
            // As text: NaN is not equal to itself.
            assert_eq!(format!("{found:?}"), format!("{:?}", [Value::Tensor(tensor)]));
        }
    }
}

#[test]
fn scalars_and_sizes_of_zero_work() {
    let file = model(
        &[node("Add", &["x", "x"], &["y"], &[])],
        &[value("x", FLOAT, &[])],
        &[value("y", FLOAT, &[])],
        &[],
    );
    same_answers(&file, vec![Tensor::scalar(2.5_f32)]);
    let file = model(
        &[node("Add", &["x", "x"], &["y"], &[])],
        &[value("x", FLOAT, &[-1, 0])],
        &[value("y", FLOAT, &[-1, 0])],
        &[],
    );
    same_answers(&file, vec![Tensor::zeros(ElementType::Float, [3, 0]).unwrap()]);
}

#[test]
fn an_output_may_be_named_twice_and_may_be_an_input() {
    let y = value("y", FLOAT, &[-1]);
    let x = value("x", FLOAT, &[-1]);
    let file = model(&[node("Neg", &["x"], &["y"], &[])], &[x.clone()], &[y.clone(), x, y], &[]);
    same_answers(&file, vec![Tensor::vector(vec![1.0_f32, -2.0])]);
}

/// A classifier's maps of labels and scores: the scores come as a matrix, as from the static
/// engine.
#[test]
fn maps_of_scores_are_matrices() {
    let labels = Attribute::Integers("classlabels_int64s", &[4, 7]);
    let zip = node_of("ai.onnx.ml", "ZipMap", &["scores"], &["maps"], &[labels]);
    let mut maps = Vec::new();
    fixture::onnx::put_bytes(&mut maps, 1, b"maps");
    // sequence(map(int64, tensor(float)))
    fixture::onnx::put_bytes(&mut maps, 2, &[34, 12, 10, 10, 42, 8, 8, 7, 18, 4, 10, 2, 8, 1]);
    let inner = graph(
        &[node("Softmax", &["x"], &["scores"], &[]), zip],
        &[value("x", FLOAT, &[-1, 2])],
        &[maps],
        &[],
    );
    let mut file = model_with(&inner, &[], 17);
    let mut import = Vec::new();
    fixture::onnx::put_bytes(&mut import, 1, b"ai.onnx.ml");
    fixture::onnx::put_number(&mut import, 2, 1);
    fixture::onnx::put_bytes(&mut file, 8, &import);
    let Some(runtime) = runtime() else { return };
    let x = Tensor::from_vec([2, 2], vec![0.0_f32, 0.0, 1.0, 1.0]).unwrap();
    let loaded = load(&runtime, &file).unwrap();
    assert_eq!(loaded.signature().outputs[0].value_type, ValueType::Tensor(ElementType::Float));
    let found = run(loaded.as_ref(), vec![x.clone()]).unwrap();
    assert_eq!(found, [Value::Tensor(Tensor::from_vec([2, 2], vec![0.5_f32; 4]).unwrap())]);
    assert_eq!(run(load(&StaticEngine, &file).unwrap().as_ref(), vec![x]).unwrap(), found);
}

/// `y` needs `x` alone, `z` needs both, `c` none.
fn three_outputs() -> Vec<u8> {
    model(
        &[
            node("Add", &["x", "one"], &["y"], &[]),
            node("Mul", &["y", "w"], &["z"], &[]),
            node("Neg", &["one"], &["c"], &[]),
        ],
        &[value("x", FLOAT, &[-1]), value("w", FLOAT, &[-1]), value("unused", FLOAT, &[2])],
        &[value("y", FLOAT, &[-1]), value("z", FLOAT, &[-1]), value("c", FLOAT, &[1])],
        &[floats("one", &[1], &[1.0])],
    )
}

#[test]
fn a_run_takes_the_inputs_that_its_outputs_need() {
    let Some(runtime) = runtime() else { return };
    let loaded = load(&runtime, &three_outputs()).unwrap();
    let own = load(&StaticEngine, &three_outputs()).unwrap();
    for outputs in [&[0_usize][..], &[1], &[2], &[], &[0, 2], &[0, 1, 2]] {
        assert_eq!(loaded.needed_inputs(outputs), own.needed_inputs(outputs), "{outputs:?}");
    }
    let x: Option<Value> = Some(Tensor::vector(vec![1.0_f32, 2.0]).into());
    let w: Option<Value> = Some(Tensor::vector(vec![3.0_f32, 5.0]).into());
    let floats = |values: Vec<f32>| Value::Tensor(Tensor::vector(values));
    let found = |inputs: Vec<Option<Value>>, outputs: &[usize]| {
        run_within(loaded.as_ref(), inputs, outputs, 1 << 20).map_err(|error| error.to_string())
    };
    let (y, z, c) = (floats(vec![2.0, 3.0]), floats(vec![6.0, 15.0]), floats(vec![-1.0]));
    assert_eq!(found(vec![x.clone(), None, None], &[0]).unwrap(), [y.clone()]);
    assert_eq!(found(vec![None, None, None], &[2]).unwrap(), [c.clone()]);
    assert_eq!(found(vec![x.clone(), None, None], &[2, 0, 0]).unwrap(), [c.clone(), y.clone(), y.clone()]);
    assert_eq!(found(vec![x.clone(), w, None], &[0, 1, 2]).unwrap(), [y, z, c]);
    assert!(found(vec![None, None, None], &[]).unwrap().is_empty());
    let refusal = found(vec![x, None, None], &[1]).unwrap_err();
    assert!(refusal.contains("\"w\"") && refusal.contains("not given"), "{refusal}");
}

/// The branches of an `If` use values of the graph around them.
#[test]
fn what_inner_graphs_use_is_needed() {
    let branch = |input: &str| {
        graph(
            &[node("Identity", &[input], &["of_branch"], &[])],
            &[],
            &[value("of_branch", FLOAT, &[-1])],
            &[],
        )
    };
    let file = model(
        &[
            node("ReduceMax", &["x"], &["largest"], &[Attribute::Integer("keepdims", 0)]),
            node("Greater", &["largest", "zero"], &["condition"], &[]),
            node(
                "If",
                &["condition"],
                &["y"],
                &[Attribute::Graph("then_branch", branch("x")), Attribute::Graph("else_branch", branch("w"))],
            ),
        ],
        &[value("x", FLOAT, &[-1]), value("w", FLOAT, &[-1])],
        &[value("y", FLOAT, &[-1])],
        &[floats("zero", &[], &[0.0])],
    );
    for x in [1.0_f32, -1.0] {
        same_answers(&file, vec![Tensor::vector(vec![x, -2.0]), Tensor::vector(vec![7.0_f32])]);
    }
}

#[test]
fn wrong_inputs_are_refused_before_the_run() {
    let Some(runtime) = runtime() else { return };
    let file = three_outputs();
    let (loaded, own) = (load(&runtime, &file).unwrap(), load(&StaticEngine, &file).unwrap());
    let good: Value = Tensor::vector(vec![1.0_f32]).into();
    let wrong = [
        vec![],
        vec![Some(good.clone())],
        vec![Some(Tensor::vector(vec![1_i64]).into()), Some(good.clone()), None],
        vec![Some(Tensor::scalar(1.0_f32).into()), Some(good.clone()), None],
        vec![Some(good.clone()), Some(good.clone()), Some(Tensor::vector(vec![1.0_f32; 3]).into())],
        vec![Some(Value::Sequence(ElementType::Float, Vec::new())), Some(good.clone()), None],
        vec![Some(Value::Optional(None)), Some(good), None],
    ];
    for inputs in wrong {
        let found = run_within(loaded.as_ref(), inputs.clone(), &[0, 1], 1 << 20).unwrap_err();
        assert_eq!(found, run_within(own.as_ref(), inputs, &[0, 1], 1 << 20).unwrap_err());
    }
}

#[test]
fn what_a_node_refuses_is_an_error() {
    let Some(runtime) = runtime() else { return };
    let file = model(
        &[node("Reshape", &["x", "shape"], &["y"], &[])],
        &[value("x", FLOAT, &[-1]), value("shape", INT64, &[2])],
        &[value("y", FLOAT, &[-1, -1])],
        &[],
    );
    let loaded = load(&runtime, &file).unwrap();
    let inputs = vec![Tensor::vector(vec![1.0_f32; 6]), Tensor::vector(vec![4_i64, 4])];
    let error = run(loaded.as_ref(), inputs).unwrap_err();
    assert!(["engine-failed", "engine-inputs"].contains(&error.code()), "{error}");
    assert!(error.to_string().contains("Reshape"), "{error}");
    let inputs = vec![Tensor::vector(vec![1.0_f32; 6]), Tensor::vector(vec![2_i64, 3])];
    assert!(run(loaded.as_ref(), inputs).is_ok());
}

#[test]
fn outputs_are_charged_before_they_are_copied() {
    let Some(runtime) = runtime() else { return };
    let file = model(
        &[node("Expand", &["x", "shape"], &["y"], &[])],
        &[value("x", FLOAT, &[1]), value("shape", INT64, &[1])],
        &[value("y", FLOAT, &[-1])],
        &[],
    );
    let loaded = load(&runtime, &file).unwrap();
    let inputs = |size: i64| {
        vec![
            Some(Value::Tensor(Tensor::vector(vec![1.0_f32]))),
            Some(Value::Tensor(Tensor::vector(vec![size]))),
        ]
    };
    assert!(run_within(loaded.as_ref(), inputs(1000), &[0], 4000).is_ok());
    let error = run_within(loaded.as_ref(), inputs(1001), &[0], 4000).unwrap_err();
    assert_eq!(error.code(), "engine-budget");
}

/// A loop of a great many turns.
fn long() -> Vec<u8> {
    let body = graph(
        &[node("Identity", &["go"], &["still"], &[]), node("Add", &["sum", "one"], &["next"], &[])],
        &[value("turn", INT64, &[]), value("go", 9, &[]), value("sum", FLOAT, &[])],
        &[value("still", 9, &[]), value("next", FLOAT, &[])],
        &[],
    );
    model(
        &[node("Loop", &["turns", "", "start"], &["y"], &[Attribute::Graph("body", body)])],
        &[value("turns", INT64, &[]), value("start", FLOAT, &[])],
        &[value("y", FLOAT, &[])],
        &[floats("one", &[], &[1.0])],
    )
}

#[test]
fn a_cancelled_run_ends() {
    let Some(runtime) = runtime() else { return };
    let loaded: Arc<dyn adytum_engine::engine::LoadedModel> = load(&runtime, &long()).unwrap().into();
    let cancellation = Cancellation::default();
    let (of_run, model) = (cancellation.clone(), Arc::clone(&loaded));
    let running = thread::spawn(move || {
        let (threads, memory) = (Threads::new(1), Memory::new(1 << 20));
        let inputs: Vec<Option<Value>> =
            vec![Some(Tensor::scalar(i64::MAX).into()), Some(Tensor::scalar(0.0_f32).into())];
        model.run(inputs, &[0], Run { threads: &threads, budget: &memory, cancellation: &of_run })
    });
    cancellation.cancel();
    // It would take longer than anybody waits.
    let error = running.join().unwrap().unwrap_err();
    assert_eq!(error.code(), "engine-cancelled");
    let found = run(loaded.as_ref(), vec![Tensor::scalar(5_i64), Tensor::scalar(0.0_f32)]).unwrap();
    assert_eq!(found, [Value::Tensor(Tensor::scalar(5.0_f32))]);
}

#[test]
fn many_runs_at_once_answer_each_its_own() {
    let Some(runtime) = runtime() else { return };
    let loaded: Arc<dyn adytum_engine::engine::LoadedModel> =
        load(&runtime, &three_outputs()).unwrap().into();
    let threads: Vec<_> = (0..8_u16)
        .map(|number| {
            let model = Arc::clone(&loaded);
            thread::spawn(move || {
                for turn in 0..200_u16 {
                    let value = f32::from(number * 1000 + turn);
                    let x: Option<Value> = Some(Tensor::vector(vec![value; 3]).into());
                    let found = run_within(model.as_ref(), vec![x, None, None], &[0], 1 << 20).unwrap();
                    assert_eq!(found, [Value::Tensor(Tensor::vector(vec![value + 1.0; 3]))]);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Sequences go in and come out.
#[test]
fn sequences_work() {
    let Some(runtime) = runtime() else { return };
    let mut sequence = Vec::new();
    fixture::onnx::put_bytes(&mut sequence, 1, b"x");
    // sequence(tensor(float))
    fixture::onnx::put_bytes(&mut sequence, 2, &[34, 6, 10, 4, 10, 2, 8, 1]);
    let mut output = Vec::new();
    fixture::onnx::put_bytes(&mut output, 1, b"y");
    fixture::onnx::put_bytes(&mut output, 2, &[34, 6, 10, 4, 10, 2, 8, 1]);
    let file = model(
        &[node("SequenceInsert", &["x", "t"], &["y"], &[])],
        &[sequence, value("t", FLOAT, &[-1])],
        &[output],
        &[],
    );
    let loaded = load(&runtime, &file).unwrap();
    assert_eq!(loaded.signature(), load(&StaticEngine, &file).unwrap().signature());
    let parts = vec![Tensor::vector(vec![1.0_f32]), Tensor::vector(vec![2.0_f32, 3.0])];
    let new = Tensor::vector(vec![9.0_f32]);
    let inputs =
        vec![Some(Value::Sequence(ElementType::Float, parts.clone())), Some(Value::Tensor(new.clone()))];
    let found = run_within(loaded.as_ref(), inputs, &[0], 1 << 20).unwrap();
    let expected = parts.into_iter().chain([new.clone()]).collect();
    assert_eq!(found, [Value::Sequence(ElementType::Float, expected)]);
    let empty = vec![Some(Value::Sequence(ElementType::Float, Vec::new())), Some(Value::Tensor(new))];
    let error = run_within(loaded.as_ref(), empty, &[0], 1 << 20).unwrap_err();
    assert_eq!(error.code(), "engine-inputs");
}

#[test]
fn what_can_not_be_computed_is_refused_at_load() {
    let Some(runtime) = runtime() else { return };
    let refusal = |file: &[u8]| match load(&runtime, file) {
        Ok(_) => panic!("the model was loaded"),
        Err(error) => (error.code(), error.to_string()),
    };
    let unknown = model(
        &[node("NoSuchOperator", &["x"], &["y"], &[])],
        &[value("x", FLOAT, &[1])],
        &[value("y", FLOAT, &[1])],
        &[],
    );
    let (code, reason) = refusal(&unknown);
    assert!(code == "engine-load" && reason.contains("NoSuchOperator"), "{reason}");
    assert_eq!(refusal(b"a text").0, "onnx-malformed");
    assert_eq!(refusal(b"").0, "onnx-no-graph");
    let none = model(&[node("Neg", &["x"], &["y"], &[])], &[value("x", FLOAT, &[1])], &[], &[]);
    assert_eq!(refusal(&none).0, "engine-load");
    // A type that no value of ours has.
    let float8 = model(
        &[node("Identity", &["x"], &["y"], &[])],
        &[value("x", 17, &[1])],
        &[value("y", 17, &[1])],
        &[],
    );
    assert_eq!(refusal(&float8).0, "onnx-declaration");
}
