//! The user's `kubectl`: what it prints, bounded in bytes and in time.

use std::{ffi::OsString, process::Stdio, time::Duration};

use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};

/// The largest answer that is read, in bytes.
const MOST_OUTPUT: u64 = 32 << 20;
/// The most of its complaint that is read, in bytes.
const MOST_COMPLAINT: u64 = 16 << 10;

/// How to run `kubectl`.
pub(super) struct Kubectl {
    pub(super) program: OsString,
    pub(super) context: Option<String>,
    pub(super) namespace: Option<String>,
    /// How long one run may take.
    pub(super) limit: Duration,
}

/// Why `kubectl` gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum KubectlError {
    #[error("{program} can't be started: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("kubectl did not end within {0:?}")]
    Slow(Duration),
    #[error("kubectl printed more than {MOST_OUTPUT} bytes")]
    Large,
    #[error("kubectl failed: {0}")]
    Failed(String),
    #[error("kubectl printed something else than the expected JSON: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Kubectl {
    /// What `kubectl WORDS -o json` prints, as a `T`.
    pub(super) async fn json<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T, KubectlError> {
        let printed = self.run(&[words, &["-o", "json"]].concat()).await?;
        Ok(serde_json::from_slice(&printed)?)
    }

    /// What `kubectl WORDS` prints.
    pub(super) async fn run(&self, words: &[&str]) -> Result<Vec<u8>, KubectlError> {
        let mut command = Command::new(&self.program);
        command.args(words).arg(format!("--request-timeout={}s", self.limit.as_secs().max(1)));
        command.args(self.context.iter().map(|name| format!("--context={name}")));
        command.args(self.namespace.iter().map(|name| format!("--namespace={name}")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| KubectlError::Start {
            program: self.program.to_string_lossy().into_owned(),
            source,
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let (printed, complaint) = tokio::join!(read(stdout, MOST_OUTPUT), read(stderr, MOST_COMPLAINT));
            match printed {
                Some(printed) => child.wait().await.map(|status| Some((status, printed, complaint))),
                // It is killed when it is dropped: it may wait for a reader.
                None => Ok(None),
            }
        };
        match timeout(self.limit, ended).await {
            Err(_) => Err(KubectlError::Slow(self.limit)),
            Ok(Err(error)) => Err(KubectlError::Failed(error.to_string())),
            Ok(Ok(None)) => Err(KubectlError::Large),
            Ok(Ok(Some((status, printed, _)))) if status.success() => Ok(printed),
            Ok(Ok(Some((status, _, complaint)))) => {
                let complaint = complaint.unwrap_or_default();
                let text = String::from_utf8_lossy(&complaint);
                let last = text.lines().rfind(|line| !line.trim().is_empty());
                Err(KubectlError::Failed(last.map_or_else(|| status.to_string(), str::to_owned)))
            }
        }
    }
}

/// Everything until the end, or nothing if it is more than `most` bytes.
async fn read(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe?.take(most + 1).read_to_end(&mut bytes).await.ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}
