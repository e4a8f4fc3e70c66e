//! Unsealing: a genuine statement and ciphertext in, plaintext out, only if
//! length and digest are exactly the stated ones.
//!
//! Nothing here decides whether to believe a statement: the functions take a
//! [`GenuineStatement`], which only a rule makes.

use std::{
    cell::Cell,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    rc::Rc,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use adytum_evidence::measurement::Sha256Digest;
use age::{DecryptError, Decryptor, stream::StreamReader};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{keys::ModelIdentity, layout::CHUNK, rule::GenuineStatement, secret_bytes::SecretBytes};

/// The longest age header that is read, in bytes: over a hundred recipients.
pub const MAXIMUM_HEADER_LENGTH: u64 = 16 * 1024;

/// Bytes that age adds to each chunk (Poly1305's tag).
const TAG: u64 = 16;

/// The plaintext that is decrypted before it is handed on to be hashed, in bytes: it fits
/// a core's cache, and handovers are few.
const BATCH: usize = 4 * CHUNK;

/// Batches that may wait to be hashed. They lie in the plaintext's own memory.
const WAITING: usize = 64;

/// Decrypts into memory: one allocation of exactly the stated size, which must
/// not exceed `maximum_size` bytes. Besides it, this needs less than 256 KiB, and
/// a thread while it lasts.
pub fn open_in_memory(
    ciphertext: impl Read,
    genuine: &GenuineStatement,
    identities: &[ModelIdentity],
    maximum_size: u64,
) -> Result<SecretBytes, UnsealError> {
    let size = genuine.statement().size;
    if size > maximum_size {
        return Err(UnsealError::TooLarge { size, limit: maximum_size });
    }
    // The key is tried before memory is taken.
    let reader = decryptor(ciphertext, identities)?;
    let capacity = usize::try_from(size).map_err(|_| UnsealError::OutOfMemory { size })?;
    let mut secret = SecretBytes::zeros(capacity).map_err(|_| UnsealError::OutOfMemory { size })?;
    let payload = Payload::new(reader, genuine);
    let plaintext = secret.as_mut_slice();
    let (sender, batches) = sync_channel(WAITING);
    // Decrypting and hashing take about as long, so each has a thread.
    thread::scope(|scope| {
        match thread::Builder::new().name("hash".to_owned()).spawn_scoped(scope, || hash(batches)) {
            Ok(hashing) => {
                // The sender ends with this, and so the hashing.
                let decrypted = decrypt(payload, plaintext, sender);
                let digest = hashing.join().map_err(|_| UnsealError::Thread(io::Error::other("it panicked")));
                decrypted?.finish(digest?)
            }
            Err(error) => Err(UnsealError::Thread(error)),
        }
    })?;
    Ok(secret)
}

/// Fills `plaintext` and hands each batch of it on as soon as it is there.
fn decrypt<'genuine, 'plaintext, R: Read>(
    mut payload: Payload<'genuine, R>,
    plaintext: &'plaintext mut [u8],
    hashing: SyncSender<&'plaintext [u8]>,
) -> Result<Payload<'genuine, R>, UnsealError> {
    for batch in plaintext.chunks_mut(BATCH) {
        payload.fill(batch)?;
        // It fails only if the hashing has panicked, which shows at its end.
        let _ = hashing.send(batch);
    }
    Ok(payload)
}

fn hash(batches: Receiver<&[u8]>) -> Sha256 {
    batches.iter().fold(Sha256::new(), |digest, batch| digest.chain_update(batch))
}

/// Decrypts into a writer, in constant memory. The output is NOT to be used unless `Ok`
/// is returned: the digest is known at the end only. `progress` gets the number of
/// plaintext bytes done so far.
pub fn unseal_to_writer(
    ciphertext: impl Read,
    genuine: &GenuineStatement,
    identities: &[ModelIdentity],
    mut plaintext: impl Write,
    progress: &mut dyn FnMut(u64),
) -> Result<(), UnsealError> {
    let mut payload = Payload::new(decryptor(ciphertext, identities)?, genuine);
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    let mut digest = Sha256::new();
    while payload.remaining > 0 {
        let length = payload.next_length();
        payload.fill(&mut buffer[..length])?;
        digest.update(&buffer[..length]);
        plaintext.write_all(&buffer[..length]).map_err(UnsealError::Write)?;
        progress(genuine.statement().size - payload.remaining);
    }
    payload.finish(digest)?;
    plaintext.flush().map_err(UnsealError::Write)
}

