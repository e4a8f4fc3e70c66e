//! The real binary with ONNX Runtime as its engine: what it answers, and what it refuses to load.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use adytum_evidence::measurement::Sha256Digest;
use fixture::{
    onnx,
    server::{channel, float_tensor, request},
};

/// The library; or a reason to skip.
fn library() -> Option<PathBuf> {
    let name = "ADYTUM_ONNXRUNTIME_LIBRARY";
    let path = std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        println!("SKIPPED: {name} does not name the library of ONNX Runtime");
    }
    path
}

/// A process that is ended whatever becomes of the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(base: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adytum-serving"));
    command
        .env_clear()
        .args(["--engine=onnxruntime", "--port=0", "--model_name=m"])
        .arg(format!("--model_base_path={}", base.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A model's directory.
fn model() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir_all(base.path().join("1")).unwrap();
    fs::write(base.path().join("1/model.onnx"), onnx::arithmetic()).unwrap();
    base
}

/// The exit code and the log of a server that does not start.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let mut process = Process(command.spawn().unwrap());
    let (mut log, mut out) = (String::new(), String::new());
    process.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    process.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let code = process.0.wait().unwrap().code();
    (code, format!("{out}{log}"))
}

#[tokio::test]
async fn models_are_served() {
    let Some(library) = library() else { return };
    let base = model();
    let mut command = command(base.path());
    let home = tempfile::tempdir().unwrap();
    command
        .env("HOME", home.path())
        .arg("--allow_plain_models")
        .arg(format!("--onnxruntime_library={}", library.display()));
    let mut process = Process(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port =
        line.strip_prefix("Running gRPC ModelServer at 0.0.0.0:").and_then(|rest| rest.split(' ').next());
    let port: u16 = port.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    // The copy in memory is mapped, not the file.
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.0.id())).unwrap();
    assert!(!maps.contains(library.file_name().unwrap().to_str().unwrap()), "{maps}");
    assert!(maps.contains("/memfd:"), "{maps}");
    let mut client = PredictionServiceClient::new(channel(([127, 0, 0, 1], port).into()).await);
    let sent = request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
    let found = client.predict(sent).await.unwrap().into_inner();
    let square: Vec<u8> = [1.0_f32, 4.0, 9.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let values = &found.outputs["square"];
    let typed: Vec<u8> = values.float_val.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(values.tensor_content[..] == square || typed == square, "{values:?}");
    let wrong = client.predict(request("m", "x", float_tensor(&[1, 2], &[1.0; 2]))).await;
    assert_eq!(wrong.unwrap_err().code(), tonic::Code::InvalidArgument);
    // Nothing is written for ONNX Runtime's vendor, nor sent.
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    let environment = fs::read(format!("/proc/{}/environ", process.0.id())).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains("ORT_DISABLE_TELEMETRY=1"));
    assert!(!maps.contains("onnxruntime.db"), "{maps}");
}

#[test]
fn other_files_are_refused() {
    let base = model();
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("libonnxruntime.so.1");
    fs::write(&text, "a text").unwrap();
    for (library, code) in [
        (text.as_path(), "program-format"),
        (Path::new("/no/such/libonnxruntime.so"), "program-unreadable"),
        // An ELF file with the wrong symbols.
        (Path::new("/proc/self/exe"), "onnxruntime"),
    ] {
        let mut command = command(base.path());
        command.arg("--allow_plain_models").arg(format!("--onnxruntime_library={}", library.display()));
        let (exit, log) = refused(command);
        assert_eq!(exit, Some(78), "{log}");
        assert!(log.contains(code), "{log}");
    }
    let mut command = command(base.path());
    command.arg("--allow_plain_models");
    let (exit, log) = refused(command);
    assert!(exit == Some(78) && log.contains("onnxruntime-no-library"), "{log}");
}

/// A measured configuration whose broker nobody can reach: a refusal comes before it is asked.
struct Measured {
    directory: tempfile::TempDir,
    base: tempfile::TempDir,
}

