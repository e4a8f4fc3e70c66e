//! Files that were made to harm: each is refused, or runs within its limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use std::{thread, time::Duration};

use adytum_engine::{
    engine::{Engine, NoExamples, Run, Source},
    onnx::{Limits, files::Directory},
    operators::{Cancellation, Memory},
    static_engine::StaticEngine,
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{
        Attribute, BOOL, FLOAT, INT64, floats, function, graph, longs, model, model_with, node, node_of,
        put_bytes, put_number, value,
    },
    runs::{load, refusal, run, run_within},
};
use proptest::prelude::*;

fn chain(length: usize, operator: &str) -> Vec<u8> {
    let nodes: Vec<Vec<u8>> = (0..length)
        .map(|index| node(operator, &[&format!("v{index}")], &[&format!("v{}", index + 1)], &[]))
        .collect();
    model(&nodes, &[value("v0", FLOAT, &[-1])], &[value(&format!("v{length}"), FLOAT, &[-1])], &[])
}

#[test]
fn long_chains_need_no_deep_stack() {
    let run = || {
        let outputs = run(chain(20_000, "Abs"), vec![Tensor::vector(vec![-1.0_f32, 2.0])]);
        assert_eq!(outputs, [Tensor::vector(vec![1.0_f32, 2.0])]);
    };
    // Less than the stack of a server's thread.
    thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn too_many_nodes_are_refused() {
    let limits = Limits { nodes: 100, ..Limits::default() };
    let files = adytum_engine::onnx::files::NoFiles;
    let result =
        StaticEngine.load(Source { file: chain(101, "Abs"), files: &files, limits, examples: &NoExamples });
    assert_eq!(result.err().unwrap().code(), "onnx-too-large");
}

#[test]
fn deep_nesting_is_refused() {
    let mut inner = graph(&[node("Identity", &["x"], &["y"], &[])], &[], &[value("y", FLOAT, &[])], &[]);
    for _ in 0..40 {
        let branch = node(
            "If",
            &["c"],
            &["y"],
            &[
                Attribute::Graph("then_branch", inner.clone()),
                Attribute::Graph(
                    "else_branch",
                    graph(&[node("Identity", &["x"], &["z"], &[])], &[], &[value("z", FLOAT, &[])], &[]),
                ),
            ],
        );
        inner = graph(&[branch], &[], &[value("y", FLOAT, &[])], &[]);
    }
    let branch = node(
        "If",
        &["c"],
        &["out"],
        &[Attribute::Graph("then_branch", inner.clone()), Attribute::Graph("else_branch", inner)],
    );
    let file =
        model(&[branch], &[value("c", BOOL, &[]), value("x", FLOAT, &[])], &[value("out", FLOAT, &[])], &[]);
    assert!(refusal(file).contains("levels of nesting"));
}

#[test]
fn nested_branches_see_outer_names() {
    let leaf = |operator: &str| {
        graph(&[node(operator, &["outer", "x"], &["leaf"], &[])], &[], &[value("leaf", FLOAT, &[])], &[])
    };
    let middle = graph(
        &[node(
            "If",
            &["d"],
            &["middle"],
            &[Attribute::Graph("then_branch", leaf("Add")), Attribute::Graph("else_branch", leaf("Sub"))],
        )],
        &[],
        &[value("middle", FLOAT, &[])],
        &[],
    );
    let other = graph(&[node("Neg", &["outer"], &["other"], &[])], &[], &[value("other", FLOAT, &[])], &[]);
    let file = model(
        &[
            node("Mul", &["x", "two"], &["outer"], &[]),
            node(
                "If",
                &["c"],
                &["y"],
                &[Attribute::Graph("then_branch", middle), Attribute::Graph("else_branch", other)],
            ),
        ],
        &[value("c", BOOL, &[]), value("d", BOOL, &[]), value("x", FLOAT, &[-1])],
        &[value("y", FLOAT, &[-1])],
        &[floats("two", &[], &[2.0])],
    );
    for (c, d, expected) in [(true, true, 9.0_f32), (true, false, 3.0), (false, true, -6.0)] {
        let inputs = vec![Tensor::scalar(c), Tensor::scalar(d), Tensor::vector(vec![3.0_f32])];
        assert_eq!(run(file.clone(), inputs), [Tensor::vector(vec![expected])]);
    }
}

#[test]
fn graphs_that_wait_for_themselves_are_refused() {
    let file = model(
        &[node("Add", &["x", "b"], &["a"], &[]), node("Add", &["x", "a"], &["b"], &[])],
        &[value("x", FLOAT, &[1])],
        &[value("b", FLOAT, &[1])],
        &[],
    );
    assert!(refusal(file).contains("needs its own output"));
}

#[test]
fn nodes_may_be_in_any_order() {
    let file = model(
        &[node("Add", &["a", "x"], &["b"], &[]), node("Mul", &["x", "x"], &["a"], &[])],
        &[value("x", FLOAT, &[1])],
        &[value("b", FLOAT, &[1])],
        &[],
    );
    assert_eq!(run(file, vec![Tensor::vector(vec![3.0_f32])]), [Tensor::vector(vec![12.0_f32])]);
}

#[test]
fn unknown_and_double_names_are_refused() {
    let unknown = model(
        &[node("Abs", &["nothing"], &["y"], &[])],
        &[value("x", FLOAT, &[1])],
        &[value("y", FLOAT, &[1])],
        &[],
    );
    assert!(refusal(unknown).contains("which nothing makes"));
    let double = model(
        &[node("Abs", &["x"], &["y"], &[]), node("Neg", &["x"], &["y"], &[])],
        &[value("x", FLOAT, &[1])],
        &[value("y", FLOAT, &[1])],
        &[],
    );
    assert!(refusal(double).contains("given twice"));
}

#[test]
fn functions_are_inlined_and_bounded() {
    let square = function("Square", &["a"], &["b"], &[node("Mul", &["a", "a"], &["b"], &[])]);
    let twice = function(
        "Twice",
        &["a"],
        &["b"],
        &[node_of("own", "Square", &["a"], &["c"], &[]), node_of("own", "Square", &["c"], &["b"], &[])],
    );
    let main = |name: &str| {
        graph(
            &[node_of("own", name, &["x"], &["y"], &[])],
            &[value("x", FLOAT, &[-1])],
            &[value("y", FLOAT, &[-1])],
            &[],
        )
    };
    let file = model_with(&main("Twice"), &[square, twice], 17);
    assert_eq!(run(file, vec![Tensor::vector(vec![2.0_f32])]), [Tensor::vector(vec![16.0_f32])]);

    // Each calls the one before ten times: ten to the power of fifteen nodes.
    let mut functions = vec![function("F0", &["a"], &["b"], &[node("Abs", &["a"], &["b"], &[])])];
    for level in 1..16 {
        let calls: Vec<Vec<u8>> = (0..10)
            .map(|index| {
                let input = if index == 0 { "a".to_owned() } else { format!("t{index}") };
                let output = if index == 9 { "b".to_owned() } else { format!("t{}", index + 1) };
                node_of("own", &format!("F{}", level - 1), &[&input], &[&output], &[])
            })
            .collect();
        functions.push(function(&format!("F{level}"), &["a"], &["b"], &calls));
    }
    assert!(refusal(model_with(&main("F15"), &functions, 17)).contains("nodes"));

    let endless = function("E", &["a"], &["b"], &[node_of("own", "E", &["a"], &["b"], &[])]);
    assert!(refusal(model_with(&main("E"), &[endless], 17)).contains("levels of nesting"));
}

#[test]
fn constants_do_not_explode_at_load() {
    let size = 1_i64 << 40;
    let file = model(
        &[node("ConstantOfShape", &["s"], &["big"], &[]), node("ReduceSum", &["big"], &["y"], &[])],
        &[],
        &[value("y", FLOAT, &[])],
        &[longs("s", &[1], &[size])],
    );
    // It is loaded, and refused its memory when it runs; or it is refused at load.
    if let Ok(model) = load(file) {
        assert_eq!(run_within(model.as_ref(), Vec::new(), 1 << 20).unwrap_err().code(), "engine-budget");
    }
    let file = model(
        &[node("Expand", &["one", "s"], &["big"], &[]), node("ReduceSum", &["big"], &["y"], &[])],
        &[],
        &[value("y", FLOAT, &[])],
        &[floats("one", &[1], &[1.0]), longs("s", &[2], &[1 << 20, 1 << 12])],
    );
    if let Ok(model) = load(file) {
        assert_eq!(run_within(model.as_ref(), Vec::new(), 1 << 20).unwrap_err().code(), "engine-budget");
    }
}

fn counting_loop(scans: bool) -> Vec<u8> {
    let mut nodes = vec![node("Identity", &["go"], &["again"], &[]), node("Add", &["v", "one"], &["w"], &[])];
    let mut outputs = vec![value("again", BOOL, &[]), value("w", FLOAT, &[1])];
    if scans {
        nodes.push(node("Identity", &["v"], &["scan"], &[]));
        outputs.push(value("scan", FLOAT, &[1]));
    }
    let body = graph(
        &nodes,
        &[value("turn", INT64, &[]), value("go", BOOL, &[]), value("v", FLOAT, &[1])],
        &outputs,
        &[],
    );
    let names: &[&str] = if scans { &["last", "all"] } else { &["last"] };
    let mut outputs = vec![value("last", FLOAT, &[1])];
    if scans {
        outputs.push(value("all", FLOAT, &[-1, 1]));
    }
    model(
        &[node("Loop", &["count", "", "x"], names, &[Attribute::Graph("body", body)])],
        &[value("count", INT64, &[]), value("x", FLOAT, &[1])],
        &outputs,
        &[floats("one", &[1], &[1.0])],
    )
}

#[test]
fn loops_turn_gather_and_stay_in_the_budget() {
    let inputs = |count: i64| vec![Tensor::scalar(count), Tensor::vector(vec![0.0_f32])];
    let outputs = run(counting_loop(true), inputs(3));
    assert_eq!(outputs[0], Tensor::vector(vec![3.0_f32]));
    assert_eq!(outputs[1], Tensor::from_vec([3, 1], vec![0.0_f32, 1.0, 2.0]).unwrap());
    assert_eq!(run(counting_loop(true), inputs(0))[1].shape(), [0, 1]);
    let model = load(counting_loop(true)).unwrap();
    assert_eq!(run_within(model.as_ref(), inputs(i64::MAX), 1 << 16).unwrap_err().code(), "engine-budget");
}

#[test]
fn endless_loops_can_be_cancelled() {
    let model = load(counting_loop(false)).unwrap();
    let cancellation = Cancellation::default();
    let canceller = cancellation.clone();
    let (started, wait) = std::sync::mpsc::channel();
    let runner = thread::spawn(move || {
        let threads = Threads::new(1);
        let memory = Memory::new(1 << 20);
        let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
        started.send(()).unwrap();
        let inputs =
            vec![Value::Tensor(Tensor::scalar(i64::MAX)), Value::Tensor(Tensor::vector(vec![0.0_f32]))];
        model.run(inputs.into_iter().map(Some).collect(), &[0], run).unwrap_err().code()
    });
    wait.recv_timeout(Duration::from_secs(60)).unwrap();
    canceller.cancel();
    assert_eq!(runner.join().unwrap(), "engine-cancelled");
}

#[test]
fn data_beside_the_model_stays_in_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("model");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(directory.path().join("secret.data"), [1.0_f32, 2.0].map(f32::to_le_bytes).concat())
        .unwrap();
    std::fs::write(inside.join("w.data"), [3.0_f32, 4.0].map(f32::to_le_bytes).concat()).unwrap();
    std::os::unix::fs::symlink("../secret.data", inside.join("link.data")).unwrap();
    let file = |location: &str, length: &str| {
        let mut tensor = Vec::new();
        put_number(&mut tensor, 1, 2);
        put_number(&mut tensor, 2, FLOAT);
        put_bytes(&mut tensor, 8, b"w");
        for (key, value) in [("location", location), ("length", length)] {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value.as_bytes());
            put_bytes(&mut tensor, 13, &entry);
        }
        put_number(&mut tensor, 14, 1);
        model(
            &[node("Add", &["x", "w"], &["y"], &[])],
            &[value("x", FLOAT, &[2])],
            &[value("y", FLOAT, &[2])],
            &[tensor],
        )
    };
    let files = Directory::new(&inside).unwrap();
    let load = |location: &str, length: &str| {
        StaticEngine.load(Source {
            file: file(location, length),
            files: &files,
            limits: Limits::default(),
            examples: &NoExamples,
        })
    };
    let model = load("w.data", "8").unwrap();
    let outputs = run_within(model.as_ref(), vec![Tensor::vector(vec![1.0_f32, 1.0])], 1 << 20).unwrap();
    assert_eq!(outputs, [Tensor::vector(vec![4.0_f32, 5.0])]);
    for (location, length) in [
        ("../secret.data", "8"),
        ("/etc/hostname", "8"),
        ("link.data", "8"),
        ("w.data", "16"),
        ("none.data", "8"),
    ] {
        assert_eq!(load(location, length).err().map(|error| error.code()), Some("onnx-tensor"), "{location}");
    }
}

