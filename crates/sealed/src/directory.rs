//! The entries of a model directory. The host writes it, so every entry is
//! looked at and none is believed.
//!
//! ```text
//! BASE/VERSION/model.onnx.age    the ciphertext
//! BASE/VERSION/model.seal        the signed statement
//! BASE/VERSION/model.onnx        a plain model
//! ```

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

pub use crate::layout::STATEMENT_FILE;
use crate::{
    file::read_bounded,
    rule::RuleRefusal,
    statement::{MAXIMUM_STATEMENT_LENGTH, MAXIMUM_VERSION, Statement, StatementError},
};

/// A plain model's file name.
pub const PLAIN_MODEL_FILE: &str = "model.onnx";

/// How many entries a model directory may have.
pub const MAXIMUM_ENTRIES: usize = 1000;

/// How many entries a version's directory may have.
pub const MAXIMUM_VERSION_ENTRIES: usize = 100;

/// The entries found: a report, not a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Version directories that hold a model, the highest version first.
    pub candidates: Vec<Candidate>,
    pub refused: Vec<Refused>,
}

/// A version directory with a model in it. Nothing has been judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub version: u64,
    /// The model in it.
    pub content: Content,
}

/// What a version directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A sealed model.
    Sealed {
        /// The statement about it.
        statement: Box<Statement>,
        ciphertext: PathBuf,
    },
    /// A plain model.
    Plain { file: PathBuf },
}

/// An entry that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub path: PathBuf,
    pub reason: RefusalReason,
}

impl Refused {
    /// Stable code for logs and metrics.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug escapes what the host put into the name.
        write!(f, "{:?}: {}", self.path, self.reason)
    }
}

/// Why an entry is not used.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// An entry of the model directory is not named as a version.
    ///
    /// Do: name each version's directory with a number without leading zeros, such as
    /// `1`; remove other entries.
    #[error("not a version: expected a directory named 0 to {MAXIMUM_VERSION}, without leading zeros")]
    Name,
    /// An entry of the model directory is a symbolic link, which is never followed.
    ///
    /// Do: put the directory or file itself there.
    #[error("a symbolic link; links are not followed, put the directory or file itself here")]
    Link,
    /// An entry of the model directory is a directory where a file is expected, or the
    /// reverse.
    ///
    /// Do: remove the entry; a version's directory holds files only.
    #[error("not a {expected}")]
    Kind {
        /// "directory" or "regular file".
        expected: &'static str,
    },
    /// A file is next to a sealed model whose statement does not name it.
    ///
    /// Do: remove the file from the version's directory; to serve a SavedModel, convert
    /// it and seal the result with `adytum seal`.
    #[error(
        "no sealed model: the statement in this directory does not name this file, or there is none; seal \
         the model with `adytum seal`"
    )]
    Unlisted,
    /// The model is not sealed, and only sealed models are served.
    ///
    /// Do: seal the model with `adytum seal`, or allow plain models in the measured
    /// configuration.
    #[error(
        "a plain model; only sealed models are served, unless the measured configuration allows plain ones"
    )]
    Plain,
    /// A version's directory has a ciphertext without a statement.
    ///
    /// Do: seal the model with `adytum seal`, or copy the statement too.
    #[error("there is no {STATEMENT_FILE}: seal the model with `adytum seal`")]
    NoStatement,
    /// A version's directory has a statement without the ciphertext that it names.
    ///
    /// Do: copy the ciphertext into the directory too.
    #[error("the statement names {expected}, which is not in this directory; copy it there too")]
    NoCiphertext { expected: String },
    /// The statement of the model does not parse.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The number in the statement is not the name of the version's directory.
    ///
    /// Do: name the directory with the version in the statement, or seal the model again
    /// under this `--version`.
    #[error(
        "the statement is about version {stated}, the directory is named {found}; rename it, or seal the \
         model under that version"
    )]
    Version { stated: u64, found: u64 },
    /// The rule from the broker does not accept the statement.
    #[error("not genuine: {0}")]
    Rule(#[from] RuleRefusal),
    /// The broker released no rule for models of this name.
    ///
    /// Do: add a `[[model]]` to the manifest, and name it in `models` of the workload.
    #[error(
        "no rule says which models of this name may be served; add a [[model]] to the manifest and name it \
         in the workload's `models`"
    )]
    NoRule,
    /// A version's directory has no model in it.
    ///
    /// Do: put the sealed model there, or remove the directory.
    #[error("there is no model in this directory; put the sealed model there, or remove the directory")]
    NoModel,
    /// A version's directory has more entries than are looked at.
    ///
    /// Do: remove the files that do not belong to the model.
    #[error("more than {limit} entries; remove files that do not belong to the model")]
    TooMany { limit: usize },
    /// An entry of the model directory can't be read.
    ///
    /// See: VersionError::Read.
    #[error("unreadable: {reason}")]
    Unreadable { reason: String },
}

