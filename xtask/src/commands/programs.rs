//! Does a command that can't be run here exist as it is printed?

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::shell;

/// The programs whose command lines are parsed.
const PROGRAMS: [&str; 4] = ["adytum", "adytum-broker", "adytum-init", "adytum-serving"];

/// Directories of the repository that commands name, and what an owner makes there.
const DIRECTORIES: [&str; 4] = ["deploy/", "tests/", "examples/", "crates/"];
const MADE: &str = "deploy/owner/";

/// Parses commands with the programs themselves.
pub(super) struct Programs {
    /// The directory with the built programs.
    directory: PathBuf,
    root: PathBuf,
    /// Answers by command: pages repeat commands.
    answers: BTreeMap<Vec<String>, Option<String>>,
}

impl Programs {
    pub(super) fn new(directory: &Path, root: &Path) -> Self {
        Self { directory: directory.to_owned(), root: root.to_owned(), answers: BTreeMap::new() }
    }

    /// The faults of a script, found without running it.
    pub(super) fn faults(&mut self, script: &str) -> Result<Vec<String>> {
        let mut faults: Vec<String> = syntax(script)?.into_iter().collect();
        for words in shell::commands(script) {
            for word in &words {
                if word == "..." || word.contains('…') {
                    faults.push(format!("{word:?} leaves something out: write the command whole"));
                }
                let path = word.trim_start_matches("./");
                let is_ours = DIRECTORIES.iter().any(|directory| path.starts_with(directory));
                if is_ours && !path.starts_with(MADE) && !self.root.join(path).exists() {
                    faults.push(format!("there is no {path}"));
                }
            }
            let Some((program, arguments)) = words.split_first() else { continue };
            let program = program.rsplit('/').next().unwrap_or_default();
            if PROGRAMS.contains(&program)
                && let Some(fault) = self.parsed(program, arguments)?
            {
                faults.push(fault);
            }
        }
        Ok(faults)
    }

    /// The error of a program about these arguments, if they don't parse. `--help` after
    /// them makes sure that nothing is done: everything before it is parsed first.
    fn parsed(&mut self, program: &str, arguments: &[String]) -> Result<Option<String>> {
        let key: Vec<String> = [&[program.to_owned()], arguments].concat();
        if let Some(answer) = self.answers.get(&key) {
            return Ok(answer.clone());
        }
        // Words after `--` are another program's.
        let own = arguments.iter().take_while(|argument| *argument != "--");
        let output = Command::new(self.directory.join(program))
            .args(own)
            .arg("--help")
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .with_context(|| {
                format!("run {program}; build the programs first: cargo build --workspace --bins")
            })?;
        let message = String::from_utf8_lossy(&output.stderr);
        let message = message.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        let answer = (!output.status.success()).then(|| format!("{program} does not take this: {message}"));
        self.answers.insert(key, answer.clone());
        Ok(answer)
    }
}

/// The message of bash about the script's syntax, if that is wrong.
fn syntax(script: &str) -> Result<Option<String>> {
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run bash")?;
    if let Some(mut input) = bash.stdin.take() {
        input.write_all(script.as_bytes()).context("write to bash")?;
    }
    let output = bash.wait_with_output().context("wait for bash")?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_syntax_places_left_out_and_paths_that_are_not_there_are_faults() {
        let directory = tempfile::tempdir().unwrap();
        let mut programs = Programs::new(directory.path(), directory.path());
        assert_eq!(programs.faults("for x in a").unwrap().len(), 1);
        assert_eq!(
            programs.faults("kubectl apply -f deploy/none.yaml").unwrap(),
            ["there is no deploy/none.yaml"]
        );
        assert_eq!(programs.faults("kubectl get ...").unwrap().len(), 1);
        assert!(programs.faults("kubectl get pods | grep tf").unwrap().is_empty());
    }
}
