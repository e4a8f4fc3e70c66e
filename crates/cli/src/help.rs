//! The help pages: commands in groups, exit codes, and an example for every command.

mod examples;

use std::fmt::Write as _;

use crate::failure;

/// The commands in the order in which a person meets them.
const GROUPS: &[(&str, &[&str])] = &[
    ("A first service", &["up", "doctor", "explain"]),
    ("Models", &["model", "seal", "unseal", "model-key"]),
    ("Ask a served model", &["call", "predict", "bench", "proxy", "service"]),
    (
        "Owners and their broker",
        &[
            "owner",
            "genesis",
            "manifest",
            "broker",
            "secret",
            "provision",
            "audit",
            "recovery-key",
            "workload",
            "deployment",
            "context",
        ],
    ),
    ("Identities and evidence", &["verify", "measure", "init-data", "evidence", "ssl-config", "simulation"]),
    ("This command", &["completion", "man"]),
];

/// A group for what is in none of them.
const REST: &str = "More";

/// Where nobody knows how wide the terminal is, as in a pipe.
const USUAL_WIDTH: usize = 100;
/// Narrower than this, descriptions are below names.
const NARROW: usize = 60;
/// Room for the longest name.
const NAME_WIDTH: usize = 14;

/// The command line with its help pages.
pub(crate) fn dressed(command: clap::Command) -> clap::Command {
    let template = template(&command, width());
    let after = format!("{}\nadytum COMMAND --help has examples.", failure::exit_codes());
    examples::added(command, "").help_template(template).after_help(after)
}

/// Of a terminal, in characters.
fn width() -> usize {
    let wanted = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    wanted.or_else(terminal).unwrap_or(USUAL_WIDTH).min(USUAL_WIDTH)
}

/// The top page. clap has no groups of commands, so they are part of its template.
fn template(command: &clap::Command, width: usize) -> String {
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut text = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    for (group, names) in groups(command) {
        // A `String` takes all that is written to it.
        let _ = writeln!(text, "\n{header}{group}:{header:#}");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let indent = if width < NARROW { 6 } else { NAME_WIDTH + 4 };
            let lines = wrapped(&about, width.saturating_sub(indent));
            let _ = write!(text, "  {literal}{name}{literal:#}");
            let mut lines = lines.iter();
            match lines.next() {
                Some(first) if width >= NARROW => {
                    let _ = writeln!(text, "{:1$}{first}", "", (NAME_WIDTH + 2).saturating_sub(name.len()));
                }
                Some(first) => {
                    let _ = writeln!(text, "\n{:indent$}{first}", "");
                }
                None => text.push('\n'),
            }
            for line in lines {
                let _ = writeln!(text, "{:indent$}{line}", "");
            }
        }
    }
    let _ = write!(text, "\n{header}Everywhere:{header:#}\n{{options}}{{after-help}}");
    text
}

/// The commands that are shown, by group.
fn groups(command: &clap::Command) -> Vec<(&'static str, Vec<&str>)> {
    let mut left: Vec<&str> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(clap::Command::get_name)
        .collect();
    let mut groups = Vec::new();
    for (group, names) in GROUPS {
        let there: Vec<&str> = names.iter().copied().filter(|name| left.contains(name)).collect();
        left.retain(|name| !there.contains(name));
        if !there.is_empty() {
            groups.push((*group, there));
        }
    }
    if !left.is_empty() {
        groups.push((REST, left));
    }
    groups
}

/// A text in lines of at most this width, if no word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    mod alike;

    use super::*;

    #[test]
    fn every_command_is_in_a_group() {
        let command = crate::command_line();
        let groups = groups(&command);
        assert!(groups.iter().all(|(group, _)| *group != REST), "{groups:?}");
        let shown: usize = groups.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(shown, command.get_subcommands().filter(|command| !command.is_hide_set()).count());
    }

    #[test]
    fn groups_fit_a_narrow_terminal() {
        for width in [40, 59, 60, 100] {
            let text = template(&crate::command_line(), width);
            let plain = anstream::adapter::strip_str(&text).to_string();
            let long = plain.lines().find(|line| line.chars().count() > width);
            assert!(long.is_none(), "{width}: {long:?}");
        }
    }
}