impl RefusalReason {
    /// Stable code for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name => "model-directory-name",
            Self::Link => "model-symbolic-link",
            Self::Kind { .. } => "model-file-kind",
            Self::Unlisted => "model-file-unlisted",
            Self::Plain => "model-plain",
            Self::NoStatement => "model-statement-missing",
            Self::NoCiphertext { .. } => "model-ciphertext-missing",
            Self::Statement(error) => error.code(),
            Self::Version { .. } => "model-version-renamed",
            Self::Rule(refusal) => refusal.code(),
            Self::NoRule => "model-rule-missing",
            Self::NoModel => "model-missing",
            Self::TooMany { .. } => "model-too-many-entries",
            Self::Unreadable { .. } => "model-unreadable",
        }
    }

    fn unreadable(error: &io::Error) -> Self {
        Self::Unreadable { reason: error.to_string() }
    }
}

/// Why a model directory was not scanned at all.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The model directory can't be read.
    ///
    /// Do: check that `--model_base_path` of `adytum-serving` names a directory that its
    /// user may read.
    #[error("the model directory {} can't be read: {source}; check --model_base_path", base.display())]
    Unreadable {
        base: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The model directory has more entries than are looked at.
    ///
    /// Do: remove old versions from it.
    #[error("the model directory {} has more than {MAXIMUM_ENTRIES} entries", base.display())]
    TooMany { base: PathBuf },
}

impl ScanError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "model-directory-unreadable",
            Self::TooMany { .. } => "model-directory-too-many-entries",
        }
    }
}

/// Looks at every entry of a model directory. `base` itself may be a symbolic
/// link, nothing in it may.
pub fn scan(base: &Path) -> Result<Scan, ScanError> {
    let unreadable = |source| ScanError::Unreadable { base: base.to_owned(), source };
    let mut entries = read_sorted(base, MAXIMUM_ENTRIES)
        .map_err(unreadable)?
        .ok_or_else(|| ScanError::TooMany { base: base.to_owned() })?;
    // Sorted by path for the report; candidates are sorted by number below.
    entries.sort();
    let mut scan = Scan::default();
    for path in entries {
        match version_directory(&path) {
            Ok(version) => scan_version(&path, version, &mut scan),
            Err(reason) => scan.refused.push(Refused { path, reason }),
        }
    }
    scan.candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.version));
    Ok(scan)
}

/// Looks at one version's directory, whose name must be a version.
pub fn scan_one(directory: &Path) -> Scan {
    let mut scan = Scan::default();
    match version_directory(directory) {
        Ok(version) => scan_version(directory, version, &mut scan),
        Err(reason) => scan.refused.push(Refused { path: directory.to_owned(), reason }),
    }
    scan
}

