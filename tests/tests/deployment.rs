//! The deployment's files without a cluster: what `deploy/owner.sh` prepares, what
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
    async fn prepare() -> Result<Self> {
        let fixture = Self { directory: tempfile::tempdir()?, binaries: built_binaries().await? };
        fixture.run_owner().await?;
        Ok(fixture)
    }

    async fn run_owner(&self) -> Result<String> {
        let mut command = Command::new(root().join("deploy/owner.sh"));
        command.arg("-s").args(["-m", "digits"]).arg("-d").arg(self.owner("")).arg("-b").arg(&self.binaries);
        run(command).await
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
    fixture.run_owner().await?;
    for ((name, before), after) in names.iter().zip(before).zip(read()) {
        ensure!(before? == after?, "{name} has changed");
    }
    // More in the manifest is a manifest of a higher version.
    fs::write(fixture.owner("manifest-more.toml"), "[restart]\nunplanned = \"serve\"\n")?;
    fixture.run_owner().await?;
    let manifest = fs::read_to_string(fixture.owner("public/manifest.toml"))?;
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
    let prepared = async |options: &[&str]| {
        let mut command = Command::new(root().join("deploy/owner.sh"));
        command.args(["-m", "digits"]).arg("-d").arg(fixture.owner("")).arg("-b").arg(&fixture.binaries);
        for option in options {
            command.arg(option).arg(&policy);
        }
        run(command).await
    };
    let there = |file: &str| fixture.owner("public").join(file).exists();

    let said = prepared(&[]).await?;
    ensure!(said.contains("not identified yet: -p FILE"), "{said}");
    ensure!(!there("workload.toml") && !there("broker-policy.toml"));
    ensure!(!there("manifest.toml.sig"), "the simulation's manifest could be applied");

    let said = prepared(&["-p"]).await?;
    ensure!(said.contains("not made yet: -w FILE") && said.contains(&"a1".repeat(48)), "{said}");
    let workload = fs::read_to_string(fixture.owner("public/workload.toml"))?;
    ensure!(workload.contains("vendors = [\"amd\"]") && !workload.contains("simulation"), "{workload}");
    ensure!(!there("manifest.toml.sig"));

    let said = prepared(&["-p", "-w"]).await?;
    ensure!(said.contains("version 2"), "it follows the simulation's: {said}");
    let manifest = fs::read_to_string(fixture.owner("public/manifest.toml"))?;
    ensure!(manifest.contains("[trust]\nvendors = [\"amd\"]\n") && there("manifest.toml.sig"), "{manifest}");
    let mut check = fixture.command("adytum");
    check.args(["manifest", "check"]).arg(fixture.owner("public/manifest.toml"));
    run(check).await?;

    // A policy that is none is refused when it is used.
    fs::write(&policy, "tee = [\"snp\"]\n")?;
    let mut command = Command::new(root().join("deploy/owner.sh"));
    command.args(["-m", "digits"]).arg("-d").arg(fixture.owner("")).arg("-b").arg(&fixture.binaries);
    command.arg("-p").arg(&policy);
    let refusal = run_refused(command).await?;
    ensure!(refusal.contains("missing field `vendors`"), "{refusal}");
    Ok(())
}
