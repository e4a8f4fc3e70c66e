//! `adytum manifest diff`: what another manifest means, not how it is written.

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::{SecretName, WorkloadName};
use adytum_broker::manifest::{
    Manifest,
    document::{Document, UnplannedRestart},
};
use adytum_evidence::{claims::TcbStatus, measurement::Sha256Digest, trust::Vendor};
use serde::Serialize;
use serde_json::Value;

use crate::output;

/// A manifest, read in both ways: what holds together, and field by field.
pub(super) struct Read {
    manifest: Manifest,
    subjects: Subjects,
}

/// Things by name ("secret tls"), each with its fields, each with its values: one,
/// or those of a set.
type Subjects = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Sections whose tables have names.
const NAMED: [&str; 3] = ["workload", "secret", "model"];

impl Read {
    /// Reads a manifest.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let manifest = Manifest::parse(text)?;
        let document: Document = toml::from_str(text)?;
        let mut subjects = Subjects::new();
        if let Value::Object(sections) = serde_json::to_value(&document)? {
            for (section, value) in sections {
                match value {
                    Value::Array(tables) if NAMED.contains(&section.as_str()) => {
                        for table in tables {
                            let name = table.get("name").and_then(Value::as_str).unwrap_or_default();
                            let fields = subjects.entry(format!("{section} {name}")).or_default();
                            collect(&table, "", fields);
                            fields.remove("name");
                        }
                    }
                    // Said on their own.
                    _ if matches!(section.as_str(), "format" | "version" | "genesis") => {}
                    value => collect(&value, "", subjects.entry(section).or_default()),
                }
            }
        }
        Ok(Self { manifest, subjects })
    }

    /// Who may have which secret.
    fn access(&self) -> BTreeMap<&WorkloadName, BTreeSet<&SecretName>> {
        let mut access: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (name, secret) in &self.manifest.secrets {
            for workload in &secret.workloads {
                access.entry(workload).or_default().insert(name);
            }
        }
        access
    }
}

/// Every value in a table, under its field's name with dots.
fn collect(value: &Value, field: &str, fields: &mut BTreeMap<String, BTreeSet<String>>) {
    let under = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                collect(member, &under(name), fields);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_array() || item.is_object()) => {
            for (number, item) in items.iter().enumerate() {
                collect(item, &under(&number.to_string()), fields);
            }
        }
        Value::Array(items) => {
            fields.entry(field.to_owned()).or_default().extend(items.iter().map(shown));
        }
        Value::Null => {}
        plain => {
            fields.entry(field.to_owned()).or_default().insert(shown(plain));
        }
    }
}

/// A value in one line: certificates by their digest.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains("-----BEGIN") => {
            let digest = pem::parse(text).map(|document| Sha256Digest::of_bytes(document.contents()));
            digest.map_or_else(
                |_| text.escape_debug().to_string(),
                |digest| format!("certificate sha256 {digest}"),
            )
        }
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    }
}

/// What another manifest changes.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    old_version: u64,
    new_version: u64,
    other_genesis: bool,
    added: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    removed: BTreeSet<String>,
    changed: Vec<Change>,
    gains: BTreeMap<String, BTreeSet<String>>,
    loses: BTreeMap<String, BTreeSet<String>>,
    weaker: Vec<String>,
}

/// A field with other values.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    subject: String,
    field: String,
    removed: BTreeSet<String>,
    added: BTreeSet<String>,
}

impl Difference {
    /// From one manifest to another.
    pub(super) fn between(old: &Read, new: &Read) -> Self {
        let is_new = |(subject, _): &(&String, &_)| !old.subjects.contains_key(*subject);
        let owned = |(subject, fields): (&String, &BTreeMap<_, _>)| (subject.clone(), fields.clone());
        let removed = old.subjects.keys().filter(|subject| !new.subjects.contains_key(*subject));
        let (before, after) = (old.access(), new.access());
        Self {
            old_version: old.manifest.version,
            new_version: new.manifest.version,
            other_genesis: old.manifest.genesis != new.manifest.genesis,
            added: new.subjects.iter().filter(is_new).map(owned).collect(),
            removed: removed.cloned().collect(),
            changed: changes(&old.subjects, &new.subjects),
            gains: more(&before, &after),
            loses: more(&after, &before),
            weaker: weaker(&old.manifest, &new.manifest),
        }
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && !self.other_genesis
    }

