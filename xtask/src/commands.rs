//! `cargo xtask commands`: what pages print can be typed.
//!
//! Every block of commands in README.md, `docs/` and `examples/` has a mark after its fence:
//! - `sh run`: it is run here. A page's blocks are run in order, in one shell and one fresh
//!   directory, with the built programs on the PATH. `sh run until TEXT` starts a server.
//! - `sh cluster`: it needs a Kubernetes cluster. Its syntax, its paths and its calls of our programs are
//!   checked.
//! - `sh hardware REASON`: it can't be run here. It is checked in the same way, and listed.
//! - `python run MODULE...`: Python runs it, if it has these modules.
//! - `python hardware REASON`: it can't be run here. Its syntax is checked, and it is listed.
//!
//! A comment `<!-- sh run ... -->` is a block that readers do not see: set-up, or what a reader
//! would type by hand. `tests/pages/stage.sh` has what such blocks use.

mod blocks;
mod mark;
mod programs;
mod python;
mod rehearsal;
mod shell;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use tokio::{sync::Semaphore, task::JoinSet};

use self::{
    blocks::{Block, blocks},
    mark::{Language, Mark},
    programs::Programs,
    rehearsal::Stage,
};
use crate::{
    problem::{Problem, print},
    sources,
};

/// Pages that a program writes.
const GENERATED: [&str; 1] = ["codes.md"];

/// Every command that a page prints is marked, and works as printed.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Run only these pages, such as docs/verify.md. All are checked.
    pages: Vec<PathBuf>,
    /// Run nothing: look at marks, syntax and calls only.
    #[arg(long)]
    check: bool,
    /// How many pages are run at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// The pages, each with its blocks.
type Pages = BTreeMap<PathBuf, Vec<(Block, Mark)>>;

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let root = sources::root()?;
    let programs = std::env::current_exe().context("find this program")?;
    let programs = programs.parent().context("find the built programs")?.to_owned();
    let (pages, problems) = read(&root, &programs)?;
    print(&problems)?;
    if !problems.is_empty() {
        bail!("{} problems", problems.len());
    }
    summary(&pages);
    if arguments.check {
        return Ok(());
    }
    let failed = rehearse(Stage { programs, root }, pages, &arguments).await?;
    if !failed.is_empty() {
        bail!("{} failed: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

/// Reads README.md and the pages in `docs/`, and checks what is not run.
fn read(root: &Path, programs: &Path) -> Result<(Pages, Vec<Problem>)> {
    let mut pages = Pages::new();
    let mut problems = Vec::new();
    let mut programs = Programs::new(programs, root);
    for file in files(root)? {
        let page =
            fs::read_to_string(root.join(&file)).with_context(|| format!("read {}", file.display()))?;
        let (found, faults) = blocks(&file, &page);
        problems.extend(faults);
        let mut marked = Vec::new();
        for block in found {
            let place = block.place.clone();
            let problem = |text| Problem { place: place.clone(), text };
            match Mark::parse(&block.info) {
                Err(text) => problems.push(problem(text)),
                Ok(mark) => {
                    let faults = match mark {
                        Mark::Hardware { language: Language::Python, .. } => python::faults(&block.text)?,
                        Mark::Cluster | Mark::Hardware { language: Language::Shell, .. } => {
                            programs.faults(&block.text)?
                        }
                        _ => Vec::new(),
                    };
                    problems.extend(faults.into_iter().map(problem));
                    marked.push((block, mark));
                }
            }
        }
        pages.insert(file, marked);
    }
    Ok((pages, problems))
}

/// README.md, the pages of the book, and what explains each example.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("README.md")];
    for name in names(&root.join("docs"))? {
        let path = Path::new(&name);
        if path.extension().is_some_and(|extension| extension == "md")
            && !GENERATED.iter().any(|page| path == Path::new(page))
        {
            found.push(Path::new("docs").join(path));
        }
    }
    for name in names(&root.join("examples"))? {
        let page = Path::new("examples").join(name).join("README.md");
        if root.join(&page).is_file() {
            found.push(page);
        }
    }
    found.sort();
    Ok(found)
}

/// The names in a directory.
fn names(directory: &Path) -> Result<Vec<OsString>> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

/// How many blocks there are of each kind, and why some can't be run.
fn summary(pages: &Pages) {
    let marks = || pages.values().flatten().map(|(block, mark)| (&block.place, mark));
    let count = |wanted: fn(&Mark) -> bool| marks().filter(|(_, mark)| wanted(mark)).count();
    println!(
        "{} blocks are run, {} need a cluster, {} can't be run here:",
        count(Mark::is_run),
        count(|mark| matches!(mark, Mark::Cluster)),
        count(|mark| matches!(mark, Mark::Hardware { .. })),
    );
    for (place, mark) in marks() {
        if let Mark::Hardware { reason, .. } = mark {
            println!("  {place}: {reason}");
        }
    }
}

/// Runs the pages that have something to run, and gives those that failed.
async fn rehearse(stage: Stage, pages: Pages, arguments: &Arguments) -> Result<Vec<String>> {
    for page in &arguments.pages {
        if !pages.contains_key(page) {
            bail!("there is no page {}", page.display());
        }
    }
    let stage = Arc::new(stage);
    let places = Arc::new(Semaphore::new(arguments.jobs.max(1)));
    let mut running = JoinSet::new();
    for (file, blocks) in pages {
        let is_wanted = arguments.pages.is_empty() || arguments.pages.contains(&file);
        if !is_wanted || !blocks.iter().any(|(_, mark)| mark.is_run()) {
            continue;
        }
        let (stage, places) = (Arc::clone(&stage), Arc::clone(&places));
        running.spawn(async move {
            let _place = places.acquire().await?;
            let outcome = stage.run(&blocks).await;
            outcome.map(|outcome| (file, outcome))
        });
    }
    let mut failed = Vec::new();
    while let Some(page) = running.join_next().await {
        let (file, outcome) = page.context("a page's task ended")??;
        let seconds = outcome.duration.as_secs_f64();
        for line in &outcome.skipped {
            println!("{line}");
        }
        match outcome.failure {
            None => println!("ran {} in {seconds:.1} s", file.display()),
            Some(text) => {
                println!("{text}\nFAILED {} after {seconds:.1} s", file.display());
                failed.push(file.display().to_string());
            }
        }
    }
    failed.sort();
    Ok(failed)
}
