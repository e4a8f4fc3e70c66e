//! The catalogue of codes that is built into the command. `cargo xtask codes`
//! writes it from the sources.

use std::fmt;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// At most this many codes are suggested.
const SUGGESTIONS: usize = 5;

/// All codes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalogue {
    #[serde(rename = "code")]
    entries: Vec<Entry>,
}

/// A code and what is known of it.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) code: String,
    pub(crate) meaning: String,
    /// What to do about it.
    pub(crate) next_step: String,
    pub(crate) retry: Retry,
    /// The crate that has the code.
    #[serde(rename = "crate")]
    package: String,
    /// The programs that may show it.
    pub(crate) programs: Vec<String>,
}

/// May the same attempt succeed later?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Retry {
    Yes,
    Later,
    No,
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes: the same attempt may succeed at once",
            Self::Later => "later: the same attempt may succeed after some time",
            Self::No => "no: it fails again until the next step is done",
        })
    }
}

impl Catalogue {
    /// The one that is built in.
    pub(crate) fn embedded() -> anyhow::Result<Self> {
        Self::parse(include_str!("codes.toml")).context("the catalogue of codes that is built in")
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// Sorted by code.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn get(&self, code: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.code == code)
    }

    /// The codes that may have been meant: those that contain the text or are in it,
    /// then those that differ in few letters.
    pub(super) fn nearest(&self, text: &str) -> Vec<&str> {
        let text = text.to_lowercase();
        let mut ranked: Vec<(usize, &str)> = self
            .entries
            .iter()
            .filter_map(|entry| {
                let code = entry.code.as_str();
                let contains = text.len() > 2 && (code.contains(&text) || text.contains(code));
                let distance = if contains { 0 } else { strsim::damerau_levenshtein(code, &text) };
                (distance <= code.len() / 3).then_some((distance, code))
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(SUGGESTIONS).map(|(_, code)| code).collect()
    }
}
