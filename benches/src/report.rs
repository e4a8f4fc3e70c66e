//! What a run found: a table for people, a file for machines.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

/// One measured figure and, where there is one, its baseline in the same run.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) baseline: Option<f64>,
    pub(crate) ratio: Option<f64>,
    /// What `baseline` is, and the bar that the project set itself.
    #[serde(skip)]
    pub(crate) remark: String,
}

/// All entries of a run.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Entry>);

impl Report {
    /// Adds a figure without a baseline.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &'static str, remark: &str) {
        self.add(name, value, unit, None, remark);
    }

    /// Adds a figure that is compared with a baseline.
    pub(crate) fn compared(
        &mut self,
        name: &str,
        value: f64,
        unit: &'static str,
        baseline: f64,
        remark: &str,
    ) {
        self.add(name, value, unit, Some(baseline), remark);
    }

    fn add(&mut self, name: &str, value: f64, unit: &'static str, baseline: Option<f64>, remark: &str) {
        let entry = Entry {
            name: name.to_owned(),
            value,
            unit,
            baseline,
            ratio: baseline.map(|baseline| value / baseline),
            remark: remark.to_owned(),
        };
        println!("{}", row(&entry));
        self.0.push(entry);
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("\n{:<40} {:>12} {:<10} {:>12} {:>7}  remark", "name", "value", "unit", "baseline", "ratio");
        for entry in &self.0 {
            println!("{}", row(entry));
        }
    }

    /// Writes the machine-readable report.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        fs::write(path, serde_json::to_vec_pretty(&self.0)?)
            .with_context(|| format!("write {}", path.display()))
    }
}

fn row(entry: &Entry) -> String {
    let optional =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
    format!(
        "{:<40} {:>12.3} {:<10} {:>12} {:>7}  {}",
        entry.name,
        entry.value,
        entry.unit,
        optional(entry.baseline, 3),
        optional(entry.ratio, 3),
        entry.remark
    )
}

/// The median; 0 for no values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
