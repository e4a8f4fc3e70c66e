//! The YAML and the build script: the reference's names and usage, and what they start.

use std::{fs, os::unix::fs::PermissionsExt as _};

use adytum_tests::process::{run, run_refused};
use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::fixture::{Fixture, arguments, changed, root, yaml};

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

/// The search for plain models in images does not pass because nobody said which ones there are.
#[tokio::test]
async fn images_are_not_searched_for_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let program = |name: &str, body: &str| -> Result<()> {
        let path = directory.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
    };
    // What would search.
    program("cargo", "echo \"searched $*\"")?;
    let search = || {
        let script = "set -euo pipefail; source \"$0\"; export PATH=\"$PWD:$PATH\"
            (search_images ./adytum owner a.tar b.tar) || { echo refused >&2; exit 1; }";
        let mut command = Command::new("bash");
        command.current_dir(directory.path()).args(["-c", script]);
        command.arg(root().join("deploy/images/search.sh"));
        command
    };
    program("adytum", "echo '/models/a b.onnx'; echo /models/c.onnx")?;
    let said = run(search()).await?;
    let expected = "searched xtask image search --secrets owner/private --model=/models/a b.onnx \
                    --model=/models/c.onnx a.tar b.tar\n";
    ensure!(said == expected, "{said}");
    for body in ["exit 78", "echo /models/a.onnx; exit 78", "true"] {
        program("adytum", body)?;
        let output = search().output().await?;
        let (said, refusal) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        ensure!(!output.status.success() && refusal.ends_with("refused\n"), "{body}: {refusal}");
        ensure!(!said.contains("searched"), "{body}: {said}");
    }
    let script = fs::read_to_string(root().join("deploy/build.sh"))?;
    ensure!(script.contains("search_images \"$binaries/adytum\" \"$owner\" \"${files[@]}\")"), "{script}");
    ensure!(!script.contains("image search"), "{script}");
    Ok(())
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
