//! A page's commands, run in order in one fresh directory.

use std::{
    fmt::Write as _,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use super::{blocks::Block, mark::Mark};

/// How long a page may take, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(600);

/// How long its servers may take to end after that.
const END: Duration = Duration::from_secs(90);

/// Where pages are run.
pub(super) struct Stage {
    /// The directory with the built programs.
    pub(super) programs: PathBuf,
    /// The directory of the repository: pages get it as REPOSITORY.
    pub(super) root: PathBuf,
}

/// How a page went.
pub(super) struct Outcome {
    /// All that was printed, if it failed.
    pub(super) failure: Option<String>,
    /// Lines that begin with `SKIPPED`.
    pub(super) skipped: Vec<String>,
    pub(super) duration: Duration,
}

impl Stage {
    /// Runs these blocks of a page; other kinds are left out.
    pub(super) async fn run(&self, blocks: &[(Block, Mark)]) -> Result<Outcome> {
        let begin = Instant::now();
        // It is removed in every case: a failure has the log's text.
        let temporary = temporary()?;
        let directory = temporary.path();
        let script = directory.join("page.sh");
        fs::write(&script, self.script(blocks)).context("write the page's script")?;
        let log = directory.join("page.log");
        let output = fs::File::create(&log).context("create the page's log")?;
        let place = directory.join("page");
        fs::create_dir(&place).context("create the page's directory")?;
        let mut command = Command::new("bash");
        command.arg(&script).current_dir(&place).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        self.environment(&mut command, directory);
        let mut child = command.spawn().context("run bash")?;
        let status = match timeout(LIMIT, child.wait()).await {
            Ok(status) => Some(status.context("wait for the page")?),
            Err(_) => {
                // Its trap ends what it started.
                if let Some(id) = child.id() {
                    Command::new("kill").arg(id.to_string()).status().await?;
                }
                if timeout(END, child.wait()).await.is_err() {
                    child.kill().await?;
                }
                None
            }
        };
        if !status.is_some_and(|status| status.success()) {
            end_servers(&directory.join("servers")).await?;
        }
        let text = String::from_utf8_lossy(&fs::read(&log).context("read the page's log")?).into_owned();
        let skipped = text.lines().filter(|line| line.starts_with("SKIPPED")).map(str::to_owned).collect();
        let failure = match status {
            Some(status) if status.success() => None,
            Some(status) => Some(format!("{text}\nthe page ended with {status}")),
            None => Some(format!("{text}\nthe page was not done after {} s", LIMIT.as_secs())),
        };
        temporary.close().context("remove the page's directory")?;
        Ok(Outcome { failure, skipped, duration: begin.elapsed() })
    }

    /// Only what every reader has, and the programs.
    fn environment(&self, command: &mut Command, directory: &Path) {
        let path = std::env::var("PATH").unwrap_or_default();
        for (name, _) in std::env::vars() {
            if name.starts_with("ADYTUM_") || name.starts_with("XDG_") {
                command.env_remove(name);
            }
        }
        for name in ["RUST_LOG", "PCCS_URL", "AMD_KDS_URL", "LD_LIBRARY_PATH"] {
            command.env_remove(name);
        }
        command
            .env("PATH", format!("{}:{path}:/usr/sbin:/usr/local/go/bin", self.programs.display()))
            .env("HOME", directory.join("page"))
            .env("STAGE", directory)
            .env("PROGRAMS", &self.programs)
            .env("REPOSITORY", &self.root);
    }

    fn script(&self, blocks: &[(Block, Mark)]) -> String {
        let mut script =
            format!("set -euo pipefail\nsource '{}/tests/pages/stage.sh'\n", self.root.display());
        for (number, (block, mark)) in blocks.iter().enumerate() {
            let Block { place, text, .. } = block;
            let log = format!("\"$STAGE/{number}.log\"");
            // Writing to a String can't fail.
            let _ = match mark {
                Mark::Run => write!(script, "at '{place}'\n{text}"),
                Mark::Start { until } => write!(
                    script,
                    "at '{place}'\nset -m\n(\n{text}) >{log} 2>&1 </dev/null &\nset +m\nstarted $! {log} {}\n",
                    quoted(until)
                ),
                Mark::Python { modules } => write!(
                    script,
                    "at '{place}'\nif python_has {}; then\n\"$PYTHON\" - <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\nfi\n",
                    modules.join(" ")
                ),
                Mark::Cluster | Mark::Hardware { .. } | Mark::Other => Ok(()),
            };
        }
        script.push_str("at ''\n");
        script
    }
}

/// Ends what a page has left running, although its trap ends that: a shell that ends by a signal
/// runs no trap. The file has the numbers of process groups.
async fn end_servers(list: &Path) -> Result<()> {
    let Ok(list) = fs::read_to_string(list) else { return Ok(()) };
    for signal in ["-TERM", "-KILL"] {
        let begin = Instant::now();
        for id in list.lines() {
            send(signal, id).await?;
            while begin.elapsed() < END && send("-0", id).await? {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    Ok(())
}

/// Sends a signal to a process group; is it there?
async fn send(signal: &str, id: &str) -> Result<bool> {
    let mut command = Command::new("bash");
    command.args(["-c", "kill \"$0\" -- \"-$1\" 2>/dev/null", signal, id]);
    Ok(command.status().await.context("run kill")?.success())
}

/// A directory of our own, for nobody else: a page's keys are in it.
fn temporary() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    // Short, since sockets have short names.
    let builder = builder.prefix("page-").permissions(Permissions::from_mode(0o700));
    builder.tempdir().with_context(|| format!("create a directory in {}", std::env::temp_dir().display()))
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{commands::blocks::blocks, sources};

    async fn run(page: &str) -> Outcome {
        let root = sources::root().unwrap();
        let stage = Stage { programs: root.clone(), root };
        let (found, problems) = blocks(Path::new("page.md"), page);
        assert!(problems.is_empty());
        let found: Vec<_> = found
            .into_iter()
            .map(|block| {
                let mark = Mark::parse(&block.info).unwrap();
                (block, mark)
            })
            .collect();
        stage.run(&found).await.unwrap()
    }

    #[tokio::test]
    async fn blocks_of_a_page_share_variables_and_a_directory() {
        let page = "<!-- sh run\nA=5\n-->\n```sh run\necho $A >file\n```\n```sh hardware none\nfalse\n```\n\
                    ```sh run\ntest $(cat file) = 5\necho SKIPPED: a thing\n```\n";
        let outcome = run(page).await;
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.skipped, ["SKIPPED: a thing"]);
    }

    #[tokio::test]
    async fn a_failure_names_the_block() {
        let failure = run("```sh run\ntrue\n```\n```sh run\nfalse | cat\n```\n").await.failure.unwrap();
        assert!(failure.contains("page.md:5"), "{failure}");
    }

    #[tokio::test]
    async fn the_directory_is_for_nobody_else_and_is_removed_in_every_case() {
        let other = tempfile::tempdir().unwrap();
        let file = other.path().join("stage").display().to_string();
        for (command, is_good) in [("true", true), ("false", false)] {
            let page =
                format!("```sh run\nstat -c %a \"$STAGE\"\necho \"$STAGE\" >'{file}'\n{command}\n```\n");
            let outcome = run(&page).await;
            assert_eq!(outcome.failure.is_none(), is_good);
            let stage = fs::read_to_string(&file).unwrap();
            assert!(!Path::new(stage.trim()).exists(), "{stage}");
            assert!(outcome.failure.is_none_or(|text| text.contains("700\n")));
        }
        // A page that can't be begun.
        assert_eq!(fs::metadata(temporary().unwrap().path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn servers_end_although_the_shell_was_killed() {
        let other = tempfile::tempdir().unwrap();
        let file = other.path().join("id").display().to_string();
        let page = format!(
            "```sh run until ready\necho ready\nexec sleep 1000\n```\n```sh run\necho ${{SERVERS[0]}} >'{file}'\nkill \
             -SEGV $$\n```\n"
        );
        let failure = run(&page).await.failure.unwrap();
        assert!(failure.contains("signal"), "{failure}");
        let id = fs::read_to_string(file).unwrap();
        assert!(!send("-0", id.trim()).await.unwrap());
    }

    #[tokio::test]
    async fn servers_are_awaited_and_ended() {
        let outcome = run(
            "```sh run until ready\necho ready\nsleep 1000\n```\n```sh run\nkill -0 ${SERVERS[0]}\n```\n",
        );
        let outcome = outcome.await;
        assert_eq!(outcome.failure, None);
        assert!(outcome.duration < Duration::from_secs(500));
        let failure = run("```sh run until ready\necho no\nexit 3\n```\n").await.failure.unwrap();
        assert!(failure.contains("ended before it printed"), "{failure}");
    }
}
