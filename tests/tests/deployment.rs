//! The deployment's files without a cluster: what `adytum deployment` prepares, what
//! the YAML starts and what `adytum provision` gives out fit together.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_tests::{
    deployment::built_binaries,
    process::{Process, run, run_refused},
};
use anyhow::{Context, Result, ensure};
use tokio::process::Command;

const START: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml(name: &str) -> Result<String> {
    let path = root().join("deploy/kubernetes").join(name);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The arguments of the one container in a file.
fn arguments(yaml: &str) -> Vec<String> {
    let after = yaml.lines().skip_while(|line| line.trim() != "args:").skip(1).map(str::trim);
    let items = after.take_while(|line| line.starts_with("- ") || line.starts_with('#'));
    items.filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect()
}

/// The arguments with other values for some flags, since tests take no fixed ports.
fn changed(mut arguments: Vec<String>, changes: &[(&str, &str)]) -> Result<Vec<String>> {
    for (flag, value) in changes {
        let given = arguments.iter_mut().find(|argument| argument.starts_with(&format!("{flag}=")));
        *given.with_context(|| format!("no {flag} in the YAML"))? = format!("{flag}={value}");
    }
    Ok(arguments)
}

#[test]
fn the_yaml_has_the_examples_names_and_not_its_privileges() -> Result<()> {
    let broker = yaml("occlum_init_ra_server.yaml")?;
    for line in [
        "  name: init-ra-server-deployment",
        "      app: init-ra-server",
        "  name: init-ra-server-svc",
        "              containerPort: 5000",
        "      port: 5000",
        "            - name: PCCS_URL",
        "            - 0.0.0.0:5000",
        "              sgx.intel.com/epc: \"1000Mi\"",
        "    type: Recreate",
    ] {
        ensure!(broker.lines().any(|found| found == line), "the broker's YAML lacks {line:?}");
    }
    let serving = yaml("occlum_tf_demo.yaml")?;
    for line in [
        "  name: tf-demo-deployment",
        "  replicas: 1",
        "      app: tf-demo",
        "  name: tf-demo-svc",
        "  type: NodePort",
        "            - name: grpc",
        "              containerPort: 9001",
        "      port: 9001",
        "      nodePort: 31001",
        "            - name: PCCS_URL",
        "            - name: OCCLUM_INIT_RA_KMS_SERVER",
        "              value: init-ra-server-svc:5000",
        "              sgx.intel.com/epc: \"8000Mi\"",
        "              cpu: \"1000m\"",
    ] {
        ensure!(serving.lines().any(|found| found == line), "the model server's YAML lacks {line:?}");
    }
    let words = [
        "--model_name=resnet",
        "--model_base_path=/models/resnet",
        "--port=9001",
        "--ssl_config_file=/etc/tf_ssl.cfg",
    ];
    ensure!(arguments(&serving).starts_with(&words.map(str::to_owned)), "{:?}", arguments(&serving));
    for text in [broker, serving] {
        for privilege in ["privileged: true", "hostPath", "hostNetwork", "hostPID", "kind: Secret"] {
            ensure!(!text.contains(privilege), "{privilege}");
        }
    }
    Ok(())
}

/// Images are tagged by the version of the workspace, and so the files name them.
#[test]
fn the_files_name_the_images_of_this_version() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let mut named = 0;
    for file in [
        "kubernetes/occlum_init_ra_server.yaml",
        "kubernetes/occlum_tf_demo.yaml",
        "overlays/simulation/platform/adytum_sim.yaml",
        "images/any-server/nginx.yaml",
        "kserve/serving-runtime.yaml",
        "kserve/cluster-serving-runtime.yaml",
    ] {
        let text = fs::read_to_string(root().join("deploy").join(file))?;
        for image in text.lines().filter_map(|line| line.trim().strip_prefix("image: demo/")) {
            ensure!(
                image.ends_with(&format!(":{version}")),
                "{file} names {image}; the version is {version}"
            );
            named += 1;
        }
    }
    ensure!(named >= 6, "{named} images");
    let chart = fs::read_to_string(root().join("deploy/helm/adytum/Chart.yaml"))?;
    ensure!(chart.contains(&format!("appVersion: \"{version}\"\n")), "{chart}");
    Ok(())
}

#[tokio::test]
async fn the_usage_is_the_examples() -> Result<()> {
    let mut command = Command::new(root().join("deploy/build.sh"));
    command.arg("-h");
    let usage = run(command).await?;
    for line in [
        "Build Occlum TF examples container images for k8s deployment.",
        "usage: build.sh [OPTION]...",
        "    -r <container image registry> the container image registry",
        "    -g <tag> container image tag",
    ] {
        ensure!(usage.lines().any(|found| found == line), "{usage}");
    }
    Ok(())
}

