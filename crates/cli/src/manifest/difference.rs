//! `adytum manifest diff`: what another manifest means, not how it is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
};

use adytum_api::names::{SecretName, WorkloadName};
use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{
    genesis::Genesis,
    manifest::{
        Manifest,
        document::{Document, PlannedRestart, UnplannedRestart},
        protocols::OtherProtocols,
    },
    recovery::RecoveryRule,
};
use serde::Serialize;
use serde_json::Value;

use super::{freshness::freshness, weaker_policy::weaker_policy, weaker_trust::weaker_trust};
use crate::output;

/// A manifest, read in both ways: checked as a whole, and field by field.
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

    /// How many owners must agree once this manifest is in force, as far as it and
    /// the genesis tell.
    pub(super) fn threshold(&self, genesis: Option<&Genesis>) -> anyhow::Result<Threshold> {
        if let Some(genesis) = genesis
            && genesis.digest() != self.manifest.genesis
        {
            bail_input!(
                "the old manifest is for the broker of genesis {}, --genesis is another; give the genesis of that broker",
                self.manifest.genesis
            );
        }
        let named = self.manifest.roles.as_ref().and_then(|roles| roles.owners.as_ref());
        Ok(match (named, genesis) {
            (Some(owners), _) => Threshold::InForce(owners.threshold()),
            // No manifest before the first can have changed the first owners.
            (None, Some(genesis)) if self.manifest.version == 1 => Threshold::InForce(genesis.threshold()),
            (None, Some(genesis)) => Threshold::OfGenesis(genesis.threshold()),
            (None, None) => Threshold::Unknown,
        })
    }

    /// The workloads that may have each secret.
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

