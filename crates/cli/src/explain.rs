//! `adytum explain`: the meaning of a code and the next step.

pub(crate) mod catalogue;

use std::fmt::Write as _;

use anyhow::bail;

use self::catalogue::{Catalogue, Entry};
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code, as messages, logs and answers show it.
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    code: Option<String>,
    /// List all codes with their meanings.
    #[arg(long)]
    list: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let catalogue = Catalogue::embedded()?;
    let Some(code) = &args.code else {
        return if args.json { json(catalogue.entries()) } else { output::text(&list(&catalogue)) };
    };
    let Some(entry) = catalogue.get(code) else {
        bail!("{}", unknown(code, &catalogue));
    };
    if args.json { json(entry) } else { output::text(&explanation(entry)) }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> anyhow::Result<()> {
    output::line(serde_json::to_string_pretty(value)?)
}

fn list(catalogue: &Catalogue) -> String {
    let width = catalogue.entries().iter().map(|entry| entry.code.len()).max().unwrap_or_default();
    catalogue.entries().iter().fold(String::new(), |mut text, entry| {
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

fn unknown(code: &str, catalogue: &Catalogue) -> String {
    let nearest = catalogue.nearest(code);
    if nearest.is_empty() {
        format!("there is no code {code:?}; list all with `adytum explain --list`")
    } else {
        format!("there is no code {code:?}; the nearest are {}", nearest.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        [[code]]
        code = "bundle-too-large"
        meaning = "The bundle is too large."
        next_step = "seal less."
        retry = "no"
        crate = "sealed"
        programs = ["adytum", "adytum-init"]

        [[code]]
        code = "overloaded"
        meaning = "Too many requests are in progress."
        next_step = "try again shortly."
        retry = "yes"
        crate = "serving"
        programs = ["adytum-serving"]
    "#;

    #[test]
    fn an_entry_says_meaning_next_step_and_retry() {
        let catalogue = Catalogue::parse(TWO).unwrap();
        let text = explanation(catalogue.get("bundle-too-large").unwrap());
        assert_eq!(
            text,
            "bundle-too-large\nmeaning    The bundle is too large.\nnext step  seal less.\nretry      no: it fails \
             again until the next step is done\nfrom       adytum, adytum-init\n"
        );
        assert_eq!(
            list(&catalogue),
            "bundle-too-large  The bundle is too large.\noverloaded        Too many requests are in progress.\n"
        );
    }

    #[test]
    fn an_unknown_code_gets_the_nearest_or_the_list() {
        let catalogue = Catalogue::parse(TWO).unwrap();
        for near in ["bundle-to-large", "too-large", "BUNDLE-TOO-LARGE"] {
            let said = unknown(near, &catalogue);
            assert!(said.ends_with("the nearest are bundle-too-large"), "{said}");
        }
        let said = unknown("zzz", &catalogue);
        assert!(said.contains("adytum explain --list"), "{said}");
    }

    #[test]
    fn the_embedded_catalogue_is_read_and_sorted() {
        let catalogue = Catalogue::embedded().unwrap();
        let codes: Vec<&str> = catalogue.entries().iter().map(|entry| entry.code.as_str()).collect();
        assert!(codes.is_sorted());
        for entry in catalogue.entries() {
            assert_eq!(catalogue.get(&entry.code), Some(entry));
        }
    }
}
