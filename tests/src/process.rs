//! Child processes of the demo: each one's output is kept in a file, watched for
//! the line that says it is ready, and none outlives the demo.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How many lines of a failed process are shown.
const LINES_SHOWN: usize = 12;

/// A server that the demo started.
pub struct Process {
    name: String,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
    log: PathBuf,
}

impl Process {
    /// Starts a server; its output goes to `NAME.log` in `directory`.
    pub async fn start(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let log = directory.join(format!("{name}.log"));
        let mut file = File::create(&log).await.with_context(|| format!("create {}", log.display()))?;
        let (sender, mut collected) = mpsc::unbounded_channel();
        let (forward, lines) = mpsc::unbounded_channel();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(collect(stdout, sender.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(collect(stderr, sender));
        }
        tokio::spawn(async move {
            while let Some(line) = collected.recv().await {
                // A full disk loses the log file, not the demo.
                let _ = file.write_all(format!("{line}\n").as_bytes()).await;
                let _ = file.flush().await;
                let _ = forward.send(line);
            }
        });
        Ok(Self { name: name.to_owned(), child, lines, seen: Vec::new(), log })
    }

    /// Waits for a line that contains `needle` and returns what follows it.
    pub async fn wait_for(&mut self, needle: &str, limit: Duration) -> Result<String> {
        let found = timeout(limit, async {
            while let Some(line) = self.lines.recv().await {
                let rest = line.split_once(needle).map(|(_, rest)| rest.trim().to_owned());
                self.seen.push(line);
                if rest.is_some() {
                    return rest;
                }
            }
            None
        })
        .await;
        match found {
            Ok(Some(rest)) => Ok(rest),
            Ok(None) => {
                let status = self.child.wait().await?;
                let lines = self.last_lines();
                bail!("{} ended with {status} before it said {needle:?}:\n{lines}", self.name)
            }
            Err(_) => {
                let lines = self.last_lines();
                bail!("{} did not say {needle:?} within {limit:?}:\n{lines}", self.name)
            }
        }
    }

    /// Waits for the process to end by itself; gives its status and its output.
    pub async fn wait_for_end(&mut self, limit: Duration) -> Result<(ExitStatus, Vec<String>)> {
        let Ok(status) = timeout(limit, self.child.wait()).await else {
            let lines = self.last_lines();
            bail!("{} was expected to end within {limit:?}:\n{lines}", self.name)
        };
        let status = status?;
        while let Some(line) = self.lines.recv().await {
            self.seen.push(line);
        }
        Ok((status, std::mem::take(&mut self.seen)))
    }

    /// Where the output is kept.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The process's id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends the process: SIGTERM, and SIGKILL if it doesn't drain in time.
    pub async fn stop(&mut self) {
        if let Some(id) = self.child.id() {
            // kill(1) rather than an unsafe call: the demo has time.
            let _ = Command::new("kill").arg(id.to_string()).stderr(Stdio::null()).status().await;
        }
        if timeout(GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    fn last_lines(&mut self) -> String {
        while let Ok(line) = self.lines.try_recv() {
            self.seen.push(line);
        }
        let from = self.seen.len().saturating_sub(LINES_SHOWN);
        self.seen[from..].iter().map(|line| format!("    {line}\n")).collect()
    }
}

async fn collect(stream: impl AsyncRead + Unpin, lines: mpsc::UnboundedSender<String>) {
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        if lines.send(line).is_err() {
            return;
        }
    }
}

/// Runs a command to its end and gives its standard output.
pub async fn run(mut command: Command) -> Result<String> {
    let shown = shown(&command);
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {shown}"))?;
    if !output.status.success() {
        bail!("{shown}\nended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that must fail and gives what it said.
pub async fn run_refused(mut command: Command) -> Result<String> {
    let shown = shown(&command);
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {shown}"))?;
    if output.status.success() {
        bail!("{shown}\nwas expected to be refused, but succeeded");
    }
    Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}
