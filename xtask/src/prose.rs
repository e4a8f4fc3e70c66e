//! `cargo xtask prose`: plain English wherever a person reads.
//!
//! It reads the pages (README and its neighbours, `docs/`), the comments of all
//! Rust files (module heads and help texts are comments), of shell scripts, Python, YAML,
//! TOML and protobuf, and the messages of errors and logs. It finds:
//! - words and turns that readers stumble over: the list in `rules.rs`;
//! - in pages, sentences of more than 40 words, semicolons apart;
//! - documentation of a field in three words or fewer, such as "Why.";
//! - public items without documentation, fields aside.
//!
//! Each finding says what to write instead. A use that is right has its place in
//! `allowed.rs`, with a reason. Code in backquotes is not read.

mod allowed;
mod documented;
mod fields;
mod rules;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use self::{
    allowed::ALLOWED,
    rules::Rules,
    text::{Sentence, is_markdown, of_comments, of_hash_comments, of_markdown, of_text},
};
use crate::{
    codes::messages,
    problem::{Place, Problem, print},
    sources::{self, ModuleTree, Workspace},
};

/// The longest sentence of a page, in words.
const WORDS: usize = 40;

/// Directories with Rust files.
const DIRECTORIES: [&str; 6] = ["crates", "demo", "xtask", "tests", "benches", "fuzz"];

/// Directories with scripts and configurations. The root's own files are read too.
const HASH_DIRECTORIES: [&str; 10] =
    ["crates", "demo", "xtask", "tests", "benches", "fuzz", "deploy", "examples", ".github", ".ci"];

/// Pages that a program writes from what is checked elsewhere.
const GENERATED: [&str; 1] = ["docs/codes.md"];

/// Texts are plain English: short sentences, subject first, the field's terms.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Look only at files whose path starts with one of these, such as crates/serving.
    paths: Vec<PathBuf>,
    /// Print only how many findings each crate and directory has.
    #[arg(long)]
    count: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let root = sources::root()?;
    let mut problems = Checker::new(&root)?.check_all()?;
    problems.retain(|problem| {
        arguments.paths.is_empty() || arguments.paths.iter().any(|path| problem.place.file.starts_with(path))
    });
    problems.sort();
    problems.dedup();
    if !arguments.count {
        print(&problems)?;
    }
    if problems.is_empty() {
        return Ok(());
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for problem in &problems {
        *counts.entry(part(&problem.place.file)).or_default() += 1;
    }
    for (part, count) in counts {
        println!("{count:>6}  {part}");
    }
    bail!("{} findings", problems.len())
}

/// The crate or the directory that a file belongs to, or the page.
fn part(file: &Path) -> String {
    let mut parts = file.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    match (parts.next(), parts.next()) {
        (Some(first), Some(second)) if first == "crates" || first == "docs" => format!("{first}/{second}"),
        (Some(first), _) => first,
        _ => String::new(),
    }
}

struct Checker<'a> {
    root: &'a Path,
    rules: Rules,
    problems: Vec<Problem>,
    /// The places in [`ALLOWED`] that were needed.
    needed: BTreeSet<usize>,
}

impl<'a> Checker<'a> {
    fn new(root: &'a Path) -> Result<Self> {
        Ok(Self { root, rules: Rules::new()?, problems: Vec::new(), needed: BTreeSet::new() })
    }

