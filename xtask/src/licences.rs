//! `cargo xtask licences`: every package that we build with has a licence that `deny.toml` allows, comes
//! from where it allows, and is none that it forbids.
//!
//! `cargo deny` reads the same file, and looks for known vulnerabilities as well. This check needs no
//! other program.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand, Package};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::{
    problem::{Place, Problem, print},
    sources,
};

/// The rules, and the name of their file.
const RULES: &str = "deny.toml";

/// Manifests of workspaces.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

/// Check the licences and the sources of all packages.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: Arguments) -> Result<()> {
    let root = sources::root()?;
    let rules = Rules::read(&fs::read_to_string(root.join(RULES)).context(RULES)?)?;
    let (mut problems, mut packages) = (BTreeSet::new(), BTreeSet::new());
    for workspace in WORKSPACES {
        let metadata = metadata(&root.join(workspace)).with_context(|| workspace.to_owned())?;
        for package in &metadata.packages {
            if metadata.workspace_members.contains(&package.id) || package.source.is_none() {
                continue;
            }
            packages.insert((package.name.to_string(), package.version.clone()));
            for text in rules.check(&package.name, package) {
                problems.insert(Problem { place: Place { file: workspace.into(), line: 1 }, text });
            }
        }
    }
    print(&problems.iter().cloned().collect::<Vec<_>>())?;
    if !problems.is_empty() {
        bail!("{} packages may not be used; the rules are in {RULES}", problems.len());
    }
    println!("{} packages of others, each with a licence that {RULES} allows", packages.len());
    Ok(())
}

fn metadata(manifest: &Path) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command
        .manifest_path(manifest)
        .features(CargoOpt::AllFeatures)
        .other_options(vec!["--locked".to_owned()]);
    Ok(command.exec()?)
}

/// The parts of the file that this check reads.
#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    allow: BTreeSet<String>,
    #[serde(rename = "crate")]
    package: String,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Debug, Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    package: String,
    reason: String,
}

/// Both must be refused: a rule that this check does not know would be passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Refused,
    unknown_git: Refused,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Refused {
    Deny,
}

impl Rules {
    fn read(text: &str) -> Result<Self> {
        let rules: Self = toml::from_str(text).context(RULES)?;
        let Sources { unknown_registry: Refused::Deny, unknown_git: Refused::Deny } = rules.sources;
        Ok(rules)
    }

    /// The faults of a package.
    fn check(&self, name: &str, package: &Package) -> Vec<String> {
        let mut wrong = Vec::new();
        let source = package.source.as_ref().map_or("", |source| source.repr.as_str());
        if !source.starts_with("registry+") && !source.starts_with("sparse+") {
            wrong.push(format!("{name} is from {source}: only registries are allowed"));
        }
        if let Some(banned) = self.bans.deny.iter().find(|banned| banned.package == name) {
            wrong.push(format!("{name} is forbidden: {}", banned.reason));
        }
        if let Err(reason) = self.is_allowed(name, package.license.as_deref()) {
            wrong.push(format!("{name} {}: {reason}", package.version));
        }
        wrong
    }

    fn is_allowed(&self, name: &str, licence: Option<&str>) -> Result<()> {
        let licence = licence.context("it names no licence")?;
        let expression = Expression::parse_mode(licence, ParseMode::LAX).map_err(|error| {
            anyhow::anyhow!("its licence '{licence}' is not understood: {}", error.reason)
        })?;
        let exceptions = self.licenses.exceptions.iter().filter(|exception| exception.package == name);
        let allowed: BTreeSet<&String> =
            exceptions.flat_map(|exception| &exception.allow).chain(&self.licenses.allow).collect();
        let is_met = expression.evaluate(|wanted| allowed.iter().any(|one| **one == wanted.to_string()));
        if is_met { Ok(()) } else { bail!("its licence '{licence}' is not allowed") }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
        exceptions = [{ allow = ["NCSA"], crate = "special" }]
        [bans]
        deny = [{ crate = "openssl", reason = "one TLS stack" }]
        [sources]
        unknown-registry = "deny"
        unknown-git = "deny"
    "#;

    #[test]
    fn expressions_are_judged_as_a_whole() {
        let rules = Rules::read(TEXT).unwrap();
        for licence in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-2.0-only OR MIT",
            "Apache-2.0 WITH LLVM-exception",
            "MIT AND Apache-2.0",
        ] {
            rules.is_allowed("a", Some(licence)).unwrap();
        }
        for licence in ["GPL-3.0", "AGPL-3.0-only", "MIT AND GPL-2.0-only", "NCSA", "nonsense"] {
            rules.is_allowed("a", Some(licence)).unwrap_err();
        }
        rules.is_allowed("special", Some("MIT AND NCSA")).unwrap();
        rules.is_allowed("a", None).unwrap_err();
    }

    #[test]
    fn a_rule_that_allows_other_sources_is_not_passed_over() {
        Rules::read(&TEXT.replace("unknown-git = \"deny\"", "unknown-git = \"allow\"")).unwrap_err();
    }

    #[test]
    fn packages_of_other_sources_and_forbidden_ones_are_found() {
        let rules = Rules::read(TEXT).unwrap();
        let package = |name: &str, source: &str| -> Package {
            serde_json::from_value(serde_json::json!({
                "name": name, "version": "1.0.0", "id": name, "license": "MIT", "source": source,
                "dependencies": [], "targets": [], "features": {}, "manifest_path": "/Cargo.toml",
            }))
            .unwrap()
        };
        let registry = "registry+https://example.com/index";
        assert!(rules.check("a", &package("a", registry)).is_empty());
        assert_eq!(rules.check("a", &package("a", "git+https://example.com/a")).len(), 1);
        assert_eq!(rules.check("openssl", &package("openssl", registry)).len(), 1);
    }
}
