//! A sealed version, from a directory into an object store.
//!
//! A number is claimed before anything else is written: by an object that is made only if it is not
//! there. So two releases never write into one version. Then comes the ciphertext, and the statement
//! last: `pull` takes no version without it. The claim's name is hidden, so `pull` passes over it.

use std::{
    fs::File,
    io::Read,
    path::{Path as FilePath, PathBuf},
};

use adytum_sealed::{
    directory::{STATEMENT_FILE, parse_version},
    statement::{MAXIMUM_STATEMENT_LENGTH, Statement, StatementError},
};
use futures_util::TryStreamExt;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutPayload, WriteMultipart, path::Path};

use crate::{
    error::{PullError, printable},
    listing::{MOST_OBJECTS, of_listing, relative},
    source::{Shape, Source},
};

/// The object that claims a version's number.
const CLAIM_FILE: &str = ".claim";

/// The first bytes of a file that age encrypted (the age specification, "Header").
const AGE_HEADER: &[u8] = b"age-encryption.org/v1\n";

/// The bytes of one part of an upload. Stores take at most 10,000 parts, and at least 5 MiB in each.
const PART: usize = 8 << 20;

/// How many parts are on the way at once. With `PART`, it bounds the memory.
const PARTS_AT_ONCE: usize = 4;

/// Why a version was not put into an object store.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The object store does not answer, refuses, or is not understood.
    #[error(transparent)]
    Store(#[from] PullError),
    /// Another release has this version's number, or wrote it at the same time.
    ///
    /// Do: release again; the next number is taken then.
    ///
    /// Retry: yes
    #[error("version {version} at {place} was taken by another release; release again for the next number")]
    Taken { place: String, version: u64 },
    /// The store can't make an object only where none is, so it could overwrite a version.
    ///
    /// Do: release to a bucket (`s3://`, `gs://`, `az://`) or to a directory, and copy from there.
    #[error("{place} can't refuse to overwrite: {reason}; release to a bucket or a directory")]
    Overwrites { place: String, reason: String },
    /// The file is not encrypted. Only sealed models are uploaded.
    ///
    /// Do: seal the model with `adytum seal` or `adytum model release`.
    #[error("{} is not sealed; only sealed models are uploaded", path.display())]
    NotSealed { path: PathBuf },
    /// The statement about the sealed model can't be read.
    #[error("{}: {source}", path.display())]
    Statement { path: PathBuf, source: StatementError },
    /// A file of the sealed version can't be read.
    ///
    /// Do: read the system's reason in the message; check the path and its permissions.
    #[error("{} can't be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
}

impl PublishError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Taken { .. } => "publish-taken",
            Self::Overwrites { .. } => "publish-overwrites",
            Self::NotSealed { .. } => "publish-not-sealed",
            Self::Statement { source, .. } => source.code(),
            Self::Read { .. } => "publish-read",
        }
    }
}

/// What a store holds of a model.
#[derive(Debug, Default)]
pub struct Published {
    /// The sealed versions that are whole, the oldest first.
    pub versions: Vec<(u64, Statement)>,
    /// The highest number that is in use, by a whole version or by the remains of one.
    pub highest: Option<u64>,
}

/// Looks at the versions of a store. An empty place is no error.
pub async fn published(source: &Source) -> Result<Published, PublishError> {
    let mut objects = source.store.list(Some(&source.base));
    let (mut statements, mut published, mut count) = (Vec::new(), Published::default(), 0);
    loop {
        let meta = match objects.try_next().await {
            Ok(Some(meta)) => meta,
            Ok(None) => break,
            Err(error) => return Err(of_listing(source, error).await.into()),
        };
        count += 1;
        if count > MOST_OBJECTS {
            return Err(PullError::TooManyObjects { place: source.to_string(), limit: MOST_OBJECTS }.into());
        }
        let Some(name) = relative(&source.base, &meta.location) else { continue };
        let Some((directory, file)) = name.split_once('/') else { continue };
        let Some(version) = parse_version(directory) else { continue };
        published.highest = published.highest.max(Some(version));
        if file == STATEMENT_FILE {
            statements.push((version, meta));
        }
    }
    statements.sort_by_key(|(version, _)| *version);
    for (version, meta) in statements {
        let path = PathBuf::from(meta.location.as_ref());
        if meta.size > MAXIMUM_STATEMENT_LENGTH as u64 {
            let limit = MAXIMUM_STATEMENT_LENGTH as u64;
            return Err(PullError::TooLarge { version, size: meta.size, limit }.into());
        }
        let bytes = read(source, &meta.location).await?;
        let statement =
            Statement::parse(&bytes).map_err(|source| PublishError::Statement { path, source })?;
        published.versions.push((version, statement));
    }
    Ok(published)
}

