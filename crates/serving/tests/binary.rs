//! The real binary: its lines, its exit codes, and that it drains.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use adytum_testkit::ports::free_port;
use fixture::{
    onnx,
    server::{channel, float_tensor, request},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A process that is ended whatever becomes of the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// The exit code, once it has ended.
    async fn end(&mut self) -> Option<i32> {
        for _ in 0..2000 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server did not end");
    }
}

fn command(base: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adytum-serving"));
    command
        .env_clear()
        .arg("--port=0")
        .arg("--model_name=m")
        .arg(format!("--model_base_path={}", base.display()))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts the server and gives its port, which it says in its one line.
fn start(base: &Path) -> (Process, u16) {
    start_with(base, &[])
}

fn start_with(base: &Path, arguments: &[&str]) -> (Process, u16) {
    let arguments: Vec<&str> = ["--allow_plain_models"].iter().chain(arguments).copied().collect();
    let mut process = Process(command(base, &arguments).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line
        .strip_prefix("Running gRPC ModelServer at 0.0.0.0:")
        .and_then(|rest| rest.strip_suffix(" ...\n"))
        .unwrap_or_else(|| panic!("{line:?}"));
    (process, port.parse().unwrap())
}

fn write(base: &Path, file: &[u8]) {
    fs::create_dir_all(base.join("1")).unwrap();
    fs::write(base.join("1/model.onnx"), file).unwrap();
}

/// `y = x x x ...`: long for large x, short for small ones.
fn products() -> Vec<u8> {
    let names: Vec<String> = (0..9).map(|index| format!("x{index}")).collect();
    let mut nodes = vec![onnx::node("MatMul", &["x", "x"], &["x0"], &[])];
    for pair in names.windows(2) {
        nodes.push(onnx::node("MatMul", &[&pair[0], "x"], &[&pair[1]], &[]));
    }
    nodes.push(onnx::node("ReduceSum", &["x8"], &["y"], &[]));
    onnx::model(
        &nodes,
        &[onnx::value("x", onnx::FLOAT, &[-1, -1])],
        &[onnx::value("y", onnx::FLOAT, &[1, 1])],
        &[],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_without_a_failed_request() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), &products());
    let (mut process, port) = start(base.path());
    let address = ([127, 0, 0, 1], port).into();
    let mut health = HealthClient::new(channel(address).await);
    let state = health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(state.status, 1, "serving");

    // Small requests all the time, on several connections.
    let (stopping, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut loops = Vec::new();
    for _ in 0..4 {
        let mut client = PredictionServiceClient::new(channel(address).await);
        let (stopping, answered) = (Arc::clone(&stopping), Arc::clone(&answered));
        loops.push(tokio::spawn(async move {
            loop {
                match client.predict(request("m", "x", float_tensor(&[2, 2], &[1.0; 4]))).await {
                    Ok(_) => answered.fetch_add(1, Ordering::SeqCst),
                    // The only ways in which a request may fail, and only now: it
                    // was never sent, as its connection had been closed; it crossed
                    // the word that the connection takes no more, and was not
                    // processed (RFC 9113, section 6.8); or no new connection could
                    // be made. A client sends such a request again.
                    Err(status) => {
                        assert!(stopping.load(Ordering::SeqCst), "before the signal: {status:?}");
                        let text = format!("{status:?}");
                        let never_sent = text.contains("Canceled, \"connection closed\"")
                            || text.contains("Canceled, \"connection was not ready\"")
                            || text.contains("kind: GoAway(b\"\", NO_ERROR, Remote)")
                            || text.contains("ConnectionRefused");
                        assert!(never_sent, "{text}");
                        return;
                    }
                };
            }
        }));
    }
    // And one that is certainly being worked on when the signal comes.
    let mut client = PredictionServiceClient::new(channel(address).await);
    let (mut other, large) = (client.clone(), vec![0.001_f32; 800 * 800]);
    let mut long =
        Box::pin(async move { client.predict(request("m", "x", float_tensor(&[800, 800], &large))).await });
    assert!(futures_util::poll!(&mut long).is_pending());
    let long = tokio::spawn(long);
    // Sent after it on the same connection, so the long one has come when this
    // is answered.
    other.predict(request("m", "x", float_tensor(&[2, 2], &[1.0; 4]))).await.unwrap();
    while answered.load(Ordering::SeqCst) < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stopping.store(true, Ordering::SeqCst);
    process.signal(Signal::SIGTERM);
    long.await.unwrap().unwrap();
    for task in loops {
        task.await.unwrap();
    }
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test]
async fn sigterm_without_requests_ends_at_once_even_with_idle_connections() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), &onnx::arithmetic());
    let (mut process, port) = start(base.path());
    let _idle = channel(([127, 0, 0, 1], port).into()).await;
    process.signal(Signal::SIGINT);
    assert_eq!(process.end().await, Some(0));
}

