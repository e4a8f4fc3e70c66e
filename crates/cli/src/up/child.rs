//! A server that is started, watched and ended.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{self, ChildStdout, Command},
    sync::mpsc,
    time::timeout,
};

use crate::programs::Programs;

/// How long a server may take until it is ready.
const START: Duration = Duration::from_secs(60);
/// How long requests in progress may take after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// The most lines of a log that an error shows.
const LINES_SHOWN: usize = 6;
/// The variables that servers are left: others would change what they do, and a workload
/// refuses those of the loader (`LD_LIBRARY_PATH`).
const VARIABLES: [&str; 3] = ["RUST_LOG", "ADYTUM_LOG_FORMAT", "TZ"];

/// A running server.
pub(super) struct Child {
    name: String,
    process: process::Child,
    lines: mpsc::UnboundedReceiver<String>,
    log: PathBuf,
}

impl Child {
    /// Starts a program. What it prints goes to `NAME.log` in the directory.
    pub(super) fn start(
        programs: &Programs,
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&log).with_context(|| format!("{} can't be written", log.display()))?;
        let stderr = file.try_clone().with_context(|| log.display().to_string())?;
        let mut command = Command::new(&programs.adytum);
        command.env_clear();
        for variable in VARIABLES {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        let mut process = command
            .args(["tied", "--parent", &std::process::id().to_string(), "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // Ctrl-C at a terminal is for this process, which ends the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} can't be started"))?;
        let (sender, lines) = mpsc::unbounded_channel();
        if let Some(stdout) = process.stdout.take() {
            tokio::spawn(forward(stdout, file, sender));
        }
        Ok(Self { name: name.to_owned(), process, lines, log })
    }

    /// Waits for a line with these words and gives what follows them.
    pub(super) async fn wait_for(&mut self, words: &str) -> anyhow::Result<String> {
        let found = timeout(START, async {
            while let Some(line) = self.lines.recv().await {
                if let Some((_, rest)) = line.split_once(words) {
                    return Some(rest.trim().to_owned());
                }
            }
            None
        });
        match found.await {
            Ok(Some(rest)) => Ok(rest),
            Ok(None) => {
                let status = self.process.wait().await?;
                bail!("{}", self.end(status))
            }
            Err(_) => {
                bail!("{} was not ready after {START:?}; read its log {}", self.name, self.log.display())
            }
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        Some(self.end(status))
    }

    /// Did it say this before it ended?
    pub(super) fn said(&self, words: &str) -> bool {
        std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(words))
    }

    /// Its end in one line, with the last lines of its log.
    fn end(&self, status: ExitStatus) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
        format!("{} ended ({status}); the end of {}:\n{}", self.name, self.log.display(), last.join("\n"))
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        if let Some(id) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
    }

    /// Ends it: in order, or after a while by force.
    pub(super) async fn stop(&mut self) {
        self.terminate();
        if timeout(GRACE, self.process.wait()).await.is_err() {
            let _ = self.process.kill().await;
        }
    }
}

/// Copies what a server prints into its log, and passes the lines on.
async fn forward(stdout: ChildStdout, mut log: File, lines: mpsc::UnboundedSender<String>) {
    let mut reader = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        // A full disk loses the log, not the service.
        let _: io::Result<()> = writeln!(log, "{line}");
        let _ = lines.send(line);
    }
}
