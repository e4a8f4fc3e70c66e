//! What the command prints: results on standard output, one line for an error.

use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use adytum_sealed::statement::Statement;
use serde_json::json;

/// Was JSON asked for? Set once, from the command line.
static JSON: AtomicBool = AtomicBool::new(false);
/// Was silence asked for?
static QUIET: AtomicBool = AtomicBool::new(false);

/// Decides for this process what output looks like.
pub(crate) fn set_style(json: bool, quiet: bool) {
    JSON.store(json, Ordering::Relaxed);
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Is output for programs?
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Are results and errors all that is said?
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints a result: the object for programs, or a line for people.
pub(crate) fn result(object: &serde_json::Value, text: impl Display) -> anyhow::Result<()> {
    if is_json() { line(object) } else { line(text) }
}

/// Prints what was done: a line for people, an object with the same text for programs.
pub(crate) fn step(text: impl Display) -> anyhow::Result<()> {
    if is_json() { line(json!({ "done": text.to_string() })) } else { line(text) }
}

/// Says something in passing on standard error, unless silence or JSON was asked for.
pub(crate) fn note(text: impl Display) {
    if !is_quiet() && !is_json() {
        eprintln!("{text}");
    }
}

/// Prints a line. Unlike `println!` it does not panic when nobody reads on.
pub(crate) fn line(text: impl Display) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints a text that has its line feeds already.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Prints a document: as it is, or as an object with the same text for programs.
pub(crate) fn document(document: &str) -> anyhow::Result<()> {
    if is_json() { line(json!({ "text": document })) } else { text(document) }
}

/// A sealed model or bundle in a few words.
pub(crate) fn sealed(statement: &Statement) -> String {
    format!(
        "{} version {}, {} bytes, sha256 {}, signed by {}",
        statement.model, statement.version, statement.size, statement.sha256, statement.signer
    )
}

/// The same for programs.
pub(crate) fn sealed_object(path: &Path, statement: &Statement) -> serde_json::Value {
    json!({
        "path": path,
        "name": statement.model.to_string(),
        "version": statement.version,
        "size": statement.size,
        "sha256": statement.sha256.to_string(),
        "signer": statement.signer.to_string(),
    })
}

/// Is this error about our own output being closed?
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error
        .chain()
        .last()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and its causes as one line, each said once: many of our errors say
/// their cause themselves.
pub(crate) fn error_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = one_line(&cause.to_string());
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

/// Joins the lines of a message, without those that only point at a column.
fn one_line(text: &str) -> String {
    text.lines()
        .map(|line| line.trim().trim_start_matches([';', ' ']))
        .filter(|line| line.chars().any(|c| !matches!(c, '|' | '^' | '-' | ' ')))
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_each_thing_once() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("reading failed: no such file")
            .context("owner's key a.pem")
            .unwrap_err();
        assert_eq!(error_line(&error), "owner's key a.pem: reading failed: no such file");
        let error = anyhow!("TOML parse error at line 1\n  |\n1 | x =\n  | ^\nmissing value\n");
        assert_eq!(error_line(&error), "TOML parse error at line 1; 1 | x =; missing value");
    }
}
