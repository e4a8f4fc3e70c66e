//! The simulated platform's keys as a Secret of Kubernetes: the one that a simulation has.

use std::{fmt::Write as _, fs};

use anyhow::Context as _;

use crate::owner_directory::{OwnerDirectory, replace};

/// Before the files.
const HEAD: &str = r#"apiVersion: v1
kind: Secret
metadata:
  name: adytum-sim-platform
  labels:
    app: adytum-sim
    adytum/tee: simulation
  annotations:
    adytum/warning: "SIMULATION: these keys protect nothing"
stringData:
"#;

impl OwnerDirectory {
    /// Writes `private/simulation-platform.yaml`.
    pub(crate) fn write_platform_secret(&self) -> anyhow::Result<()> {
        let platform = self.platform();
        let failed = || format!("{} can't be read", platform.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(&platform).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if entry.file_type().with_context(failed)?.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
            }
        }
        files.sort();
        let mut text = String::from(HEAD);
        for (name, path) in files {
            let content = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            writeln!(text, "  {name}: |")?;
            for line in content.lines() {
                writeln!(text, "    {line}")?;
            }
        }
        replace(&self.private("simulation-platform.yaml"), text.as_bytes(), 0o600)
    }
}
