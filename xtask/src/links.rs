//! `cargo xtask links`: every link of a page leads somewhere.
//!
//! It reads the pages at the root, below `docs/` and `examples/`: each relative link names a file of
//! the repository, each anchor a heading of that page, and each page in `docs/` is in the book's
//! table of contents, `docs/SUMMARY.md`. Links to other sites are not followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use regex::Regex;

use crate::{
    problem::{Place, Problem, print},
    sources,
};

/// The book's table of contents.
const CONTENTS: &str = "docs/SUMMARY.md";

/// Relative links and anchors of pages lead somewhere.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: Arguments) -> Result<()> {
    let problems = check(&sources::root()?)?;
    print(&problems)?;
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{} links lead nowhere", problems.len())
}

/// A page as this check sees it.
#[derive(Default)]
struct Page {
    /// The names by which its headings are linked.
    anchors: BTreeSet<String>,
    /// What it links to, with the line.
    links: Vec<(usize, String)>,
}

fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut pages = BTreeMap::new();
    for directory in ["", "docs", "examples"] {
        read(root, Path::new(directory), !directory.is_empty(), &mut pages)?;
    }
    let mut problems = Vec::new();
    for (file, page) in &pages {
        for (line, link) in &page.links {
            if let Some(text) = fault(root, &pages, file, link) {
                problems.push(Problem { place: Place { file: file.clone(), line: *line }, text });
            }
        }
    }
    if let Some(contents) = pages.get(Path::new(CONTENTS)) {
        let listed: BTreeSet<PathBuf> =
            contents.links.iter().map(|(_, link)| Path::new("docs").join(link)).collect();
        for file in pages.keys() {
            if file.starts_with("docs") && file != Path::new(CONTENTS) && !listed.contains(file) {
                let text = format!("the page is not in {CONTENTS}");
                problems.push(Problem { place: Place { file: file.clone(), line: 1 }, text });
            }
        }
    }
    problems.sort();
    Ok(problems)
}

/// Reads the pages of a directory, and of those below it.
fn read(root: &Path, directory: &Path, below: bool, pages: &mut BTreeMap<PathBuf, Page>) -> Result<()> {
    let path = root.join(directory);
    if !path.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&path).with_context(|| format!("read {}", path.display()))? {
        let entry = entry?;
        let relative = directory.join(entry.file_name());
        if entry.path().is_dir() {
            if below {
                read(root, &relative, true, pages)?;
            }
        } else if relative.extension().is_some_and(|extension| extension == "md") {
            let text =
                fs::read_to_string(entry.path()).with_context(|| format!("read {}", relative.display()))?;
            pages.insert(relative, parse(&text)?);
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<Page> {
    let link = Regex::new(r"\]\(([^()\s]+)\)")?;
    let code = Regex::new(r"`[^`]*`")?;
    let mut page = Page::default();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        if let Some(heading) = line.strip_prefix('#') {
            let name = anchor(heading.trim_start_matches('#'));
            // A second heading of that name gets a number.
            let number = (1..).map(|number| format!("{name}-{number}"));
            let free = std::iter::once(name.clone()).chain(number).find(|name| !page.anchors.contains(name));
            page.anchors.extend(free);
        }
        for found in link.captures_iter(&code.replace_all(line, "``")) {
            page.links.extend(found.get(1).map(|target| (index + 1, target.as_str().to_owned())));
        }
    }
    Ok(page)
}

/// The name of a heading in links, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let mut text = String::new();
    // Of a link in a heading the text counts.
    let mut is_target = false;
    for character in heading.trim().chars() {
        match character {
            '(' if text.ends_with('\u{0}') => is_target = true,
            ')' if is_target => is_target = false,
            _ if is_target => {}
            ']' => text.push('\u{0}'),
            ' ' => text.push('-'),
            '-' | '_' => text.push(character),
            other if other.is_alphanumeric() => text.extend(other.to_lowercase()),
            _ => {}
        }
    }
    text.replace('\u{0}', "")
}

/// Why a link leads nowhere.
fn fault(root: &Path, pages: &BTreeMap<PathBuf, Page>, file: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = match path {
        "" => file.to_owned(),
        path => match normal(&file.parent().unwrap_or(Path::new("")).join(path)) {
            Some(target) => target,
            None => return Some(format!("{link} leads out of the repository")),
        },
    };
    if !root.join(&target).exists() {
        return Some(format!("{link} leads to {}, which is not there", target.display()));
    }
    let page = pages.get(&target)?;
    let anchor = anchor?;
    (!page.anchors.contains(anchor))
        .then(|| format!("{} has no heading with the name #{anchor}", target.display()))
}

/// The path without `..`, if it is one below the root.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::Normal(name) => parts.push(name),
            _ => {}
        }
    }
    Some(parts.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(files: &[(&str, &str)]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        check(directory.path()).unwrap().iter().map(|problem| problem.place.to_string()).collect()
    }

    #[test]
    fn links_to_pages_and_headings_are_followed() {
        let b = "# B\n## A `code`, and more\n## Twice\n## Twice\n";
        let a = "[b](b.md) [c](b.md#a-code-and-more) [d](b.md#twice-1) [e](../README.md#x)\n";
        assert!(places(&[("docs/a.md", a), ("docs/b.md", b), ("README.md", "# X\n")]).is_empty());
    }

    #[test]
    fn links_to_nothing_are_found_but_not_in_code() {
        let a = "[b](b.md)\n[c](#none)\n```text\n[d](d.md)\n```\n`[e](e.md)` [f](https://example.org/f)\n";
        assert_eq!(places(&[("docs/a.md", a)]), ["docs/a.md:1", "docs/a.md:2"]);
    }

    #[test]
    fn links_that_leave_the_repository_are_found() {
        let a = "[b](../../b.md)\n[c](../README.md)\n[d](../../README.md#x)\n";
        assert_eq!(places(&[("docs/a.md", a), ("README.md", "# X\n")]), ["docs/a.md:1", "docs/a.md:3"]);
    }

    #[test]
    fn a_page_that_the_contents_leave_out_is_found() {
        let files = [("docs/SUMMARY.md", "- [A](a.md)\n"), ("docs/a.md", "# A\n"), ("docs/b.md", "# B\n")];
        assert_eq!(places(&files), ["docs/b.md:1"]);
    }
}