    fn check_all(mut self) -> Result<Vec<Problem>> {
        for file in self.pages()? {
            for sentence in of_markdown(&self.read(&file)?) {
                self.check(&file, &sentence, Some(WORDS));
            }
        }
        for file in self.files_in(&HASH_DIRECTORIES, &is_hash_commented)? {
            for sentence in of_hash_comments(&self.read(&file)?) {
                self.check(&file, &sentence, None);
            }
        }
        let is_slash_commented = |path: &Path| has_extension(path, &["rs", "proto"]);
        for file in self.files_in(&DIRECTORIES, &is_slash_commented)? {
            for sentence in of_comments(&self.read(&file)?) {
                self.check(&file, &sentence, None);
            }
        }
        for found in Workspace::read(self.root)?.packages.iter().flat_map(|package| &package.crates) {
            for module in &ModuleTree::read(&found.root)?.modules {
                let file = module.file.strip_prefix(self.root).unwrap_or(&module.file).to_owned();
                for message in messages(&module.items) {
                    for sentence in of_text(&message.text, message.line) {
                        self.check(&file, &sentence, None);
                    }
                }
                for (line, name) in documented::undocumented(&module.items) {
                    let text = format!("the public {name} has no documentation; write what it is or does");
                    self.problems.push(Problem { place: Place { file: file.clone(), line }, text });
                }
                for (line, words) in fields::short(&module.items) {
                    let text = format!(
                        "{words:?} documents a field: give its shape, unit or source, or leave it out"
                    );
                    self.problems.push(Problem { place: Place { file: file.clone(), line }, text });
                }
            }
        }
        for (index, allowed) in ALLOWED.iter().enumerate() {
            if !self.needed.contains(&index) {
                let text = format!(
                    "{:?} is allowed ({}) and not there any more; strike it from the list",
                    allowed.sentence, allowed.reason
                );
                self.problems.push(Problem { place: Place { file: allowed.file.into(), line: 1 }, text });
            }
        }
        Ok(self.problems)
    }

    fn check(&mut self, file: &Path, sentence: &Sentence, limit: Option<usize>) {
        let place = || Place { file: file.to_owned(), line: sentence.line };
        let allowed = ALLOWED
            .iter()
            .position(|allowed| file == Path::new(allowed.file) && sentence.text.contains(allowed.sentence));
        for found in self.rules.check(&sentence.text, sentence.is_cell) {
            if let Some(index) = allowed {
                self.needed.insert(index);
                continue;
            }
            let text =
                format!("{:?} in {:?}: write {}", found.words, shortened(&sentence.text), found.instead);
            self.problems.push(Problem { place: place(), text });
        }
        // The parts of a list between semicolons are read one by one.
        let parts = sentence.text.split("; ").map(|part| part.split_whitespace().count());
        let words = parts.max().unwrap_or_default();
        if let Some(limit) = limit.filter(|limit| words > *limit) {
            if let Some(index) = allowed {
                self.needed.insert(index);
                return;
            }
            let text = format!(
                "a sentence of {words} words ({:?}): make two of it, each of at most {limit}",
                shortened(&sentence.text)
            );
            self.problems.push(Problem { place: place(), text });
        }
    }

    fn read(&self, file: &Path) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| format!("read {}", file.display()))
    }

    /// The pages at the root and below `docs/`.
    fn pages(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        files(&self.root.join("docs"), &is_markdown, &mut found)?;
        for entry in fs::read_dir(self.root)? {
            let path = entry?.path();
            if is_markdown(&path) {
                found.push(path);
            }
        }
        let relative = found.iter().filter_map(|path| path.strip_prefix(self.root).ok());
        Ok(relative
            .filter(|path| !GENERATED.iter().any(|page| *path == Path::new(page)))
            .map(Path::to_owned)
            .collect())
    }

    /// The files of a kind in these directories, and in the root itself.
    fn files_in(&self, directories: &[&str], wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for directory in directories.iter().map(|name| self.root.join(name)) {
            if directory.is_dir() {
                files(&directory, wanted, &mut found)?;
            }
        }
        for entry in fs::read_dir(self.root)? {
            let path = entry?.path();
            if path.is_file() && wanted(&path) {
                found.push(path);
            }
        }
        Ok(found.iter().filter_map(|path| path.strip_prefix(self.root).ok()).map(Path::to_owned).collect())
    }
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
}

/// Do comments start with `#` in this file?
fn is_hash_commented(path: &Path) -> bool {
    has_extension(path, &["sh", "py", "yaml", "yml", "toml"]) || path.ends_with(".ci/run")
}

/// The files below a directory, without what is built there.
fn files(directory: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                files(&path, wanted, found)?;
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// The first words of a sentence.
fn shortened(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.get(..12) {
        Some(first) if words.len() > 13 => format!("{} …", first.join(" ")),
        _ => words.join(" "),
    }
}
