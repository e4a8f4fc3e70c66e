//! A sealed bundle on disk: the ciphertext, and next to it the statement.
//!
//! ```text
//! FILE          the ciphertext (age)
//! FILE.seal     the signed statement
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use adytum_api::names::ModelName;
use adytum_signing::OwnerSigningKey;

use super::{ARCHIVE_FILE, BundleError, PackError, Progress, Sink, Summary, pack, unseal::unseal_archive};
use crate::{
    file::{open_regular, read_bounded},
    keys::{ModelIdentity, ModelRecipient},
    rule::{GenuineStatement, ModelRule},
    seal::{SealOptions, Sealing},
    statement::{FileName, MAXIMUM_STATEMENT_LENGTH, Statement},
    unseal::{MAXIMUM_HEADER_LENGTH, UnsealError, payload_length},
};

/// Where the statement of a sealed bundle lies.
fn statement_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".seal");
    name.into()
}

/// Seals `directory` into `out` and `out.seal`, neither of which may exist. Both appear
/// whole, the ciphertext last. `progress` gets the number of bytes of files that are
/// done.
pub fn seal_bundle(
    directory: &Path,
    out: &Path,
    recipient: &ModelRecipient,
    signer: &OwnerSigningKey,
    name: &ModelName,
    version: u64,
    progress: Progress<'_>,
) -> Result<(Statement, Summary), PackError> {
    let statement_out = statement_path(out);
    for path in [out, &statement_out] {
        if path.symlink_metadata().is_ok() {
            return Err(PackError::Exists { path: path.to_owned() });
        }
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| PackError::Unreadable { path, source }
    };
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let inside = directory.canonicalize().map_err(at(directory))?;
    if parent.canonicalize().map_err(at(parent))?.starts_with(&inside) {
        return Err(PackError::Inside { out: out.to_owned() });
    }
    let options = SealOptions { model: name.clone(), version, file_name: FileName::bundle_tar() };

    let ciphertext = Unfinished::new(out)?;
    let mut sealing = Sealing::begin(&ciphertext.file, recipient, version)?;
    let summary = pack(directory, &mut sealing, progress)?;
    let statement = sealing.finish(signer, &options)?;
    let text = Unfinished::new(&statement_out)?;
    (&text.file).write_all(statement.to_text().as_bytes()).map_err(PackError::Write)?;
    text.finish()?;
    if let Err(error) = ciphertext.finish() {
        let _ = fs::remove_file(&statement_out);
        return Err(error);
    }
    File::open(parent).and_then(|opened| opened.sync_all()).map_err(at(parent))?;
    Ok((statement, summary))
}

/// A file that gets its name when it is whole.
struct Unfinished {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    fn new(target: &Path) -> Result<Self, PackError> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not a file's name");
        let at = |path: &Path, source| PackError::Unreadable { path: path.to_owned(), source };
        let name = target.file_name().ok_or_else(|| at(target, invalid()))?;
        let mut unfinished = std::ffi::OsString::from(".");
        unfinished.push(name);
        unfinished.push(format!(".sealing-{}", std::process::id()));
        let path = target.with_file_name(unfinished);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| at(&path, source))?;
        Ok(Self { file, path, target: target.to_owned() })
    }

    fn finish(self) -> Result<(), PackError> {
        self.file.sync_all().map_err(PackError::Write)?;
        // A link, unlike a rename, fails if somebody took the name in between.
        fs::hard_link(&self.path, &self.target).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => PackError::Exists { path: self.target.clone() },
            _ => PackError::Write(source),
        })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A sealed bundle, looked at. Nothing has been judged.
#[derive(Debug)]
pub struct SealedBundle {
    statement: Statement,
    ciphertext: File,
    length: u64,
}

/// A sealed bundle whose statement was accepted; whether its plaintext is what
/// that says shows when it is unsealed.
#[derive(Debug)]
pub struct GenuineBundle {
    genuine: GenuineStatement,
    ciphertext: File,
    length: u64,
}

impl SealedBundle {
    /// Opens `file` and reads `file.seal`. Links are not followed.
    pub fn open(file: &Path) -> Result<Self, BundleError> {
        let path = statement_path(file);
        let bytes = read_bounded(&path, MAXIMUM_STATEMENT_LENGTH)
            .map_err(|source| BundleError::Unreadable { path: path.clone(), source })?;
        let statement = Statement::parse(&bytes).map_err(|source| BundleError::Statement { path, source })?;
        // The signature covers the name, so no statement about a model is one
        // about a bundle.
        if statement.file_name.as_str() != ARCHIVE_FILE {
            return Err(BundleError::NotABundle { found: statement.file_name.to_string() });
        }
        let (ciphertext, length) =
            open_regular(file).map_err(|source| BundleError::Unreadable { path: file.to_owned(), source })?;
        Ok(Self { statement, ciphertext, length })
    }

    /// The statement about it.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Holds the statement against a rule, before anything is decrypted.
    pub fn judge(self, rule: &ModelRule) -> Result<GenuineBundle, BundleError> {
        let genuine = rule.judge(&self.statement)?;
        Ok(GenuineBundle { genuine, ciphertext: self.ciphertext, length: self.length })
    }
}

impl GenuineBundle {
    /// The accepted statement about it.
    pub fn genuine_statement(&self) -> &GenuineStatement {
        &self.genuine
    }

    /// Decrypts and reads the archive, in constant memory. What the sink made is
    /// NOT to be used unless `Ok` is returned: the digest is known at the end only.
    /// `progress` gets the number of bytes of the archive that are done.
    pub fn unseal(
        &self,
        identities: &[ModelIdentity],
        maximum_size: u64,
        sink: &mut impl Sink,
        progress: Progress<'_>,
    ) -> Result<Summary, BundleError> {
        let stated = self.genuine.statement().size;
        if stated > maximum_size {
            return Err(BundleError::TooLarge { size: stated, limit: maximum_size });
        }
        let payload = payload_length(stated);
        if self.length < payload {
            return Err(UnsealError::Truncated.into());
        }
        if self.length - payload > MAXIMUM_HEADER_LENGTH {
            return Err(UnsealError::Longer { stated }.into());
        }
        unseal_archive(&self.ciphertext, &self.genuine, identities, sink, progress)
    }
}
