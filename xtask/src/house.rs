//! `cargo xtask house`: no circles between the modules of a crate.
//!
//! # Imports
//!
//! Module `a` imports module `b` if any path in `a` names something that `b`
//! defines: in a `use`, an expression, a type, a pattern, a bound, an `impl`, the
//! arguments of a macro or of an attribute (derives, conditions and lints aside;
//! serde's strings are read). Re-exports, renames and globs are followed to the
//! module that defines the item, so going round by a facade hides nothing. A `use`
//! of a module is no import by itself: only a use of its items counts. A glob of a
//! module is one.
//!
//! Two directions are free:
//! - from a module to what is above it (its parent, the parent's parent): a folder's
//!   own vocabulary may be in the folder's root;
//! - from a module to what is below it: that is how a module is divided into parts.
//!
//! Every other circle is an error, between modules and between folders: a folder
//! is a module with all that is below it, and is compared with its neighbours.
//!
//! Not seen: which method a call names (`x.method()`), for that takes types; what
//! macros of other crates write. Left out: code that exists only in tests.
//!
//! # Tests
//!
//! Unit tests are in modules `tests`, and what prepares them is in modules `fixture`.
//!
//! # Layers
//!
//! Without circles, the folders of a crate have layers: each imports only from
//! layers below its own. ARCHITECTURE.md shows them, and this checks that it does.

mod graph;
mod imports;
mod names;
mod paths;
mod test_modules;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Write};

use anyhow::{Result, bail};

use self::{
    graph::Graph,
    imports::{Circle, Imports},
};
use crate::{
    page::Section,
    problem::print,
    sources::{self, ModuleTree, Workspace},
};

/// Where ARCHITECTURE.md shows the layers.
const SECTION: Section = Section { file: "ARCHITECTURE.md", name: "layers" };

/// The width of the page, in characters.
const WIDTH: usize = 110;

/// The imports within each crate go one way, and ARCHITECTURE.md shows how.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Write the layers into ARCHITECTURE.md.
    #[arg(long)]
    write: bool,
    /// Show every import of a circle, not only a shortest way round.
    #[arg(long)]
    all: bool,
}

/// What the imports of a workspace are.
struct House {
    circles: BTreeMap<String, Vec<Circle>>,
    layers: String,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let root = sources::root()?;
    let house = House::read(&Workspace::read(&root)?)?;
    let mut count = 0;
    for (name, circles) in &house.circles {
        for circle in circles {
            count += 1;
            println!("{name}: a circle of {} {}", circle.members.len(), circle.of);
            println!("  {}", circle.members.join(", "));
            for import in if arguments.all { &circle.all } else { &circle.way } {
                println!("    {import}");
            }
        }
    }
    if arguments.write {
        SECTION.write(&root, &house.layers)?;
    }
    print!("{}", house.layers);
    let misplaced = test_modules::misplaced(&root)?;
    print(&misplaced)?;
    if !misplaced.is_empty() {
        bail!("{} modules of tests are not where CONTRIBUTING.md puts them", misplaced.len());
    }
    if count > 0 {
        bail!(
            "{count} circles of imports; move what both sides need into a module below both, or into their parent"
        );
    }
    SECTION.check(&root, &house.layers, "cargo xtask house --write")
}

impl House {
    fn read(workspace: &Workspace) -> Result<Self> {
        let mut circles = BTreeMap::new();
        let mut layers = vec![("crates".to_owned(), layers_of_packages(workspace)?)];
        for found in workspace.packages.iter().flat_map(|package| &package.crates) {
            let tree = ModuleTree::read(&found.root)?;
            let imports = Imports::read(&tree);
            circles.insert(found.name.clone(), imports.circles(&workspace.root));
            layers.push((found.name.clone(), imports.layers()));
        }
        layers.retain(|(_, layers)| !layers.is_empty());
        Ok(Self { circles, layers: draw(&layers) })
    }
}

fn layers_of_packages(workspace: &Workspace) -> Result<Vec<Vec<String>>> {
    let packages = &workspace.packages;
    let mut graph = Graph::new(packages.len());
    for (from, package) in packages.iter().enumerate() {
        for import in &package.imports {
            let to = packages.iter().position(|other| other.name == *import);
            if let Some(to) = to {
                graph.add(from, to);
            }
        }
    }
    let name = |node: usize| packages.get(node).map(|package| package.name.clone()).unwrap_or_default();
    Ok(graph.layers().into_iter().map(|layer| layer.into_iter().map(name).collect()).collect())
}

/// A block a crate, a line a layer, the lowest first.
fn draw(crates: &[(String, Vec<Vec<String>>)]) -> String {
    let mut text = String::from("```text\n");
    for (index, (name, layers)) in crates.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        _ = writeln!(text, "{name}");
        for (height, layer) in layers.iter().enumerate() {
            let mut line = format!("{:>4} ", height + 1);
            for module in layer {
                if line.len() + 1 + module.len() > WIDTH {
                    _ = writeln!(text, "{line}");
                    line = " ".repeat(5);
                }
                line.push(' ');
                line.push_str(module);
            }
            _ = writeln!(text, "{line}");
        }
    }
    text.push_str("```\n");
    text
}

/// Reads one crate, for tests of this check.
#[cfg(test)]
fn circles_of(root: &std::path::Path) -> Vec<Circle> {
    let tree = ModuleTree::read(&root.join("lib.rs")).unwrap();
    let imports = Imports::read(&tree);
    imports.circles(root)
}