/// How many owners must agree before the new manifest is in force. A manifest without
/// `[owners]` keeps those that there are, so its text alone does not tell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Threshold {
    /// This number is in force.
    InForce(usize),
    /// This number in the genesis; a manifest may have changed it since.
    OfGenesis(usize),
    /// Nothing is known of it.
    Unknown,
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
    stronger: Vec<String>,
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
    pub(super) fn between(old: &Read, new: &Read, before: Threshold) -> Self {
        let is_new = |(subject, _): &(&String, &_)| !old.subjects.contains_key(*subject);
        let owned = |(subject, fields): (&String, &BTreeMap<_, _>)| (subject.clone(), fields.clone());
        let removed = old.subjects.keys().filter(|subject| !new.subjects.contains_key(*subject));
        let (had, has) = (old.access(), new.access());
        Self {
            old_version: old.manifest.version,
            new_version: new.manifest.version,
            other_genesis: old.manifest.genesis != new.manifest.genesis,
            added: new.subjects.iter().filter(is_new).map(owned).collect(),
            removed: removed.cloned().collect(),
            changed: changes(&old.subjects, &new.subjects),
            gains: more(&had, &has),
            loses: more(&has, &had),
            weaker: weaker(&old.manifest, &new.manifest, before),
            stronger: stronger(&old.manifest, &new.manifest),
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
        for reason in &self.stronger {
            output::line(format_args!("STRONGER {reason}"))?;
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

/// The changes that let in more than before: to be looked at before signing.
fn weaker(old: &Manifest, new: &Manifest, before: Threshold) -> Vec<String> {
    let mut reasons = weaker_trust(&old.trust, &new.trust);
    if new.unplanned_restart == UnplannedRestart::Serve && old.unplanned_restart != UnplannedRestart::Serve {
        reasons.push("after an unplanned restart the broker serves without an owner's word".to_owned());
    }
    if new.planned_restart == PlannedRestart::Serve && old.planned_restart != PlannedRestart::Serve {
        reasons.push("after a planned restart the broker serves without an owner's word".to_owned());
    }
    if let Some(reason) = weaker_confirmation(old.confirm_by, new.confirm_by) {
        reasons.push(reason);
    }
    reasons.extend(weaker_owners(before, new));
    reasons.extend(weaker_recovery(old.recovery.as_ref(), new.recovery.as_ref()));
    for (name, workload) in &new.workloads {
        let before = old.workloads.get(name);
        let mut weaker = weaker_policy(before.map(|before| &before.policy), &workload.policy);
        weaker.extend(freshness(before, workload).weaker);
        reasons.extend(weaker.into_iter().map(|reason| format!("workload {name}: {reason}")));
    }
    for (name, rule) in &new.secrets {
        let before = old.secrets.get(name).map(|before| &before.protocols);
        reasons.extend(
            weaker_protocols(before, &rule.protocols).map(|reason| format!("secret {name}: {reason}")),
        );
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

/// Protocols of others in which less is proved than in our own, and that come to a secret.
fn weaker_protocols(
    before: Option<&OtherProtocols>,
    after: &OtherProtocols,
) -> impl Iterator<Item = &'static str> {
    let occlum = after.occlum && !before.is_some_and(|before| before.occlum);
    let kbs = after.kbs_resource.is_some() && before.is_none_or(|before| before.kbs_resource.is_none());
    let reason = |is: bool, reason| is.then_some(reason);
    [
        reason(
            occlum,
            "goes out over Occlum's protocol too, in which evidence is bound to a certificate only",
        ),
        reason(kbs, "goes out over the KBS protocol too, in which the broker shows no evidence"),
    ]
    .into_iter()
    .flatten()
}

/// The changes that let in less, of rules that time wears out: an owner who raises them sees
/// that they are raised.
fn stronger(old: &Manifest, new: &Manifest) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, workload) in &new.workloads {
        let stronger = freshness(old.workloads.get(name), workload).stronger;
        reasons.extend(stronger.into_iter().map(|reason| format!("workload {name}: {reason}")));
    }
    reasons
}

/// A threshold that may be lower is named as well: the owner who signs must find out.
fn weaker_owners(before: Threshold, new: &Manifest) -> Option<String> {
    let is = new.roles.as_ref()?.owners.as_ref()?.threshold();
    match before {
        Threshold::InForce(was) if is < was => {
            Some(format!("the number of owners who must agree falls from {was} to {is}"))
        }
        Threshold::OfGenesis(was) if is < was => Some(format!(
            "the number of owners who must agree falls from {was}, as the genesis has it, to {is}"
        )),
        Threshold::InForce(_) => None,
        Threshold::OfGenesis(_) | Threshold::Unknown => Some(format!(
            "the number of owners who must agree becomes {is}, and what it was is unknown, for the old manifest names \
             no owners; compare with the broker's manifest (--broker), or give --genesis with the first one"
        )),
    }
}

/// Without a number, as many owners confirm a state as must agree to a change.
fn weaker_confirmation(old: Option<NonZeroUsize>, new: Option<NonZeroUsize>) -> Option<String> {
    let is = new?;
    let was = match old {
        Some(was) if was <= is => return None,
        Some(was) => was.to_string(),
        None => "as many as must agree to a change".to_owned(),
    };
    Some(format!(
        "the number of owners who confirm an old state of the broker as the newest falls from {was} to {is}"
    ))
}

fn weaker_recovery(old: Option<&RecoveryRule>, new: Option<&RecoveryRule>) -> Option<String> {
    match (old, new) {
        (
            Some(RecoveryRule::Shares { threshold: was, .. }),
            Some(RecoveryRule::Shares { threshold: is, .. }),
        ) if is < was => {
            Some(format!("the number of shares that recover the root key falls from {was} to {is}"))
        }
        (Some(RecoveryRule::Shares { .. }) | None, Some(RecoveryRule::Unrecoverable)) => {
            Some("if the broker's machine is lost, the secrets are lost".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use adytum_governance::recovery::sharing::RecoveryIdentity;
    use adytum_testkit::{
        manifest::{Manifest, enclave_policy},
        owners::owner,
    };

    use super::*;

    fn manifest(rest: &str) -> Read {
        let text = Manifest::intel("1".repeat(64), 1)
            .workload("digits", &format!("{}POLICY\n", enclave_policy(0x22)), &["digits"])
            .table(format!(
                "[[model]]\nname = \"digits\"\nsigners = [\"ed25519:{}\"]\nminimum_version = FLOOR\n{rest}",
                "3".repeat(64)
            ))
            .text();
        let (text, floor) = match rest.contains("# floor 2") {
            true => (text, "2"),
            false => (text, "3"),
        };
        let firmware = |fmc, microcode| {
            format!("minimum_snp_tcb = {{ {fmc} bootloader = 3, tee = 0, snp = 8, microcode = {microcode} }}")
        };
        let policy = match rest {
            "# old platforms" => "tcb_status = [\"UpToDate\", \"OutOfDate\"]".to_owned(),
            "# firmware" => firmware("fmc = 1,", 200),
            "# old firmware" => firmware("fmc = 1,", 199),
            "# any fmc" => firmware("", 200),
            _ => String::new(),
        };
        Read::parse(&text.replace("FLOOR", floor).replace("POLICY", &policy)).unwrap()
    }

    /// By what the two texts say.
    fn between(old: &Read, new: &Read) -> Difference {
        Difference::between(old, new, old.threshold(None).unwrap())
    }

    fn weaker(old: &str, new: &str) -> Vec<String> {
        between(&manifest(old), &manifest(new)).weaker
    }

    fn recovery(threshold: u8) -> String {
        let text = || RecoveryIdentity::generate().recipient();
        let (one, two) = (text(), text());
        format!("[recovery]\nthreshold = {threshold}\nrecipients = [\"{one}\", \"{two}\"]\n")
    }

    fn secret(fields: &str) -> String {
        format!("[[secret]]\nname = \"key\"\nkind = \"opaque\"\nworkloads = [\"digits\"]\n{fields}")
    }

    fn owners(threshold: usize) -> String {
        let key = |digit: &str| format!("\"ed25519:{}\"", digit.repeat(64));
        format!("[owners]\nthreshold = {threshold}\nkeys = [{}, {}]\n", key("4"), key("5"))
    }

    #[test]
    fn what_lets_in_more_is_named_and_what_lets_in_less_is_not() {
        for (strict, loose, expected) in [
            ("", "# floor 2", "version 2 may be loaded again, the floor was 3"),
            ("", "# old platforms", "TCB status OutOfDate"),
            ("# firmware", "# old firmware", "older firmware is accepted"),
            ("# firmware", "# any fmc", "older firmware is accepted"),
            ("", "[restart]\nconfirm_by = 1\n", "falls from as many as must agree to a change to 1"),
            ("[restart]\nconfirm_by = 2\n", "[restart]\nconfirm_by = 1\n", "newest falls from 2 to 1"),
            ("", "[restart]\nunplanned = \"serve\"\n", "serves without an owner's word"),
            (&owners(2), &owners(1), "the number of owners who must agree falls from 2 to 1"),
            (&recovery(2), &recovery(1), "the number of shares that recover the root key falls from 2 to 1"),
            (&recovery(2), "[recovery]\nunrecoverable = true\n", "the secrets are lost"),
            (&secret(""), &secret("occlum = true\n"), "secret key: goes out over Occlum's protocol too"),
            ("", &secret("occlum = true\n"), "secret key: goes out over Occlum's protocol too"),
            (
                &secret(""),
                &secret("kbs_resource = \"a/b/c\"\n"),
                "secret key: goes out over the KBS protocol too",
            ),
        ] {
            let reasons = weaker(strict, loose);
            assert!(reasons.len() == 1 && reasons[0].contains(expected), "{reasons:?}");
            assert!(weaker(loose, strict).is_empty(), "{expected}");
            assert!(weaker(loose, loose).is_empty() && weaker(strict, strict).is_empty());
        }
    }

    #[test]
    fn a_value_that_changes_is_there_twice() {
        let difference = between(&manifest(""), &manifest("# floor 2"));
        assert_eq!(
            difference.changed,
            [Change {
                subject: "model digits".to_owned(),
                field: "minimum_version".to_owned(),
                removed: ["3".to_owned()].into(),
                added: ["2".to_owned()].into(),
            }]
        );
        assert!(!difference.is_empty());
        assert!(between(&manifest(""), &manifest("# a comment")).is_empty());
    }

    #[test]
    fn owners_named_for_the_first_time_are_compared_with_those_before() {
        let old = manifest("");
        let weaker = |new: &str, before| Difference::between(&old, &manifest(new), before).weaker;
        for (before, expected) in [
            (Threshold::InForce(2), "falls from 2 to 1"),
            (Threshold::OfGenesis(2), "falls from 2, as the genesis has it, to 1"),
            (Threshold::OfGenesis(1), "becomes 1, and what it was is unknown"),
            (Threshold::Unknown, "becomes 1, and what it was is unknown"),
        ] {
            let reasons = weaker(&owners(1), before);
            assert!(reasons.len() == 1 && reasons[0].contains(expected), "{reasons:?}");
            assert!(weaker("", before).is_empty(), "who keeps the owners weakens nothing");
        }
        assert!(weaker(&owners(1), Threshold::InForce(1)).is_empty());
        assert!(weaker(&owners(2), Threshold::InForce(1)).is_empty());
    }

    #[test]
    fn the_genesis_tells_the_threshold_of_the_first_manifest() {
        let keys = [0; 3].map(|_| owner().public_key());
        let genesis = Genesis::create(keys, 2).unwrap();
        let read = |version: u64, rest: &str| {
            Read::parse(&Manifest::intel(genesis.digest(), version).table(rest).text()).unwrap()
        };
        assert!(matches!(read(1, "").threshold(Some(&genesis)).unwrap(), Threshold::InForce(2)));
        assert!(matches!(read(2, "").threshold(Some(&genesis)).unwrap(), Threshold::OfGenesis(2)));
        assert!(matches!(read(2, &owners(1)).threshold(Some(&genesis)).unwrap(), Threshold::InForce(1)));
        assert!(matches!(read(1, "").threshold(None).unwrap(), Threshold::Unknown));
        // Another broker's genesis tells nothing.
        assert!(manifest("").threshold(Some(&genesis)).is_err());
    }
}
