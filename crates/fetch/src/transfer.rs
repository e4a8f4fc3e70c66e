//! The bytes of a version, from its source to the disk.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::Duration,
};

use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;

use crate::{
    error::PullError,
    listing::{RemoteFile, RemoteVersion},
    names::FileName,
    source::Source,
    staging::write_error,
};

/// How often a file is begun again. The store's client resumes an interrupted answer before
/// that, where the server can send parts.
const ATTEMPTS: u32 = 3;

/// Fetches all files of a version into a directory. `pause` comes before a file is begun again,
/// and doubles. `progress` gets the number of new bytes.
pub(crate) async fn fetch(
    source: &Source,
    version: &RemoteVersion,
    directory: &Path,
    pause: Duration,
    progress: &mut dyn FnMut(u64),
) -> Result<(), PullError> {
    for (name, file) in &version.files {
        let path = name.below(directory);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(write_error(parent))?;
        }
        let mut attempt = 1;
        while let Err(error) = fetch_file(source, version.version, name, file, &path, progress).await {
            if attempt == ATTEMPTS
                || !matches!(error, PullError::Unreachable { .. } | PullError::Length { .. })
            {
                return Err(error);
            }
            tokio::time::sleep(pause * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }
    Ok(())
}

async fn fetch_file(
    source: &Source,
    version: u64,
    name: &FileName,
    file: &RemoteFile,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), PullError> {
    let failed = |error: object_store::Error| match error {
        // It was in the listing.
        object_store::Error::NotFound { .. } => PullError::Changed { version },
        error => PullError::of_store(&format!("{source}: {}", file.location), &error),
    };
    let length =
        |found| PullError::Length { version, name: name.as_str().to_owned(), found, expected: file.size };
    let mut stream = source.store.get(&file.location).await.map_err(failed)?.into_stream();
    let mut out = File::create(path).map_err(write_error(path))?;
    let mut written = 0_u64;
    while let Some(chunk) = stream.try_next().await.map_err(failed)? {
        written += chunk.len() as u64;
        // No more gets on the disk than was stated.
        if written > file.size {
            return Err(length(written));
        }
        out.write_all(&chunk).map_err(write_error(path))?;
        progress(chunk.len() as u64);
    }
    if written != file.size {
        return Err(length(written));
    }
    out.sync_all().map_err(write_error(path))
}
