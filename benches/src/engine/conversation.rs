//! A conversation with a process that runs one network: lines to it, lines of JSON from it.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// The first line of a process, when its network is loaded. Others give their time only.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Loaded {
    pub(super) load_ms: f64,
    pub(super) peak_mib: f64,
}

/// The time of a run: on the wall, and of processors. The memory of the process after it, which others do
/// not say.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Time {
    pub(super) wall_ms: f64,
    pub(super) processor_ms: f64,
    #[serde(default)]
    pub(super) resident_mib: f64,
}

#[derive(Debug, Deserialize)]
struct Written {
    #[expect(dead_code, reason = "the line must have it")]
    written: bool,
}

#[derive(Debug, Deserialize)]
struct Difference {
    difference: f64,
}

/// A process with a loaded network. It ends with this value.
pub(super) struct Conversation {
    _process: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    pub(super) loaded: Loaded,
}

impl Conversation {
    pub(super) async fn start(mut command: Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let to = process.stdin.take().context("no standard input")?;
        let from = BufReader::new(process.stdout.take().context("no standard output")?).lines();
        let mut conversation = Self { _process: process, to, from, loaded: Loaded::default() };
        conversation.loaded = conversation.hear().await?;
        Ok(conversation)
    }

    /// The time of each of `runs` runs.
    pub(super) async fn time(&mut self, runs: usize) -> Result<Time> {
        self.say(&runs.to_string()).await?;
        self.hear().await
    }

    /// Has the outputs written to a file.
    pub(super) async fn write(&mut self, path: &Path) -> Result<()> {
        self.say(&path.to_string_lossy()).await?;
        self.hear::<Written>().await.map(drop)
    }

    /// How far the outputs are from those in a file, in parts of the largest value.
    pub(super) async fn compare(&mut self, path: &Path) -> Result<f64> {
        self.say(&path.to_string_lossy()).await?;
        Ok(self.hear::<Difference>().await?.difference)
    }

    async fn say(&mut self, line: &str) -> Result<()> {
        self.to.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.to.flush().await?)
    }

    async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.from.next_line().await?.context("the process has ended")?;
        serde_json::from_str(&line).with_context(|| line)
    }
}
