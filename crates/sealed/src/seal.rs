//! Sealing: plaintext in, ciphertext and a signed statement out, in constant
//! memory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    iter,
    path::{Path, PathBuf},
};

use adytum_api::names::ModelName;
use adytum_evidence::measurement::Sha256Digest;
use adytum_signing::OwnerSigningKey;
use age::{Encryptor, stream::StreamWriter};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    keys::ModelRecipient,
    layout::{CHUNK, STATEMENT_FILE},
    statement::{FileName, MAXIMUM_VERSION, Statement},
};

/// What the statement is to say.
#[derive(Clone, Debug)]
pub struct SealOptions {
    pub model: ModelName,
    /// Its version, at most [`MAXIMUM_VERSION`].
    pub version: u64,
    /// The plaintext's file name; [`FileName::model_onnx`] for models.
    pub file_name: FileName,
}

/// Seals what `plaintext` yields to its end. `progress` gets the number of plaintext
/// bytes done so far. The output is of no use unless `Ok` is returned.
pub fn seal(
    mut plaintext: impl Read,
    ciphertext: impl Write,
    recipient: &ModelRecipient,
    signer: &OwnerSigningKey,
    options: &SealOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Statement, SealError> {
    let mut sealing = Sealing::begin(ciphertext, recipient, options.version)?;
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    loop {
        let count = match plaintext.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SealError::Read(error)),
        };
        sealing.write_all(&buffer[..count]).map_err(SealError::Write)?;
        progress(sealing.size);
    }
    sealing.finish(signer, options)
}

