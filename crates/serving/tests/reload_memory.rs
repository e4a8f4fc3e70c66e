//! A model that is replaced again and again leaves no memory behind. The only test of its
//! process, so that what is measured is its own. `ADYTUM_RELOADS` says how often (40 by
//! default; 1000 in the long checks).

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_engine::{operators::Cancellation, static_engine::StaticEngine, tensor::Tensor, threads::Threads};
use adytum_serving::{
    loading::{
        Keys, LoadOptions, Manager, MemoryBudget, ModelConfig, ModelServerConfig, WarmUpOptions, WhenShort,
    },
    models::{Models, VersionChoice},
};
use fixture::onnx::{self, FLOAT};

const SIDE: usize = 1000;

/// `y = x w` with 4 MB of weights.
fn matrix() -> Vec<u8> {
    let side = i64::try_from(SIDE).unwrap();
    onnx::model(
        &[onnx::node("MatMul", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[-1, side])],
        &[onnx::value("y", FLOAT, &[-1, side])],
        &[onnx::floats("w", &[side, side], &vec![0.5; SIDE * SIDE])],
    )
}

fn write(base: &Path, version: u64, file: &[u8]) {
    let directory = base.join(version.to_string());
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("model.onnx"), file).unwrap();
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

#[test]
fn memory_is_given_back() {
    // As the server does, before there are threads.
    adytum_serving::memory::limit_retention(2);
    let reloads: u64 = std::env::var("ADYTUM_RELOADS").map_or(40, |count| count.parse().unwrap());
    let base = tempfile::tempdir().unwrap();
    let file = matrix();
    let models = Models::default();
    let options = LoadOptions {
        allow_plain: true,
        size_limit: 1 << 30,
        resources: fixture::resources(),
        root: None,
        retries: 0,
        retry_pause: Duration::from_secs(60),
        labels_of_unavailable: false,
        budget: MemoryBudget { limit: None, alone: None, when_short: WhenShort::Refuse },
        warm_up: WarmUpOptions { records: true, iterations: 1 },
        batching: false,
    };
    let configuration = ModelServerConfig::new(vec![ModelConfig::latest("m", base.path())]).unwrap();
    let mut manager =
        Manager::new(models.clone(), Arc::new(StaticEngine), options, Keys::default(), configuration);
    let threads = Threads::new(1);
    // Resident memory moves by a model or two from version to version, with what the allocator
    // holds at that moment. A leak raises the smallest of the last versions
    // above the largest of the first ones.
    let (mut at_start, mut at_end) = (0, u64::MAX);
    let last = reloads + 10;
    for version in 1..=last {
        write(base.path(), version, &file);
        manager.round(Instant::now());
        let servable = models.servable("m", &VersionChoice::Latest).unwrap();
        assert_eq!(servable.version(), i64::try_from(version).unwrap());
        let input = Tensor::from_vec(vec![1, SIDE], vec![1.0_f32; SIDE]).unwrap();
        let signature = servable.signature("").unwrap();
        let answer = servable.run(signature, vec![input], &[0], &threads, &Cancellation::default()).unwrap();
        assert_eq!(answer[0].values::<f32>().unwrap()[0], 500.0);
        if version > 1 {
            fs::remove_dir_all(base.path().join((version - 1).to_string())).unwrap();
        }
        if version <= 10 {
            at_start = at_start.max(resident());
        }
        if version + 10 > last {
            at_end = at_end.min(resident());
        }
    }
    drop(manager);
    // Far below one model for each reload: 5 %, and 4 MiB for the allocator's mood.
    let limit = at_start + at_start / 20 + 4096;
    assert!(at_end <= limit, "{at_end} KiB after {reloads} reloads, {at_start} KiB at the start");
}
