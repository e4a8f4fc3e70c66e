//! The workspace as it is written: its packages, the modules of each of their
//! crates, and what is in them. The checks read this, not what a compiler makes
//! of it, so they need no build and see every `cfg` at once.
//!
//! Test code is left out: items and modules that exist only with `cfg(test)`, and
//! the crates of integration tests and benchmarks (`tests/*.rs`, `benches/*.rs`
//! in a package).

mod configured;
mod module;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand, TargetKind};

pub(crate) use self::module::{Module, ModuleId, ModuleTree};

/// All packages of the workspace.
pub(crate) struct Workspace {
    /// The directory with the workspace's manifest.
    pub(crate) root: PathBuf,
    /// All packages, sorted by name.
    pub(crate) packages: Vec<Package>,
}

/// A package of the workspace.
pub(crate) struct Package {
    /// The name of its directory, such as `evidence`.
    pub(crate) name: String,
    /// The packages of the workspace that it imports, by those names. Imports of
    /// tests and of build scripts don't count; optional ones do.
    pub(crate) imports: BTreeSet<String>,
    /// Its library and its binaries.
    pub(crate) crates: Vec<Crate>,
}

/// A library or a binary.
pub(crate) struct Crate {
    /// The package's name, with the binary's for a binary that has a library.
    pub(crate) name: String,
    /// The program's name; `None` for a library.
    pub(crate) program: Option<String>,
    /// The file with its root module.
    pub(crate) root: PathBuf,
}

impl Workspace {
    /// Reads the manifests of the workspace that lies there.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .exec()
            .with_context(|| format!("read the workspace in {}", root.display()))?;
        let directory = |manifest: &Path| {
            let name = manifest.parent().and_then(Path::file_name);
            name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let mut packages = Vec::new();
        for package in &metadata.packages {
            let name = directory(package.manifest_path.as_std_path());
            let imports = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == DependencyKind::Normal)
                .filter_map(|dependency| dependency.path.as_ref()?.file_name().map(str::to_owned))
                .collect();
            let crates = package
                .targets
                .iter()
                .filter(|target| {
                    target.kind.iter().any(|kind| matches!(kind, TargetKind::Lib | TargetKind::Bin))
                })
                .map(|target| {
                    let library = package.targets.iter().any(|other| other.kind.contains(&TargetKind::Lib));
                    let program = target.kind.contains(&TargetKind::Bin).then(|| target.name.clone());
                    let name = match &program {
                        Some(program) if library => format!("{name} ({program})"),
                        _ => name.clone(),
                    };
                    Crate { name, program, root: target.src_path.clone().into_std_path_buf() }
                })
                .collect();
            packages.push(Package { name, imports, crates });
        }
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { root: metadata.workspace_root.into_std_path_buf(), packages })
    }
}

/// The workspace that holds the current directory.
pub(crate) fn root() -> Result<PathBuf> {
    let start = std::env::current_dir()?;
    let found = start.ancestors().find(|directory| directory.join("Cargo.lock").is_file());
    Ok(found.with_context(|| format!("no Cargo.lock in {} or above it", start.display()))?.to_owned())
}
