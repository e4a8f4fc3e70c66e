//! The syntax of a Python program that can't be run here.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

/// Compiles its standard input; nothing of it is run, and nothing is written.
const COMPILE: &str = "import sys; compile(sys.stdin.read(), 'block', 'exec')";

/// The fault of a program's syntax, found without running it. Without a Python there is none to
/// find, and the caller's output says so.
pub(super) fn faults(program: &str) -> Result<Vec<String>> {
    let mut command = Command::new("python3");
    command.args(["-c", COMPILE]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut python = match command.spawn() {
        Ok(python) => python,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: there is no python3, so the syntax of a block in Python is not checked");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error).context("run python3"),
    };
    if let Some(mut input) = python.stdin.take() {
        input.write_all(program.as_bytes()).context("write to python3")?;
    }
    let output = python.wait_with_output().context("wait for python3")?;
    if output.status.success() {
        return Ok(Vec::new());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The last line is the error; those before it are the way there.
    Ok(vec![said.trim().lines().last().unwrap_or("python3 does not compile it").to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_syntax_is_judged_and_nothing_is_run() {
        if Command::new("python3").arg("--version").output().is_err() {
            println!("SKIPPED: there is no python3");
            return;
        }
        assert!(faults("import no_such_module\nraise SystemExit(3)\n").unwrap().is_empty());
        let found = faults("if True\n    pass\n").unwrap();
        assert!(found.len() == 1 && found[0].starts_with("SyntaxError"), "{found:?}");
    }
}
