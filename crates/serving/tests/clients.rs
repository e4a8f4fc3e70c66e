//! Clients that are not ours, against the real binary: TensorFlow Serving's API, `tritonclient`,
//! KServe's client and Python's `urllib`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use adytum_testkit::{half_plus_two, ports::free_port};
use fixture::onnx;

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

/// The grpcurl of `tests/protocol_clients/install.sh`, if it was run.
fn grpcurl() -> Option<PathBuf> {
    let grpcurl = clients().join("../../target/protocol-clients/grpcurl");
    grpcurl.is_file().then_some(grpcurl)
}

/// A server, and its ports for gRPC and REST.
fn serve(directory: &Path, arguments: &[&str]) -> (Process, String, String) {
    let write = |name: &str, version: &str, model: Vec<u8>| {
        let version = directory.join(name).join(version);
        fs::create_dir_all(&version).unwrap();
        fs::write(version.join("model.onnx"), model).unwrap();
    };
    // As TensorFlow Serving's test data names it.
    write("default", "00000123", half_plus_two::model());
    write("texts", "1", onnx::identity(STRING));
    write("halves", "1", onnx::identity(HALF));
    let models: Vec<String> = ["default", "texts", "halves"]
        .map(|name| format!("config {{ name: '{name}' base_path: '{}' }}", directory.join(name).display()))
        .into();
    let configuration = directory.join("models.config");
    fs::write(&configuration, format!("model_config_list {{ {} }}", models.join(" "))).unwrap();

    let mut server = Process(
        Command::new(env!("CARGO_BIN_EXE_adytum-serving"))
            .env_clear()
            .args(["--port=0", "--allow_plain_models"])
            .arg(format!("--rest_api_port={}", free_port()))
            .arg(format!("--model_config_file={}", configuration.display()))
            .args(arguments)
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
    (server, grpc, rest)
}

#[test]
fn other_peoples_clients_get_their_answers() {
    let Some(python) = python() else {
        println!("SKIPPED: no clients; tests/protocol_clients/install.sh installs them");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (_server, grpc, rest) = serve(directory.path(), &[]);
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

#[test]
fn grpcurl_finds_its_way_by_reflection() {
    let Some(grpcurl) = grpcurl() else {
        println!("SKIPPED: no grpcurl; tests/protocol_clients/install.sh installs it");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (_server, grpc, _) = serve(directory.path(), &[]);
    let run = |arguments: &[&str]| {
        let address = format!("127.0.0.1:{grpc}");
        let (options, rest) = arguments.split_at(arguments.len() - 1);
        let output = Command::new(&grpcurl).arg("-plaintext").args(options).arg(address).args(rest).output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), errors)
    };
    let (listed, services, errors) = run(&["list"]);
    assert!(listed, "{errors}");
    for service in [
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
    ] {
        assert!(services.lines().any(|line| line == service), "{service}: {services}");
    }
    let request = r#"{"model_spec": {"name": "default"}, "inputs": {"x": {"dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": 3}, {"size": 1}]}, "float_val": [1, 2, 5]}}}"#;
    let (answered, answer, errors) = run(&["-d", request, "tensorflow.serving.PredictionService/Predict"]);
    assert!(answered, "{errors}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["outputs"]["y"]["floatVal"], serde_json::json!([2.5, 3, 4.5]));
    let request = request.replace("default", "other");
    let (answered, _, errors) = run(&["-d", &request, "tensorflow.serving.PredictionService/Predict"]);
    assert!(!answered && errors.contains("NotFound"), "{errors}");
}

/// A page that asks the server as scripts of web pages do, and writes down what it gets.
const PAGE: &str = r#"<!doctype html><pre id="out"></pre><script>
const say = text => document.getElementById("out").textContent += text + ";";
(async () => {
    try {
        const answer = await fetch("http://127.0.0.1:REST/v1/models/default:predict", {
            method: "POST",
            headers: {"Content-Type": "application/json", "X-Request-Priority": "low"},
            body: JSON.stringify({instances: [1, 2, 5]}),
        });
        say("predictions " + (await answer.json()).predictions.join(" "));
        const missing = await fetch("http://127.0.0.1:REST/v1/models/other");
        say("status " + missing.status + " " + typeof (await missing.json()).error);
    } catch (error) {
        say("failed " + error.name);
    }
    say("done");
})();
</script>"#;

/// Serves the page, from another origin than the server's, to whatever asks.
fn serve_page(page: String) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let length = page.len();
            // The browser may have gone.
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\
                 connection: close\r\n\r\n{page}"
            );
        }
    });
    port
}

#[test]
fn scripts_of_other_sites_get_answers_in_a_browser_if_that_is_wanted() {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let is_there = |browser: &&&str| {
        let version =
            Command::new(browser).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    let Some(browser) = browsers.iter().find(is_there) else {
        println!("SKIPPED: no browser (Debian's package chromium)");
        return;
    };
    let wanted = "predictions 2.5 3 4.5;status 404 string;done;";
    for (arguments, expected) in
        [(&["--rest_api_enable_cors_support"][..], wanted), (&[], "failed TypeError;done;")]
    {
        let directory = tempfile::tempdir().unwrap();
        let (_server, _, rest) = serve(directory.path(), arguments);
        let page = serve_page(PAGE.replace("REST", &rest));
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000"])
            .arg(format!("--user-data-dir={}", directory.path().join("browser").display()))
            .args(["--dump-dom", &format!("http://127.0.0.1:{page}/")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(page.contains(&format!("<pre id=\"out\">{expected}</pre>")), "{page}\n{errors}");
    }
}
