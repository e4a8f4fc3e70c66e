//! KServe can run the server: its objects in deploy/kserve fit KServe's own schemas
//! (tests/kserve), and the server takes the arguments that they give.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use adytum_testkit::ports::free_port;
use adytum_tests::{
    deployment::built_binaries,
    process::{Process, run, run_refused},
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

/// A loaded machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The check of these files, if `tests/kserve/install.sh` was run.
fn check(files: &[PathBuf]) -> Option<Command> {
    let installed = here().join("../target/kserve");
    let (python, schemas) = (installed.join("environment/bin/python"), installed.join("schemas"));
    if !python.is_file() || !schemas.is_dir() {
        println!("SKIPPED: no schemas of KServe; tests/kserve/install.sh installs them");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(here().join("kserve/check.py")).arg(schemas).args(files);
    Some(command)
}

fn deployed() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(here().join("../deploy/kserve"))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// The objects of deploy/kserve, checked.
async fn objects() -> Result<Option<Vec<Value>>> {
    let Some(command) = check(&deployed()?) else { return Ok(None) };
    let printed = run(command).await?;
    let objects: Result<Vec<Value>, _> = printed.lines().map(serde_json::from_str).collect();
    Ok(Some(objects?))
}

/// The arguments of a runtime's server.
fn arguments(objects: &[Value], runtime: &str) -> Result<Vec<String>> {
    let runtime = objects.iter().find(|object| object["name"] == runtime).context("the runtime")?;
    let arguments = &runtime["object"]["spec"]["containers"][0]["args"];
    Ok(serde_json::from_value(arguments.clone())?)
}

#[tokio::test]
async fn the_objects_fit_kserves_schemas() -> Result<()> {
    let Some(objects) = objects().await? else { return Ok(()) };
    let mut kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    kinds.sort_unstable();
    ensure!(kinds == ["ClusterServingRuntime", "InferenceService", "InferenceService", "ServingRuntime"]);
    let flags = fs::read_to_string(here().join("../docs/flags.md"))?;
    for runtime in ["adytum-sealed", "adytum-plain"] {
        for argument in arguments(&objects, runtime)? {
            let name = argument.split('=').next().unwrap_or_default();
            ensure!(flags.contains(&format!("| `{name}` |")), "{name} is no flag of the server");
        }
    }
    // Each service names one of the runtimes, and a format that it has.
    for service in objects.iter().filter(|object| object["kind"] == "InferenceService") {
        let model = &service["object"]["spec"]["predictor"]["model"];
        let runtime =
            objects.iter().find(|object| object["name"] == model["runtime"]).context("its runtime")?;
        let formats = runtime["object"]["spec"]["supportedModelFormats"].as_array().context("formats")?;
        ensure!(formats.iter().any(|format| format["name"] == model["modelFormat"]["name"]), "{model}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_field_is_refused() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("runtime.yaml");
    let text = fs::read_to_string(here().join("../deploy/kserve/serving-runtime.yaml"))?;
    for (from, to) in [
        ("multiModel:", "multipleModels:"),
        ("multiModel: false", "multiModel: 1"),
        ("- name: kserve-container", "- named: x"),
    ] {
        ensure!(text.contains(from), "{from}");
        fs::write(&file, text.replacen(from, to, 1))?;
        let Some(command) = check(std::slice::from_ref(&file)) else { return Ok(()) };
        run_refused(command).await?;
    }
    Ok(())
}

/// The status line of a GET.
async fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn the_server_takes_a_runtimes_arguments_and_answers_kserve() -> Result<()> {
    let Some(objects) = objects().await? else { return Ok(()) };
    let directory = tempfile::tempdir()?;
    let version = directory.path().join("models/1");
    fs::create_dir_all(&version)?;
    fs::copy(here().join("../examples/digits/model.onnx"), version.join("model.onnx"))?;
    let (rest, health) = (free_port(), free_port());
    // What KServe and its storage initializer put in, and free ports in place of the pod's own.
    let replaced = arguments(&objects, "adytum-plain")?.into_iter().map(|argument| {
        argument
            .replace("{{.Name}}", "digits")
            .replace("/mnt/models", &directory.path().join("models").display().to_string())
            .replace("--port=9000", "--port=0")
            .replace("--rest_api_port=8080", &format!("--rest_api_port={rest}"))
            .replace("--health_port=9002", &format!("--health_port={health}"))
    });
    let mut command = Command::new(built_binaries().await?.join("adytum-serving"));
    command.args(replaced).env_clear();
    let mut server = Process::start("server", command, directory.path()).await?;
    server.wait_for("Running gRPC ModelServer at ", PATIENCE).await?;
    let patience = Instant::now() + PATIENCE;
    while !get(rest, "/v2/health/ready").await.is_ok_and(|status| status.contains("200")) {
        ensure!(Instant::now() < patience, "it does not become ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for path in
        ["/v2/health/live", "/v2/models/digits/ready", "/v2/models/digits", "/v1/models/digits", "/v1/models"]
    {
        let status = get(rest, path).await?;
        ensure!(status.contains("200"), "{path}: {status}");
    }
    let status = get(health, "/readyz").await?;
    ensure!(status.contains("200"), "{status}");
    server.stop().await;
    Ok(())
}
