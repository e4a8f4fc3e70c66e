//! The commands and flags that our programs have, as their own `--help` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, bail};

/// A command, with what it takes.
#[derive(Clone, Default, Debug)]
pub(crate) struct Syntax {
    /// Its flags, with their dashes.
    pub(super) flags: BTreeSet<String>,
    pub(super) commands: BTreeMap<String, Syntax>,
}

/// The programs of the workspace, by name.
#[derive(Clone, Default, Debug)]
pub(crate) struct Programs {
    pub(super) programs: BTreeMap<String, Syntax>,
}

impl Programs {
    /// Asks each program in that directory.
    pub(crate) fn read(directory: &Path, names: &BTreeSet<String>) -> Result<Self> {
        let mut programs = BTreeMap::new();
        for name in names {
            let program = directory.join(name);
            if !program.is_file() {
                bail!(
                    "{} is missing; build the programs (cargo build --workspace --bins), or name their directory \
                     (--programs)",
                    program.display()
                );
            }
            programs.insert(name.clone(), Syntax::read(&program, &[])?);
        }
        Ok(Self { programs })
    }

    /// Every flag of these programs, at any command.
    pub(super) fn flags<'a>(&'a self, names: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        for syntax in names.filter_map(|name| self.programs.get(name)) {
            syntax.all_flags(&mut found);
        }
        found
    }
}

impl Syntax {
    fn read(program: &PathBuf, path: &[String]) -> Result<Self> {
        let output = Command::new(program)
            .args(path)
            .arg("--help")
            .output()
            .with_context(|| format!("run {}", program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{} {} --help failed: {said}", program.display(), path.join(" "));
        }
        let mut syntax = Self::default();
        let names = syntax.parse(&String::from_utf8_lossy(&output.stdout));
        // Each takes some milliseconds, and there are many.
        let read: Vec<Result<(String, Self)>> = thread::scope(|scope| {
            let threads: Vec<_> = names
                .into_iter()
                .map(|name| {
                    scope.spawn(move || {
                        let mut path = path.to_vec();
                        path.push(name.clone());
                        Ok((name, Self::read(program, &path)?))
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(read) => read,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        });
        syntax.commands = read.into_iter().collect::<Result<_>>()?;
        Ok(syntax)
    }

    /// Takes the flags from a help text; returns the commands that it lists.
    fn parse(&mut self, help: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut listing = false;
        // Commands may be in groups, each with a heading of its own.
        let has_commands = help.lines().any(|line| line.starts_with("Usage:") && line.contains("<COMMAND>"));
        for line in help.lines() {
            if has_commands && is_heading(line) {
                listing = !OTHER_HEADINGS.contains(&line);
            } else if listing && !line.starts_with(' ') {
                listing = false;
            } else if let Some(name) = line.strip_prefix("  ").and_then(command_name)
                && listing
            {
                names.push(name);
            }
            let text = line.trim_start();
            let long = match text.strip_prefix('-') {
                Some(rest) if rest.starts_with('-') => Some(text),
                Some(rest) => rest.split_once(", ").map(|(_, long)| long),
                None => None,
            };
            if let Some(flag) = long.filter(|_| !listing && line.starts_with(' ')).and_then(flag) {
                self.flags.insert(flag.to_owned());
            }
        }
        names
    }

    fn all_flags<'a>(&'a self, found: &mut BTreeSet<&'a str>) {
        found.extend(self.flags.iter().map(String::as_str));
        for command in self.commands.values() {
            command.all_flags(found);
        }
    }
}

/// The headings of a page that are not of commands.
const OTHER_HEADINGS: [&str; 6] =
    ["Arguments:", "Options:", "Everywhere:", "Exit codes:", "Example:", "Examples:"];

fn is_heading(line: &str) -> bool {
    line.ends_with(':') && line.starts_with(|letter: char| letter.is_ascii_uppercase())
}

fn command_name(text: &str) -> Option<String> {
    let name = text.split(' ').next()?;
    (name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name != "help").then(|| name.to_owned())
}

/// The flag that a text starts with, such as `--out`.
pub(super) fn flag(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("--")?;
    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-' && letter != '_');
    let name = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('-');
    (!name.is_empty()).then(|| text.get(..name.len() + 2)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_help_text_is_read() {
        let mut syntax = Syntax::default();
        let commands = syntax.parse(
            "Does it, see --not-this\n\nUsage: x [OPTIONS] <COMMAND>\n\nCommands:\n  one-more  Does more, with\n            \
             --neither\n  two\n          Does\n  help      Prints\n\nArguments:\n  [FILE]  it\n\nOptions:\n  -o, --out \
             <OUT>      Where\n      --max_batch=8  At most\n          --long-one\n  -h, --help  Print\n",
        );
        assert_eq!(commands, ["one-more", "two"]);
        let flags: Vec<&str> = syntax.flags.iter().map(String::as_str).collect();
        assert_eq!(flags, ["--help", "--long-one", "--max_batch", "--out"]);
    }

    #[test]
    fn commands_in_groups_are_read() {
        let mut syntax = Syntax::default();
        let commands = syntax.parse(
            "Does it\n\nUsage: x [OPTIONS] <COMMAND>\n\nSome of it:\n  one  Does\n\nThe rest:\n  two  Does\n\nEverywhere:\n  \
             -q, --quiet  Less\n\nExit codes:\n  0  success\n",
        );
        assert_eq!(commands, ["one", "two"]);
        let flags: Vec<&str> = syntax.flags.iter().map(String::as_str).collect();
        assert_eq!(flags, ["--quiet"]);
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = Programs::read(directory.path(), &BTreeSet::from(["adytum".to_owned()])).unwrap_err();
        assert!(error.to_string().contains("adytum is missing; build"), "{error}");
    }
}
