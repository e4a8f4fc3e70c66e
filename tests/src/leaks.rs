//! Looks for secrets where none may be: in image archives, in directories, in
//! whatever bytes a test got hold of. Each value is looked for raw, in
//! hexadecimal and in base64 at any offset, also broken into lines.

mod archive;
mod needles;

use std::{
    collections::BTreeSet,
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;
use anyhow::{Context, Result};

pub use self::archive::{SearchedArchive, search_archive, search_directory};

/// Secrets to look for.
#[derive(Default)]
pub struct Secrets {
    needles: Vec<Needle>,
    values: usize,
}

/// One form of one value.
struct Needle {
    name: String,
    form: &'static str,
    bytes: Vec<u8>,
}

/// A secret where none may be. The value is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Whose value it is.
    pub secret: String,
    /// How it was written.
    pub form: &'static str,
    pub place: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.place, self.secret, self.form)
    }
}

impl Secrets {
    /// Every file below a directory that only its owner may read is a secret. (The
    /// certificates of a simulated platform are next to their keys.)
    pub fn add_directory(&mut self, directory: &Path) -> Result<()> {
        for path in files_below(directory)? {
            if path.metadata()?.permissions().mode() & 0o077 != 0 {
                continue;
            }
            let value = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            self.add(&path.display().to_string(), &value);
        }
        Ok(())
    }

    /// One value: a key in PEM, an age identity, an SSLConfig, or other bytes. Its
    /// public parts (certificates) are no secret.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        let parts = needles::secret_parts(value);
        self.values += parts.len();
        for part in parts {
            self.needles.extend(needles::forms(&part).into_iter().map(|(form, bytes)| Needle {
                name: name.to_owned(),
                form,
                bytes,
            }));
        }
    }

    /// A model that must be nowhere in the clear: pieces of it count, and of each file of a
    /// directory.
    pub fn add_model(&mut self, path: &Path) -> Result<()> {
        if path.is_dir() {
            for entry in fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
                let entry = entry?;
                // A shorter file has nothing that is its own.
                if entry.path().is_dir() || entry.metadata()?.len() >= SHORTEST {
                    self.add_model(&entry.path())?;
                }
            }
            return Ok(());
        }
        let model = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        self.values += 1;
        self.needles.extend(needles::pieces(&model).into_iter().map(|bytes| Needle {
            name: path.display().to_string(),
            form: "in the clear",
            bytes,
        }));
        Ok(())
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values
    }

    /// Is there nothing to look for?
    pub fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// What looks for all of them at once.
    pub fn searcher(&self) -> Result<Searcher<'_>> {
        let patterns = AhoCorasick::new(self.needles.iter().map(|needle| &needle.bytes))?;
        Ok(Searcher { needles: &self.needles, patterns })
    }
}

/// The shortest file of a model's directory that is searched for, in bytes.
const SHORTEST: u64 = 1024;

/// Looks for all secrets at once.
pub struct Searcher<'a> {
    needles: &'a [Needle],
    patterns: AhoCorasick,
}

impl Searcher<'_> {
    /// The secrets in these bytes.
    pub fn search(&self, place: &str, bytes: &[u8]) -> BTreeSet<Finding> {
        let mut findings = self.found_in(place, bytes);
        // Text broken into lines, really or with escapes, as PEM in JSON or YAML is.
        findings.extend(self.found_in(place, &needles::without_line_breaks(bytes)));
        findings
    }

    fn found_in(&self, place: &str, bytes: &[u8]) -> BTreeSet<Finding> {
        let indices = self.patterns.find_overlapping_iter(bytes).map(|found| found.pattern().as_usize());
        let needles: BTreeSet<usize> = indices.collect();
        needles
            .into_iter()
            .map(|index| Finding {
                secret: self.needles[index].name.clone(),
                form: self.needles[index].form,
                place: place.to_owned(),
            })
            .collect()
    }
}

/// Files below a directory, in the order of their names; links are not followed.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let context = || format!("read {}", directory.display());
        for entry in fs::read_dir(&directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