/// Decrypts into a file of mode 0600 that must not exist yet. It gets its name
/// only after length and digest matched. For owners' own machines: a replica
/// has no business with it (ARCHITECTURE.md, invariant 4).
pub fn unseal_to_file(
    ciphertext: impl Read,
    genuine: &GenuineStatement,
    identities: &[ModelIdentity],
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), UnsealError> {
    if path.symlink_metadata().is_ok() {
        return Err(UnsealError::Exists { path: path.to_owned() });
    }
    let at = |source| UnsealError::File { path: path.to_owned(), source };
    let Some(name) = path.file_name() else {
        return Err(at(io::Error::new(io::ErrorKind::InvalidInput, "not a file's name")));
    };
    let mut unfinished_name = std::ffi::OsString::from(".");
    unfinished_name.push(name);
    unfinished_name.push(format!(".unsealing-{}", std::process::id()));
    let unfinished = path.with_file_name(unfinished_name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(at)?;
    let _guard = Removed(&unfinished);
    unseal_to_writer(ciphertext, genuine, identities, &file, progress)?;
    file.sync_all().map_err(at)?;
    // A link, unlike a rename, fails if somebody took the name in between.
    fs::hard_link(&unfinished, path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => UnsealError::Exists { path: path.to_owned() },
        _ => at(source),
    })?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new("."))).and_then(|opened| opened.sync_all()).map_err(at)
}

struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

/// How many bytes the ciphertext of a plaintext of `size` bytes has after its
/// header: nonce, chunks, a tag for each.
pub(crate) fn payload_length(size: u64) -> u64 {
    let chunks = size.div_ceil(CHUNK as u64).max(1);
    size.saturating_add(chunks.saturating_mul(TAG)).saturating_add(16)
}

/// A reader that stops after a number of bytes that can be changed from
/// outside: `age` reads headers without a limit of its own.
struct Limited<R> {
    inner: R,
    remaining: Rc<Cell<u64>>,
}

impl<R: BufRead> BufRead for Limited<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let limit = usize::try_from(self.remaining.get()).unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(&[]);
        }
        let available = self.inner.fill_buf()?;
        Ok(&available[..available.len().min(limit)])
    }

    fn consume(&mut self, count: usize) {
        self.remaining.set(self.remaining.get().saturating_sub(count as u64));
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.remaining.get()).unwrap_or(usize::MAX);
        let length = buffer.len().min(limit);
        if length == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..length])?;
        self.remaining.set(self.remaining.get().saturating_sub(count as u64));
        Ok(count)
    }
}

/// Reads the header and finds the file's key in it.
pub(crate) fn decryptor<'a, R: Read + 'a>(
    ciphertext: R,
    identities: &[ModelIdentity],
) -> Result<StreamReader<impl Read + use<'a, R>>, UnsealError> {
    let remaining = Rc::new(Cell::new(MAXIMUM_HEADER_LENGTH));
    let limited = Limited { inner: BufReader::new(ciphertext), remaining: Rc::clone(&remaining) };
    let decryptor = Decryptor::new_buffered(limited).map_err(|error| match error {
        _ if remaining.get() == 0 => UnsealError::HeaderTooLong,
        DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => UnsealError::Truncated,
        DecryptError::Io(error) => UnsealError::Read(error),
        DecryptError::UnknownFormat => UnsealError::Header { reason: "not version 1 of the age format" },
        _ => UnsealError::Header { reason: "not an age header" },
    })?;
    // The rest is bounded by the size in the statement.
    remaining.set(u64::MAX);
    decryptor.decrypt(identities.iter().map(ModelIdentity::as_age)).map_err(|error| match error {
        DecryptError::InvalidMac => UnsealError::Header { reason: "its MAC does not match" },
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => UnsealError::WrongKey {
            tried: identities.iter().map(|identity| identity.recipient().to_string()).collect(),
        },
        DecryptError::Io(error) => UnsealError::Read(error),
        _ => UnsealError::Header { reason: "its recipients are malformed" },
    })
}

/// The plaintext, counted on the way out.
pub(crate) struct Payload<'a, R> {
    reader: R,
    remaining: u64,
    genuine: &'a GenuineStatement,
}

impl<'a, R: Read> Payload<'a, R> {
    pub(crate) fn new(reader: R, genuine: &'a GenuineStatement) -> Self {
        Self { reader, remaining: genuine.statement().size, genuine }
    }

    /// How much to take next: a chunk or the rest.
    fn next_length(&self) -> usize {
        usize::try_from(self.remaining).map_or(CHUNK, |remaining| remaining.min(CHUNK))
    }