/// What an owner's tools made, and the programs.
struct Fixture {
    directory: tempfile::TempDir,
    binaries: PathBuf,
}

impl Fixture {
    /// The reference's names and models, with digits as `resnet`, as `deploy/build.sh -m digits`
    /// has them.
    async fn prepare() -> Result<Self> {
        let fixture = Self { directory: tempfile::tempdir()?, binaries: built_binaries().await? };
        let digits = root().join("examples/digits/model.onnx");
        let mut new = fixture.deployment("new");
        new.args(["--workload", "tf-demo", "--host", "tf-demo-svc"]);
        new.arg(format!("--model=resnet@123={}", digits.display()));
        new.arg(format!("--model=digits={}", digits.display()));
        run(new).await?;
        fixture.build(&["--simulate"]).await?;
        Ok(fixture)
    }

    fn deployment(&self, verb: &str) -> Command {
        let mut command = self.command("adytum");
        command.args(["deployment", verb]).arg("--owner-directory").arg(self.owner(""));
        command
    }

    async fn build(&self, options: &[&str]) -> Result<String> {
        let mut command = self.deployment("build");
        command.args(options);
        run(command).await
    }

    async fn refused(&self, verb: &str, options: &[&str]) -> Result<String> {
        let mut command = self.deployment(verb);
        command.args(options);
        run_refused(command).await
    }

    async fn status(&self) -> Result<serde_json::Value> {
        let mut command = self.deployment("status");
        command.arg("--json");
        Ok(serde_json::from_str(&run(command).await?)?)
    }

    fn manifest(&self) -> Result<String> {
        Ok(fs::read_to_string(self.owner("public/manifest.toml"))?)
    }

    fn owner(&self, path: &str) -> PathBuf {
        self.directory.path().join("owner").join(path)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.env_clear().current_dir(self.directory.path());
        command
    }

    async fn start(&self, name: &str, command: Command, line: &str) -> Result<(Process, String)> {
        let mut process = Process::start(name, command, self.directory.path()).await?;
        let rest = process.wait_for(line, START).await?;
        Ok((process, rest))
    }

    fn provision(&self, broker: &str) -> Command {
        let mut command = self.command("adytum");
        command.arg("provision").arg("--owner-directory").arg(self.owner("")).args(["--broker", broker]);
        command.arg("--trust-simulation").arg(self.owner("private/platform/root.pem"));
        command
    }
}

#[tokio::test]
async fn what_an_owner_prepares_is_what_the_yaml_starts() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let mut sim = fixture.command("adytum-sim");
    sim.arg("--platform").arg(fixture.owner("private/platform")).arg("127.0.0.1:0");
    let (mut sim, platform) = fixture.start("sim", sim, "Simulated TEE platform listening on ").await?;
    let url = format!("http://{platform}");

    let mut broker = fixture.command("adytum-broker");
    let state = fixture.directory.path().join("state").display().to_string();
    let mut words = changed(
        arguments(&yaml("occlum_init_ra_server.yaml")?),
        &[("--state-directory", &state), ("--health-listen", "127.0.0.1:0")],
    )?;
    ensure!(words.pop().as_deref() == Some("0.0.0.0:5000"), "{words:?}");
    broker.arg("--genesis").arg(fixture.owner("public/genesis.toml")).args(words).arg("127.0.0.1:0");
    broker.env("ADYTUM_TEE", format!("simulation={url}")).env("PCCS_URL", &url);
    let (mut broker, address) = fixture.start("broker", broker, "Server listening on ").await?;

    let said = run(fixture.provision(&address)).await?;
    ensure!(
        said.contains("manifest version 1 is in force") && said.contains("model_key: version 1"),
        "{said}"
    );

    let models = fixture.owner("models/resnet").display().to_string();
    let words = changed(
        arguments(&yaml("occlum_tf_demo.yaml")?),
        &[("--model_base_path", &models), ("--port", "0"), ("--health_port", "0"), ("--drain_delay", "0")],
    )?;
    let mut serving = fixture.command("adytum-serving");
    serving.args(words).arg("--configuration").arg(fixture.owner("public/workload.toml"));
    serving.env("ADYTUM_TEE", format!("simulation={url}")).env("PCCS_URL", &url);
    serving.env("OCCLUM_INIT_RA_KMS_SERVER", &address);
    let (mut serving, rest) =
        fixture.start("serving", serving, "Running gRPC ModelServer at 0.0.0.0:").await?;
    let port = rest.split_whitespace().next().unwrap_or_default();

    // As the client's image does it: by the name of Occlum's script.
    let python = fixture.directory.path().join("python3");
    std::os::unix::fs::symlink(fixture.binaries.join("adytum"), &python)?;
    let image = root().join("examples/digits/images/digit-7-0870.png");
    let mut client = Command::new(&python);
    client.env_clear().arg("resnet_client_grpc.py").arg(format!("--server=localhost:{port}"));
    client.arg("--crt").arg(fixture.owner("public/server.crt")).arg("--image").arg(image);
    let answer = run(client).await?;
    ensure!(answer.starts_with("Prediction class:  7\nProbability:  "), "{answer}");
    let mut client = Command::new(&python);
    client.arg("-c").arg("print(1)");
    ensure!(run_refused(client).await?.contains("no Python"));

    for process in [&mut serving, &mut broker, &mut sim] {
        process.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn an_owners_directory_keeps_what_it_has() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let names = [
        "private/owner.pem",
        "private/secrets/model_key",
        "private/secrets/ssl_config",
        "public/genesis.toml",
        "public/manifest.toml",
        "public/manifest.toml.sig",
        "models/resnet/123/model.onnx.age",
        "models/digits/1/model.onnx.age",
    ];
    let read = || names.map(|name| fs::read(fixture.owner(name)));
    let before = read();
    fixture.build(&["--simulate"]).await?;
    for ((name, before), after) in names.iter().zip(before).zip(read()) {
        ensure!(before? == after?, "{name} has changed");
    }
    // More in the manifest is a manifest of a higher version.
    fs::write(fixture.owner("manifest-more.toml"), "[restart]\nunplanned = \"serve\"\n")?;
    fixture.build(&["--simulate"]).await?;
    let manifest = fixture.manifest()?;
    ensure!(manifest.contains("\nversion = 2\n") && manifest.contains("unplanned = \"serve\""), "{manifest}");
    Ok(())
}

