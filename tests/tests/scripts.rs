//! The shell scripts of the repository.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use adytum_tests::build::workspace_root;

/// The files below a directory that are scripts.
fn scripts(directory: &Path, all: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if !["target", ".git", "node_modules"].contains(&name.as_str()) {
                scripts(&path, all);
            }
        } else if name.ends_with(".sh")
            || path.parent().and_then(Path::file_name).is_some_and(|parent| parent == ".ci")
        {
            all.push((path.clone(), fs::read_to_string(path).unwrap()));
        }
    }
}

/// Does a command of a pipe in this line end before it has read everything?
fn stops_early(line: &str) -> bool {
    let commands = line.replace("||", " or ");
    commands.split('|').skip(1).any(|command| {
        let mut words = command.split_whitespace();
        match words.next() {
            Some("head") => true,
            Some("grep") => words
                .take_while(|word| word.starts_with('-') && *word != "--")
                .any(|flag| flag == "--quiet" || (!flag.starts_with("--") && flag.contains(['q', 'm']))),
            _ => false,
        }
    })
}

/// Under `pipefail` the program before one that stops early fails now and then: its pipe is closed
/// while it writes.
#[test]
fn no_pipe_of_a_script_is_closed_early() {
    let mut all = Vec::new();
    scripts(&workspace_root().unwrap(), &mut all);
    assert!(all.len() > 40, "{}", all.len());
    for (path, text) in &all {
        // A pipe may begin on one line and go on in the next.
        let text = text.replace("\\\n", " ").replace("|\n", "| ");
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            assert!(!stops_early(line), "{}: read to the end: {line}", path.display());
        }
    }
}

#[test]
fn commands_that_stop_early_are_found() {
    for line in
        ["a | head -n 1", "a | grep -q b", "a | b | grep -xqF b", "a |grep -m 1 b", "if a | grep -qx b; then"]
    {
        assert!(stops_early(line), "{line}");
    }
    for line in
        ["grep -q a b", "a || grep -q b c", "a | grep b >/dev/null", "a | grep -- -q", "a | sed -n 1p"]
    {
        assert!(!stops_early(line), "{line}");
    }
}