#[test]
fn inputs_are_what_the_model_takes() {
    let model = load(model(
        &[node("Abs", &["x"], &["y"], &[])],
        &[value("x", FLOAT, &[-1, 2])],
        &[value("y", FLOAT, &[-1, 2])],
        &[],
    ))
    .unwrap();
    for tensor in [
        Tensor::vector(vec![1.0_f32, 2.0]),
        Tensor::from_vec([1, 3], vec![1.0_f32; 3]).unwrap(),
        Tensor::from_vec([1, 2], vec![1.0_f64; 2]).unwrap(),
    ] {
        assert_eq!(run_within(model.as_ref(), vec![tensor], 1 << 20).unwrap_err().code(), "engine-inputs");
    }
    let empty = Tensor::from_vec([0, 2], Vec::<f32>::new()).unwrap();
    assert_eq!(run_within(model.as_ref(), vec![empty.clone()], 1 << 20).unwrap(), [empty]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Changed files are refused or run; nothing panics or hangs.
    #[test]
    fn damaged_files_are_refused_or_run(at in 0_usize..1 << 16, byte in any::<u8>(), cut in any::<bool>()) {
        let mut file = counting_loop(true);
        let at = at % file.len();
        if cut {
            file.truncate(at);
        } else {
            file[at] = byte;
        }
        if let Ok(model) = load(file) {
            let inputs = vec![Tensor::scalar(2_i64), Tensor::vector(vec![0.0_f32])];
            if model.signature().inputs.len() == 2 {
                let _ = run_within(model.as_ref(), inputs, 1 << 20);
            }
        }
    }
}