/// Encrypts what is written to it, counts and hashes.
pub(crate) struct Sealing<W: Write> {
    output: StreamWriter<W>,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Sealing<W> {
    /// Begins a ciphertext; `version` is only looked at.
    pub(crate) fn begin(ciphertext: W, recipient: &ModelRecipient, version: u64) -> Result<Self, SealError> {
        if version > MAXIMUM_VERSION {
            return Err(SealError::Version { found: version });
        }
        let encryptor = Encryptor::with_recipients(iter::once(recipient.as_age()))
            .map_err(|_| SealError::Recipient { recipient: recipient.clone() })?;
        let output = encryptor.wrap_output(ciphertext).map_err(SealError::Write)?;
        Ok(Self { output, digest: Sha256::new(), size: 0 })
    }

    /// Ends the ciphertext and signs what was in it.
    pub(crate) fn finish(
        self,
        signer: &OwnerSigningKey,
        options: &SealOptions,
    ) -> Result<Statement, SealError> {
        if self.size == 0 {
            return Err(SealError::Empty);
        }
        self.output.finish().and_then(|mut ciphertext| ciphertext.flush()).map_err(SealError::Write)?;
        let sha256 = Sha256Digest(self.digest.finalize().into());
        let SealOptions { model, version, file_name } = options.clone();
        Ok(Statement::sign(signer, model, version, file_name, self.size, sha256))
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        let count = self.output.write(plaintext)?;
        self.digest.update(&plaintext[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Seals into `base/VERSION/`, which must not exist yet. The directory appears
/// whole, on disk and at once, or not at all: a server that watches `base` never
/// sees half a model.
pub fn seal_to_directory(
    plaintext: impl Read,
    base: &Path,
    recipient: &ModelRecipient,
    signer: &OwnerSigningKey,
    options: &SealOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<(PathBuf, Statement), SealError> {
    let target = base.join(options.version.to_string());
    if target.symlink_metadata().is_ok() {
        return Err(SealError::Exists { directory: target });
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| SealError::Directory { path, source }
    };
    fs::create_dir_all(base).map_err(at(base))?;
    let unfinished = base.join(format!(".{}.sealing-{}", options.version, std::process::id()));
    fs::create_dir(&unfinished).map_err(at(&unfinished))?;
    let guard = RemovedUnlessFinished(&unfinished);

    let ciphertext_path = unfinished.join(options.file_name.ciphertext());
    let ciphertext = create_new(&ciphertext_path).map_err(at(&ciphertext_path))?;
    let statement = seal(plaintext, &ciphertext, recipient, signer, options, progress)?;
    ciphertext.sync_all().map_err(at(&ciphertext_path))?;

    let statement_path = unfinished.join(STATEMENT_FILE);
    create_new(&statement_path)
        .and_then(|mut file| {
            file.write_all(statement.to_text().as_bytes())?;
            file.sync_all()
        })
        .map_err(at(&statement_path))?;
    File::open(&unfinished).and_then(|directory| directory.sync_all()).map_err(at(&unfinished))?;

    // Renaming onto an existing directory fails unless that is empty.
    fs::rename(&unfinished, &target).map_err(at(&target))?;
    std::mem::forget(guard);
    File::open(base).and_then(|directory| directory.sync_all()).map_err(at(base))?;
    Ok((target, statement))
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

struct RemovedUnlessFinished<'a>(&'a Path);

impl Drop for RemovedUnlessFinished<'_> {
    fn drop(&mut self) {
        // Files that can't be removed are ciphertext in a directory that no server takes
        // for a version.
        let _ = fs::remove_dir_all(self.0);
    }
}

/// Why nothing was sealed.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The file to seal has no bytes.
    ///
    /// Do: give the file that holds the model.
    #[error("the model is empty; give the file that holds it")]
    Empty,
    /// The version is higher than a model server can name.
    ///
    /// Do: give a lower `--version`.
    #[error("version {found} is above {MAXIMUM_VERSION}, the highest that a model server can name")]
    Version {
        /// The version in the request.
        found: u64,
    },
    /// Nothing can be encrypted to this recipient: it is no valid public key.
    ///
    /// Do: make a key with `adytum model-key new` and give its recipient.
    #[error("nothing can be encrypted to {recipient}; make a key with `adytum model-key new`")]
    Recipient { recipient: ModelRecipient },
    /// The model's file can't be read.
    ///
    /// Do: read the system's reason in the message; check the path and its permissions.
    #[error("reading the model failed: {0}")]
    Read(#[source] io::Error),
    /// The system refused to write the ciphertext.
    ///
    /// See: PackError::Write.
    #[error("writing the sealed model failed: {0}")]
    Write(#[source] io::Error),
    /// This version was sealed before, and sealed models are never overwritten.
    ///
    /// See: PackError::Exists.
    #[error("{} exists already; seal under a higher version", directory.display())]
    Exists { directory: PathBuf },
    /// A directory or file of the sealed model can't be made.
    ///
    /// Do: check that `--out` is a directory in which you may write.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The file or directory that could not be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SealError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "seal-empty",
            Self::Version { .. } => "seal-version",
            Self::Recipient { .. } => "seal-recipient",
            Self::Read(_) => "seal-read",
            Self::Write(_) => "seal-write",
            Self::Exists { .. } => "seal-exists",
            Self::Directory { .. } => "seal-directory",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::ModelIdentity;

    fn options() -> SealOptions {
        SealOptions { model: "digits".parse().unwrap(), version: 3, file_name: FileName::model_onnx() }
    }

    /// Fails after some bytes, as a disk may.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the disk is gone"));
            }
            let count = buffer.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }
    }

    #[test]
    fn the_directory_appears_whole_or_not_at_all() {
        let base = tempfile::tempdir().unwrap();
        let key = OwnerSigningKey::generate().unwrap();
        let recipient = ModelIdentity::generate().recipient();
        let seal_it = |plaintext: &mut dyn Read| {
            seal_to_directory(plaintext, base.path(), &recipient, &key, &options(), &mut |_| {})
        };
        assert_eq!(seal_it(&mut Failing(100_000)).unwrap_err().code(), "seal-read");
        assert_eq!(seal_it(&mut io::empty()).unwrap_err().code(), "seal-empty");
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);

        let (directory, statement) = seal_it(&mut &b"model"[..]).unwrap();
        assert_eq!(directory, base.path().join("3"));
        let mut names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["model.onnx.age", "model.seal"]);
        let written = fs::read(directory.join("model.seal")).unwrap();
        assert_eq!(Statement::parse(&written).unwrap(), statement);

        assert_eq!(seal_it(&mut &b"other"[..]).unwrap_err().code(), "seal-exists");
        assert_eq!(fs::read(directory.join("model.seal")).unwrap(), written);
    }

    #[test]
    fn progress_is_told_in_plaintext_bytes() {
        let key = OwnerSigningKey::generate().unwrap();
        let mut told = Vec::new();
        let recipient = ModelIdentity::generate().recipient();
        let plaintext = vec![1; CHUNK + 1];
        seal(&plaintext[..], io::sink(), &recipient, &key, &options(), &mut |done| told.push(done)).unwrap();
        assert_eq!(told, [CHUNK as u64, CHUNK as u64 + 1]);
    }

    #[test]
    fn a_version_no_server_can_name_is_refused() {
        let key = OwnerSigningKey::generate().unwrap();
        let recipient = ModelIdentity::generate().recipient();
        let options = SealOptions { version: u64::MAX, ..options() };
        let error = seal(&b"m"[..], io::sink(), &recipient, &key, &options, &mut |_| {}).unwrap_err();
        assert_eq!(error.code(), "seal-version");
    }
}