    /// As text for people.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        output::line(format_args!("version  {} -> {}", self.old_version, self.new_version))?;
        if self.other_genesis {
            output::line("genesis  another one: these manifests are for two brokers")?;
        }
        if self.is_empty() {
            return output::line("nothing else differs in meaning");
        }
        for (subject, fields) in &self.added {
            output::line(format_args!("+ {subject}"))?;
            for (field, values) in fields {
                output::line(format_args!("    {field}: {}", joined(values)))?;
            }
        }
        for subject in &self.removed {
            output::line(format_args!("- {subject}"))?;
        }
        let mut last = None;
        for change in &self.changed {
            if last != Some(&change.subject) {
                output::line(format_args!("~ {}", change.subject))?;
                last = Some(&change.subject);
            }
            for (sign, values) in [('-', &change.removed), ('+', &change.added)] {
                if !values.is_empty() {
                    output::line(format_args!("    {}: {sign} {}", change.field, joined(values)))?;
                }
            }
        }
        for (word, access) in [("gains", &self.gains), ("loses", &self.loses)] {
            for (workload, secrets) in access {
                output::line(format_args!("{word:<8} workload {workload}: {}", joined(secrets)))?;
            }
        }
        for reason in &self.weaker {
            output::line(format_args!("WEAKER   {reason}"))?;
        }
        Ok(())
    }
}

fn joined(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn changes(old: &Subjects, new: &Subjects) -> Vec<Change> {
    let mut changes = Vec::new();
    let none = BTreeSet::new();
    for (subject, before) in old {
        let Some(after) = new.get(subject) else { continue };
        let fields: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for field in fields {
            let (was, is) = (before.get(field).unwrap_or(&none), after.get(field).unwrap_or(&none));
            if was != is {
                changes.push(Change {
                    subject: subject.clone(),
                    field: field.clone(),
                    removed: was - is,
                    added: is - was,
                });
            }
        }
    }
    changes
}

/// What each workload has in the second and not in the first.
fn more(
    first: &BTreeMap<&WorkloadName, BTreeSet<&SecretName>>,
    second: &BTreeMap<&WorkloadName, BTreeSet<&SecretName>>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut more: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (workload, secrets) in second {
        for secret in secrets {
            if !first.get(workload).is_some_and(|had| had.contains(secret)) {
                more.entry(workload.to_string()).or_default().insert(secret.to_string());
            }
        }
    }
    more
}

/// What lets in more than before: to be looked at before signing.
fn weaker(old: &Manifest, new: &Manifest) -> Vec<String> {
    let mut reasons = Vec::new();
    if new.trust.vendors.contains(&Vendor::Simulation) && !old.trust.vendors.contains(&Vendor::Simulation) {
        reasons.push("simulated platforms are trusted, which protect nothing".to_owned());
    }
    if new.unplanned_restart == UnplannedRestart::Serve && old.unplanned_restart != UnplannedRestart::Serve {
        reasons.push("after an unplanned restart the broker serves without an owner's word".to_owned());
    }
    let threshold = |manifest: &Manifest| {
        manifest.roles.as_ref().and_then(|roles| roles.owners.as_ref()).map(|owners| owners.threshold())
    };
    if let (Some(was), Some(is)) = (threshold(old), threshold(new))
        && is < was
    {
        reasons.push(format!("{is} owners must agree instead of {was}"));
    }
    for (name, workload) in &new.workloads {
        let before = old.workloads.get(name).map(|workload| &workload.policy);
        let policy = &workload.policy;
        if policy.allow_debug && !before.is_some_and(|before| before.allow_debug) {
            reasons.push(format!("workload {name}: programs that a debugger can read are accepted"));
        }
        if policy.allow_any_program && !before.is_some_and(|before| before.allow_any_program) {
            reasons.push(format!("workload {name}: any program of the signer is accepted"));
        }
        let statuses = policy.tcb_status.iter().filter(|status| {
            **status != TcbStatus::UpToDate
                && !before.is_some_and(|before| before.tcb_status.contains(*status))
        });
        for status in statuses {
            reasons.push(format!("workload {name}: platforms with the TCB status {status} are accepted"));
        }
    }
    for (name, rule) in &new.models {
        if let Some(before) = old.models.get(name)
            && rule.minimum_version < before.minimum_version
        {
            reasons.push(format!(
                "model {name}: version {} may be loaded again, the floor was {}",
                rule.minimum_version, before.minimum_version
            ));
        }
    }
    reasons
}
