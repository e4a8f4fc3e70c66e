//! The log as a file: one JSON object a line, of exactly one form, so that every
//! byte of it is checked.

use adytum_api::broker::{AuditCheckpoint, AuditEntry};
use adytum_evidence::measurement::Sha256Digest;
use serde::{Deserialize, Serialize};

use super::{
    checkpoint::CheckpointPublicKey,
    record::{self, ReadableRecord, StoredRecord, record_hash},
};
use crate::genesis::GenesisDigest;

const FORMAT: &str = "adytum audit export v1";

/// The first line: whose log, which part, and the broker's word for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub genesis: GenesisDigest,
    pub checkpoint_key: CheckpointPublicKey,
    /// The number of the first record in the file.
    pub first: u64,
    /// Over the last record in the file.
    pub checkpoint: AuditCheckpoint,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    format: String,
    genesis: String,
    checkpoint_key: String,
    first: u64,
    size: u64,
    hash: String,
    signature: String,
}

impl Header {
    /// Its line, without the line feed.
    pub fn line(&self) -> String {
        let line = HeaderLine {
            format: FORMAT.to_owned(),
            genesis: self.genesis.to_string(),
            checkpoint_key: self.checkpoint_key.to_string(),
            first: self.first,
            size: self.checkpoint.size,
            hash: hex::encode(&self.checkpoint.hash),
            signature: hex::encode(&self.checkpoint.signature),
        };
        // Text and numbers always have a JSON form.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads exactly what [`Self::line`] writes; an error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line: HeaderLine = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if line.format != FORMAT {
            return Err(format!("its format is {:?}, expected {FORMAT:?}", line.format));
        }
        let field = |name: &str| format!("{name} can't be read");
        let header = Self {
            genesis: line.genesis.parse().map_err(|_| field("genesis"))?,
            checkpoint_key: line.checkpoint_key.parse().map_err(|_| field("checkpoint_key"))?,
            first: line.first,
            checkpoint: AuditCheckpoint {
                size: line.size,
                hash: hex::decode(&line.hash).map_err(|_| field("hash"))?,
                signature: hex::decode(&line.signature).map_err(|_| field("signature"))?,
            },
        };
        if header.first == 0 || header.line() != text {
            return Err("it is not of the one form that an export writes".to_owned());
        }
        Ok(header)
    }
}

#[derive(Serialize)]
struct RecordLine<'a> {
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    hash: String,
    record: String,
    event: &'a ReadableRecord,
}

#[derive(Deserialize)]
struct ReadLine {
    number: u64,
    previous: Option<String>,
    record: String,
}

/// The line of a record, without the line feed; `None` if the bytes are no
/// record.
pub fn line(number: u64, previous: Option<Sha256Digest>, bytes: &[u8]) -> Option<String> {
    let event = record::describe(&record::decode(bytes)?);
    let line = RecordLine {
        number,
        previous: previous.map(|hash| hash.to_string()),
        hash: record_hash(number, previous, bytes).to_string(),
        record: hex::encode(bytes),
        event: &event,
    };
    serde_json::to_string(&line).ok()
}

/// Reads exactly what [`line()`] writes; `None` for anything else: every byte
/// follows from number, previous hash and record.
pub(super) fn parse(text: &str) -> Option<StoredRecord> {
    let read: ReadLine = serde_json::from_str(text).ok()?;
    let previous = match read.previous {
        Some(hash) => Some(hash.parse().ok()?),
        None => None,
    };
    let (number, bytes) = (read.number, hex::decode(read.record).ok()?);
    if line(number, previous, &bytes)? != text {
        return None;
    }
    let hash = record_hash(number, previous, &bytes);
    Some(StoredRecord { number, previous, bytes, hash })
}

/// The wire form of a record.
pub fn entry(record: StoredRecord) -> AuditEntry {
    AuditEntry {
        number: record.number,
        previous: record.previous.map(|hash| hash.0.to_vec()).unwrap_or_default(),
        record: record.bytes,
    }
}

/// The line of a record as it came over the wire; `None` if it is none.
pub fn entry_line(entry: &AuditEntry) -> Option<String> {
    let previous = match entry.previous.as_slice() {
        [] => None,
        hash => Some(Sha256Digest::try_from(hash).ok()?),
    };
    line(entry.number, previous, &entry.record)
}
