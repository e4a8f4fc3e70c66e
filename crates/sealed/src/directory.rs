//! The entries of a model directory. The host writes it, so every entry is
//! looked at and none is believed.
//!
//! ```text
//! BASE/VERSION/model.onnx.age    the ciphertext
//! BASE/VERSION/model.seal        the signed statement
//! BASE/VERSION/model.onnx        a plain model
//! BASE/VERSION/saved_model.pb    a plain SavedModel, with its other files
//! ```
//!
//! As for TensorFlow Serving, a version's name may have leading zeros (`00000123` is
//! version 123). Symbolic links are followed if they stay within BASE: so do those of
//! Kubernetes' ConfigMaps and Secrets (`..data`) and of git-sync.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, FileType},
    io,
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

/// The file that makes a directory a SavedModel.
pub const SAVED_MODEL_FILE: &str = "saved_model.pb";

/// How many entries a model directory may have.
pub const MAXIMUM_ENTRIES: usize = 1000;

/// How many entries a version's directory may have.
pub const MAXIMUM_VERSION_ENTRIES: usize = 10_000;

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
    Plain { file: PathBuf, format: PlainFormat },
}

/// What a plain model's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainFormat {
    /// ONNX, perhaps with files of data next to it.
    Onnx,
    /// The definition of a SavedModel; its variables lie next to it.
    SavedModel,
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
    /// Do: nothing, if the entry is no version; otherwise name the version's directory
    /// with a number, such as `1`.
    #[error("not a version: expected a directory named 0 to {MAXIMUM_VERSION}")]
    Name,
    /// Two directories have the same number as their names.
    ///
    /// Do: remove one of the two.
    #[error("another directory is version {version} already; remove one of the two")]
    SameVersion { version: u64 },
    /// An entry of the model directory is a symbolic link that leads out of the model
    /// directory.
    ///
    /// Do: put the directory or file itself there, or link to one within the model
    /// directory.
    #[error(
        "a symbolic link that leads out of the model directory; put the directory or file itself here, or link to \
         one within it"
    )]
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
            Self::SameVersion { .. } => "model-version-twice",
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

/// Looks at every entry of a model directory. Links are followed if they stay within
/// it; `base` itself may be one.
pub fn scan(base: &Path) -> Result<Scan, ScanError> {
    let unreadable = |source| ScanError::Unreadable { base: base.to_owned(), source };
    let root = base.canonicalize().map_err(unreadable)?;
    let entries = read_sorted(base, MAXIMUM_ENTRIES)
        .map_err(unreadable)?
        .ok_or_else(|| ScanError::TooMany { base: base.to_owned() })?;
    // Sorted by path for the report; candidates are sorted by number below.
    let mut scan = Scan::default();
    let mut seen = BTreeSet::new();
    for path in entries {
        match version_directory(&path, &root) {
            Ok((version, _)) if !seen.insert(version) => {
                scan.refused.push(Refused { path, reason: RefusalReason::SameVersion { version } });
            }
            Ok((version, directory)) => scan_version(&path, &directory, &root, version, &mut scan),
            Err(reason) => scan.refused.push(Refused { path, reason }),
        }
    }
    scan.candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.version));
    Ok(scan)
}

/// Looks at one version's directory, whose name must be a version. Links must stay
/// within it.
pub fn scan_one(directory: &Path) -> Scan {
    let mut scan = Scan::default();
    let found = directory.canonicalize().map_err(|error| RefusalReason::unreadable(&error));
    match found.and_then(|root| Ok((version_directory(directory, &root)?, root))) {
        Ok(((version, real), root)) => scan_version(directory, &real, &root, version, &mut scan),
        Err(reason) => scan.refused.push(Refused { path: directory.to_owned(), reason }),
    }
    scan
}

/// The version that a directory's name says: decimal digits, perhaps with zeros before
/// them, as for TensorFlow Serving.
pub fn parse_version(name: &str) -> Option<u64> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|version| digits && *version <= MAXIMUM_VERSION)
}

