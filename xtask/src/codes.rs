//! `cargo xtask codes`: the catalogue of codes, made from the sources.
//!
//! # Codes
//!
//! - a text that `fn code(&self)` of a type returns: a literal or a constant, by variant.
//!   An arm that asks another type (`Self::X(error) => error.code()`) is followed
//!   there; a function is followed into its body;
//! - a code that is given to a refusal (`Refusal::permanent`), to a field `code`, or to a
//!   log line (`code = ..`): a constant with documentation, or a code that a variant
//!   explains.
//!
//! # Explanations
//!
//! The documentation comment of the variant (of the type, of the constant):
//!
//! ```text
//! /// The bundle is larger than the measured configuration allows.
//! ///
//! /// Do: raise `maximum_size` in the measured configuration, or seal less.
//! ///
//! /// Retry: no
//! ```
//!
//! The first paragraph is the meaning, in four words or more. `Do: ` is the next
//! step. `Retry: yes`, `no` or `later` may be left out where the type's
//! `fn retry(&self)` answers by the variant alone, or where it is written above the
//! type. If several variants have one code, one of them explains it; the others say
//! `See: Type::Variant`, apart from those in the same `match` arm.
//!
//! # Next steps of messages
//!
//! A program prints the next step of an error's code after the message, so a message
//! with a code needs none. An error that is made in place (`bail!`, `anyhow!`,
//! `ensure!`) has no code: its message must have an instruction.
//!
//! # Names
//!
//! Next steps and messages name only commands, flags, files, fields and
//! environment variables that exist. The programs' own `--help` says which commands
//! and flags they have.

mod catalogue;
mod commands;
mod documentation;
mod messages;
mod names;
mod retry;
mod scan;
mod source;
#[cfg(test)]
mod tests;
mod used;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

pub(crate) use self::messages::messages;
use self::{
    catalogue::Catalogue,
    commands::Programs,
    messages::{errors_in_place, has_next_step},
    names::Names,
    scan::Scanned,
};
use crate::{
    problem::{Place, Problem, print},
    sources::{self, ModuleTree, Workspace},
};

/// The page for people.
const PAGE: &str = "docs/codes.md";

/// The table that programs have built in.
const TABLE: &str = "crates/codes/src/table.rs";

/// Where the `.proto` files are.
const MESSAGES: &str = "crates/api/proto";

/// Every code has a meaning and a next step, and the catalogue is up to date.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Write the catalogue, as far as the codes are explained.
    #[arg(long)]
    write: bool,
    /// The directory of the built programs. [default: target/debug]
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Check only these crates' codes; the catalogue is not compared.
    #[arg(long = "crate")]
    crates: Vec<String>,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let root = sources::root()?;
    let workspace = Workspace::read(&root)?;
    let of_crate = programs_of_crates(&workspace);
    let directory = arguments.programs.clone().unwrap_or_else(|| target_directory(&root).join("debug"));
    let all = of_crate.values().flatten().cloned().collect();
    let programs = Programs::read(&directory, &all)?;

    let crates = read(&workspace)?;
    let (sources, mut problems) = scan::scan(&crates, &root);
    let (catalogue, found) = Catalogue::new(&sources, &of_crate);
    problems.extend(found);
    let mut words = BTreeSet::new();
    crates.iter().for_each(|scanned| words::add_words(&scanned.tree, &mut words));
    words::add_message_fields(&root.join(MESSAGES), &mut words)?;
    let names = Names { root: &root, programs: &programs, words, of_crate: &of_crate };
    problems.extend(wrong_names(&crates, &sources, &names, &root));

    if arguments.write {
        for (file, text) in [(PAGE, catalogue.page()), (TABLE, catalogue.table())] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap_or(&root))?;
            fs::write(&path, text).with_context(|| format!("write {file}"))?;
        }
    } else if arguments.crates.is_empty() {
        for (file, text) in [(PAGE, catalogue.page()), (TABLE, catalogue.table())] {
            if fs::read_to_string(root.join(file)).ok().as_deref() != Some(text.as_str()) {
                let place = Place { file: file.into(), line: 1 };
                let text = "not as the sources say; run cargo xtask codes --write".to_owned();
                problems.push(Problem { place, text });
            }
        }
    }
    problems.retain(|problem| {
        let wanted =
            |name: &String| problem.place.file.components().any(|part| part.as_os_str() == name.as_str());
        arguments.crates.is_empty() || arguments.crates.iter().any(wanted)
    });
    problems.sort();
    problems.dedup();
    print(&problems)?;
    if !problems.is_empty() {
        bail!("{} codes are explained; {} problems", catalogue.len(), problems.len());
    }
    println!("{} codes, each with its meaning and next step", catalogue.len());
    Ok(())
}

fn target_directory(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The crates below `crates/`: the others have no users.
fn read(workspace: &Workspace) -> Result<Vec<Scanned>> {
    let inside = workspace.root.join("crates");
    let mut crates = Vec::new();
    for package in &workspace.packages {
        for found in package.crates.iter().filter(|found| found.root.starts_with(&inside)) {
            crates.push(Scanned { package: package.name.clone(), tree: ModuleTree::read(&found.root)? });
        }
    }
    Ok(crates)
}

/// The programs that are built with each crate of ours.
fn programs_of_crates(workspace: &Workspace) -> BTreeMap<String, Vec<String>> {
    let inside = workspace.root.join("crates");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &workspace.packages {
        let mut linked = BTreeSet::from([package.name.as_str()]);
        let mut next = vec![package];
        while let Some(package) = next.pop() {
            for import in workspace.packages.iter().filter(|other| package.imports.contains(&other.name)) {
                if linked.insert(&import.name) {
                    next.push(import);
                }
            }
        }
        let programs = package.crates.iter().filter(|found| found.root.starts_with(&inside));
        for program in programs.filter_map(|found| found.program.as_ref()) {
            for name in &linked {
                found.entry((*name).to_owned()).or_default().push(program.clone());
            }
        }
    }
    found
}

fn wrong_names(
    crates: &[Scanned],
    sources: &[source::Source],
    names: &Names<'_>,
    root: &Path,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in sources {
        for text in source.documentation.next_step.iter().flat_map(|text| names.check(text, &source.package))
        {
            problems.push(source.problem(format!("next step: {text}")));
        }
    }
    for scanned in crates {
        for module in &scanned.tree.modules {
            for message in errors_in_place(&module.items) {
                if scanned.package != "testkit" && !has_next_step(&message.text) {
                    let file = module.file.strip_prefix(root).unwrap_or(&module.file).to_owned();
                    let place = Place { file, line: message.line };
                    let text = format!("message {:?} has no next step; say what to do", message.text);
                    problems.push(Problem { place, text });
                }
            }
            for message in messages(&module.items) {
                for text in names.check(&message.text, &scanned.package) {
                    let file = module.file.strip_prefix(root).unwrap_or(&module.file).to_owned();
                    let place = Place { file, line: message.line };
                    problems.push(Problem { place, text: format!("message: {text}") });
                }
            }
        }
    }
    problems
}
