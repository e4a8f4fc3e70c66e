//! What lies in a model directory. The host writes it, so every entry is
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

/// What was found: a report, not a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Version directories that hold a model, the highest version first.
    pub candidates: Vec<Candidate>,
    /// Everything else.
    pub refused: Vec<Refused>,
}

/// A version directory with a model in it. Nothing has been judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The directory's name.
    pub version: u64,
    /// What is in it.
    pub content: Content,
}

/// What a version directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A sealed model.
    Sealed {
        /// What is said about it.
        statement: Box<Statement>,
        /// The ciphertext's path.
        ciphertext: PathBuf,
    },
    /// A plain model.
    Plain {
        /// Its path.
        file: PathBuf,
    },
}

/// An entry that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub path: PathBuf,
    /// Why.
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// Not a version number in its usual form.
    #[error("not a version: expected a directory named 0 to {MAXIMUM_VERSION}, without leading zeros")]
    Name,
    /// A symbolic link.
    #[error("a symbolic link; links are not followed, put the directory or file itself here")]
    Link,
    /// Neither what was expected nor a link.
    #[error("not a {expected}")]
    Kind {
        /// "directory" or "regular file".
        expected: &'static str,
    },
    /// A file that belongs to no sealed model.
    #[error("not listed: no statement speaks of this file")]
    Unlisted,
    /// A plain model where only sealed ones are served.
    #[error(
        "a plain model; only sealed models are served, unless the measured configuration allows plain ones"
    )]
    Plain,
    /// A ciphertext about which nobody says anything.
    #[error("there is no {STATEMENT_FILE}: seal the model with `adytum seal`")]
    NoStatement,
    /// A statement about a file that is not there.
    #[error("the statement speaks of {expected}, which is not there")]
    NoCiphertext {
        /// The ciphertext's name.
        expected: String,
    },
    /// A statement that does not parse.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A directory renamed to another version.
    #[error("the statement is about version {stated}, the directory is named {found}")]
    Version {
        /// The statement's.
        stated: u64,
        /// The directory's.
        found: u64,
    },
    /// The broker's rule does not accept the statement.
    #[error("not genuine: {0}")]
    Rule(#[from] RuleRefusal),
    /// The broker released no rule for this model.
    #[error("no rule says which models of this name may be served; the owner's manifest lists none")]
    NoRule,
    /// Nothing is in it.
    #[error("there is no model in it")]
    NoModel,
    /// The host put too much there.
    #[error("more than {limit} entries")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The system does not let us look.
    #[error("unreadable: {reason}")]
    Unreadable {
        /// What it said.
        reason: String,
    },
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// It can't be read.
    #[error("the model directory {} can't be read: {source}; check --model_base_path", base.display())]
    Unreadable {
        /// The directory.
        base: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is too much in it.
    #[error("the model directory {} has more than {MAXIMUM_ENTRIES} entries", base.display())]
    TooMany {
        /// The directory.
        base: PathBuf,
    },
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
        // A plain model counts as one only where nobody speaks of a sealed one.
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

/// The statement, and the name of the ciphertext it speaks of.
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
