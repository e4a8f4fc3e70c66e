//! The real binary while models come and go, and what it shows of itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use adytum_api::tensorflow::serving::{PredictRequest, prediction_service_client::PredictionServiceClient};
use adytum_testkit::ports::free_port;
use fixture::{
    onnx,
    server::{channel, float_tensor, request},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::{Code, transport::Channel};

/// A server, what it wrote, and a client of it.
struct Running {
    process: Child,
    log: Arc<Mutex<String>>,
    client: PredictionServiceClient<Channel>,
    health: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn start(arguments: &[String], log_level: &str) -> Running {
    let health = free_port();
    let mut process = Command::new(env!("CARGO_BIN_EXE_adytum-serving"))
        .env_clear()
        .env("RUST_LOG", log_level)
        .args(["--port=0", "--allow_plain_models", &format!("--health_port={health}")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    let (mut stderr, all) = (BufReader::new(process.stderr.take().unwrap()), Arc::clone(&log));
    std::thread::spawn(move || {
        let mut line = String::new();
        while stderr.read_line(&mut line).is_ok_and(|length| length > 0) {
            all.lock().unwrap().push_str(&line);
            line.clear();
        }
    });
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line
        .strip_prefix("Running gRPC ModelServer at 0.0.0.0:")
        .and_then(|rest| rest.strip_suffix(" ...\n"))
        .unwrap_or_else(|| panic!("{line:?} {}", log.lock().unwrap()));
    let address = ([127, 0, 0, 1], port.parse().unwrap()).into();
    Running { process, log, client: PredictionServiceClient::new(channel(address).await), health }
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
    }

    /// The version that answers.
    async fn version(&mut self, model: &str) -> Result<i64, Code> {
        use adytum_api::tensorflow::serving::model_spec::VersionChoice;
        let answer = self.client.predict(ask(model)).await.map_err(|status| status.code())?.into_inner();
        match answer.model_spec.unwrap().version_choice {
            Some(VersionChoice::Version(version)) => Ok(version),
            other => panic!("{other:?}"),
        }
    }

    async fn until(&mut self, model: &str, wanted: Result<i64, Code>) {
        for _ in 0..2000 {
            if self.version(model).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {wanted:?}: {}", self.log.lock().unwrap());
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.health)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn ask(model: &str) -> PredictRequest {
    request(model, "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]))
}

fn write(base: &Path, version: &str) {
    // Made elsewhere and moved: nobody sees half of it.
    let parts = base.with_extension("parts");
    fs::create_dir_all(&parts).unwrap();
    fs::write(parts.join("model.onnx"), onnx::arithmetic()).unwrap();
    fs::create_dir_all(base).unwrap();
    fs::rename(parts, base.join(version)).unwrap();
}

fn configuration(root: &Path, names: &[&str]) -> String {
    let model =
        |name: &&str| format!("config {{ name: '{name}' base_path: '{}' }}", root.join(name).display());
    format!("model_config_list {{ {} }}", names.iter().map(model).collect::<Vec<_>>().join("\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_found_by_polling_and_by_sighup() {
    let root = tempfile::tempdir().unwrap();
    let base = root.path().join("m");
    write(&base, "1");
    let place = format!("--model_base_path={}", base.display());
    let mut polling = start(&["--model_name=m".to_owned(), place.clone()], "info").await;
    let once = "--file_system_poll_wait_seconds=0".to_owned();
    let mut asked = start(&["--model_name=m".to_owned(), place, once], "info").await;
    assert_eq!((polling.version("m").await, asked.version("m").await), (Ok(1), Ok(1)));
    write(&base, "00000002");
    polling.until("m", Ok(2)).await;
    assert_eq!(asked.version("m").await, Ok(1));
    asked.signal(Signal::SIGHUP);
    asked.until("m", Ok(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_of_several_models_is_read_again() {
    let root = tempfile::tempdir().unwrap();
    for name in ["first", "second"] {
        write(&root.path().join(name), "1");
    }
    let file = root.path().join("models.config");
    fs::write(&file, configuration(root.path(), &["first"])).unwrap();
    let mut running = start(
        &[
            format!("--model_config_file={}", file.display()),
            "--model_config_file_poll_wait_seconds=1".to_owned(),
        ],
        "info",
    )
    .await;
    assert_eq!(running.version("first").await, Ok(1));
    assert_eq!(running.version("second").await, Err(Code::NotFound));
    fs::write(&file, configuration(root.path(), &["second", "first"])).unwrap();
    running.until("second", Ok(1)).await;
    assert_eq!(running.version("first").await, Ok(1));
    // A file that can't be read changes nothing.
    fs::write(&file, "model_config_list { config { nam: 'x' } }").unwrap();
    running.signal(Signal::SIGHUP);
    for _ in 0..1000 {
        if running.log.lock().unwrap().contains("stays as it is") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = running.log.lock().unwrap().clone();
    assert!(log.contains("unknown field") && log.contains("nam"), "{log}");
    assert_eq!((running.version("first").await, running.version("second").await), (Ok(1), Ok(1)));
    fs::write(&file, configuration(root.path(), &["second"])).unwrap();
    running.until("first", Err(Code::NotFound)).await;
    assert_eq!(running.version("second").await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_clients_send_gets_into_logs_or_metrics() {
    let root = tempfile::tempdir().unwrap();
    let base = root.path().join("m");
    write(&base, "1");
    let monitoring = root.path().join("monitoring.config");
    fs::write(&monitoring, "prometheus_config { enable: true path: '/metrics' }").unwrap();
    let mut running = start(
        &[
            "--model_name=m".to_owned(),
            format!("--model_base_path={}", base.display()),
            format!("--monitoring_config_file={}", monitoring.display()),
        ],
        "trace",
    )
    .await;
    // Values that can be found again, in each place of a request.
    let tensor = float_tensor(&[1, 3], &[123_456.79, 8_765_432.0, 0.000_123_45]);
    let answer = running.client.predict(request("m", "x", tensor.clone())).await.unwrap().into_inner();
    assert_eq!(answer.outputs.len(), 2);
    let mut bad = Vec::new();
    bad.push(request("sesame-model", "x", tensor.clone()));
    bad.push(request("m", "sesame-input", tensor.clone()));
    let mut labelled = request("m", "x", tensor.clone());
    let label =
        adytum_api::tensorflow::serving::model_spec::VersionChoice::VersionLabel("sesame-label".into());
    labelled.model_spec.as_mut().unwrap().version_choice = Some(label);
    bad.push(labelled);
    let mut filtered = request("m", "x", tensor.clone());
    filtered.output_filter = vec!["sesame-output".to_owned()];
    bad.push(filtered);
    let mut signature = request("m", "x", tensor);
    signature.model_spec.as_mut().unwrap().signature_name = "sesame-signature".to_owned();
    bad.push(signature);
    for request in bad {
        running.client.predict(request).await.unwrap_err();
    }
    let metrics = running.get("/metrics");
    assert!(
        metrics.starts_with("HTTP/1.1 200 ")
            && metrics.contains("adytum_model_memory_bytes{model_name=\"m\"")
    );
    assert!(metrics.contains(":tensorflow:serving:runtime_latency_count{model_name=\"m\""), "{metrics}");
    assert!(running.get("/monitoring/prometheus/metrics").starts_with("HTTP/1.1 404 "));
    running.signal(Signal::SIGTERM);
    running.process.wait().unwrap();
    let log = running.log.lock().unwrap();
    assert!(log.contains("available") && log.len() > 500, "there is a log: {log}");
    let values = ["123456", "8765432", "246913", "17530864", "0.00012345", "1.2345"];
    for secret in values.iter().chain(&["sesame"]) {
        assert!(!metrics.contains(secret), "{secret} in the metrics");
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

/// `y = x w` with 4 MB of weights.
fn matrix() -> Vec<u8> {
    const SIDE: i64 = 1000;
    onnx::model(
        &[onnx::node("MatMul", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[-1, SIDE])],
        &[onnx::value("y", onnx::FLOAT, &[-1, SIDE])],
        &[onnx::floats("w", &[SIDE, SIDE], &[0.5; 1_000_000])],
    )
}

/// Resident memory of the server in KiB.
fn resident(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

/// The smallest resident memory until it has not become smaller for a second: a version is
/// freed after the next one answers, so one look may find both.
async fn settled(running: &Running) -> u64 {
    let (mut smallest, mut unchanged) = (u64::MAX, 0);
    while unchanged < 100 {
        let now = resident(running);
        unchanged = if now < smallest { 0 } else { unchanged + 1 };
        smallest = smallest.min(now);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    smallest
}

/// The process gives back the memory of versions that are gone. `ADYTUM_RELOADS` says how
/// often a version is replaced (40 by default; 1000 in the long checks). Each tenth is found by
/// polling, and the others are looked for at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_reloads_does_not_grow() {
    let reloads: u64 = std::env::var("ADYTUM_RELOADS").map_or(40, |count| count.parse().unwrap());
    let root = tempfile::tempdir().unwrap();
    let (base, model) = (root.path().join("m"), root.path().join("model.onnx"));
    fs::write(&model, matrix()).unwrap();
    let put = |version: u64| {
        let parts = root.path().join("parts");
        fs::create_dir_all(&parts).unwrap();
        fs::copy(&model, parts.join("model.onnx")).unwrap();
        fs::create_dir_all(&base).unwrap();
        fs::rename(parts, base.join(version.to_string())).unwrap();
    };
    put(1);
    let place = format!("--model_base_path={}", base.display());
    let mut running = start(&["--model_name=m".to_owned(), place], "error").await;
    let ask = || request("m", "x", float_tensor(&[1, 1000], &[1.0; 1000]));
    let mut at_start = 0;
    for version in 2..=reloads + 10 {
        put(version);
        if version % 10 != 0 {
            running.signal(Signal::SIGHUP);
        }
        let wanted = i64::try_from(version).unwrap();
        let mut left = 6000;
        loop {
            use adytum_api::tensorflow::serving::model_spec::VersionChoice;
            let answer = running.client.predict(ask()).await.unwrap().into_inner();
            if answer.model_spec.unwrap().version_choice == Some(VersionChoice::Version(wanted)) {
                break;
            }
            left -= 1;
            assert!(left > 0, "never version {version}: {}", running.log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fs::remove_dir_all(base.join((version - 1).to_string())).unwrap();
        if version == 10 {
            at_start = settled(&running).await;
        }
    }
    let at_end = settled(&running).await;
    println!("resident: {at_start} KiB after 10 versions, {at_end} KiB after {reloads} more");
    // 5 %; 4 MiB; and what the allocator keeps at the end of the heap in which versions lie,
    // if that is not the process's first heap: 8 MiB (src/memory.rs).
    let most = at_start + at_start / 20 + 12 * 1024;
    assert!(at_end <= most, "{at_end} KiB, {at_start} KiB at the start");
}
