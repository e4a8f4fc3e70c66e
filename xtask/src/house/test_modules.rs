//! Where tests are, and what prepares them (CONTRIBUTING.md, "Tests"): unit tests in a
//! module `tests`, what they share in a module `fixture`, nothing by `#[path]`.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use regex::Regex;

use crate::problem::{Place, Problem};

/// Directories with Rust files.
const DIRECTORIES: [&str; 5] = ["crates", "demo", "xtask", "tests", "benches"];

/// Other words for a fixture.
const OTHER_WORDS: &str =
    "bed|common|fakes?|helpers?|hosted|mocks?|scene|setup|stage|stubs?|support|util|utils|world";

/// The modules of tests that are not where they are expected.
pub(super) fn misplaced(root: &Path) -> Result<Vec<Problem>> {
    let checker = Checker::new()?;
    let mut problems = Vec::new();
    for directory in DIRECTORIES {
        checker.check_directory(root, Path::new(directory), &mut problems)?;
    }
    Ok(problems)
}

struct Checker {
    only_in_tests: Regex,
    by_path: Regex,
    other_word: Regex,
}

impl Checker {
    fn new() -> Result<Self> {
        Ok(Self {
            only_in_tests: Regex::new(
                r"(?m)^\s*#\[cfg\(test\)\]\s+(?:#\[[^\]]*\]\s+)*(?:pub(?:\([a-z]+\))? )?mod (\w+)",
            )?,
            by_path: Regex::new(r"(?m)^\s*#\[path\b")?,
            other_word: Regex::new(&format!(r"(?m)^\s*(?:pub(?:\([a-z]+\))? )?mod ({OTHER_WORDS})\b"))?,
        })
    }

    fn check_directory(&self, root: &Path, directory: &Path, problems: &mut Vec<Problem>) -> Result<()> {
        let whole = root.join(directory);
        for entry in fs::read_dir(&whole).with_context(|| format!("read {}", whole.display()))? {
            let path = directory.join(entry?.file_name());
            if root.join(&path).is_dir() {
                if !path.ends_with("target") {
                    self.check_directory(root, &path, problems)?;
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(root.join(&path))
                    .with_context(|| format!("read {}", path.display()))?;
                problems.extend(self.check(&path, &text));
            }
        }
        Ok(())
    }

    fn check(&self, file: &Path, text: &str) -> Vec<Problem> {
        let problem =
            |line: usize, text: String| Problem { place: Place { file: file.to_owned(), line }, text };
        let line_of = |offset: usize| text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
        let mut problems = Vec::new();
        // Examples are programs of one file, and have no other way to share one.
        let is_example = file.components().any(|part| part.as_os_str() == "examples");
        if !is_example && file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_tests")) {
            problems.push(problem(
                1,
                "unit tests are in `tests.rs` of the module's directory, or in a part of it".to_owned(),
            ));
        }
        for hit in self.by_path.find_iter(text).filter(|_| !is_example) {
            problems.push(problem(
                line_of(hit.end()),
                "a module is found by its name; put its file where that is".to_owned(),
            ));
        }
        for hit in self.only_in_tests.captures_iter(text) {
            if let Some(name) = hit.get(1)
                && !["tests", "fixture"].contains(&name.as_str())
            {
                problems.push(problem(
                    line_of(name.start()),
                    format!(
                        "`{}` exists in tests only: call a module with tests `tests`, and one that prepares them \
                         `fixture`",
                        name.as_str()
                    ),
                ));
            }
        }
        for hit in self.other_word.captures_iter(text) {
            if let Some(name) = hit.get(1) {
                problems.push(problem(
                    line_of(name.start()),
                    format!(
                        "`{}`: call the module `fixture` if it prepares tests, or by its subject",
                        name.as_str()
                    ),
                ));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_fixtures_have_one_home_and_one_name() {
        let checker = Checker::new().unwrap();
        let lines = |file: &str, text: &str| -> Vec<usize> {
            checker.check(Path::new(file), text).iter().map(|problem| problem.place.line).collect()
        };
        let right = "mod store;\n#[cfg(test)]\npub(crate) mod fixture;\n#[cfg(test)]\nmod tests {}\nmod supporters;\n";
        assert_eq!(lines("src/lib.rs", right), [0; 0]);
        assert_eq!(lines("src/store_tests.rs", ""), [1]);
        assert_eq!(lines("src/lib.rs", "\n#[cfg(test)]\nmod emulation;\n"), [3]);
        assert_eq!(lines("tests/a.rs", "\nmod support;\npub mod world;\n"), [2, 3]);
        // Not in a text, as here.
        assert_eq!(lines("src/a.rs", "#[path = \"b.rs\"]\nmod a;\n"), [1]);
    }
}