impl Measured {
    fn new(tables: &str) -> Self {
        let measured = Self { directory: tempfile::tempdir().unwrap(), base: model() };
        let digest = "2".repeat(64);
        let text = format!(
            "format = \"adytum workload v1\"\nallow_plain_models = true\n[program]\nrequired_arguments = \
             [\"--engine=onnxruntime\", \"--allow_plaintext\", \"--port={{number}}\", \"--model_name=m\", \"--model_base_path={{path}}\"]\n\
             arguments = [\"--onnxruntime_library={{path}}\"]\n{tables}\n[broker]\ngenesis = \"{digest}\"\n\
             [broker.policy]\nvendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{digest}\"]\n"
        );
        fs::write(measured.directory.path().join("workload.toml"), text).unwrap();
        measured
    }

    fn command(&self) -> Command {
        let mut command = command(self.base.path());
        command
            .arg(format!("--configuration={}", self.directory.path().join("workload.toml").display()))
            .args(["--allow_plaintext", "--tee=simulation=http://127.0.0.1:1", "--broker=127.0.0.1:1"]);
        command
    }

    fn assert_refused(&self, change: impl FnOnce(&mut Command), code: &str) {
        let mut command = self.command();
        change(&mut command);
        let (exit, log) = refused(command);
        assert_eq!(exit, Some(78), "{log}");
        assert!(log.contains(code), "{code}: {log}");
    }
}

fn pin(library: &Path, sha256: &str) -> String {
    format!("[onnxruntime]\nlibrary = \"{}\"\nsha256 = \"{sha256}\"\n", library.display())
}

#[test]
fn the_host_chooses_neither_library_nor_engine() {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libonnxruntime.so.1");
    fs::copy(env!("CARGO_BIN_EXE_adytum-serving"), &library).unwrap();
    let digest = Sha256Digest::of_file(&library).unwrap().to_string();

    Measured::new("").assert_refused(|_| {}, "onnxruntime-not-pinned");
    let pinned = Measured::new(&pin(&library, &digest));
    // Another library under another path.
    pinned.assert_refused(
        |command| {
            command.arg("--onnxruntime_library=/tmp/other.so");
        },
        "onnxruntime-not-pinned",
    );
    // Another library under the same path.
    Measured::new(&pin(&library, &"3".repeat(64))).assert_refused(|_| {}, "program-mismatch");
    // Libraries that come before it.
    for (name, value) in
        [("LD_PRELOAD", "/tmp/evil.so"), ("LD_LIBRARY_PATH", "/tmp"), ("LD_AUDIT", "/tmp/evil.so")]
    {
        pinned.assert_refused(
            |command| {
                // A value that the loader of the server itself does nothing with.
                command.env(name, value);
            },
            "environment-refused",
        );
    }
    // Another engine than the measured one.
    let mut command = Command::new(env!("CARGO_BIN_EXE_adytum-serving"));
    command
        .env_clear()
        .args(["--port=0", "--model_name=m", "--tee=simulation=http://127.0.0.1:1", "--broker=127.0.0.1:1"])
        .arg(format!("--model_base_path={}", pinned.base.path().display()))
        .arg(format!("--configuration={}", pinned.directory.path().join("workload.toml").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (exit, log) = refused(command);
    assert!(exit == Some(78) && log.contains("argument-refused"), "{log}");
}

/// The library is the pinned one, and what it needs is not pinned.
#[test]
fn what_the_library_needs_must_be_pinned() {
    let Some(library) = library() else { return };
    let digest = Sha256Digest::of_file(&library).unwrap().to_string();
    let unneeded = format!(
        "{}[[library]]\npath = \"{}\"\nsha256 = \"{}\"\n",
        pin(&library, &digest),
        env!("CARGO_BIN_EXE_adytum-serving"),
        Sha256Digest::of_file(Path::new(env!("CARGO_BIN_EXE_adytum-serving"))).unwrap()
    );
    Measured::new(&unneeded).assert_refused(|_| {}, "library-not-pinned");
}
