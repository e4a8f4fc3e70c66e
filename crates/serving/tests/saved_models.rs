//! SavedModels in a model's directory, and the warm-up requests that they bring.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_api::tensorflow::serving::{
    ClassificationRequest, InferenceTask, Input, ModelSpec, MultiInferenceRequest, PredictRequest,
    RegressionRequest,
};
use adytum_engine::{
    bfloat16_engine::BFloat16Engine, engine::Engine, operators::Cancellation, precision::Precision,
    static_engine::StaticEngine, tensor::Tensor, threads::Threads,
};
use adytum_serving::{
    loading::{
        Keys, LoadOptions, Manager, MemoryBudget, ModelConfig, ModelServerConfig, WarmUpOptions, WhenShort,
    },
    models::{Method, Models, VersionChoice, VersionState},
};
use fixture::{
    onnx,
    server::{float_tensor, request},
};
use prost::Message;

/// `half_plus_two`, as TensorFlow wrote it.
fn half_plus_two(version: &Path) {
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../import/tests/data/half_plus_two");
    fs::create_dir_all(version.join("variables")).unwrap();
    for file in ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"] {
        fs::copy(from.join(file), version.join(file)).unwrap();
    }
}

fn load(base: &Path, records: bool) -> Models {
    load_with(base, records, Arc::new(StaticEngine))
}

fn load_with(base: &Path, records: bool, engine: Arc<dyn Engine>) -> Models {
    let models = Models::default();
    let options = LoadOptions {
        allow_plain: true,
        size_limit: 1 << 20,
        resources: fixture::resources(),
        root: None,
        retries: 0,
        retry_pause: Duration::from_secs(60),
        labels_of_unavailable: false,
        budget: MemoryBudget { limit: None, alone: None, when_short: WhenShort::Refuse },
        warm_up: WarmUpOptions { records, iterations: 3 },
        batching: false,
    };
    let configuration = ModelServerConfig::new(vec![ModelConfig::latest("m", base)]).unwrap();
    Manager::new(models.clone(), engine, options, Keys::default(), configuration).round(Instant::now());
    models
}

fn end_reason(models: &Models) -> String {
    match models.status("m", &VersionChoice::Latest).unwrap().remove(0).state {
        VersionState::End(Some(reason)) => reason,
        _ => String::new(),
    }
}

/// A file of `PredictionLog`s as TensorFlow Serving reads it.
fn write_requests(version: &Path, requests: &[PredictRequest]) {
    let records: Vec<(u64, Vec<u8>)> = requests.iter().map(|request| (6, request.encode_to_vec())).collect();
    write_records(version, &records);
}

/// A file of records: the field of `PredictionLog` that says the kind, and the request.
fn write_records(version: &Path, requests: &[(u64, Vec<u8>)]) {
    let masked =
        |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let mut file = Vec::new();
    for (kind, request) in requests {
        let (mut log, mut record) = (Vec::new(), Vec::new());
        adytum_wire::put_bytes(&mut log, 1, request);
        adytum_wire::put_bytes(&mut record, *kind, &log);
        let length = (record.len() as u64).to_le_bytes();
        file.extend([&length[..], &masked(&length), &record, &masked(&record)].concat());
    }
    fs::create_dir_all(version.join("assets.extra")).unwrap();
    fs::write(version.join("assets.extra/tf_serving_warmup_requests"), file).unwrap();
}

#[test]
fn a_saved_model_answers_under_its_own_signatures() {
    let base = tempfile::tempdir().unwrap();
    half_plus_two(&base.path().join("00000123"));
    let models = load(base.path(), true);
    let model =
        models.servable("m", &VersionChoice::Latest).unwrap_or_else(|_| panic!("{}", end_reason(&models)));
    assert_eq!(model.version(), 123);
    let signature = model.signature("").unwrap();
    assert_eq!(signature.inputs.len(), 1);
    let answer = model
        .run(
            signature,
            vec![Tensor::from_vec(vec![3, 1], vec![1.0_f32, 2.0, 5.0]).unwrap()],
            &[0],
            &Threads::new(1),
            &Cancellation::default(),
        )
        .unwrap();
    assert_eq!(answer[0].values::<f32>().unwrap(), [2.5, 3.0, 4.5]);
    let methods: Vec<&Method> = model.signatures().values().map(|signature| &signature.method).collect();
    assert!(methods.contains(&&Method::Predict), "{methods:?}");
}

