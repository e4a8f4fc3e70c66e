//! Clients that are not ours, against the real binary: TensorFlow Serving's API, `tritonclient`,
//! KServe's client and Python's `urllib`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use fixture::{half_plus_two, onnx};

const STRING: u64 = 8;
const HALF: u64 = 10;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/protocol_clients")
}

/// The Python of `tests/protocol_clients/install.sh`, if it was run.
fn python() -> Option<PathBuf> {
    let python = clients().join("../../target/protocol-clients/bin/python");
    python.is_file().then_some(python)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn other_peoples_clients_get_their_answers() {
    let Some(python) = python() else {
        println!("SKIPPED: no clients; tests/protocol_clients/install.sh installs them");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, version: &str, model: Vec<u8>| {
        let version = directory.path().join(name).join(version);
        fs::create_dir_all(&version).unwrap();
        fs::write(version.join("model.onnx"), model).unwrap();
    };
    // As TensorFlow Serving's test data names it.
    write("default", "00000123", half_plus_two::model());
    write("texts", "1", onnx::identity(STRING));
    write("halves", "1", onnx::identity(HALF));
    let models: Vec<String> = ["default", "texts", "halves"]
        .map(|name| {
            format!("config {{ name: '{name}' base_path: '{}' }}", directory.path().join(name).display())
        })
        .into();
    let configuration = directory.path().join("models.config");
    fs::write(&configuration, format!("model_config_list {{ {} }}", models.join(" "))).unwrap();

    let mut server = Process(
        Command::new(env!("CARGO_BIN_EXE_adytum-serving"))
            .env_clear()
            .args(["--port=0", "--allow_plain_models"])
            .arg(format!("--rest_api_port={}", free_port()))
            .arg(format!("--model_config_file={}", configuration.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let mut port = |prefix: &str| {
        let line = lines.next().unwrap().unwrap();
        line.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(" ...")).unwrap().to_owned()
    };
    let grpc = port("Running gRPC ModelServer at 0.0.0.0:");
    let rest = port("Exporting HTTP/REST API at:localhost:");
    for client in ["tensorflow-serving", "triton", "kserve"] {
        let output = Command::new(&python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(clients().join("check.py"))
            .arg(client)
            .arg(format!("--grpc=127.0.0.1:{grpc}"))
            .arg(format!("--rest=127.0.0.1:{rest}"))
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let passed = output.status.success() && printed.ends_with("all checks passed\n");
        assert!(passed, "{client}: {printed}\n{errors}");
    }
}