/// On hardware a program is identified by its TEE's measurement, which is known only once
/// its image is there. Files that depend on it are left out until it is given. It is never
/// guessed, and not taken from a simulation.
#[tokio::test]
async fn a_build_for_hardware_goes_by_what_the_owner_gives_and_guesses_nothing() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let policy = fixture.directory.path().join("policy.toml");
    fs::write(
        &policy,
        format!(
            "vendors = [\"amd\"]\ntee = [\"snp\"]\nsnp_measurement = [\"{}\"]\n\
             minimum_snp_tcb = {{ bootloader = 10, tee = 0, snp = 23, microcode = 84 }}\n",
            "a1".repeat(48)
        ),
    )?;
    let there = |file: &str| fixture.owner("public").join(file).exists();

    let said = fixture.build(&[]).await?;
    ensure!(said.contains("not identified yet: --broker-policy FILE"), "{said}");
    ensure!(!there("workload.toml") && !there("broker-policy.toml"));
    ensure!(!there("manifest.toml.sig"), "the simulation's manifest could be applied");

    let missing = fixture.status().await?["missing"].to_string();
    ensure!(missing.contains("the broker is not identified"), "{missing}");

    let given = policy.display().to_string();
    let said = fixture.build(&["--broker-policy", &given]).await?;
    ensure!(
        said.contains("not made yet: --workload-policy FILE") && said.contains(&"a1".repeat(48)),
        "{said}"
    );
    let workload = fs::read_to_string(fixture.owner("public/workload.toml"))?;
    ensure!(workload.contains("vendors = [\"amd\"]") && !workload.contains("simulation"), "{workload}");
    ensure!(!there("manifest.toml.sig"));

    let said = fixture.build(&["--broker-policy", &given, "--workload-policy", &given]).await?;
    ensure!(said.contains("version 2"), "it follows the simulation's: {said}");
    let values = fs::read_to_string(fixture.owner("public/helm-values.yaml"))?;
    ensure!(values.contains("tee: snp\n") && !values.to_lowercase().contains("simulation"), "{values}");
    let manifest = fixture.manifest()?;
    ensure!(manifest.contains("[trust]\nvendors = [\"amd\"]\n") && there("manifest.toml.sig"), "{manifest}");
    let mut check = fixture.command("adytum");
    check.args(["manifest", "check"]).arg(fixture.owner("public/manifest.toml"));
    run(check).await?;

    // A policy that is none is refused when it is used.
    fs::write(&policy, "tee = [\"snp\"]\n")?;
    let refusal = fixture.refused("build", &["--broker-policy", &given]).await?;
    ensure!(refusal.contains("missing field `vendors`"), "{refusal}");
    Ok(())
}

