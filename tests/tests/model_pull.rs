//! `adytum model pull` with object stores that others wrote (tests/object_stores), and a replica
//! that answers from what was fetched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_tests::{
    deployment::{Deployment, Replica, built_binaries},
    owner,
    process::{Process, run, run_refused},
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A loaded machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn digits() -> PathBuf {
    here().join("../examples/digits")
}

/// The Python of `tests/object_stores/install.sh`, if it was run.
fn python() -> Option<PathBuf> {
    let python = here().join("../target/object-stores/bin/python");
    if python.is_file() {
        return Some(python);
    }
    println!("SKIPPED: no object stores; tests/object_stores/install.sh installs them");
    None
}

/// A store of `tests/object_stores/store.py`.
struct Store {
    /// Ends when its input does.
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    about: Value,
}

impl Store {
    async fn start(python: &Path, words: &[&str]) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(here().join("object_stores/store.py")).args(words).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("input")?;
        let mut output = BufReader::new(child.stdout.take().context("output")?).lines();
        let about = serde_json::from_str(&output.next_line().await?.context("the store did not start")?)?;
        Ok(Self { child, input, output, about })
    }

    fn text(&self, name: &str) -> &str {
        self.about[name].as_str().unwrap_or_default()
    }

    async fn order(&mut self, command: Value) -> Result<()> {
        self.input.write_all(format!("{command}\n").as_bytes()).await?;
        self.output.next_line().await?.context("the store ended")?;
        Ok(())
    }

    async fn put(&mut self, key: &str, file: &Path) -> Result<()> {
        self.order(json!({ "put": key, "file": file })).await
    }

    /// A sealed version, its statement last.
    async fn put_version(&mut self, key: &str, version: &Path) -> Result<()> {
        for name in ["model.onnx.age", "model.seal"] {
            self.put(&format!("{key}/{name}"), &version.join(name)).await?;
        }
        Ok(())
    }

    /// `adytum model pull` with the credentials of this store.
    fn pull(&self, binaries: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(binaries.join("adytum"));
        command.args(["model", "pull"]).args(words).env_clear();
        if self.about["account"].is_string() {
            return self.with_azure(command);
        }
        command.envs([
            ("AWS_ENDPOINT_URL", self.text("address")),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", self.text("id")),
            ("AWS_SECRET_ACCESS_KEY", self.text("secret")),
        ]);
        command
    }

    fn with_azure(&self, mut command: Command) -> Command {
        let endpoint = format!("{}/{}", self.text("address"), self.text("account"));
        command.env("AZURE_STORAGE_ENDPOINT", endpoint).envs([
            ("AZURE_ALLOW_HTTP", "true"),
            ("AZURE_STORAGE_ACCOUNT_NAME", self.text("account")),
            ("AZURE_STORAGE_ACCOUNT_KEY", self.text("key")),
        ]);
        command
    }

    /// `adytum model release` to this store, by an owner's directory.
    fn release(&self, binaries: &Path, onnx: &Path, owner: &Path, recipient: &str, to: &str) -> Command {
        let mut command = self.pull(binaries, &[]);
        let variable = |(name, value): (&std::ffi::OsStr, Option<&std::ffi::OsStr>)| {
            Some((name.to_owned(), value?.to_owned()))
        };
        let variables: Vec<_> = command.as_std().get_envs().filter_map(variable).collect();
        command = Command::new(binaries.join("adytum"));
        command.args(["model", "release", text(onnx), "--model=digits", "--owner-directory", text(owner)]);
        command.args(["--recipient", recipient, "--to", to]).env_clear().envs(variables);
        command
    }

    async fn stop(mut self) -> Result<()> {
        drop(self.input);
        self.child.wait().await?;
        Ok(())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Asks without a pause, each time on a new connection, until `stop` is set or a request fails.
async fn ask_all_the_time(
    adytum: PathBuf,
    port: u16,
    certificate: PathBuf,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Result<()> {
    let image = digits().join("images/digit-0-0048.png");
    while !stop.load(Ordering::SeqCst) {
        let mut command = Command::new(&adytum);
        command.args(["predict", "--model=digits", "--json", &format!("--server=localhost:{port}")]);
        command.arg(format!("--crt={}", certificate.display())).arg(format!("--image={}", image.display()));
        run(command).await?;
        answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

async fn reaches(answered: &AtomicUsize, count: usize) -> Result<()> {
    let patience = Instant::now() + PATIENCE;
    while answered.load(Ordering::SeqCst) < count {
        ensure!(Instant::now() < patience, "no more answers");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_in_a_bucket_is_served_without_a_failed_request() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let binaries = built_binaries().await?;
    let directory = tempfile::tempdir()?;
    let mut store = Store::start(&python, &["s3"]).await?;
    let mut deployment = Deployment::start(directory.path(), &binaries).await?;
    let mut broker = deployment.create_broker("broker").await?;
    let configuration = deployment.configure_replica("replica", &broker).await?;
    let provisioned = owner::provision(&deployment, &broker, "digits", &configuration.identity).await?;
    let (sealed, models) = (directory.path().join("sealed"), directory.path().join("models"));
    let onnx = digits().join("model.onnx");
    for version in [1, 2] {
        owner::seal(&deployment, &broker, &onnx, "digits", version, &provisioned.recipient, &sealed).await?;
    }

    store.put_version("digits/1", &sealed.join("1")).await?;
    let watching = store
        .pull(&binaries, &["--watch", "--interval=100ms", "--delete", "s3://models/digits", text(&models)]);
    let mut pull = Process::start("pull", watching, directory.path()).await?;
    pull.wait_for("version 1: 2 files", PATIENCE).await?;

    let binary = deployment.binary("adytum-serving");
    let replica = Replica {
        binary: &binary,
        configuration: &configuration.path,
        broker: broker.address(),
        model: "digits",
        models: &models,
    };
    let (mut replica, port) = deployment.start_replica("replica", &replica).await?;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking = tokio::spawn(ask_all_the_time(
        deployment.binary("adytum"),
        port,
        provisioned.server_crt.clone(),
        Arc::clone(&stop),
        Arc::clone(&answered),
    ));
    reaches(&answered, 2).await?;

    // Its ciphertext alone is no version yet.
    store.put("digits/2/model.onnx.age", &sealed.join("2/model.onnx.age")).await?;
    pull.wait_for("version 2 is not complete", PATIENCE).await?;
    ensure!(!models.join("2").exists(), "half a version is there");
    store.put("digits/2/model.seal", &sealed.join("2/model.seal")).await?;
    pull.wait_for("version 2: 2 files", PATIENCE).await?;
    replica.wait_for("available model=\"digits\" version=2", PATIENCE).await?;
    reaches(&answered, answered.load(Ordering::SeqCst) + 2).await?;

    // The old one is taken back at the source, and so here.
    for name in ["model.seal", "model.onnx.age"] {
        store.order(json!({ "delete": format!("digits/1/{name}") })).await?;
    }
    pull.wait_for("version 1: removed", PATIENCE).await?;
    reaches(&answered, answered.load(Ordering::SeqCst) + 2).await?;
    stop.store(true, Ordering::SeqCst);
    asking.await??;

    // A signal is its normal end.
    let id = pull.id().context("it runs")?;
    run({
        let mut kill = Command::new("kill");
        kill.arg(id.to_string());
        kill
    })
    .await?;
    let (status, lines) = pull.wait_for_end(PATIENCE).await?;
    ensure!(status.success(), "{status}: {lines:?}");
    replica.stop().await;
    broker.stop().await;
    deployment.stop().await;
    store.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_fetched_says_why() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let binaries = built_binaries().await?;
    let directory = tempfile::tempdir()?;
    let mut store = Store::start(&python, &["s3"]).await?;
    let file = directory.path().join("file");
    fs::write(&file, "not a model")?;
    let models = directory.path().join("models");
    let models = text(&models);

    // A name that climbs out.
    store.put("climbing/1/model.onnx", &file).await?;
    store.put("climbing/1/../../../escaped", &file).await?;
    let said = run_refused(store.pull(&binaries, &["s3://models/climbing", models])).await?;
    ensure!(said.contains("the name ") && said.contains("is refused"), "{said}");
    store.put("odd/1/back\\slash", &file).await?;
    let said = run_refused(store.pull(&binaries, &["s3://models/odd", models])).await?;
    ensure!(said.contains("is refused: it has characters other than printable ASCII"), "{said}");

    // An upload that was cut.
    let sealed = directory.path().join("sealed");
    let key = directory.path().join("owner.pem");
    let adytum = |words: &[&str]| {
        let mut command = Command::new(binaries.join("adytum"));
        command.args(words);
        command
    };
    run(adytum(&["owner", "new", "--out", text(&key)])).await?;
    let identity = directory.path().join("model.key");
    let recipient = run(adytum(&["model-key", "new", "--out", text(&identity)])).await?;
    let recipient = adytum_tests::deployment::word_with(&recipient, "age1")?;
    let onnx = digits().join("model.onnx");
    run(adytum(&[
        "seal",
        text(&onnx),
        "--model=digits",
        "--version=3",
        &format!("--recipient={recipient}"),
        &format!("--owner={}", text(&key)),
        &format!("--out={}", text(&sealed)),
    ]))
    .await?;
    store.put_version("cut/3", &sealed.join("3")).await?;
    let ciphertext = sealed.join("3/model.onnx.age");
    store.order(json!({ "put": "cut/3/model.onnx.age", "file": ciphertext, "cut": 5000 })).await?;
    let said = run_refused(store.pull(&binaries, &["s3://models/cut", models])).await?;
    ensure!(said.contains("model.onnx.age of version 3 was cut"), "{said}");

    // Nothing there, no such bucket, wrong credentials, no such address.
    let said = run_refused(store.pull(&binaries, &["s3://models/nothing", models])).await?;
    ensure!(said.contains("holds no version of a model"), "{said}");
    let said = run_refused(store.pull(&binaries, &["s3://no-such-bucket/digits", models])).await?;
    ensure!(said.contains("s3://no-such-bucket/digits does not exist"), "{said}");
    let mut wrong = store.pull(&binaries, &["s3://models/cut", models]);
    wrong.env("AWS_SECRET_ACCESS_KEY", "wrong");
    let said = run_refused(wrong).await?;
    ensure!(said.contains("access to s3://models/cut was refused"), "{said}");
    ensure!(!said.contains("wrong"), "a credential is shown: {said}");
    let said = run_refused(store.pull(&binaries, &["s4://models/cut", models])).await?;
    ensure!(said.contains("the scheme s4 is not known"), "{said}");

    // A plain model comes with a warning.
    let output = store.pull(&binaries, &["s3://models/climbing-not", models]).output().await?;
    ensure!(!output.status.success());
    store.put("plain/1/model.onnx", &onnx).await?;
    let output = store.pull(&binaries, &["s3://models/plain", models]).output().await?;
    let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.status.success() && said.contains("version 1: 1 files") && said.contains("NOT SEALED"),
        "{said}"
    );
    ensure!(warned.contains("version 1 is not sealed"), "{warned}");
    ensure!(fs::read(Path::new(models).join("1/model.onnx"))? == fs::read(&onnx)?, "other bytes");
    ensure!(!directory.path().join("escaped").exists() && !Path::new(models).join("escaped").exists());
    store.stop().await
}

/// Azurite is Microsoft's own imitation of Azure's blob service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_to_azure_is_pulled() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    if !here().join("../target/azurite/node_modules/azurite").is_dir() {
        println!("SKIPPED: no Azurite; tests/object_stores/install.sh installs it");
        return Ok(());
    }
    let binaries = built_binaries().await?;
    let directory = tempfile::tempdir()?;
    let mut store = Store::start(&python, &["azure", text(&directory.path().join("azure"))]).await?;
    let (owner, models) = (directory.path().join("owner"), directory.path().join("models"));
    fs::create_dir_all(owner.join("private"))?;
    let adytum = |words: &[&str]| {
        let mut command = Command::new(binaries.join("adytum"));
        command.args(words);
        command
    };
    run(adytum(&["owner", "new", "--out", text(&owner.join("private/owner.pem"))])).await?;
    let recipient =
        run(adytum(&["model-key", "new", "--out", text(&directory.path().join("model.key"))])).await?;
    let recipient = adytum_tests::deployment::word_with(&recipient, "age1")?;
    let (one, two) = (digits().join("model.onnx"), directory.path().join("two.onnx"));
    let mut bytes = fs::read(&one)?;
    // More than one block of an upload: bytes that name the producer, so the same model.
    let length = 20_usize << 20;
    bytes.push(0x12);
    bytes.extend([0x80, 0x80, 0x80, 0x0a]);
    bytes.extend(std::iter::repeat_n(b'x', length));
    fs::write(&two, bytes)?;
    let place = "az://models/digits";
    let release = |onnx: &Path, to: &str| store.release(&binaries, onnx, &owner, &recipient, to);

    let mut wrong = release(&one, place);
    wrong.env("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=");
    for (mut command, expected, code) in
        [(release(&one, "az://no-such-container/digits"), "does not exist", 78), (wrong, "was refused", 77)]
    {
        let output = command.output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains(expected) && output.status.code() == Some(code), "{}: {said}", output.status);
        ensure!(!said.contains("d3Jvbmc"), "a credential is shown: {said}");
    }
    let said = run(release(&one, place)).await?;
    ensure!(said.contains("version 1 of digits sealed"), "{said}");
    let said = run(release(&one, place)).await?;
    ensure!(said.contains("version 1 of digits is this model already"), "{said}");
    let watching = store.pull(&binaries, &["--watch", "--interval=100ms", place, text(&models)]);
    let mut pull = Process::start("pull", watching, directory.path()).await?;
    pull.wait_for("version 1: 2 files", PATIENCE).await?;
    let said = run(release(&two, place)).await?;
    ensure!(said.contains("version 2 of digits sealed"), "{said}");
    pull.wait_for("version 2: 2 files", PATIENCE).await?;
    let sealed = fs::metadata(models.join("2/model.onnx.age"))?.len();
    ensure!(sealed > length as u64, "{sealed} bytes");
    pull.stop().await;

    // An upload that was cut.
    let ciphertext = models.join("2/model.onnx.age");
    store.order(json!({ "put": "digits/2/model.onnx.age", "file": ciphertext, "cut": 50_000 })).await?;
    let again = directory.path().join("again");
    let said = run_refused(store.pull(&binaries, &["--versions=2", place, text(&again)])).await?;
    ensure!(said.contains("model.onnx.age of version 2 was cut"), "{said}");
    store.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webdav_collection_is_a_source() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let binaries = built_binaries().await?;
    let directory = tempfile::tempdir()?;
    let (source, models) = (directory.path().join("source"), directory.path().join("models"));
    for version in ["1", "00000002"] {
        fs::create_dir_all(source.join("digits").join(version).join("assets"))?;
        fs::copy(digits().join("model.onnx"), source.join("digits").join(version).join("model.onnx"))?;
        fs::write(source.join("digits").join(version).join("assets/a b.txt"), "words")?;
    }
    let store = Store::start(&python, &["webdav", text(&source)]).await?;
    let address = format!("{}/digits/", store.text("address"));
    let mut command = Command::new(binaries.join("adytum"));
    command.args(["model", "pull", "--versions=all", &address, text(&models)]);
    let said = run(command).await?;
    ensure!(said.contains("version 1: 2 files") && said.contains("version 2: 2 files"), "{said}");
    for version in ["1", "00000002"] {
        ensure!(fs::read(models.join(version).join("assets/a b.txt"))? == b"words");
    }
    // One that lists nothing says so, and one version of it can be fetched.
    let mut command = Command::new(binaries.join("adytum"));
    command.args(["model", "pull", &format!("{}/digits/1", store.text("address")), text(&models)]);
    run(command).await?;
    store.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_to_a_bucket_is_served() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let binaries = built_binaries().await?;
    let directory = tempfile::tempdir()?;
    let mut store = Store::start(&python, &["s3"]).await?;
    let mut deployment = Deployment::start(directory.path(), &binaries).await?;
    let mut broker = deployment.create_broker("broker").await?;
    let configuration = deployment.configure_replica("replica", &broker).await?;
    let provisioned = owner::provision(&deployment, &broker, "digits", &configuration.identity).await?;
    let owner = directory.path().join("owner-directory");
    fs::create_dir_all(owner.join("private"))?;
    fs::copy(broker.owner_key(), owner.join("private/owner.pem"))?;
    let (one, two) = (digits().join("model.onnx"), directory.path().join("two.onnx"));
    let mut bytes = fs::read(&one)?;
    // A byte that names the producer: another file, and the same model.
    bytes.extend(b"\x12\x01x");
    fs::write(&two, bytes)?;
    let place = "s3://models/digits";
    let release = |store: &Store, onnx: &Path, to: &str| {
        store.release(&binaries, onnx, &owner, &provisioned.recipient, to)
    };

    // A release that can't be made says why.
    for (to, variable, expected, code) in [
        ("s3://no-such-bucket/digits", None, "s3://no-such-bucket/digits does not exist", 78),
        (place, Some(("AWS_SECRET_ACCESS_KEY", "wrong")), "was refused", 77),
        (place, Some(("AWS_ENDPOINT_URL", "http://127.0.0.1:9")), "no usable answer from", 69),
    ] {
        let mut command = release(&store, &one, to);
        command.envs(variable);
        let output = command.output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains(expected) && output.status.code() == Some(code), "{}: {said}", output.status);
    }

    let said = run(release(&store, &one, place)).await?;
    ensure!(said.contains("version 1 of digits sealed"), "{said}");
    let models = directory.path().join("models");
    let watching = store.pull(&binaries, &["--watch", "--interval=100ms", place, text(&models)]);
    let mut pull = Process::start("pull", watching, directory.path()).await?;
    pull.wait_for("version 1: 2 files", PATIENCE).await?;
    let binary = deployment.binary("adytum-serving");
    let replica = Replica {
        binary: &binary,
        configuration: &configuration.path,
        broker: broker.address(),
        model: "digits",
        models: &models,
    };
    let (mut replica, port) = deployment.start_replica("replica", &replica).await?;

    // It is there already.
    let said = run(release(&store, &one, place)).await?;
    ensure!(said.contains("version 1 of digits is this model already"), "{said}");
    // The remains of a release that was interrupted: a claim and a ciphertext.
    store.put("digits/2/.claim", &one).await?;
    store.put("digits/2/model.onnx.age", &one).await?;
    pull.wait_for("version 2 is not complete", PATIENCE).await?;
    let mut command = release(&store, &two, place);
    command.arg(format!("--server=localhost:{port}")).arg("--crt").arg(&provisioned.server_crt);
    let said = run(command).await?;
    ensure!(said.contains("version 3 of digits sealed") && said.contains("version 3 answers"), "{said}");
    replica.wait_for("available model=\"digits\" version=3", PATIENCE).await?;
    ensure!(!models.join("2").exists(), "half a version is there");

    // Two at once: each is a version of its own, or is refused.
    let to = "s3://models/both";
    let mut second = release(&store, &two, to);
    let mut first = release(&store, &one, to);
    let (first, second) = tokio::join!(first.output(), second.output());
    let mut done = 0;
    for output in [first?, second?] {
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() || said.contains("was taken by another release"), "{said}");
        done += usize::from(output.status.success());
    }
    ensure!(done > 0, "both were refused");
    let both = directory.path().join("both");
    run(store.pull(&binaries, &["--versions=all", to, text(&both)])).await?;
    ensure!(
        fs::read_dir(&both)?.flatten().filter(|entry| entry.path().join("model.seal").is_file()).count()
            == done
    );

    let mut list = store.pull(&binaries, &[]);
    let variables: Vec<_> = list
        .as_std()
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    list = Command::new(binaries.join("adytum"));
    list.args(["model", "list", "--model=digits", "--store", place, "--owner-directory", text(&owner)]);
    let said = run({
        list.env_clear().envs(variables);
        list
    })
    .await?;
    ensure!(
        said.contains("version 1 ") && said.contains("version 3 ") && !said.contains("version 2 "),
        "{said}"
    );
    pull.stop().await;
    replica.stop().await;
    broker.stop().await;
    deployment.stop().await;
    store.stop().await
}
