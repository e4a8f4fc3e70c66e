//! `adytum up`, through the real binaries: what it prints works as printed, and nothing is left
//! running, however it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use adytum_testkit::onnx::{self, Attribute, FLOAT, INT64};
use adytum_tests::{
    deployment::{built_binaries, tampered_copy},
    process::{Process, run},
};
use tokio::{process::Command, time::sleep};

/// A machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A directory with models, and the programs.
struct Place {
    directory: tempfile::TempDir,
    binaries: PathBuf,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("adytum up ").tempdir().unwrap();
        Self { directory, binaries: built_binaries().await.unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn adytum(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("adytum"));
        command.current_dir(self.directory.path()).args(arguments);
        for variable in ["RUST_LOG", "PCCS_URL", "ADYTUM_BROKER", "ADYTUM_HEADS"] {
            command.env_remove(variable);
        }
        command
    }

    /// Starts it; it is not awaited.
    async fn start(&self, name: &str, arguments: &[&str]) -> Process {
        let command = self.adytum(&[&["up"], arguments].concat());
        Process::start(name, command, self.directory.path()).await.unwrap()
    }

    /// Starts it and waits until it serves; what it printed until then.
    async fn up(&self, name: &str, arguments: &[&str]) -> (Process, String) {
        let mut process = self.start(name, arguments).await;
        process.wait_for("Ctrl-C stops everything", PATIENCE).await.unwrap();
        (process, fs::read_to_string(self.path(&format!("{name}.log"))).unwrap())
    }

    /// Runs it to an end that is no success: its exit code and its standard error.
    async fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let command = &mut self.adytum(&[&["up"], arguments].concat());
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && !stderr.contains("panicked"), "{stderr}");
        (output.status.code().unwrap(), stderr)
    }

    /// A command of a shell, in the directory.
    async fn shell(&self, script: &str) -> String {
        let mut command = Command::new("bash");
        command.current_dir(self.directory.path()).args(["-euc", script]);
        run(command).await.unwrap()
    }

    /// The processes that have this directory in their arguments, but `adytum up` itself.
    fn servers(&self) -> Vec<String> {
        let directory = self.directory.path().display().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&directory))
            .collect()
    }

    /// Waits until no server is left.
    async fn all_end(&self) {
        for _ in 0..600 {
            if self.servers().is_empty() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("still running: {:#?}", self.servers());
    }
}

async fn signal(process: &Process, name: &str) {
    let id = process.id().unwrap().to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap();
    assert!(sent.success());
}

/// What a table of four columns becomes in scikit-learn: a class and its probabilities.
fn iris(bias: f32) -> Vec<u8> {
    let weights: Vec<f32> = (0..12).map(|index| index as f32 / 10.0).collect();
    onnx::model(
        &[
            onnx::node("Gemm", &["X", "weights", "bias"], &["scores"], &[]),
            onnx::node("Softmax", &["scores"], &["probabilities"], &[Attribute::Integer("axis", 1)]),
            onnx::node(
                "ArgMax",
                &["scores"],
                &["label"],
                &[Attribute::Integer("axis", 1), Attribute::Integer("keepdims", 0)],
            ),
        ],
        &[onnx::value("X", FLOAT, &[-1, 4])],
        &[onnx::value("label", INT64, &[-1]), onnx::value("probabilities", FLOAT, &[-1, 3])],
        &[onnx::floats("weights", &[4, 3], &weights), onnx::floats("bias", &[3], &[bias, 0.0, 0.0])],
    )
}

fn digits() -> Vec<u8> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/digits/model.onnx");
    fs::read(model).unwrap()
}

