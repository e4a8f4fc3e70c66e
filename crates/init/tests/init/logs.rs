//! How log lines look on a terminal.

use std::{
    fs::File,
    io::Read as _,
    process::{Command, Stdio},
};

use nix::pty::openpty;

use crate::fixture::init_binary;

/// What a refused start writes to a terminal.
fn written(variables: &[(&str, &str)]) -> String {
    let terminal = openpty(None, None).unwrap();
    let status = Command::new(init_binary())
        .env_clear()
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .args(["--configuration=/nowhere/workload.toml", "--", "/bin/true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(terminal.slave))
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(78));
    let (mut text, mut buffer, mut terminal) = (Vec::new(), [0; 4096], File::from(terminal.master));
    // Reading fails once no process has the other end open.
    while let Ok(count) = terminal.read(&mut buffer)
        && count > 0
    {
        text.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("configuration-unreadable"), "{text:?}");
    text
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    assert!(written(&[]).contains("\u{1b}["), "a terminal has colours");
    assert!(!written(&[("NO_COLOR", "1")]).contains("\u{1b}["), "NO_COLOR is kept");
}
