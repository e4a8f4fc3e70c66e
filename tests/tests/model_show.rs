//! `adytum model show` through the real binaries: the requests that it prints work as printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_testkit::{
    onnx::{self, FLOAT},
    ports::free_port,
};
use adytum_tests::{
    deployment::built_binaries,
    process::{Process, run},
};
use serde_json::{Value, json};
use tokio::process::Command;

/// A machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

struct Place {
    directory: tempfile::TempDir,
    binaries: PathBuf,
}

impl Place {
    async fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), binaries: built_binaries().await.unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A server of a model with one input, and its address.
    async fn serve(&self, name: &str, model: &[u8], flags: &[&str]) -> (Process, String) {
        let base = self.path(&format!("models/{name}"));
        fs::create_dir_all(format!("{base}/1")).unwrap();
        fs::write(format!("{base}/1/model.onnx"), model).unwrap();
        let mut command = Command::new(self.binaries.join("adytum-serving"));
        command.args([
            format!("--model_name={name}"),
            format!("--model_base_path={base}"),
            "--port=0".to_owned(),
            "--allow_plain_models".to_owned(),
        ]);
        command.args(flags).env_remove("RUST_LOG");
        let rest = free_port();
        command.arg(format!("--rest_api_port={rest}"));
        let mut server = Process::start(name, command, self.directory.path()).await.unwrap();
        let line = server.wait_for("Running gRPC ModelServer at ", PATIENCE).await.unwrap();
        let port: String =
            line.rsplit(':').next().unwrap().chars().take_while(char::is_ascii_digit).collect();
        (server, format!("localhost:{port} --rest-port {rest}"))
    }

    /// What a script of a shell prints, with `adytum` in its path.
    async fn shell(&self, script: &str) -> String {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.binaries.display()))
            .env("XDG_CONFIG_HOME", "/nonexistent");
        command.current_dir(self.directory.path()).args(["-euo", "pipefail", "-c", script]);
        run(command).await.unwrap()
    }

    /// The answer of the printed request in each language that is there.
    async fn answers(&self, flags: &str) -> Vec<(&'static str, Value)> {
        let mut answers = Vec::new();
        for (program, language, runner) in [
            ("curl", "curl", "bash -euo pipefail"),
            ("python3", "python", "python3 -"),
            ("node", "javascript", "node -"),
        ] {
            if std::process::Command::new(program).arg("--version").output().is_err() {
                println!("SKIPPED: there is no {program}");
                continue;
            }
            let answer =
                self.shell(&format!("adytum model show {flags} --language {language} | {runner}")).await;
            answers.push((
                language,
                serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{language}: {answer}")),
            ));
        }
        assert!(!answers.is_empty());
        answers
    }
}

/// y = 3 x, of this many values.
fn triple(width: i64) -> Vec<u8> {
    onnx::model(
        &[onnx::node("Mul", &["x", "three"], &["y"], &[])],
        &[onnx::value("x", FLOAT, &[-1, width])],
        &[onnx::value("y", FLOAT, &[-1, width])],
        &[onnx::floats("three", &[1], &[3.0])],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn printed_requests_get_the_right_answer() {
    let place = Place::new().await;
    let (mut server, address) = place.serve("triple", &triple(3), &[]).await;
    let flags = format!("--server {address} --model triple");
    for (language, answer) in place.answers(&flags).await {
        assert_eq!(answer, json!({ "outputs": [[1.5, 1.5, 1.5]] }), "{language}");
    }
    let page = place.shell(&format!("adytum model show {flags}")).await;
    for part in [
        "version    1",
        "input      x  float32 [?,3]",
        "output     y",
        "curl:\n",
        "Python:\n",
        "JavaScript:\n",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let described: Value =
        serde_json::from_str(&place.shell(&format!("adytum model show {flags} --json")).await).unwrap();
    assert_eq!(described["inputs"], json!([{ "name": "x", "type": "float32", "shape": [null, 3] }]));
    assert_eq!((&described["version"], &described["answered"]), (&json!(1), &json!(true)));
    for (language, answer) in place.answers(&format!("{flags} --model-version 1")).await {
        assert_eq!(answer["outputs"][0][2], 1.5, "{language}");
    }
    // A model that is not there, and no server.
    let failed =
        place.shell(&format!("adytum model show --server {address} --model none --json 2>&1 || true")).await;
    assert!(failed.contains("\"code\":\"not-found\""), "{failed}");
    server.stop().await;
}

/// The server must prove its code, so the printed commands name all that it is verified by.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_for_an_attested_server_run_as_printed() {
    let place = Place::new().await;
    // Its request is too long for a command, so `model show` makes it again.
    fs::write(place.path("wide.onnx"), triple(1000)).unwrap();
    let mut up = Command::new(place.binaries.join("adytum"));
    up.args(["up", "wide.onnx", "--json"]).current_dir(place.directory.path()).env_remove("RUST_LOG");
    let mut up = Process::start("up", up, place.directory.path()).await.unwrap();
    up.wait_for("ready_seconds", PATIENCE).await.unwrap();
    let log = fs::read_to_string(place.path("up.log")).unwrap();
    let ready = log.lines().find(|line| line.contains("ready_seconds")).unwrap();
    let ready: Value = serde_json::from_str(ready).unwrap();
    let server = ready["addresses"][0].as_str().unwrap();
    let flags = format!(
        "--server {server} --model wide --attest .adytum/public/service.toml --genesis .adytum/public/genesis.toml \
         --services services.json --trust-simulation .adytum/public/simulation-root.pem \
         --collateral .adytum/private/platform/collateral"
    );
    let page = place.shell(&format!("adytum model show {flags}")).await;
    // Nothing is remembered by the time that a reader types them.
    fs::remove_file(place.path("services.json")).unwrap();
    let port = free_port().to_string();
    let printed = |start: &str| {
        let line = page.lines().map(str::trim).find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start}: {page}")).replace("8500", &port)
    };
    let mut proxy = Command::new("bash");
    proxy
        .args(["-c", &format!("exec {} --json", printed("adytum proxy "))])
        .current_dir(place.directory.path());
    let path = std::env::var("PATH").unwrap();
    proxy.env("PATH", format!("{}:{path}", place.binaries.display())).env_remove("RUST_LOG");
    let mut proxy = Process::start("proxy", proxy, place.directory.path()).await.unwrap();
    proxy.wait_for("{\"address\":", PATIENCE).await.unwrap();
    fs::remove_file(place.path("services.json")).unwrap();
    let answer: Value = serde_json::from_str(&place.shell(&printed("adytum model show ")).await).unwrap();
    assert_eq!(answer["outputs"][0].as_array().map(Vec::len), Some(1000), "{answer}");
    proxy.stop().await;
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_request_is_made_and_tls_is_as_the_flags_say() {
    let place = Place::new().await;
    place.shell("adytum ssl-config new --host localhost --host models.test").await;
    let ssl = format!("--ssl_config_file={}", place.path("ssl.cfg"));
    let (mut server, address) = place.serve("wide", &triple(1000), &[&ssl]).await;
    assert!(Path::new(&place.path("server.crt")).is_file());
    let flags = format!("--server {address} --model wide --crt server.crt");
    for more in ["", " --server-name models.test"] {
        for (language, answer) in place.answers(&format!("{flags}{more}")).await {
            let row = answer["outputs"][0].as_array().unwrap_or_else(|| panic!("{language}: {answer}"));
            assert!(row.len() == 1000 && row.iter().all(|value| *value == 1.5), "{language}{more}");
        }
    }
    server.stop().await;
}