/// The line that begins with `curl`, and the program between the lines of its shell.
fn printed(output: &str) -> (&str, &str) {
    let curl = output.lines().find(|line| line.starts_with("curl ")).unwrap();
    let begin = output.find("python3 - <<'END'").unwrap();
    let end = output[begin..].find("\nEND\n").unwrap() + begin + "\nEND\n".len();
    (curl, &output[begin..end])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_served_as_printed_and_the_next_run_has_the_same_keys() {
    let place = Place::new().await;
    fs::write(place.path("iris.onnx"), iris(0.0)).unwrap();
    let (mut up, output) = place.up("first", &["iris.onnx", "--replicas", "2"]).await;
    assert!(output.contains("SIMULATION") && output.contains("sealed as version 1 of iris"), "{output}");
    let (curl, python) = printed(&output);
    let answer: serde_json::Value = serde_json::from_str(&place.shell(curl).await).unwrap();
    assert_eq!(answer["outputs"]["label"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["outputs"]["probabilities"][0].as_array().unwrap().len(), 3, "{answer}");
    if which("python3") {
        let answer = place.shell(python).await;
        assert!(answer.contains("'label': [") && answer.contains("'probabilities': [["), "{answer}");
    } else {
        println!("SKIPPED: there is no python3");
    }
    // A data owner has the replica prove its code first.
    let attested = output.lines().find(|line| line.contains(" --attest ")).unwrap();
    let answer = place.shell(&format!("export XDG_STATE_HOME=\"$PWD/state\"; {attested} --json")).await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["version"], 1, "{answer}");
    assert!(answer["verified"].is_object(), "{answer}");
    // Any model, from the command line.
    let server = curl.rsplit("https://").next().unwrap().split('/').next().unwrap();
    let target = ["call", "--server", server, "--crt", ".adytum/public/server.crt", "--model", "iris"];
    fs::write(place.path("rows.csv"), "a,b,c,d\n5.1,3.5,1.4,0.2\n1,2,3,4\n").unwrap();
    let called =
        run(place.adytum(&[&target[..], &["--input", "X=@rows.csv", "--json"]].concat())).await.unwrap();
    let called: serde_json::Value = serde_json::from_str(&called).unwrap();
    assert_eq!(
        (called["version"].as_i64(), called["outputs"]["label"].as_array().unwrap().len()),
        (Some(1), 2)
    );
    let called = [&target[..], &["--input", "[[1, 2, 3, 4]]", "--output", "label"]].concat();
    assert_eq!(run(place.adytum(&called)).await.unwrap(), "label: [2]\n");
    for (input, words) in
        [("Y=[[1]]", "it has X"), ("X=[[1],[2,3]]", "lists of one length"), ("X=@gone.npy", "gone.npy")]
    {
        let output = place.adytum(&[&target[..], &["--input", input]].concat()).output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(78) && stderr.contains(words), "{stderr}");
    }
    // Nobody else on the machine reads the keys.
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(place.path(".adytum")).unwrap().permissions().mode() & 0o777, 0o700);

    let (code, stderr) = place.refused(&["iris.onnx"]).await;
    assert!(code == 75 && stderr.contains("already (process"), "{stderr}");

    signal(&up, "INT").await;
    let (status, lines) = up.wait_for_end(PATIENCE).await.unwrap();
    assert!(status.success(), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("stopped")), "{lines:?}");
    assert_eq!(place.servers(), [""; 0]);

    let kept = ["public/genesis.toml", "public/server.crt", "private/owner.pem", "public/manifest.toml"];
    let read = || kept.map(|file| fs::read(place.path(".adytum").join(file)).unwrap());
    let before = read();
    let (mut up, again) = place.up("second", &["iris.onnx", "--replicas", "2"]).await;
    assert!(again.contains("is still version 1") && again.contains("manifest version 1"), "{again}");
    assert_eq!(read(), before);
    // The same addresses: the commands of the first run still work.
    place.shell(curl).await;
    // Another service needs another directory.
    fs::write(place.path("other.onnx"), iris(1.0)).unwrap();
    up.stop().await;
    let (code, stderr) = place.refused(&["other.onnx"]).await;
    assert!(code == 78 && stderr.contains("--name iris") && stderr.contains("--directory"), "{stderr}");
    place.all_end().await;
}

