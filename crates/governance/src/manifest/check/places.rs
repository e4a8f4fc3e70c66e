//! The lines of tables and fields in a manifest's text.

use serde::Deserialize;
use toml::Spanned;

use crate::manifest::error::Place;

#[derive(Clone, Copy)]
pub(super) enum Section {
    Workload,
    Secret,
    Model,
}

/// Finds lines for error messages. The text is read a second time for that, and
/// only when there is an error to report.
pub(super) struct Places<'a> {
    pub(super) text: &'a str,
}

#[derive(Deserialize)]
struct Tables {
    trust: Option<Spanned<toml::Table>>,
    owners: Option<Spanned<toml::Table>>,
    leases: Option<Spanned<toml::Table>>,
    restart: Option<Spanned<toml::Table>>,
    #[serde(default)]
    workload: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    secret: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    model: Vec<Spanned<toml::Table>>,
}

impl Places<'_> {
    fn tables(&self) -> Option<Tables> {
        toml::from_str(self.text).ok()
    }

    fn line(&self, table: &Spanned<toml::Table>) -> usize {
        let before = self.text.get(..table.span().start).unwrap_or_default();
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    /// A field of a table that there is once.
    pub(super) fn of_table(&self, table: &'static str, field: &'static str) -> Place {
        let found = self.tables().and_then(|tables| match table {
            "trust" => tables.trust,
            "owners" => tables.owners,
            "leases" => tables.leases,
            "restart" => tables.restart,
            _ => None,
        });
        Place { table: format!("[{table}]"), line: found.map(|found| self.line(&found)), field }
    }

    /// The last table of this section with this name: of two with one name, the
    /// second is the one to look at.
    pub(super) fn of(&self, section: Section, name: &str, field: &'static str) -> Place {
        let line = self.tables().and_then(|tables| {
            let tables = match section {
                Section::Workload => tables.workload,
                Section::Secret => tables.secret,
                Section::Model => tables.model,
            };
            let named = |table: &&Spanned<toml::Table>| {
                table.get_ref().get("name").and_then(toml::Value::as_str) == Some(name)
            };
            tables.iter().rfind(named).map(|table| self.line(table))
        });
        let section = match section {
            Section::Workload => "workload",
            Section::Secret => "secret",
            Section::Model => "model",
        };
        Place { table: format!("{section} {name:?}"), line, field }
    }
}