/// A model that changed is its next version. A floor that was raised stays, also of a model that
/// was left out for a while.
#[tokio::test]
async fn a_changed_model_is_a_version_and_a_floor_stays() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let path = |name: &str| fixture.directory.path().join(name);
    let digits = fs::read(root().join("examples/digits/model.onnx"))?;
    // The same computation with another name in it.
    let name = b"digits";
    let at = digits.windows(name.len()).position(|window| window == name).context("a name in the model")?;
    let mut other = digits.clone();
    other[at] = b'D';
    fs::write(path("digits.onnx"), &digits)?;
    let given = format!("digits={}", path("digits.onnx").display());
    let said = fixture.build(&["--simulate", "--model", &given]).await?;
    ensure!(
        said.contains("digits version 1, as before") && said.contains("manifest           version 1"),
        "{said}"
    );

    fs::write(path("digits.onnx"), &other)?;
    let status = fixture.status().await?;
    ensure!(status["models"][0]["changed"] == true && status["complete"] == false, "{status}");
    let said = fixture.build(&["--simulate"]).await?;
    ensure!(said.contains("digits version 2, checked and sealed"), "{said}");
    ensure!(said.contains("resnet version 123, as before"), "{said}");
    let status = fixture.status().await?;
    ensure!(status["complete"] == true && status["models"][0]["version"] == 2, "{status}");

    let mut retire = fixture.command("adytum");
    retire
        .args(["model", "retire", "--model", "digits", "--below", "2", "--owner-directory"])
        .arg(fixture.owner(""));
    run(retire).await?;
    let retired = fixture.manifest()?;
    ensure!(retired.contains("minimum_version = 2") && retired.contains("version = 2\n"), "{retired}");
    fixture.build(&["--simulate"]).await?;
    ensure!(fixture.manifest()? == retired, "a build has changed the manifest");
    fs::write(fixture.owner("manifest-more.toml"), "[restart]\nunplanned = \"serve\"\n")?;
    fixture.build(&["--simulate"]).await?;
    let manifest = fixture.manifest()?;
    ensure!(manifest.contains("minimum_version = 2") && manifest.contains("\nversion = 3\n"), "{manifest}");

    // Left out, and added again.
    let plan = fixture.owner("deployment.toml");
    let text = fs::read_to_string(&plan)?;
    let (head, tables) = text.split_once("[[model]]").context("a model")?;
    let without = tables.split_once("[[model]]").context("another model")?.1;
    fs::write(&plan, format!("{head}[[model]]{without}"))?;
    fixture.build(&["--simulate"]).await?;
    ensure!(!fixture.manifest()?.contains("minimum_version = 2"));
    ensure!(fixture.status().await?["sealed_but_not_planned"][0] == "digits");
    fixture.build(&["--simulate", "--model", &given]).await?;
    ensure!(fixture.manifest()?.contains("minimum_version = 2"));
    Ok(())
}

/// Names of one's own, and what is refused.
#[tokio::test]
async fn an_owner_has_names_of_her_own_and_mistakes_are_named() -> Result<()> {
    let fixture = Fixture { directory: tempfile::tempdir()?, binaries: built_binaries().await? };
    let digits = root().join("examples/digits/model.onnx").display().to_string();
    let refused = fixture.refused("build", &[]).await?;
    ensure!(refused.contains("adytum deployment new"), "{refused}");
    for (model, words) in [("nothing.onnx", "nothing.onnx can't be read"), ("a b=x.onnx", "a b")] {
        let refused = fixture.refused("new", &["--model", model]).await?;
        ensure!(refused.contains(words) && !fixture.owner("").exists(), "{refused}");
    }
    let (one, two) = (format!("Zahlen={digits}"), format!("more={digits}"));
    let mut new = fixture.deployment("new");
    new.args(["--model", &one, "--model", &two, "--host", "zahlen.example"]);
    let said = run(new).await?;
    ensure!(
        said.contains("zahlen-serving, zahlen.example") && said.contains("the workload Zahlen"),
        "{said}"
    );
    let refused = fixture.refused("new", &["--model", &one]).await?;
    ensure!(refused.contains("is there already"), "{refused}");

    // A certificate is not replaced, and the name is not noted.
    let refused = fixture.refused("build", &["--simulate", "--host", "other.example"]).await?;
    ensure!(refused.contains("not for other.example") && refused.contains("zahlen.example"), "{refused}");
    let said = fixture.build(&["--simulate"]).await?;
    ensure!(said.contains("model              Zahlen version 1"), "{said}");
    let mut check = fixture.command("adytum");
    check.args(["manifest", "check"]).arg(fixture.owner("public/manifest.toml"));
    ensure!(run(check).await?.contains("workload  Zahlen: models Zahlen, more"));

    // Half a pair is no certificate.
    fs::remove_file(fixture.owner("private/secrets/ssl_config"))?;
    let refused = fixture.refused("build", &["--simulate"]).await?;
    ensure!(refused.contains("is there without"), "{refused}");
    fs::remove_file(fixture.owner("public/server.crt"))?;
    fixture.build(&["--simulate"]).await?;
    fs::write(fixture.owner("manifest-more.toml"), "[trust]\nvendors = []\n")?;
    let refused = fixture.refused("build", &["--simulate"]).await?;
    ensure!(refused.contains("manifest-more.toml") && refused.contains("unknown field `trust`"), "{refused}");
    Ok(())
}