/// What an owner has planned is not replaced by one command in the wrong directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_deployment_is_left_as_it_is() {
    let place = Place::new().await;
    fs::write(place.path("iris.onnx"), iris(0.0)).unwrap();
    let plan = |directory: &str| place.path(directory).join("deployment.toml");
    for (directory, words) in [
        ("workload", &["--workload", "tables", "--model", "iris.onnx"][..]),
        ("models", &["--model", "iris.onnx", "--model", "wine=iris.onnx", "--host", "iris.example"]),
    ] {
        let new = [&["deployment", "new", "--owner-directory", directory], words].concat();
        run(place.adytum(&new)).await.unwrap();
        let before = fs::read_to_string(plan(directory)).unwrap();
        let (code, stderr) = place.refused(&["iris.onnx", "--directory", directory]).await;
        assert!(
            code == 78 && stderr.contains("adytum deployment") && stderr.contains("--directory"),
            "{stderr}"
        );
        assert_eq!(fs::read_to_string(plan(directory)).unwrap(), before);
        assert!(!place.path(directory).join("private/platform").exists());
    }
    // One that is for exactly this model stays as it is planned.
    let new = ["deployment", "new", "--owner-directory", "one", "--model", "iris@7=iris.onnx"];
    run(place.adytum(&[&new[..], &["--host", "iris.example"]].concat())).await.unwrap();
    let before = fs::read_to_string(plan("one")).unwrap();
    let up = ["up", "iris.onnx", "--directory", "one", "--print-manifest"];
    assert!(run(place.adytum(&up)).await.unwrap().contains("name = \"iris\""));
    assert_eq!(fs::read_to_string(plan("one")).unwrap(), before);
    assert!(before.contains("first_version = 7") && before.contains("iris.example"), "{before}");
}