/// Uploads the sealed version in `directory`, which has a statement and the ciphertext that it names.
/// `progress` gets the number of new bytes. After an error, what was uploaded is removed.
pub async fn publish(
    source: &Source,
    version: u64,
    directory: &FilePath,
    progress: &mut dyn FnMut(u64),
) -> Result<(), PublishError> {
    let place = source.to_string();
    if let Shape::OneVersion { .. } = source.shape {
        let reason = "a release goes into the directory above the versions".to_owned();
        return Err(PullError::Address { address: place, reason }.into());
    }
    let path = directory.join(STATEMENT_FILE);
    let text = std::fs::read(&path).map_err(|source| PublishError::Read { path: path.clone(), source })?;
    let statement = Statement::parse(&text).map_err(|source| PublishError::Statement { path, source })?;
    let name = statement.file_name.ciphertext();
    let path = directory.join(&name);
    let file = sealed(&path)?;

    let remote = source.base.clone().join(version.to_string());
    let claim = remote.clone().join(CLAIM_FILE);
    // Its words are those of no other release, also of one with the same statement.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let claimant = format!("{} {}\n", std::process::id(), now.as_nanos());
    create(source, version, &claim, claimant.as_bytes()).await?;
    // Another tool may have put a version there, which asks for no claim.
    let others: Vec<_> = source
        .store
        .list(Some(&remote))
        .map_ok(|meta| meta.location)
        .try_collect()
        .await
        .map_err(|error| PullError::of_store(&place, &error))?;
    if others.iter().any(|location| *location != claim) {
        return Err(PublishError::Taken { place, version });
    }
    let ciphertext = remote.clone().join(name.as_str());
    let uploaded = async {
        upload(source, &ciphertext, file, &path, progress).await?;
        create(source, version, &remote.clone().join(STATEMENT_FILE), &text).await
    };
    let result = uploaded.await;
    // After an unclear answer the statement may be there: then nothing of the version is removed.
    let statement = source.store.head(&remote.join(STATEMENT_FILE)).await;
    if result.is_err() && matches!(statement, Err(StoreError::NotFound { .. })) {
        let _ = source.store.delete(&ciphertext).await;
    }
    // The claim stays: the number is not given again, so a late write meets no other version.
    result
}

/// Opens a file that age encrypted.
fn sealed(path: &FilePath) -> Result<File, PublishError> {
    let failed = |source| PublishError::Read { path: path.to_owned(), source };
    let mut start = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(AGE_HEADER.len() as u64).read_to_end(&mut start).map_err(failed)?;
    if start != AGE_HEADER {
        return Err(PublishError::NotSealed { path: path.to_owned() });
    }
    File::open(path).map_err(failed)
}

/// Makes an object if it is not there.
async fn create(source: &Source, version: u64, at: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    let place = source.to_string();
    let payload = PutPayload::from(bytes.to_vec());
    use object_store::ObjectStore as _;
    match source.store.put_opts(at, payload, PutMode::Create.into()).await {
        Ok(_) => Ok(()),
        // A request that was sent again after a lost answer meets its own object.
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
            if read(source, at).await? == bytes {
                Ok(())
            } else {
                Err(PublishError::Taken { place, version })
            }
        }
        Err(error @ (StoreError::NotImplemented { .. } | StoreError::NotSupported { .. })) => {
            Err(PublishError::Overwrites { place, reason: printable(error) })
        }
        Err(error) => Err(PullError::of_store(&place, &error).into()),
    }
}

async fn read(source: &Source, at: &Path) -> Result<Vec<u8>, PublishError> {
    let failed = |error| PullError::of_store(&format!("{source}: {at}"), &error);
    let answer = source.store.get(at).await.map_err(failed)?;
    if answer.meta.size > MAXIMUM_STATEMENT_LENGTH as u64 {
        return Ok(Vec::new());
    }
    Ok(answer.bytes().await.map_err(failed)?.to_vec())
}

async fn upload(
    source: &Source,
    at: &Path,
    mut file: File,
    path: &FilePath,
    progress: &mut dyn FnMut(u64),
) -> Result<(), PublishError> {
    let failed = |error| PublishError::from(PullError::of_store(&format!("{source}: {at}"), &error));
    let parts = source.store.put_multipart(at).await.map_err(failed)?;
    let mut parts = WriteMultipart::new_with_chunk_size(parts, PART);
    let mut buffer = vec![0; 1 << 20];
    let read = loop {
        if let Err(error) = parts.wait_for_capacity(PARTS_AT_ONCE).await {
            break Err(failed(error));
        }
        match file.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(count) => {
                parts.write(buffer.get(..count).unwrap_or_default());
                progress(count as u64);
            }
            Err(source) => break Err(PublishError::Read { path: path.to_owned(), source }),
        }
    };
    match read {
        Ok(()) => parts.finish().await.map(|_| ()).map_err(failed),
        Err(error) => {
            let _ = parts.abort().await;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
