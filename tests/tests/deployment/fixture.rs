//! What an owner's tools made, and the files that start it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_tests::{
    deployment::built_binaries,
    process::{Process, run, run_refused},
};
use anyhow::{Context, Result};
use tokio::process::Command;

const START: Duration = Duration::from_secs(60);

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn yaml(name: &str) -> Result<String> {
    let path = root().join("deploy/kubernetes").join(name);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The arguments of the one container in a file.
pub(crate) fn arguments(yaml: &str) -> Vec<String> {
    let after = yaml.lines().skip_while(|line| line.trim() != "args:").skip(1).map(str::trim);
    let items = after.take_while(|line| line.starts_with("- ") || line.starts_with('#'));
    items.filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect()
}

/// The arguments with other values for some flags, since tests take no fixed ports.
pub(crate) fn changed(mut arguments: Vec<String>, changes: &[(&str, &str)]) -> Result<Vec<String>> {
    for (flag, value) in changes {
        let given = arguments.iter_mut().find(|argument| argument.starts_with(&format!("{flag}=")));
        *given.with_context(|| format!("no {flag} in the YAML"))? = format!("{flag}={value}");
    }
    Ok(arguments)
}

/// What an owner's tools made, and the programs.
pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) binaries: PathBuf,
}

impl Fixture {
    /// The reference's names and models, with digits as `resnet`, as `deploy/build.sh -m digits`
    /// has them.
    pub(crate) async fn prepare() -> Result<Self> {
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

    pub(crate) fn deployment(&self, verb: &str) -> Command {
        let mut command = self.command("adytum");
        command.args(["deployment", verb]).arg("--owner-directory").arg(self.owner(""));
        command
    }

    pub(crate) async fn build(&self, options: &[&str]) -> Result<String> {
        let mut command = self.deployment("build");
        command.args(options);
        run(command).await
    }

    pub(crate) async fn refused(&self, verb: &str, options: &[&str]) -> Result<String> {
        let mut command = self.deployment(verb);
        command.args(options);
        run_refused(command).await
    }

    pub(crate) async fn status(&self) -> Result<serde_json::Value> {
        let mut command = self.deployment("status");
        command.arg("--json");
        Ok(serde_json::from_str(&run(command).await?)?)
    }

    pub(crate) fn manifest(&self) -> Result<String> {
        Ok(fs::read_to_string(self.owner("public/manifest.toml"))?)
    }

    pub(crate) fn owner(&self, path: &str) -> PathBuf {
        self.directory.path().join("owner").join(path)
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.env_clear().current_dir(self.directory.path());
        command
    }

    pub(crate) async fn start(&self, name: &str, command: Command, line: &str) -> Result<(Process, String)> {
        let mut process = Process::start(name, command, self.directory.path()).await?;
        let rest = process.wait_for(line, START).await?;
        Ok((process, rest))
    }

    pub(crate) fn provision(&self, broker: &str) -> Command {
        let mut command = self.command("adytum");
        command.arg("provision").arg("--owner-directory").arg(self.owner("")).args(["--broker", broker]);
        command.arg("--trust-simulation").arg(self.owner("private/platform/root.pem"));
        command
    }
}