/// The status line and the body of what the health port answers.
fn probe(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Waits until the health port says what it should.
async fn until_ready_is(port: u16, wanted: &str) {
    for _ in 0..2000 {
        if probe(port, "/readyz").0.contains(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never {wanted}: {:?}", probe(port, "/readyz"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_it_is_unready_and_serves_until_the_delay_is_over() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), &onnx::arithmetic());
    let health = free_port();
    let (mut process, port) =
        start_with(base.path(), &["--drain_delay=600", &format!("--health_port={health}")]);
    assert_eq!(probe(health, "/healthz").0, "HTTP/1.1 200 OK");
    assert_eq!(probe(health, "/readyz"), ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
    let address = ([127, 0, 0, 1], port).into();
    let mut open = PredictionServiceClient::new(channel(address).await);
    let ask = || request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
    open.predict(ask()).await.unwrap();

    process.signal(Signal::SIGTERM);
    until_ready_is(health, "503").await;
    assert_eq!(probe(health, "/healthz").0, "HTTP/1.1 200 OK");
    let mut grpc = HealthClient::new(channel(address).await);
    let state = grpc.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(state.status, 2, "not serving");
    // On connections old and new.
    open.predict(ask()).await.unwrap();
    PredictionServiceClient::new(channel(address).await).predict(ask()).await.unwrap();

    // A second signal means now.
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delay_ends_by_itself() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), &onnx::arithmetic());
    let (mut process, _) = start_with(base.path(), &["--drain_delay=200ms"]);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_ready_without_a_model_and_says_why_it_ended() {
    let base = tempfile::tempdir().unwrap();
    let (health, message) = (free_port(), base.path().join("termination-log"));
    fs::write(&message, "").unwrap();
    // Waits until there is a model.
    let arguments = ["--allow_plain_models"];
    let mut process = Process(
        command(base.path(), &arguments)
            .env("ADYTUM_HEALTH_PORT", health.to_string())
            .env("ADYTUM_TERMINATION_LOG", &message)
            .spawn()
            .unwrap(),
    );
    for _ in 0..2000 {
        if TcpStream::connect(("127.0.0.1", health)).is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(probe(health, "/readyz").1, "starting\n");
    write(base.path(), &onnx::arithmetic());
    until_ready_is(health, "200").await;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().await, Some(0));
    assert_eq!(fs::read_to_string(&message).unwrap(), "", "it ended in good order");

    fs::write(base.path().join("1/model.onnx"), b"hello").unwrap();
    let mut process = Process(
        command(base.path(), &["--allow_plain_models"])
            .env("ADYTUM_TERMINATION_LOG", &message)
            .spawn()
            .unwrap(),
    );
    assert_eq!(process.end().await, Some(1));
    let said = fs::read_to_string(&message).unwrap();
    assert!(said.starts_with("no-servable-version: ") && said.lines().count() == 1, "{said}");
}

fn failure(base: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = Process(command(base, arguments).spawn().unwrap());
    let mut output = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut output).unwrap();
    (process.0.wait().unwrap().code(), output)
}

#[test]
fn what_cannot_be_served_ends_with_its_reason() {
    let base = tempfile::tempdir().unwrap();
    let allow = "--allow_plain_models";
    let (code, output) = failure(base.path(), &[]);
    assert_eq!(code, Some(78), "{output}");
    assert!(output.contains("--allow_plain_models") && output.contains("no-models-allowed"), "{output}");
    write(base.path(), b"hello");
    let (code, output) = failure(base.path(), &[allow]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("no-servable-version") && output.contains("onnx-malformed"), "{output}");
    let (_, output) = failure(base.path(), &[allow, "--model_base_path="]);
    assert!(output.contains("no-model-named"), "{output}");
    let (_, output) = failure(base.path(), &[allow, "--model_root=/nowhere"]);
    assert!(output.contains("model-outside-root"), "{output}");
    let (code, output) = failure(base.path(), &[allow, "--no_such_flag"]);
    assert!(code != Some(0) && output.contains("--no_such_flag"), "{output}");
    let (_, output) = failure(base.path(), &[allow, "--ssl_config_file=/nonexistent/tls.cfg"]);
    assert!(output.contains("/nonexistent/tls.cfg"), "{output}");
    let ssl = base.path().join("tls.cfg");
    fs::write(&ssl, "server_key: \"sesame\" server_kert: \"x\"").unwrap();
    let (_, output) = failure(base.path(), &[allow, &format!("--ssl_config_file={}", ssl.display())]);
    assert!(output.contains("server_kert") && !output.contains("sesame"), "{output}");
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = format!("--port={}", taken.local_addr().unwrap().port());
    let mut process = Command::new(env!("CARGO_BIN_EXE_adytum-serving"));
    let path = format!("--model_base_path={}", base.path().display());
    let output = process.env_clear().args([allow, &port, &path]).output().unwrap();
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.contains("choose another with --port"), "{output}");
}

/// A measured configuration whose broker nobody can reach: a refusal comes before it is asked.
fn measured(directory: &Path, arguments: &str) -> String {
    let digest = "2".repeat(64);
    let path = directory.join("workload.toml");
    let text = format!(
        "format = \"adytum workload v1\"\nallow_plain_models = true\n[program]\narguments = [\"--port=0\", \
         \"--model_name=m\", \"--model_base_path={{path}}\", \"--ssl_config_file=/etc/tf_ssl.cfg\", {arguments}]\n\
         [broker]\ngenesis = \"{digest}\"\n[broker.policy]\nvendors = [\"intel\"]\ntee = [\"sgx\"]\n\
         mr_enclave = [\"{digest}\"]\n"
    );
    fs::write(&path, text).unwrap();
    format!("--configuration={}", path.display())
}

/// A host reads what crosses its network, so it must not choose to have it in the clear.
#[test]
fn a_host_that_takes_tls_away_is_refused() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), &onnx::arithmetic());
    let refused = |arguments: &str, flags: &[&str]| {
        let configuration = measured(base.path(), arguments);
        let unreachable =
            ["--tee=simulation=http://127.0.0.1:1", "--broker=127.0.0.1:1", "--fetch-timeout=1s"];
        let flags: Vec<&str> =
            [configuration.as_str()].iter().chain(&unreachable).chain(flags).copied().collect();
        failure(base.path(), &flags)
    };
    // The flag is left out, or made empty, which would mean the same.
    for flags in
        [&[][..], &["--ssl_config_file="], &["--ssl_config_file=/etc/tf_ssl.cfg", "--ssl_config_file="]]
    {
        let (code, log) = refused("", flags);
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains("plaintext-forbidden") || log.contains("argument-refused"), "{log}");
    }
    let (_, log) = refused("", &[]);
    assert!(log.contains("plaintext-forbidden") && log.contains("--allow_plaintext"), "{log}");
    // What the owner has not measured, the host can't say: no plaintext, and no older TLS.
    let tls = "--ssl_config_file=/etc/tf_ssl.cfg";
    for flags in [&["--allow_plaintext"][..], &[tls, "--minimum_tls_version=1.2"]] {
        let (code, log) = refused("", flags);
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains("argument-refused"), "{log}");
    }
    // With the owner's word it goes on to the platform, which is not there.
    let (_, log) = refused("\"--allow_plaintext\"", &["--allow_plaintext"]);
    assert!(!log.contains("plaintext-forbidden") && !log.contains("argument-refused"), "{log}");
}