/// Runs Helm, if it can be run here without being compiled first.
async fn helm(arguments: &[&str]) -> Result<Option<String>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let script = root().join("deploy/helm/helm.sh");
    let is_compiled = cache.is_some_and(|cache| cache.join("adytum-helm").is_dir());
    let installed = std::process::Command::new("helm").arg("version").output().is_ok();
    if !is_compiled && !installed {
        println!("SKIPPED helm is not here");
        return Ok(None);
    }
    let mut command = Command::new(script);
    command.args(arguments);
    run(command).await.map(Some)
}

/// What `adytum up` and `adytum deployment` print for Helm makes the chart's objects for this
/// service, and the manifest fits to it.
#[tokio::test]
async fn the_values_for_helm_render_the_same_service() -> Result<()> {
    let fixture = Fixture { directory: tempfile::tempdir()?, binaries: built_binaries().await? };
    fs::copy(root().join("examples/digits/model.onnx"), fixture.directory.path().join("digits.onnx"))?;
    let up = |options: &[&str]| {
        let mut command = fixture.command("adytum");
        command.args(["up", "digits.onnx", "--name", "Digits_2", "--replicas", "3"]).args(options);
        command
    };
    let values = run(up(&["--print-helm"])).await?;
    let file = fixture.directory.path().join("values.yaml");
    fs::write(&file, &values)?;
    for line in ["tee: simulation", "  replicas: 3", "    - name: \"Digits_2\""] {
        ensure!(values.lines().any(|found| found == line), "{line}: {values}");
    }
    ensure!(
        values.contains("helm install digits-2 deploy/helm/adytum")
            && values.contains("-b digits-2-broker -s")
    );
    ensure!(run_refused(up(&["--print-helm", "--print-manifest"])).await?.contains("--print-manifest"));

    let manifest = fixture.directory.path().join("manifest.toml");
    fs::write(&manifest, run(up(&["--print-manifest"])).await?)?;
    let mut check = fixture.command("adytum");
    check.args(["manifest", "check"]).arg(&manifest);
    ensure!(run(check).await?.contains("workload  Digits_2: models Digits_2"));
    // The directory is one of `adytum deployment`.
    let mut status = fixture.command("adytum");
    status.args(["deployment", "status", "--owner-directory", ".adytum"]);
    let said = run(status).await?;
    ensure!(said.contains("complete") && said.contains("digits-2-serving"), "{said}");

    let chart = root().join("deploy/helm/adytum").display().to_string();
    let values = file.display().to_string();
    let Some(rendered) = helm(&[
        "template",
        "digits-2",
        &chart,
        "--values",
        &values,
        "--kube-version",
        "1.30.0",
        "--skip-tests",
    ])
    .await?
    else {
        return Ok(());
    };
    for line in [
        "            - --model_name=Digits_2",
        "            - --model_base_path=/models/Digits_2",
        "  replicas: 3",
        "  name: digits-2-serving",
        "  name: digits-2-broker",
        "  name: digits-2-genesis",
    ] {
        ensure!(rendered.lines().any(|found| found == line), "{line}: {rendered}");
    }
    let genesis = fs::read_to_string(fixture.directory.path().join(".adytum/public/genesis.toml"))?;
    let key = genesis.lines().find(|line| line.contains("ed25519:")).context("an owner")?;
    ensure!(rendered.contains(key.trim()), "{key}: {rendered}");
    // Each flag that the chart gives is one that the measured configuration leaves to it.
    let configuration = fs::read_to_string(fixture.directory.path().join(".adytum/public/workload.toml"))?;
    let flags = rendered
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- --")?.split_once('='))
        .map(|(flag, _)| flag);
    for flag in flags.filter(|flag| !["state-directory", "health-listen"].contains(flag)) {
        ensure!(configuration.contains(&format!("\"--{flag}=")), "--{flag}: {configuration}");
    }
    Ok(())
}
