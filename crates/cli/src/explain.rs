//! `adytum explain`: the meaning of a code and the next step.

use std::fmt::Write as _;

use adytum_codes::Entry;
use serde::Serialize;

use crate::output;

/// At most this many codes are suggested.
const SUGGESTIONS: usize = 5;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code, as messages, logs and answers show it.
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    code: Option<String>,
    /// List all codes with their meanings.
    #[arg(long)]
    list: bool,
}

/// An entry of the catalogue, for programs.
#[derive(Serialize)]
struct Document {
    code: &'static str,
    meaning: &'static str,
    next_step: &'static str,
    retry: &'static str,
    #[serde(rename = "crate")]
    package: &'static str,
    programs: &'static [&'static str],
}

impl From<&'static Entry> for Document {
    fn from(entry: &'static Entry) -> Self {
        let Entry { code, meaning, next_step, retry, package, programs } = *entry;
        Self { code, meaning, next_step, retry: retry.name(), package, programs }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let entries = adytum_codes::entries();
    let Some(code) = &args.code else {
        return if output::is_json() {
            json(&entries.iter().map(Document::from).collect::<Vec<_>>())
        } else {
            output::text(&list(entries))
        };
    };
    let Some(entry) = adytum_codes::get(code) else {
        bail_input!("{}", unknown(code));
    };
    if output::is_json() { json(&Document::from(entry)) } else { output::text(&explanation(entry)) }
}

fn json(value: &impl Serialize) -> anyhow::Result<()> {
    output::line(serde_json::to_string_pretty(value)?)
}

fn list(entries: &[Entry]) -> String {
    let width = entries.iter().map(|entry| entry.code.len()).max().unwrap_or_default();
    entries.iter().fold(String::new(), |mut text, entry| {
        _ = writeln!(text, "{:width$}  {}", entry.code, entry.meaning);
        text
    })
}

fn explanation(entry: &Entry) -> String {
    let mut text = String::new();
    _ = writeln!(text, "{}", entry.code);
    _ = writeln!(text, "meaning    {}", entry.meaning);
    _ = writeln!(text, "next step  {}", entry.next_step);
    _ = writeln!(text, "retry      {}", entry.retry);
    _ = writeln!(text, "from       {}", entry.programs.join(", "));
    text
}

fn unknown(code: &str) -> String {
    let nearest = nearest(code);
    if nearest.is_empty() {
        format!("there is no code {code:?}; list all with `adytum explain --list`")
    } else {
        format!("there is no code {code:?}; the nearest are {}", nearest.join(", "))
    }
}

/// The codes that may be intended: those that contain the text or are in it, then those
/// that differ in few letters.
fn nearest(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let mut ranked: Vec<(usize, &str)> = adytum_codes::entries()
        .iter()
        .filter_map(|Entry { code, .. }| {
            let contains = text.len() > 2 && (code.contains(&text) || text.contains(code));
            let distance = if contains { 0 } else { strsim::damerau_levenshtein(code, &text) };
            (distance <= code.len() / 3).then_some((distance, *code))
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(SUGGESTIONS).map(|(_, code)| code).collect()
}

#[cfg(test)]
mod tests {
    use adytum_codes::Retry;

    use super::*;

    #[test]
    fn an_entry_says_meaning_next_step_and_retry() {
        let entry = Entry {
            code: "bundle-too-large",
            meaning: "The bundle is too large.",
            next_step: "seal less.",
            retry: Retry::No,
            package: "sealed",
            programs: &["adytum", "adytum-init"],
        };
        assert_eq!(
            explanation(&entry),
            "bundle-too-large\nmeaning    The bundle is too large.\nnext step  seal less.\nretry      no: it fails \
             again until the next step is done\nfrom       adytum, adytum-init\n"
        );
        let other = Entry { code: "overloaded", meaning: "Too many requests are in progress.", ..entry };
        assert_eq!(
            list(&[entry, other]),
            "bundle-too-large  The bundle is too large.\noverloaded        Too many requests are in progress.\n"
        );
    }

    #[test]
    fn an_unknown_code_gets_the_nearest_or_the_list() {
        for near in ["overlaoded", "OVERLOADED"] {
            let said = unknown(near);
            assert!(said.contains("the nearest are overloaded"), "{said}");
        }
        let said = unknown("zzz");
        assert!(said.contains("adytum explain --list"), "{said}");
    }
}
