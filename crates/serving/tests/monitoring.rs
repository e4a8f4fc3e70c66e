//! The metrics of the real binary, and that the files in deploy/monitoring name no others.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use adytum_testkit::ports::free_port;
use fixture::{
    http, onnx,
    server::{channel, float_tensor, request},
};

struct Server {
    process: Child,
    grpc: SocketAddr,
    rest: SocketAddr,
    health: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(directory: &Path) -> Server {
    let base = directory.join("m");
    for (version, file) in [("1", onnx::arithmetic()), ("2", b"no model".to_vec())] {
        fs::create_dir_all(base.join(version)).unwrap();
        fs::write(base.join(version).join("model.onnx"), file).unwrap();
    }
    let monitoring = directory.join("monitoring");
    fs::write(&monitoring, "prometheus_config { enable: true }").unwrap();
    let models = directory.join("models");
    let base = base.display();
    let policy = "model_version_policy { all {} }";
    fs::write(
        &models,
        format!("model_config_list {{ config {{ name: 'm' base_path: '{base}' {policy} }} }}"),
    )
    .unwrap();
    // A port that was free a moment ago may be another's by then.
    for _ in 0..10 {
        let (health, rest) = (free_port(), free_port());
        let mut process = Command::new(env!("CARGO_BIN_EXE_adytum-serving"))
            .env_clear()
            .args(["--port=0", "--allow_plain_models", "--enable_batching"])
            .arg(format!("--model_config_file={}", models.display()))
            .arg(format!("--monitoring_config_file={}", monitoring.display()))
            .arg(format!("--health_port={health}"))
            .arg(format!("--rest_api_port={rest}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            process.wait().unwrap();
            continue;
        }
        let port = line
            .strip_prefix("Running gRPC ModelServer at 0.0.0.0:")
            .and_then(|rest| rest.strip_suffix(" ...\n"))
            .unwrap_or_else(|| panic!("{line:?}"));
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        return Server { process, grpc: at(port.parse().unwrap()), rest: at(rest), health: at(health) };
    }
    panic!("the server did not start");
}

/// TensorFlow Serving's path.
const PATH: &str = "/monitoring/prometheus/metrics";

/// The metrics of a server that answered, refused and failed to load.
async fn metrics() -> String {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let mut client = PredictionServiceClient::new(channel(server.grpc).await);
    client.predict(request("m", "x", float_tensor(&[1, 3], &[1.0; 3]))).await.unwrap();
    client.predict(request("other", "x", float_tensor(&[1, 3], &[1.0; 3]))).await.unwrap_err();
    let answer = http::post(server.rest, "/v1/models/m:predict", "{\"instances\": [[1, 2, 3]]}").await;
    assert_eq!(answer.status, 200);
    let by_rest = http::get(server.rest, PATH).await;
    assert_eq!(
        (by_rest.status, by_rest.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    let text = http::get(server.health, PATH).await.text();
    let names = |text: &str| samples(text).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(names(&text), names(&by_rest.text()), "both ports show the same");
    text
}

/// The names of all samples.
fn samples(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).filter(|name| !name.is_empty()).collect()
}

fn monitoring() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring")
}

/// The names of our metrics in an expression.
fn named(expressions: &str) -> BTreeSet<&str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    let words = expressions.split(|character| !is_part(character));
    words
        .filter(|word| [":tensorflow:", "adytum_", "process_"].iter().any(|ours| word.starts_with(ours)))
        .collect()
}

#[tokio::test]
async fn rules_and_dashboard_name_what_the_server_shows() {
    let text = metrics().await;
    let known = samples(&text);
    for name in [
        ":tensorflow:serving:request_count",
        ":tensorflow:serving:request_latency_bucket",
        ":tensorflow:serving:runtime_latency_count",
        ":tensorflow:serving:batching_session:queuing_latency_sum",
        ":tensorflow:serving:batching_session:batch_size_count",
        "adytum_model_memory_bytes",
        "process_resident_memory_bytes",
    ] {
        assert!(known.contains(name), "{name}: {text}");
    }
    for file in ["prometheus-rule.yaml", "dashboard.json"] {
        let content = fs::read_to_string(monitoring().join(file)).unwrap();
        let named = named(&content);
        assert!(named.len() >= 5, "{file}: {named:?}");
        for name in named {
            assert!(known.contains(name), "{file} names {name}, which the server does not show: {known:?}");
        }
    }
    // And the labels by which they select.
    for label in
        ["status=\"OK\"", "status=\"NOT_FOUND\"", "result=\"failed\"", "model_name=\"m\"", "version=\"1\""]
    {
        assert!(text.contains(label), "{label}: {text}");
    }
}

#[test]
fn the_dashboard_is_json_with_a_query_in_each_panel() {
    let text = fs::read_to_string(monitoring().join("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 6);
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            assert!(!named(target["expr"].as_str().unwrap()).is_empty(), "{panel}");
        }
    }
}

/// promtool reads the rules, and the metrics as Prometheus would.
#[tokio::test]
async fn promtool_takes_rules_and_metrics() {
    if Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    {
        println!("SKIPPED: no promtool (Debian's package prometheus)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // The resource has the file's content under `spec`.
    let resource = fs::read_to_string(monitoring().join("prometheus-rule.yaml")).unwrap();
    let (_, specification) = resource.split_once("\nspec:\n").unwrap();
    let rules: String =
        specification.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    let file = directory.path().join("rules.yaml");
    fs::write(&file, rules).unwrap();
    let checked = Command::new("promtool").args(["check", "rules"]).arg(&file).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let found = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(found.contains("5 rules found"), "{found}");

    let text = metrics().await;
    let metrics = directory.path().join("metrics");
    fs::write(&metrics, text).unwrap();
    let read = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(&metrics).unwrap())
        .output()
        .unwrap();
    // 1 is a text that can't be read; 3 is advice on names, which are TensorFlow Serving's.
    let said = String::from_utf8_lossy(&read.stderr).into_owned();
    assert!(matches!(read.status.code(), Some(0 | 3)), "{said}");
}
