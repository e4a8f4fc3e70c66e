//! Does a command that can't be run here exist as it is printed?

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::shell;

/// The programs whose command lines are parsed.
const PROGRAMS: [&str; 4] = ["adytum", "adytum-broker", "adytum-init", "adytum-serving"];

/// The second name of `adytum` in the client's image: it takes the flags of the reference's scripts.
const INTERPRETER: &str = "python3";

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
            faults.extend(self.parsed(&words)?);
        }
        Ok(faults)
    }

    /// How a command is asked for its help, if it is one of ours: the command, its own words, and
    /// the word that asks.
    fn asked<'a>(&self, words: &'a [String]) -> Option<(Command, &'a [String], &'static str)> {
        let (path, arguments) = words.split_first()?;
        let name = path.rsplit('/').next()?;
        if PROGRAMS.contains(&name) {
            return Some((Command::new(self.directory.join(name)), arguments, "--help"));
        }
        // A container's command line has it after the image.
        if let Some(position) = words.iter().position(|word| word == INTERPRETER)
            && words.first().is_some_and(|word| word == "docker")
        {
            let mut command = Command::new(self.directory.join("adytum"));
            command.arg0(INTERPRETER);
            return Some((command, words.get(position + 1..)?, "--help"));
        }
        // Scripts that print their options for -h, and nothing else then.
        let script = self.root.join(path);
        let takes_help = |text: String| text.contains("getopts") && text.contains(" h) usage");
        let text = fs::read_to_string(&script).ok().filter(|_| path.starts_with("deploy/"))?;
        let is_known = takes_help(text.split_whitespace().collect::<Vec<_>>().join(" "));
        is_known.then(|| (Command::new(script), arguments, "-h"))
    }

    /// The error of a program of ours about its arguments, if they don't parse. The word that
    /// asks for help comes last, so nothing is done: everything before it is parsed first.
    fn parsed(&mut self, words: &[String]) -> Result<Option<String>> {
        if let Some(answer) = self.answers.get(words) {
            return Ok(answer.clone());
        }
        let Some((mut command, arguments, help)) = self.asked(words) else { return Ok(None) };
        let name = words.first().map(String::as_str).unwrap_or_default();
        // Words after `--` are another program's.
        let own = arguments.iter().take_while(|argument| *argument != "--");
        let output = command
            .args(own)
            .arg(help)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .output()
            .with_context(|| {
                format!("run {name}; build the programs first: cargo build --workspace --bins")
            })?;
        let message = String::from_utf8_lossy(&output.stderr);
        let message = message.lines().next().unwrap_or_default();
        let answer = (!output.status.success()).then(|| format!("{name} does not take this: {message}"));
        self.answers.insert(words.to_vec(), answer.clone());
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

    #[test]
    fn a_script_of_ours_is_asked_about_its_options() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("deploy/x.sh");
        fs::create_dir(directory.path().join("deploy")).unwrap();
        let text = "#!/bin/bash\nusage() { echo; }\nwhile getopts 'a:h' option; do\n  case $option in\n    a) ;;\n    \
                    h) usage; exit 0 ;;\n    *) exit 2 ;;\n  esac\ndone\nexit 3\n";
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut programs = Programs::new(directory.path(), directory.path());
        assert!(programs.faults("deploy/x.sh -a 5").unwrap().is_empty());
        assert_eq!(programs.faults("deploy/x.sh -b 5").unwrap().len(), 1);
    }
}