#[test]
fn links_of_a_saved_model_stay_within_the_base() {
    use std::os::unix::fs::symlink;

    let (base, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    half_plus_two(&base.path().join("1"));
    fs::rename(base.path().join("1/variables"), base.path().join(".variables")).unwrap();
    symlink("../.variables", base.path().join("1/variables")).unwrap();
    assert!(load(base.path(), true).servable("m", &VersionChoice::Latest).is_ok());
    fs::rename(base.path().join(".variables"), elsewhere.path().join("variables")).unwrap();
    fs::remove_file(base.path().join("1/variables")).unwrap();
    symlink(elsewhere.path().join("variables"), base.path().join("1/variables")).unwrap();
    let models = load(base.path(), true);
    assert!(end_reason(&models).contains("leads out of the model directory"), "{}", end_reason(&models));
}

#[test]
fn a_models_own_requests_are_run_or_end_it() {
    let base = tempfile::tempdir().unwrap();
    let version = base.path().join("1");
    half_plus_two(&version);
    let good = request("m", "x", float_tensor(&[2, 1], &[1.0, 2.0]));
    write_requests(&version, &[good.clone(), good.clone()]);
    let models = load(base.path(), true);
    assert!(models.servable("m", &VersionChoice::Latest).is_ok(), "{}", end_reason(&models));
    let bad = request("m", "z", float_tensor(&[2, 1], &[1.0; 2]));
    write_requests(&version, &[good, bad]);
    let reason = end_reason(&load(base.path(), true));
    assert!(reason.contains("record 2"), "{reason}");
    assert!(load(base.path(), false).servable("m", &VersionChoice::Latest).is_ok(), "they are not asked for");
    fs::write(version.join("assets.extra/tf_serving_warmup_requests"), b"no record").unwrap();
    let reason = end_reason(&load(base.path(), true));
    assert!(reason.contains("record 1"), "{reason}");
}

#[test]
fn a_models_own_requests_are_the_examples_of_16_bit_floats() {
    if !Precision::BFloat16.is_available() {
        return;
    }
    // Of the difference of two products, 16-bit floats know the second half of the inputs only.
    let weights = |offset: f32, second: f32| -> Vec<f32> {
        let first = (0..20 * 64).map(|place| (place % 37) as f32 / 17.0 - 1.0 + offset);
        first.chain(vec![second; 20 * 64]).collect()
    };
    let nodes = [
        onnx::node("MatMul", &["x", "a"], &["s"], &[]),
        onnx::node("MatMul", &["x", "b"], &["t"], &[]),
        onnx::node("Sub", &["s", "t"], &["y"], &[]),
    ];
    let file = onnx::model(
        &nodes,
        &[onnx::value("x", onnx::FLOAT, &[-1, 40])],
        &[onnx::value("y", onnx::FLOAT, &[-1, 64])],
        &[
            onnx::floats("a", &[40, 64], &weights(0.003, 0.01)),
            onnx::floats("b", &[40, 64], &weights(0.0, 0.0)),
        ],
    );
    let base = tempfile::tempdir().unwrap();
    let version = base.path().join("1");
    fs::create_dir_all(&version).unwrap();
    fs::write(version.join("model.onnx"), file).unwrap();
    let load = |records| load_with(base.path(), records, Arc::new(BFloat16Engine));
    let reason = end_reason(&load(true));
    assert!(reason.contains("16-bit floats"), "without requests, inputs are made up: {reason}");
    let row: Vec<f32> = (0..40).map(|place| if place < 20 { 0.0 } else { 1.0 }).collect();
    write_requests(&version, &[request("m", "x", float_tensor(&[1, 40], &row))]);
    let models = load(true);
    assert!(models.servable("m", &VersionChoice::Latest).is_ok(), "{}", end_reason(&models));
    assert!(end_reason(&load(false)).contains("16-bit floats"), "the requests are not to be read");
}

/// `tf.Example`s with one float `x` each, in an `Input`.
fn examples(values: &[f32]) -> Vec<u8> {
    let inside = |number: u64, bytes: &[u8]| {
        let mut out = Vec::new();
        adytum_wire::put_bytes(&mut out, number, bytes);
        out
    };
    // Example.features (1) . feature (1) . {key: "x", value: float_list (2) . value (1)}
    let example = |value: &f32| {
        let feature = inside(2, &inside(1, &value.to_le_bytes()));
        let entry = [inside(1, b"x"), inside(2, &feature)].concat();
        inside(1, &inside(1, &entry))
    };
    // Input.example_list (1) . examples (1)
    let list: Vec<u8> = values.iter().flat_map(|value| inside(1, &example(value))).collect();
    inside(1, &list)
}

#[test]
fn requests_of_examples_are_run_too_and_those_of_sessions_are_skipped() {
    let base = tempfile::tempdir().unwrap();
    let version = base.path().join("1");
    half_plus_two(&version);
    let specification = |signature: &str| ModelSpec {
        name: "m".to_owned(),
        signature_name: signature.to_owned(),
        version_choice: None,
    };
    let input = Input::decode(examples(&[2.0, 3.0]).as_slice()).unwrap();
    let classify = |signature: &str| {
        let (model_spec, input) = (Some(specification(signature)), Some(input.clone()));
        (2, ClassificationRequest { model_spec, input }.encode_to_vec())
    };
    let regress = |signature: &str| {
        let (model_spec, input) = (Some(specification(signature)), Some(input.clone()));
        (3, RegressionRequest { model_spec, input }.encode_to_vec())
    };
    let tasks = |signature: &str| {
        let task = InferenceTask { model_spec: Some(specification(signature)), ..InferenceTask::default() };
        let request = MultiInferenceRequest { tasks: vec![task], input: Some(input.clone()) };
        (4, request.encode_to_vec())
    };
    let session = (5, b"".to_vec());
    let (good, other) = ("regress_x_to_y", "classify_x_to_y");
    write_records(&version, &[classify(other), regress(good), tasks(good), session]);
    let models = load(base.path(), true);
    assert!(models.servable("m", &VersionChoice::Latest).is_ok(), "{}", end_reason(&models));
    for bad in [classify("none"), regress("none"), tasks("none")] {
        write_records(&version, &[regress(good), bad]);
        let reason = end_reason(&load(base.path(), true));
        assert!(reason.contains("record 2") && reason.contains("none"), "{reason}");
    }
}