/// The fields of the document in the service file.
fn service(place: &Place) -> (u64, String) {
    let text = fs::read_to_string(place.path(".adytum/public/service.toml")).unwrap();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        line.split_once(" = ").unwrap().1.trim_matches('"').to_owned()
    };
    (field("revision").parse().unwrap(), field("expires"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_this_machines_and_the_service_file_is_renewed_in_time() {
    let place = Place::new().await;
    fs::write(place.path("iris.onnx"), iris(0.0)).unwrap();
    let connects = async |output: &str, host: &str| {
        let (curl, _) = printed(output);
        let address = curl.rsplit("https://").next().unwrap().split('/').next().unwrap();
        let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
        tokio::net::TcpStream::connect((host, port)).await.is_ok()
    };
    let (mut up, output) = place.up("here", &["iris.onnx"]).await;
    // All of 127.0.0.0/8 is this machine, as the addresses of its network are.
    assert!(connects(&output, "127.0.0.1").await && !connects(&output, "127.0.0.2").await, "{output}");
    let (revision, expires) = service(&place);
    assert_eq!(revision, 1);
    up.stop().await;
    place.all_end().await;
    // One that counts for a week from now.
    let soon = place.shell("date --utc --date='+7 days' +%F").await;
    let soon = soon.trim().to_owned();
    let file = place.path(".adytum/public/service.toml");
    fs::remove_file(&file).unwrap();
    let public = |name: &str| format!(".adytum/public/{name}");
    let words = [
        "service".to_owned(),
        "export".into(),
        public("manifest.toml"),
        format!("--genesis={}", public("genesis.toml")),
        "--owner=.adytum/private/owner.pem".into(),
        "--revision=4".into(),
        format!("--expires={soon}"),
        format!("--out={}", public("service.toml")),
    ];
    run(place.adytum(&words.each_ref().map(String::as_str))).await.unwrap();
    assert_eq!(service(&place), (4, soon));
    let (mut up, output) = place.up("everywhere", &["iris.onnx", "--listen", "0.0.0.0"]).await;
    assert!(connects(&output, "127.0.0.2").await, "{output}");
    let (revision, renewed) = service(&place);
    assert!(revision == 5 && renewed >= expires, "{revision} {renewed}");
    up.stop().await;
    place.all_end().await;
}

fn which(program: &str) -> bool {
    std::process::Command::new(program).arg("--version").output().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_model_is_the_next_version_without_a_failed_request() {
    let place = Place::new().await;
    let name = "Meine Ziffern (2).onnx";
    let mut model = digits();
    fs::write(place.path(name), &model).unwrap();
    let (mut up, output) = place.up("up", &[name, "--replicas", "2"]).await;
    let (curl, python) = printed(&output);
    // More values than a line holds.
    assert!(
        curl.contains("@.adytum/public/request.json") && curl.contains("/Meine-Ziffern-2:predict"),
        "{curl}"
    );
    place.shell(curl).await;
    if which("python3") {
        assert!(place.shell(python).await.contains("[["));
    }
    let url = curl.rsplit(' ').next().unwrap().trim_end_matches(":predict");
    let server = url.trim_start_matches("https://").split('/').next().unwrap().to_owned();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/digits/images");
    let image = fs::read_dir(image).unwrap().flatten().next().unwrap().path().display().to_string();
    let clients = place.adytum(&[
        "bench",
        "--server",
        &server,
        "--crt",
        ".adytum/public/server.crt",
        "--model",
        "Meine-Ziffern-2",
        "--image",
        &image,
        "--duration",
        "12s",
        "--cnum",
        "2",
        "--json",
    ]);
    let clients = tokio::spawn(run(clients));
    // The text that describes a model (doc_string, field 6) is a part of it.
    onnx::put_bytes(&mut model, 6, b"version 2");
    fs::write(place.path(name), &model).unwrap();
    up.wait_for("version 2 answers on all replicas", PATIENCE).await.unwrap();
    let status = place.shell(&format!("curl --cacert .adytum/public/server.crt {url}")).await;
    assert!(status.contains("\"version\": \"2\"") && status.contains("AVAILABLE"), "{status}");
    // What no replica could serve is refused, and the version before it goes on.
    fs::write(place.path(name), "no model at all").unwrap();
    up.wait_for("is refused, and version 2 goes on", PATIENCE).await.unwrap();
    place.shell(curl).await;
    let summary = clients.await.unwrap().unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["failed"], 0, "{summary}");
    signal(&up, "TERM").await;
    assert!(up.wait_for_end(PATIENCE).await.unwrap().0.success());

    // While it does not run, too.
    onnx::put_bytes(&mut model, 6, b"version 3");
    fs::write(place.path(name), &model).unwrap();
    let (mut up, output) = place.up("again", &[name]).await;
    assert!(output.contains("sealed as version 3"), "{output}");
    up.stop().await;
    place.all_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_running_however_it_ends() {
    let place = Place::new().await;
    fs::write(place.path("iris.onnx"), iris(0.0)).unwrap();
    // While it starts.
    let mut up = place.start("interrupted", &["iris.onnx"]).await;
    up.wait_for("sealed as version 1", PATIENCE).await.unwrap();
    signal(&up, "INT").await;
    let (status, lines) = up.wait_for_end(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(130), "{lines:?}");
    assert_eq!(place.servers(), [""; 0]);

    // A server ends: so does all, with its name.
    let (mut up, _) = place.up("child", &["iris.onnx"]).await;
    let kill = "for process in /proc/[0-9]*; do \
        if tr '\\0' ' ' <\"$process/cmdline\" 2>/dev/null | grep -q \"^[^ ]*adytum-broker .*$PWD\"; then \
        kill -KILL \"${process#/proc/}\"; fi; done";
    place.shell(kill).await;
    let (status, lines) = up.wait_for_end(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("broker ended (signal: 9")), "{lines:?}");
    assert_eq!(place.servers(), [""; 0]);

    // It is killed itself, which leaves it no time: the kernel ends the servers.
    let (mut up, _) = place.up("killed", &["iris.onnx"]).await;
    assert_eq!(place.servers().len(), 2, "{:?}", place.servers());
    signal(&up, "KILL").await;
    up.wait_for_end(PATIENCE).await.unwrap();
    place.all_end().await;
    let (mut up, output) = place.up("after", &["iris.onnx"]).await;
    place.shell(printed(&output).0).await;
    up.stop().await;
    place.all_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_named_and_leaves_nothing() {
    let place = Place::new().await;
    let (_, stderr) = place.refused(&["missing.onnx"]).await;
    assert!(stderr.contains("missing.onnx can't be read"), "{stderr}");
    assert!(!place.path(".adytum").exists());
    fs::write(place.path("notes.onnx"), "these are notes").unwrap();
    let (code, stderr) = place.refused(&["notes.onnx"]).await;
    assert!(code == 78 && stderr.contains("notes.onnx") && stderr.contains("what to do"), "{stderr}");
    fs::write(place.path("iris.onnx"), iris(0.0)).unwrap();
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (_, stderr) = place.refused(&["iris.onnx", "--port", &port]).await;
    assert!(stderr.contains(&port) && stderr.contains("leave --port out"), "{stderr}");
    let (code, _) = place.refused(&["iris.onnx", "--replicas", "0"]).await;
    assert_eq!(code, 2);
    let (code, _) = place.refused(&["iris.onnx", "--name", "a/b"]).await;
    assert_eq!(code, 2);
    assert_eq!(place.servers(), [""; 0]);
    // The manifest alone, without a server.
    let manifest = run(place.adytum(&["up", "iris.onnx", "--print-manifest"])).await.unwrap();
    fs::write(place.path("manifest.toml"), &manifest).unwrap();
    let checked = run(place.adytum(&["manifest", "check", "manifest.toml"])).await.unwrap();
    assert!(checked.contains("iris"), "{checked}");
}

/// The commands of a page that readers see, in their order.
fn commands(page: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs").join(page);
    let text = fs::read_to_string(page).unwrap();
    let blocks = text.split("\n```sh run\n").skip(1).filter_map(|block| Some(block.split_once("\n```\n")?.0));
    blocks.map(|block| format!("{block}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_versions_works_as_printed() {
    let place = Place::new().await;
    fs::write(place.path("iris.onnx"), iris(0.0)).unwrap();
    fs::write(place.path("iris-2.onnx"), iris(2.0)).unwrap();
    let (mut up, output) = place.up("up", &["iris.onnx"]).await;
    let after = |words: &str| {
        let (_, rest) = output.split_once(words).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let (server, broker) = (after("gRPC and REST at "), after("answers owners at "));
    let programs = place.binaries.display();
    let settings = format!(
        "export PATH=\"{programs}:$PATH\" SERVER={server} BROKER={broker} XDG_STATE_HOME=\"$PWD/state\"\n"
    );
    let said = place.shell(&format!("{settings}{}", commands("versions.md"))).await;
    for words in [
        "version 2 answers",
        "version 2 AVAILABLE",
        "version 3 of iris sealed",
        "version 3 answers",
        "allows iris from version 2 on",
        "manifest version 2 is in force",
        "sha256",
        "retired",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // A floor is never lowered.
    let lower = ["model", "retire", "--model", "iris", "--below", "1", "--owner-directory", ".adytum"];
    let refused = place.adytum(&lower).output().await.unwrap();
    assert!(String::from_utf8(refused.stderr).unwrap().contains("never lowered"));
    up.stop().await;
    // Neither the floor nor what was released meanwhile is undone by the next run.
    let (mut up, output) = place.up("again", &["iris.onnx"]).await;
    assert!(output.contains("still version 3") && output.contains("manifest version 2"), "{output}");
    up.stop().await;
    place.all_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_build_of_the_broker_goes_on_with_the_same_state() {
    let mut place = Place::new().await;
    fs::write(place.path("iris.onnx"), iris(0.0)).unwrap();
    let (mut up, output) = place.up("before", &["iris.onnx"]).await;
    let curl = printed(&output).0.to_owned();
    up.stop().await;
    // The same programs, but for one byte of the broker's.
    let built = place.binaries.clone();
    place.binaries = place.path("programs");
    fs::create_dir(&place.binaries).unwrap();
    for name in ["adytum", "adytum-serving"] {
        let (from, to) = (built.join(name), place.binaries.join(name));
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).unwrap();
    }
    let (_, stderr) = place.refused(&["iris.onnx"]).await;
    assert!(stderr.contains("adytum-broker is not in"), "{stderr}");
    tampered_copy(&built.join("adytum-broker"), &place.binaries.join("adytum-broker")).unwrap();
    let (mut up, output) = place.up("other", &["iris.onnx"]).await;
    assert!(
        output.contains("the root key is recovered") && output.contains("manifest version 2"),
        "{output}"
    );
    assert!(output.contains("model_key: version 1 is there already"), "{output}");
    place.shell(&curl).await;
    up.stop().await;
    place.all_end().await;
}