/// The version that a directory's name says: canonical decimal, so that no two
/// names mean one version.
pub fn parse_version(name: &str) -> Option<u64> {
    let canonical = name == "0" || (!name.starts_with('0') && name.bytes().all(|b| b.is_ascii_digit()));
    name.parse().ok().filter(|version| canonical && *version <= MAXIMUM_VERSION)
}

fn version_directory(path: &Path) -> Result<u64, RefusalReason> {
    let file_type = path.symlink_metadata().map_err(|error| RefusalReason::unreadable(&error))?.file_type();
    if file_type.is_symlink() {
        return Err(RefusalReason::Link);
    }
    let version =
        path.file_name().and_then(|name| name.to_str()).and_then(parse_version).ok_or(RefusalReason::Name)?;
    if !file_type.is_dir() {
        return Err(RefusalReason::Kind { expected: "directory" });
    }
    Ok(version)
}

/// The entries, or `None` if there are more than `limit`.
fn read_sorted(directory: &Path, limit: usize) -> io::Result<Option<Vec<PathBuf>>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        if paths.len() == limit {
            return Ok(None);
        }
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(Some(paths))
}

fn scan_version(directory: &Path, version: u64, scan: &mut Scan) {
    let mut refuse = |path: &Path, reason| scan.refused.push(Refused { path: path.to_owned(), reason });
    let files = match read_sorted(directory, MAXIMUM_VERSION_ENTRIES) {
        Ok(Some(files)) => files,
        Ok(None) => return refuse(directory, RefusalReason::TooMany { limit: MAXIMUM_VERSION_ENTRIES }),
        Err(error) => return refuse(directory, RefusalReason::unreadable(&error)),
    };
    if files.is_empty() {
        return refuse(directory, RefusalReason::NoModel);
    }
    let mut regular = Vec::new();
    for path in files {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => regular.push(path),
            Ok(metadata) if metadata.is_symlink() => refuse(&path, RefusalReason::Link),
            Ok(_) => refuse(&path, RefusalReason::Kind { expected: "regular file" }),
            Err(error) => refuse(&path, RefusalReason::unreadable(&error)),
        }
    }
    let take = |regular: &mut Vec<PathBuf>, name: &str| {
        let position = regular.iter().position(|path| path.file_name().is_some_and(|found| found == name))?;
        Some(regular.remove(position))
    };
    let statement = take(&mut regular, STATEMENT_FILE);
    let has_statement = statement.is_some();
    let content = match statement {
        Some(path) => match sealed_content(&path, version) {
            Ok((statement, name)) => match take(&mut regular, &name) {
                Some(ciphertext) => Some(Content::Sealed { statement: Box::new(statement), ciphertext }),
                None => {
                    refuse(&path, RefusalReason::NoCiphertext { expected: name });
                    None
                }
            },
            Err(reason) => {
                refuse(&path, reason);
                // One cause, one report: its ciphertext is not unlisted besides.
                regular.retain(|path| !is_ciphertext(path));
                None
            }
        },
        // A plain model counts as one only where no statement names a sealed one.
        None => take(&mut regular, PLAIN_MODEL_FILE).map(|file| Content::Plain { file }),
    };
    for path in regular {
        let unsigned = is_ciphertext(&path) && !has_statement;
        refuse(&path, if unsigned { RefusalReason::NoStatement } else { RefusalReason::Unlisted });
    }
    if let Some(content) = content {
        scan.candidates.push(Candidate { version, content });
    }
}

fn is_ciphertext(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "age")
}

/// The statement, and the name of the ciphertext that it names.
fn sealed_content(path: &Path, version: u64) -> Result<(Statement, String), RefusalReason> {
    let bytes =
        read_bounded(path, MAXIMUM_STATEMENT_LENGTH).map_err(|error| RefusalReason::unreadable(&error))?;
    let statement = Statement::parse(&bytes)?;
    if statement.version != version {
        return Err(RefusalReason::Version { stated: statement.version, found: version });
    }
    let name = statement.file_name.ciphertext();
    Ok((statement, name))
}
