//! `cargo xtask image sbom`: what a binary is made of, as CycloneDX 1.5 JSON.
//!
//! It holds no date and no random number: equal sources give equal documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, camino::Utf8Path};
use serde::Deserialize;
use serde_json::{Value, json};

use adytum_tests::build::workspace_root;

/// Write what a binary is made of (CycloneDX).
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The package of the binary.
    #[arg(long, value_name = "NAME")]
    package: String,
    /// Its features; the default ones are left out.
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<String>,
    /// The platform that it is built for.
    #[arg(long, value_name = "TRIPLE")]
    target: String,
    /// A further linked component that cargo doesn't know, as NAME=VERSION=LICENCE.
    #[arg(long = "linked", value_name = "NAME=VERSION=LICENCE", value_parser = linked)]
    linked: Vec<Linked>,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Arguments {
    /// As the command line gives them.
    pub(crate) fn new(
        package: &str,
        features: Vec<String>,
        target: &str,
        libraries: &[String],
        out: &Path,
    ) -> Result<Self> {
        let linked = libraries.iter().map(|text| linked(text).map_err(anyhow::Error::msg));
        let (package, target, out) = (package.to_owned(), target.to_owned(), out.to_owned());
        Ok(Self { package, features, target, linked: linked.collect::<Result<_>>()?, out })
    }
}

/// A library that is not a crate.
#[derive(Clone, Debug)]
struct Linked {
    name: String,
    version: String,
    licence: String,
}

fn linked(text: &str) -> Result<Linked, String> {
    let mut parts = text.splitn(3, '=').map(str::to_owned);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(version), Some(licence)) => Ok(Linked { name, version, licence }),
        _ => Err(format!("expected NAME=VERSION=LICENCE, found {text:?}")),
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let root = workspace_root()?;
    let metadata = MetadataCommand::new()
        .manifest_path(manifest_of(&root, &arguments.package)?)
        .other_options(vec![
            "--locked".to_owned(),
            "--no-default-features".to_owned(),
            format!("--features={}", arguments.features.join(",")),
            format!("--filter-platform={}", arguments.target),
        ])
        .exec()
        .context("cargo metadata")?;
    let checksums = Checksums::read(&root.join("Cargo.lock"))?;
    let document = document(&metadata, &arguments, &checksums)?;
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    fs::write(&arguments.out, text).with_context(|| format!("write {}", arguments.out.display()))
}

fn manifest_of(root: &Path, package: &str) -> Result<PathBuf> {
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    let found = metadata.packages.iter().find(|candidate| candidate.name == package);
    Ok(found.with_context(|| format!("no package {package}"))?.manifest_path.clone().into())
}

fn document(metadata: &Metadata, arguments: &Arguments, checksums: &Checksums) -> Result<Value> {
    let tree = Tree::of(metadata, &arguments.package)?;
    let main = tree.package(&tree.root)?;
    let mut components = Vec::new();
    for id in tree.edges.keys().filter(|id| **id != tree.root) {
        components.push(component(tree.package(id)?, "library", checksums));
    }
    components.extend(arguments.linked.iter().map(|linked| {
        json!({
            "type": "library",
            "bom-ref": format!("{}@{}", linked.name, linked.version),
            "name": linked.name,
            "version": linked.version,
            "licenses": [{ "expression": linked.licence }],
        })
    }));
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies = Vec::new();
    for (id, uses) in &tree.edges {
        let mut references =
            uses.iter().map(|id| tree.package(id).map(reference)).collect::<Result<Vec<_>>>()?;
        references.sort();
        dependencies.push(json!({ "ref": reference(tree.package(id)?), "dependsOn": references }));
    }
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(main, "application", checksums) },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What the binary's package uses when it runs, over all levels.
struct Tree<'a> {
    root: PackageId,
    edges: BTreeMap<PackageId, BTreeSet<PackageId>>,
    packages: BTreeMap<&'a PackageId, &'a Package>,
}

impl<'a> Tree<'a> {
    fn of(metadata: &'a Metadata, package: &str) -> Result<Self> {
        let packages: BTreeMap<_, _> =
            metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let nodes = &metadata.resolve.as_ref().context("cargo metadata resolved nothing")?.nodes;
        let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (&node.id, node)).collect();
        let root = metadata.packages.iter().find(|candidate| candidate.name == package);
        let root = root.with_context(|| format!("no package {package}"))?.id.clone();
        let mut edges = BTreeMap::new();
        let mut open = vec![root.clone()];
        while let Some(id) = open.pop() {
            if edges.contains_key(&id) {
                continue;
            }
            let node = nodes.get(&id).with_context(|| format!("{id} is not resolved"))?;
            let is_linked = |dependency: &&cargo_metadata::NodeDep| {
                let is_macro =
                    packages.get(&dependency.pkg).is_some_and(|package| is_procedural_macro(package));
                let runs = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
                runs && !is_macro
            };
            let uses: BTreeSet<PackageId> =
                node.deps.iter().filter(is_linked).map(|dependency| dependency.pkg.clone()).collect();
            open.extend(uses.iter().cloned());
            edges.insert(id, uses);
        }
        Ok(Self { root, edges, packages })
    }

    fn package(&self, id: &PackageId) -> Result<&'a Package> {
        self.packages.get(id).copied().with_context(|| format!("no package {id}"))
    }
}

/// Such a crate runs in the compiler and is not in the binary.
fn is_procedural_macro(package: &Package) -> bool {
    package.targets.iter().any(cargo_metadata::Target::is_proc_macro)
}

fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, kind: &str, checksums: &Checksums) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(package),
        "name": package.name.to_string(),
        "version": package.version.to_string(),
        "purl": reference(package),
    });
    if let Some(licence) = &package.license {
        // An older form of "or".
        component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksums.of(&package.name, &package.version.to_string()) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// The digests of crates' archives, which the build was locked to.
struct Checksums(BTreeMap<(String, String), String>);

impl Checksums {
    fn read(lock: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Lock {
            package: Vec<Locked>,
        }
        #[derive(Deserialize)]
        struct Locked {
            name: String,
            version: String,
            checksum: Option<String>,
        }
        let path = Utf8Path::from_path(lock).context("the path of Cargo.lock is not text")?;
        let text = fs::read_to_string(lock).with_context(|| format!("read {path}"))?;
        let lock: Lock = toml::from_str(&text).with_context(|| format!("read {path}"))?;
        let known = lock.package.into_iter();
        Ok(Self(
            known.filter_map(|package| Some(((package.name, package.version), package.checksum?))).collect(),
        ))
    }

    fn of(&self, name: &str, version: &str) -> Option<&str> {
        self.0.get(&(name.to_owned(), version.to_owned())).map(String::as_str)
    }
}
