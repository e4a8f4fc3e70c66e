//! Memory of services: which genesis somebody has confirmed, and the newest edition that was
//! seen of each service. Signatures can't stop somebody who puts an older file back, in which
//! an older model or an older processor's firmware was still good enough.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use adytum_api::names::WorkloadName;
use adytum_evidence::measurement::Sha256Digest;
use serde::{Deserialize, Serialize};

use super::{Edition, Service, ServiceError};
use crate::{durable, genesis::GenesisDigest};

/// The value of `format` in a file of services.
pub const FORMAT: &str = "adytum services v1";
/// More than thousands of services have, in bytes.
const MAXIMUM_LENGTH: u64 = 4 * 1024 * 1024;

/// What was seen of services, in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceMemory {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    /// By the genesis, which was confirmed, and the service's name.
    genesis: BTreeMap<GenesisDigest, BTreeMap<WorkloadName, Seen>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    owners_since: u64,
    manifest_version: u64,
    revision: u32,
    sha256: Sha256Digest,
}

impl ServiceMemory {
    /// The memory in this file, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Was this genesis confirmed before?
    pub fn knows(&self, genesis: GenesisDigest) -> Result<bool, ServiceError> {
        Ok(self.read()?.genesis.contains_key(&genesis))
    }

    /// Remembers this service and its genesis, durably. Refuses one that is older than, or at
    /// odds with, the newest that was seen.
    pub fn accept(&self, service: &Service) -> Result<(), ServiceError> {
        let document = self.read()?;
        if !next(&document, service)? {
            return Ok(());
        }
        durable::update(
            &self.path,
            |(operation, error)| self.io(operation, &error),
            || {
                // Read again under the lock: another process may have seen a newer one.
                let mut document = self.read()?;
                next(&document, service)?;
                let Edition { owners_since, manifest_version, revision, text: sha256 } = service.edition;
                let seen = Seen { owners_since, manifest_version, revision, sha256 };
                document.genesis.entry(service.genesis).or_default().insert(service.name.clone(), seen);
                serde_json::to_vec_pretty(&document)
                    .map_err(|error| self.io("writing", &io::Error::other(error)))
            },
        )
    }

    fn read(&self) -> Result<Document, ServiceError> {
        let read = durable::read(&self.path, MAXIMUM_LENGTH);
        let Some(text) = read.map_err(|(operation, error)| self.io(operation, &error))? else {
            return Ok(Document { format: FORMAT.to_owned(), genesis: BTreeMap::new() });
        };
        let malformed = |reason| ServiceError::MemoryMalformed { path: self.path.clone(), reason };
        if text.len() as u64 > MAXIMUM_LENGTH {
            return Err(malformed(format!("it has more than {MAXIMUM_LENGTH} bytes")));
        }
        let document: Document =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if document.format != FORMAT {
            return Err(malformed(format!("expected the format {FORMAT:?}, found {:?}", document.format)));
        }
        Ok(document)
    }

    fn io(&self, operation: &'static str, error: &io::Error) -> ServiceError {
        ServiceError::MemoryIo { path: self.path.clone(), operation, reason: error.to_string() }
    }
}

/// Is this service news? An error if it is older than what was seen. Owners who were replaced
/// can still sign, so a service of theirs never follows one of the owners after them,
/// whatever version it states.
fn next(document: &Document, service: &Service) -> Result<bool, ServiceError> {
    let Some(seen) = document.genesis.get(&service.genesis).and_then(|known| known.get(&service.name)) else {
        return Ok(true);
    };
    let Seen { owners_since, manifest_version, revision, sha256: text } = *seen;
    let seen = Edition { owners_since, manifest_version, revision, text };
    let order = |edition: &Edition| (edition.owners_since, edition.manifest_version, edition.revision);
    let (name, found) = (service.name.clone(), service.edition);
    if order(&found) < order(&seen) {
        return Err(ServiceError::Older { name, seen: Box::new(seen), found: Box::new(found) });
    }
    if order(&found) == order(&seen) && found.text != seen.text {
        return Err(ServiceError::AtOdds { name, found: Box::new(found) });
    }
    Ok(found != seen)
}