/// `y = x x x ...` of a size that takes minutes.
fn endless() -> Vec<u8> {
    let names: Vec<String> = (0..400).map(|index| format!("x{index}")).collect();
    let mut nodes = vec![onnx::node("MatMul", &["x", "x"], &["x0"], &[])];
    for pair in names.windows(2) {
        nodes.push(onnx::node("MatMul", &[&pair[0], "x"], &[&pair[1]], &[]));
    }
    nodes.push(onnx::node("ReduceSum", &["x399"], &["y"], &[]));
    onnx::model(
        &nodes,
        &[onnx::value("x", onnx::FLOAT, &[4096, 4096])],
        &[onnx::value("y", onnx::FLOAT, &[1, 1])],
        &[],
    )
}

#[tokio::test]
async fn sigterm_while_a_model_is_loaded_ends_the_server_at_once() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), &endless());
    let mut process = Process(command(base.path(), &["--allow_plain_models"]).spawn().unwrap());
    // Until it is at work on the model: it has used a second of a processor.
    let stat = format!("/proc/{}/stat", process.0.id());
    loop {
        let text = fs::read_to_string(&stat).unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        if fields[11].parse::<u64>().unwrap() > 100 {
            break;
        }
        assert_eq!(process.0.try_wait().unwrap(), None, "it should be loading");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.signal(Signal::SIGTERM);
    let code = tokio::time::timeout(Duration::from_secs(5), process.end()).await.expect("at once");
    assert_eq!(code, Some(0));
}