    /// How many bytes are to come, by the statement.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    pub(crate) fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), UnsealError> {
        while !buffer.is_empty() {
            let count = self.read(buffer)?;
            if count == 0 {
                let stated = self.genuine.statement().size;
                return Err(UnsealError::Shorter { stated, found: stated - self.remaining });
            }
            self.remaining -= count as u64;
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// Nothing may follow, and the digest must be the stated one.
    pub(crate) fn finish(mut self, digest: Sha256) -> Result<(), UnsealError> {
        let mut one = Zeroizing::new([0]);
        if self.read(&mut one[..])? > 0 {
            return Err(UnsealError::Longer { stated: self.genuine.statement().size });
        }
        let found = Sha256Digest(digest.finalize().into());
        let stated = self.genuine.statement().sha256;
        if found != stated {
            return Err(UnsealError::Digest { stated, found });
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UnsealError> {
        loop {
            return match self.reader.read(buffer) {
                Ok(count) => Ok(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::UnexpectedEof => Err(UnsealError::Truncated),
                    io::ErrorKind::InvalidData => Err(UnsealError::Altered),
                    _ => Err(UnsealError::Read(error)),
                },
            };
        }
    }
}

/// Why there is no plaintext.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// The statement gives a size above the limit of the program that unseals.
    ///
    /// Do: raise the limit: `maximum_size` of a bundle in the measured configuration, or
    /// `--max_model_bytes` of `adytum-serving`.
    #[error("the model has {size} bytes, the limit is {limit}; raise the limit, or seal less")]
    TooLarge {
        /// The stated size, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The system has no memory for the plaintext.
    ///
    /// Do: give the replica more memory, or serve a smaller model.
    #[error("no memory for a model of {size} bytes; give the replica more, or serve a smaller model")]
    OutOfMemory {
        /// The stated size, in bytes.
        size: u64,
    },
    /// The age header is longer than one of a sealed model ever is.
    ///
    /// Do: give the file that `adytum seal` wrote.
    #[error("the age header is longer than {MAXIMUM_HEADER_LENGTH} bytes; this is not a sealed model")]
    HeaderTooLong,
    /// The file does not begin with a valid age header: it is not sealed, or was altered.
    ///
    /// Do: copy the sealed file again; if the error stays, seal it again.
    #[error("the age header is invalid: {reason}; the file is not a sealed model, or it was altered")]
    Header { reason: &'static str },
    /// The file is not encrypted to any of the keys that were tried.
    ///
    /// Do: put the right model key to the broker with `adytum secret put`, or seal again
    /// to the recipient of the key that is there.
    #[error(
        "the model is not sealed to this key; tried {}; check which recipient it was sealed to",
        tried.join(", ")
    )]
    WrongKey {
        /// The recipients whose identities were tried.
        tried: Vec<String>,
    },
    /// The ciphertext ends before its last chunk.
    ///
    /// Do: copy the sealed file again.
    #[error("the ciphertext is truncated; copy the sealed model again")]
    Truncated,
    /// A chunk of the ciphertext fails its authentication: bytes were changed.
    ///
    /// Do: copy the sealed file again; if the error stays, find out which program changes
    /// it.
    #[error("the ciphertext was altered: a chunk does not authenticate; copy the sealed model again")]
    Altered,
    /// The ciphertext is valid, and its plaintext has fewer bytes than the statement
    /// gives.
    ///
    /// Do: copy the ciphertext and its `.seal` file again, both from one seal.
    #[error("the plaintext has {found} bytes, the statement says {stated}; this is another ciphertext")]
    Shorter {
        /// The statement's size, in bytes.
        stated: u64,
        /// The plaintext's size, in bytes.
        found: u64,
    },
    /// The ciphertext is valid, and its plaintext has more bytes than the statement
    /// gives.
    ///
    /// Do: copy the ciphertext and its `.seal` file again, both from one seal.
    #[error(
        "the plaintext has more than the {stated} bytes that the statement says; this is another ciphertext"
    )]
    Longer {
        /// The statement's size, in bytes.
        stated: u64,
    },
    /// The ciphertext is valid, and its plaintext has another SHA-256 than the statement
    /// gives.
    ///
    /// Do: copy the ciphertext and its `.seal` file again, both from one seal.
    #[error("the plaintext's SHA-256 is {found}, the statement says {stated}; this is another model")]
    Digest { stated: Sha256Digest, found: Sha256Digest },
    /// The ciphertext can't be read.
    ///
    /// Do: read the system's reason in the message; check the volume and the permissions.
    #[error("reading the ciphertext failed: {0}")]
    Read(#[source] io::Error),
    /// The system gives no thread to compute the SHA-256 on.
    ///
    /// Do: let the replica have more threads (`pids.max` of its cgroup, threads of its
    /// enclave).
    #[error("no thread to hash the model on: {0}; let the replica have more threads")]
    Thread(#[source] io::Error),
    /// The system refused to write the plaintext.
    ///
    /// Do: read the system's reason in the message; make room, or give another `--out`.
    #[error("writing the plaintext failed: {0}")]
    Write(#[source] io::Error),
    /// The output exists already, and nothing is overwritten.
    ///
    /// Do: give `--out` a name that does not exist.
    #[error("{} exists already; name a file that does not", path.display())]
    Exists { path: PathBuf },
    /// A file can't be opened or made.
    ///
    /// Do: read the system's reason in the message; check the path and its permissions.
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl UnsealError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "unseal-too-large",
            Self::OutOfMemory { .. } => "unseal-out-of-memory",
            Self::HeaderTooLong => "unseal-header-too-long",
            Self::Header { .. } => "unseal-header",
            Self::WrongKey { .. } => "unseal-wrong-key",
            Self::Truncated => "unseal-truncated",
            Self::Altered => "unseal-altered",
            Self::Shorter { .. } => "unseal-shorter",
            Self::Longer { .. } => "unseal-longer",
            Self::Digest { .. } => "unseal-digest",
            Self::Read(_) => "unseal-read",
            Self::Thread(_) => "unseal-thread",
            Self::Write(_) => "unseal-write",
            Self::Exists { .. } => "unseal-exists",
            Self::File { .. } => "unseal-file",
        }
    }
}
