//! All codes with what is known of each, as a page and as data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{retry::Retry, source::Source};
use crate::problem::Problem;

/// A code and what is known of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    code: String,
    meaning: String,
    next_step: String,
    retry: Retry,
    /// The crate that has it.
    package: String,
    /// The programs that are built with that crate.
    programs: Vec<String>,
}

/// Every code, once.
pub(super) struct Catalogue {
    entries: Vec<Entry>,
}

impl Catalogue {
    /// Puts together what the sources say; `programs` are those that are built
    /// with a crate.
    pub(super) fn new(sources: &[Source], programs: &BTreeMap<String, Vec<String>>) -> (Self, Vec<Problem>) {
        let mut by_code: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
        for source in sources {
            by_code.entry(&source.code).or_default().push(source);
        }
        let mut entries = Vec::new();
        let mut problems = Vec::new();
        for (code, sources) in by_code {
            problems.extend(misspelt(code, &sources));
            match explained(code, &sources) {
                Ok((source, next_step, retry)) => {
                    let crates: BTreeSet<&String> = sources.iter().map(|source| &source.package).collect();
                    let linked = crates.iter().filter_map(|name| programs.get(*name)).flatten();
                    let linked: BTreeSet<&String> = linked.collect();
                    entries.push(Entry {
                        code: code.to_owned(),
                        meaning: source.documentation.meaning.clone(),
                        next_step,
                        retry,
                        package: crates.into_iter().cloned().collect::<Vec<_>>().join(", "),
                        programs: linked.into_iter().cloned().collect(),
                    });
                }
                Err(found) => problems.extend(found),
            }
        }
        (Self { entries }, problems)
    }

    /// How many codes are explained.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The table that programs have built in.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "//! Written by `cargo xtask codes --write` from the sources.\n\nuse crate::{Entry, Retry};\n\n\
             /// All codes, in alphabetical order.\npub(crate) static ENTRIES: &[Entry] = &[\n",
        );
        for entry in &self.entries {
            let programs: Vec<String> = entry.programs.iter().map(|name| format!("{name:?}")).collect();
            _ = write!(
                text,
                "    Entry {{\n        code: {:?},\n        meaning: {:?},\n        next_step: {:?},\n        retry: \
                 Retry::{:?},\n        package: {:?},\n        programs: &[{}],\n    }},\n",
                entry.code,
                entry.meaning,
                entry.next_step,
                entry.retry,
                entry.package,
                programs.join(", ")
            );
        }
        text.push_str("];\n");
        text
    }

    /// The page for people.
    pub(super) fn page(&self) -> String {
        let mut text = String::from(
            "# Codes\n\n\
             Every refusal and every failure has a stable code. This page lists all of them: the meaning, the next \
             step,\nand whether the same attempt may succeed later (*retry*):\n\n\
             - `yes`: the same attempt may succeed at once;\n\
             - `later`: it may succeed after some time, without a change by anybody;\n\
             - `no`: it fails again until the next step is done.\n\n\
             `adytum explain CODE` prints an entry. *From* names the crate that has the code and the programs that \
             are built\nwith it. Written by `cargo xtask codes --write` from the sources; edit the documentation \
             comments there.\n",
        );
        for entry in &self.entries {
            let programs =
                if entry.programs.is_empty() { "no program".to_owned() } else { entry.programs.join(", ") };
            _ = write!(
                text,
                "\n### `{}`\n\n{}\n\n{}\n\n{}\n",
                entry.code,
                wrapped(&entry.meaning),
                wrapped(&format!("**Next step:** {}", entry.next_step)),
                wrapped(&format!(
                    "**Retry:** {}. **From:** `{}` ({programs}).",
                    entry.retry,
                    entry.package.replace(", ", "`, `")
                )),
            );
        }
        text
    }
}

fn misspelt(code: &str, sources: &[&Source]) -> Option<Problem> {
    let words = code.split('-');
    let spelt = words.clone().all(|word| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
    });
    let source = sources.first()?;
    (!spelt).then(|| source.problem(format!("code `{code}`: words in lower case with dashes are expected")))
}

/// The source that explains the code, with what the entry takes from it.
fn explained<'a>(code: &str, sources: &[&'a Source]) -> Result<(&'a Source, String, Retry), Vec<Problem>> {
    let mut problems = Vec::new();
    let full: Vec<&'a Source> =
        sources.iter().copied().filter(|source| source.documentation.next_step.is_some()).collect();
    let Some(first) = full.first().copied() else {
        return Err(sources.iter().take(1).map(|source| source.unexplained()).collect());
    };
    for other in full.iter().skip(1) {
        if other.documentation.meaning != first.documentation.meaning
            || other.documentation.next_step != first.documentation.next_step
        {
            problems.push(other.problem(format!(
                "code `{code}` has another meaning or next step in {} ({}): rename one, or explain it in one \
                 place and write `See: {}` in the other",
                first.owner, first.place, first.owner
            )));
        }
    }
    for source in sources.iter().filter(|source| source.documentation.next_step.is_none()) {
        let together = full.iter().any(|other| other.arm == source.arm);
        if source.is_use {
            continue;
        }
        let see = source.documentation.see.as_deref();
        if !together && !full.iter().any(|other| see == Some(other.owner.as_str())) {
            problems.push(source.problem(format!(
                "code `{code}` is explained in {} ({}): write `See: {}` here, or give this another code",
                first.owner, first.place, first.owner
            )));
        }
    }
    if first.documentation.meaning.split_whitespace().count() < 4 {
        problems.push(first.problem(format!(
            "code `{code}`: the meaning {:?} is no sentence; say what happened in four words or more",
            first.documentation.meaning
        )));
    }
    match (first.retry(), first.documentation.next_step.clone()) {
        (Ok(retry), Some(next_step)) if problems.is_empty() => Ok((first, next_step, retry)),
        (Err(text), _) => {
            problems.push(first.problem(format!("code `{code}`: {text}")));
            Err(problems)
        }
        _ => Err(problems),
    }
}

/// Lines of at most 110 characters.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 110 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
