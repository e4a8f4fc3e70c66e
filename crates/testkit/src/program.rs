//! Runs of the real programs: how they are started, and what is asserted of how they end.

use std::{
    ffi::OsStr,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

/// A command without the settings that a developer's shell may have for our programs.
pub fn command<A: AsRef<OsStr>>(
    program: impl AsRef<Path>,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).stdin(Stdio::null());
    for variable in [
        "PCCS_URL",
        "ADYTUM_BROKER",
        "ADYTUM_BROKER_POLICY",
        "ADYTUM_CONTEXT",
        "ADYTUM_GENESIS",
        "ADYTUM_HEADS",
        "ADYTUM_OWNER",
        "ADYTUM_OWNER_DIRECTORY",
        "ADYTUM_TRUST_SIMULATION",
        "RUST_LOG",
        "NO_COLOR",
        "COLUMNS",
    ] {
        command.env_remove(variable);
    }
    // No developer has contexts there.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Outcome {
    Outcome(command.output().unwrap())
}

/// Runs a command that reads this from its standard input.
pub fn run_with_input(mut command: Command, input: &[u8]) -> Outcome {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // A program may end without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    Outcome(child.wait_with_output().unwrap())
}

/// How a run ended, and what it printed.
#[derive(Clone, Debug)]
pub struct Outcome(pub Output);

impl Outcome {
    /// The exit code; none if a signal ended the program.
    pub fn exit_code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// What it printed to standard output.
    #[track_caller]
    pub fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    /// What it printed to standard error.
    #[track_caller]
    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// Asserts that it succeeded; its standard output.
    #[track_caller]
    pub fn succeeded(&self) -> String {
        assert!(self.0.status.success(), "{}\n{}", self.0.status, self.stderr());
        self.stdout()
    }

    /// Asserts that it ended with this exit code and did not panic; its standard error.
    #[track_caller]
    pub fn failed_with(&self, code: i32) -> String {
        let stderr = self.stderr();
        assert_eq!(self.exit_code(), Some(code), "{}\n{stderr}", self.stdout());
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }
}
