//! The versions that a source holds, by the names of its objects.

use std::collections::BTreeMap;

use adytum_sealed::{
    directory::{PLAIN_MODEL_FILE, STATEMENT_FILE, parse_version},
    statement::{MAXIMUM_STATEMENT_LENGTH, Statement},
};
use futures_util::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};

use crate::{
    error::PullError,
    names::{FileName, is_hidden},
    source::{Shape, Source},
};

/// How many objects of a source are looked at.
pub(crate) const MOST_OBJECTS: usize = 200_000;

/// The most that is fetched for one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of files.
    pub files: usize,
    /// All files together, in bytes.
    pub bytes: u64,
}

/// A file of a version at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    pub(crate) location: Path,
    pub(crate) size: u64,
    /// Changes when the object does, if the store has such tags.
    tag: Option<String>,
}

impl RemoteFile {
    fn of(meta: ObjectMeta) -> Self {
        Self { location: meta.location, size: meta.size, tag: meta.e_tag }
    }
}

/// A version at the source. Its names are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteVersion {
    pub(crate) version: u64,
    /// The name of its directory: its number, perhaps with zeros before it.
    pub(crate) directory: String,
    pub(crate) files: BTreeMap<FileName, RemoteFile>,
}

impl RemoteVersion {
    /// All bytes.
    pub(crate) fn size(&self) -> u64 {
        self.files.values().fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

/// Versions by their numbers. One that can't be fetched is there with the reason.
pub(crate) type Listing = BTreeMap<u64, Result<RemoteVersion, PullError>>;

/// Looks at what the source holds.
pub(crate) async fn list(source: &Source, limits: Limits) -> Result<Listing, PullError> {
    let listing = match &source.shape {
        Shape::OneVersion { version, name } => one_version(source, *version, name).await?,
        Shape::Listed | Shape::Directory(_) => all_versions(source, limits).await?,
    };
    if listing.is_empty() {
        return Err(PullError::NoVersion { place: source.to_string() });
    }
    Ok(listing)
}

async fn all_versions(source: &Source, limits: Limits) -> Result<Listing, PullError> {
    let mut listing = Listing::new();
    let mut objects = source.store.list(Some(&source.base));
    let mut count = 0;
    loop {
        let meta = match objects.try_next().await {
            Ok(Some(meta)) => meta,
            Ok(None) => break,
            Err(error) => return Err(of_listing(source, error).await),
        };
        count += 1;
        if count > MOST_OBJECTS {
            return Err(PullError::TooManyObjects { place: source.to_string(), limit: MOST_OBJECTS });
        }
        add(&mut listing, source, meta, limits);
    }
    for version in listing.values_mut().flatten() {
        without_markers(&mut version.files);
    }
    // Only markers of a directory are no version.
    listing.retain(|_, found| !matches!(found, Ok(version) if version.files.is_empty()));
    Ok(listing)
}

/// Takes an object into the version that it belongs to, if it belongs to one.
fn add(listing: &mut Listing, source: &Source, meta: ObjectMeta, limits: Limits) {
    let Some(relative) = relative(&source.base, &meta.location) else { return };
    let Some((directory, name)) = relative.split_once('/') else { return };
    let Some(version) = parse_version(directory) else { return };
    if is_hidden(name) {
        return;
    }
    let found = listing.entry(version).or_insert_with(|| {
        Ok(RemoteVersion { version, directory: directory.to_owned(), files: BTreeMap::new() })
    });
    let Ok(known) = found else { return };
    let checked = if known.directory == directory {
        check(source, name, &meta)
    } else {
        Err(PullError::SameVersion { version, first: known.directory.clone(), second: directory.to_owned() })
    };
    match checked {
        Ok(name) if known.files.len() < limits.files => {
            known.files.insert(name, RemoteFile::of(meta));
            if known.size() > limits.bytes {
                *found = Err(PullError::TooLarge { version, size: known.size(), limit: limits.bytes });
            }
        }
        Ok(_) => *found = Err(PullError::TooManyFiles { version, limit: limits.files }),
        Err(error) => *found = Err(error),
    }
}

/// An object's name below the source.
pub(crate) fn relative(base: &Path, location: &Path) -> Option<String> {
    let parts: Vec<_> = location.prefix_match(base)?.map(|part| part.as_ref().to_owned()).collect();
    Some(parts.join("/"))
}

fn check(source: &Source, name: &str, meta: &ObjectMeta) -> Result<FileName, PullError> {
    if let Shape::Directory(root) = &source.shape {
        let path = std::path::Path::new("/").join(meta.location.as_ref());
        let inside = root
            .canonicalize()
            .is_ok_and(|root| path.canonicalize().is_ok_and(|real| real.starts_with(root)));
        if !inside {
            return Err(PullError::Link { path });
        }
    }
    FileName::parse(name)
}

/// Removes the empty objects that some tools make for directories.
fn without_markers(files: &mut BTreeMap<FileName, RemoteFile>) {
    let parents: Vec<String> = files
        .keys()
        .flat_map(|name| name.as_str().match_indices('/').map(|(end, _)| name.as_str()[..end].to_owned()))
        .collect();
    files.retain(|name, file| file.size > 0 || !parents.iter().any(|parent| parent == name.as_str()));
}

/// The error of a listing by its kind. Stores report it without a kind, so one object is
/// asked for, which gives one.
pub(crate) async fn of_listing(source: &Source, error: object_store::Error) -> PullError {
    let place = source.to_string();
    let first = PullError::of_store(&place, &error);
    if !matches!(first, PullError::Unreachable { .. }) {
        return first;
    }
    let probe = source.base.clone().join(STATEMENT_FILE);
    match source.store.get(&probe).await {
        Err(
            error @ (object_store::Error::NotFound { .. }
            | object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }),
        ) if source.address_is_of_a_bucket() => PullError::of_store(&place, &error),
        _ => first,
    }
}

/// A version at a server that lists nothing: the statement names the other file.
async fn one_version(source: &Source, version: u64, directory: &str) -> Result<Listing, PullError> {
    let mut files = BTreeMap::new();
    let head = async |name: &str| match source.store.head(&source.base.clone().join(name)).await {
        Ok(meta) => Ok(Some(RemoteFile::of(meta))),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(PullError::of_store(&format!("{source}/{name}"), &error)),
    };
    let mut found = None;
    for name in [STATEMENT_FILE, PLAIN_MODEL_FILE] {
        if let Some(file) = head(name).await? {
            found = Some((name, file));
            break;
        }
    }
    let Some((name, file)) = found else {
        return Err(PullError::NoVersion { place: source.to_string() });
    };
    if name == STATEMENT_FILE {
        let statement = read_statement(source, version, &file).await?;
        let ciphertext = statement.file_name.ciphertext();
        if let Some(file) = head(&ciphertext).await? {
            files.insert(FileName::parse(&ciphertext)?, file);
        }
    }
    files.insert(FileName::parse(name)?, file);
    let found = RemoteVersion { version, directory: directory.to_owned(), files };
    Ok(Listing::from([(version, Ok(found))]))
}

/// Fetches the statement about a version.
pub(crate) async fn read_statement(
    source: &Source,
    version: u64,
    file: &RemoteFile,
) -> Result<Statement, PullError> {
    let statement = |source| PullError::Statement { version, source };
    if file.size > MAXIMUM_STATEMENT_LENGTH as u64 {
        return Err(statement(adytum_sealed::statement::StatementError::TooLong { found: file.size }));
    }
    let failed = |error| PullError::of_store(&format!("{source}: {}", file.location), &error);
    let mut stream = source.store.get(&file.location).await.map_err(failed)?.into_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.try_next().await.map_err(failed)? {
        // A server may send more than it stated.
        let room = (MAXIMUM_STATEMENT_LENGTH + 1).saturating_sub(bytes.len());
        bytes.extend(chunk.iter().take(room));
    }
    Statement::parse(&bytes).map_err(statement)
}