/// The version, and the directory itself.
fn version_directory(path: &Path, root: &Path) -> Result<(u64, PathBuf), RefusalReason> {
    let version =
        path.file_name().and_then(|name| name.to_str()).and_then(parse_version).ok_or(RefusalReason::Name)?;
    let (real, file_type) = resolve(path, root)?;
    if !file_type.is_dir() {
        return Err(RefusalReason::Kind { expected: "directory" });
    }
    Ok((version, real))
}

/// What a path is, with links followed as far as they stay within `root`.
fn resolve(path: &Path, root: &Path) -> Result<(PathBuf, FileType), RefusalReason> {
    let unreadable = |error: io::Error| RefusalReason::unreadable(&error);
    let file_type = path.symlink_metadata().map_err(unreadable)?.file_type();
    if !file_type.is_symlink() {
        return Ok((path.to_owned(), file_type));
    }
    let real = path.canonicalize().map_err(unreadable)?;
    if !real.starts_with(root) {
        return Err(RefusalReason::Link);
    }
    let file_type = real.symlink_metadata().map_err(unreadable)?.file_type();
    Ok((real, file_type))
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

/// The files of a version by name, with where each really lies.
type Files = BTreeMap<OsString, PathBuf>;

/// `shown` is the directory in reports, `directory` is where it really lies.
fn scan_version(shown: &Path, directory: &Path, root: &Path, version: u64, scan: &mut Scan) {
    let mut refuse = |path: &Path, reason| scan.refused.push(Refused { path: path.to_owned(), reason });
    let entries = match read_sorted(directory, MAXIMUM_VERSION_ENTRIES) {
        Ok(Some(entries)) => entries,
        Ok(None) => return refuse(shown, RefusalReason::TooMany { limit: MAXIMUM_VERSION_ENTRIES }),
        Err(error) => return refuse(shown, RefusalReason::unreadable(&error)),
    };
    let mut files = Files::new();
    let mut others = Vec::new();
    for path in entries {
        let Some(name) = path.file_name().map(OsStr::to_owned) else { continue };
        match resolve(&path, root) {
            Ok((real, file_type)) if file_type.is_file() => {
                files.insert(name, real);
            }
            // Where Kubernetes keeps the files that the links lead to.
            Ok(_) if name.as_encoded_bytes().starts_with(b"..") => {}
            Ok(_) => others.push((shown.join(name), RefusalReason::Kind { expected: "regular file" })),
            Err(reason) => others.push((shown.join(name), reason)),
        }
    }
    if files.is_empty() && others.is_empty() {
        return refuse(shown, RefusalReason::NoModel);
    }
    let statement = files.remove(OsStr::new(STATEMENT_FILE));
    let has_statement = statement.is_some();
    let content = match statement {
        Some(path) => match sealed_content(&path, version) {
            Ok((statement, name)) => match files.remove(OsStr::new(&name)) {
                Some(ciphertext) => Some(Content::Sealed { statement: Box::new(statement), ciphertext }),
                None => {
                    refuse(&shown.join(STATEMENT_FILE), RefusalReason::NoCiphertext { expected: name });
                    None
                }
            },
            Err(reason) => {
                refuse(&shown.join(STATEMENT_FILE), reason);
                // One cause, one report: its ciphertext is not unlisted besides.
                files.retain(|name, _| !is_ciphertext(name));
                None
            }
        },
        // A plain model counts as one only where no statement names a sealed one.
        None => plain_content(&mut files),
    };
    if matches!(content, Some(Content::Plain { .. })) {
        // Its other files are its own: data, variables, assets.
        files.clear();
        others.clear();
    }
    for (path, reason) in others {
        refuse(&path, reason);
    }
    for name in files.into_keys() {
        let unsigned = is_ciphertext(&name) && !has_statement;
        let reason = if unsigned { RefusalReason::NoStatement } else { RefusalReason::Unlisted };
        refuse(&shown.join(name), reason);
    }
    if let Some(content) = content {
        scan.candidates.push(Candidate { version, content });
    }
}

fn plain_content(files: &mut Files) -> Option<Content> {
    let formats = [(PLAIN_MODEL_FILE, PlainFormat::Onnx), (SAVED_MODEL_FILE, PlainFormat::SavedModel)];
    formats.into_iter().find_map(|(name, format)| {
        let file = files.remove(OsStr::new(name))?;
        Some(Content::Plain { file, format })
    })
}

fn is_ciphertext(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "age")
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
