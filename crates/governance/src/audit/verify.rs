//! The proof of an export, without a broker: the first record that is not as the
//! broker wrote it, by its number.

use std::{
    collections::VecDeque,
    io::{self, BufRead, Read as _},
};

use adytum_api::broker::{AuditCheckpoint, audit_record::What};
use adytum_evidence::measurement::Sha256Digest;

use super::{
    checkpoint::CheckpointPublicKey,
    export::{Header, parse},
    record::{self, StoredRecord},
};
use crate::genesis::GenesisDigest;

/// The longest line, in bytes.
const MAXIMUM_LINE: u64 = 64 * 1024;
/// The number of hashes that are remembered for checkpoints over earlier records: more
/// than can be committed between a record and its checkpoint.
const REMEMBERED: usize = 65_536;

/// Facts that are known from elsewhere, above all from an attested session with the
/// broker. Without any of them, a file is only compared with itself.
#[derive(Clone, Debug, Default)]
pub struct ExpectedLog {
    pub genesis: Option<GenesisDigest>,
    /// The key that signs its checkpoints.
    pub checkpoint_key: Option<CheckpointPublicKey>,
    /// Number and hash of a record.
    pub head: Option<(u64, Sha256Digest)>,
    /// The number of the first record, where that is not 1.
    pub first: Option<u64>,
}

/// What a whole export proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLog {
    /// Whose log it says it is.
    pub genesis: GenesisDigest,
    /// Who signed its checkpoints.
    pub checkpoint_key: CheckpointPublicKey,
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub size: u64,
    /// The hash of its last record.
    pub hash: Sha256Digest,
    /// Valid checkpoints in it, the one over its end included.
    pub checkpoints: u64,
}

/// The fault of an export. Numbers are those of the first record that is not as the
/// broker wrote it.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The file of the export can't be read.
    ///
    /// Do: check the path and the permissions of the file.
    #[error("the export can't be read: {0}")]
    Io(#[from] io::Error),
    /// The first line is not the first line of an audit export.
    ///
    /// Do: give a file that `adytum audit export` wrote, as it wrote it.
    #[error("the first line is not that of an audit export: {reason}")]
    Header {
        /// The part of the line that is wrong.
        reason: String,
    },
    /// The export is the log of another broker than the expected one.
    ///
    /// Do: give the genesis document of the broker whose log it is (`--genesis`), or export the
    /// log of the expected broker.
    #[error("record {number}: this is the log of the broker with genesis {found}; expected {expected}")]
    OtherBroker {
        /// Which record says so.
        number: u64,
        expected: GenesisDigest,
        /// The one in the file.
        found: String,
    },
    /// The checkpoints in the export are signed by another key than the expected one.
    ///
    /// Do: compare `--checkpoint-key` with the key that `adytum audit export` prints. If they are
    /// the same, do not trust the file.
    #[error("record {number}: checkpoints are signed by {found}; expected the key {expected}")]
    OtherKey {
        /// Which record says so.
        number: u64,
        expected: CheckpointPublicKey,
        /// The one in the file.
        found: String,
    },
    /// A record is not as the broker wrote it.
    ///
    /// Do: do not trust the file. Export again with `adytum audit export`, and find out how this
    /// copy was changed.
    #[error("record {number} was altered: its line does not follow from its contents and its hash")]
    Altered { number: u64 },
    /// A record is missing between two others.
    ///
    /// Do: do not trust the file. Export again with `adytum audit export`, and find out how this
    /// copy was changed.
    #[error("record {number} is missing")]
    Missing { number: u64 },
    /// Another record is in the place of a record.
    ///
    /// Do: do not trust the file. Export again with `adytum audit export`, and find out how this
    /// copy was changed.
    #[error("record {number} is not in its place: record {found} is there")]
    Reordered { number: u64, found: u64 },
    /// A record does not follow the record before it.
    ///
    /// Do: do not trust the file. Export again with `adytum audit export`, and find out how this
    /// copy was changed.
    #[error(
        "record {number} does not follow the one before it: one of them was replaced, or the two are of \
         different logs"
    )]
    NotLinked { number: u64 },
    /// The first record is not the start of a broker, with which a log begins.
    ///
    /// Do: give the number of the first record with `--from` if the file is a part of a log.
    /// Otherwise, do not trust the file.
    #[error("record {number} is not the broker's start, with which a log begins")]
    NoStart { number: u64 },
    /// Records at the end of the log are missing.
    ///
    /// Do: do not trust the file. Export again with `adytum audit export`, and find out how this
    /// copy was changed.
    #[error("the log is cut off at record {number}: it has {size} records")]
    Truncated {
        /// The first that is missing.
        number: u64,
        /// How many there must be.
        size: u64,
    },
    /// The export has records after the last record that the broker signed.
    ///
    /// Do: do not trust the file. Export again with `adytum audit export`, and find out how this
    /// copy was changed.
    #[error("record {number} is beyond the {size} records that the broker signed")]
    Beyond {
        number: u64,
        /// How many were signed.
        size: u64,
    },
    /// A checkpoint is not signed by the broker, or is over another record.
    ///
    /// Do: do not trust the file. Export again with `adytum audit export`, and find out how this
    /// copy was changed.
    #[error("record {number}: the checkpoint over record {size} is forged, or is over another log")]
    Checkpoint {
        /// The record that it is in; for the one in the first line, the one it is
        /// over.
        number: u64,
        /// The record that it is over.
        size: u64,
    },
    /// A record has another hash than the head that is known from an attested session.
    ///
    /// Do: compare `--head` with the head that `adytum broker verify` prints. If they are the
    /// same, do not trust the file: it is another history.
    #[error(
        "record {number} has the hash {found}; the broker's head says {expected}: this is another history"
    )]
    Head {
        number: u64,
        /// The hash known from elsewhere.
        expected: Sha256Digest,
        /// The hash in the file.
        found: Sha256Digest,
    },
}

impl VerifyError {
    /// Stable code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "audit-export-unreadable",
            Self::Header { .. } => "audit-export-malformed",
            Self::OtherBroker { .. } => "audit-other-broker",
            Self::OtherKey { .. } => "audit-other-checkpoint-key",
            Self::Altered { .. } => "audit-record-altered",
            Self::Missing { .. } => "audit-record-missing",
            Self::Reordered { .. } => "audit-record-reordered",
            Self::NotLinked { .. } => "audit-record-not-linked",
            Self::NoStart { .. } => "audit-no-start",
            Self::Truncated { .. } => "audit-truncated",
            Self::Beyond { .. } => "audit-beyond-checkpoint",
            Self::Checkpoint { .. } => "audit-checkpoint-forged",
            Self::Head { .. } => "audit-head-differs",
        }
    }

    /// The first record that is not as the broker wrote it, if it is about one.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Io(_) | Self::Header { .. } => None,
            Self::OtherBroker { number, .. }
            | Self::OtherKey { number, .. }
            | Self::Altered { number }
            | Self::Missing { number }
            | Self::Reordered { number, .. }
            | Self::NotLinked { number }
            | Self::NoStart { number }
            | Self::Truncated { number, .. }
            | Self::Beyond { number, .. }
            | Self::Checkpoint { number, .. }
            | Self::Head { number, .. } => Some(*number),
        }
    }
}

/// Verifies an export from its first byte to its last, in constant memory.
pub fn verify(mut input: impl BufRead, expected: &ExpectedLog) -> Result<VerifiedLog, VerifyError> {
    let header = match line(&mut input)? {
        Some((text, _)) => Header::parse(&text).map_err(|reason| VerifyError::Header { reason })?,
        None => return Err(VerifyError::Header { reason: "the file is empty".to_owned() }),
    };
    let mut chain = Chain::begin(header, expected)?;
    while let Some((text, whole)) = line(&mut input)? {
        let number = chain.next;
        let Some(record) = parse(&text) else {
            let size = chain.header.checkpoint.size;
            return Err(match whole {
                true => VerifyError::Altered { number },
                // The file ends in the middle of a line.
                false => VerifyError::Truncated { number, size },
            });
        };
        if record.number > number && number <= chain.header.checkpoint.size {
            let found = record.number;
            return Err(match stands_later(&mut input, number)? {
                true => VerifyError::Reordered { number, found },
                false => VerifyError::Missing { number },
            });
        }
        chain.add(&record)?;
    }
    chain.end()
}

/// A line without its line feed, and whether it had one; `None` at the end.
fn line(input: &mut impl BufRead) -> Result<Option<(String, bool)>, VerifyError> {
    let mut bytes = Vec::new();
    if input.take(MAXIMUM_LINE).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let whole = bytes.last() == Some(&b'\n') || bytes.len() as u64 == MAXIMUM_LINE;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    // Bytes that are not UTF-8 are no line of an export either way.
    Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), whole)))
}

/// Does the record of this number come further down?
fn stands_later(input: &mut impl BufRead, number: u64) -> Result<bool, VerifyError> {
    while let Some((text, _)) = line(input)? {
        if parse(&text).is_some_and(|record| record.number == number) {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Chain<'a> {
    header: Header,
    expected: &'a ExpectedLog,
    /// The number of the next record.
    next: u64,
    /// The hash of the record before; `None` before the first in the file.
    previous: Option<Sha256Digest>,
    /// Hashes of the records up to it.
    hashes: VecDeque<Sha256Digest>,
    checkpoints: u64,
}

impl<'a> Chain<'a> {
    fn begin(header: Header, expected: &'a ExpectedLog) -> Result<Self, VerifyError> {
        let first = header.first;
        if let Some(expected) = expected.genesis.filter(|expected| *expected != header.genesis) {
            let found = header.genesis.to_string();
            return Err(VerifyError::OtherBroker { number: first, expected, found });
        }
        if let Some(expected) = expected.checkpoint_key.filter(|expected| *expected != header.checkpoint_key)
        {
            let found = header.checkpoint_key.to_string();
            return Err(VerifyError::OtherKey { number: first, expected, found });
        }
        let wanted = expected.first.unwrap_or(1);
        if first > wanted {
            return Err(VerifyError::Missing { number: wanted });
        }
        let size = header.checkpoint.size;
        if !header.checkpoint_key.verifies(header.genesis, &header.checkpoint) {
            return Err(VerifyError::Checkpoint { number: size, size });
        }
        if let Some((head, _)) = expected.head.filter(|(head, _)| *head < first) {
            return Err(VerifyError::Missing { number: head });
        }
        let hashes = VecDeque::new();
        Ok(Self { header, expected, next: first, previous: None, hashes, checkpoints: 0 })
    }

    fn add(&mut self, record: &StoredRecord) -> Result<(), VerifyError> {
        let number = record.number;
        let size = self.header.checkpoint.size;
        if number > size {
            return Err(VerifyError::Beyond { number, size });
        }
        if number != self.next {
            return Err(VerifyError::Reordered { number: self.next, found: number });
        }
        let first = number == self.header.first;
        // The record before the first in the file is not here to compare; before
        // the first of all there is nothing.
        let follows =
            if first { (number == 1) == record.previous.is_none() } else { record.previous == self.previous };
        if !follows {
            return Err(VerifyError::NotLinked { number });
        }
        self.contents(record)?;
        if let Some((_, expected)) = self.expected.head.filter(|(head, _)| *head == number)
            && expected != record.hash
        {
            return Err(VerifyError::Head { number, expected, found: record.hash });
        }
        self.hashes.push_back(record.hash);
        if self.hashes.len() > REMEMBERED {
            self.hashes.pop_front();
        }
        self.previous = Some(record.hash);
        self.next = number + 1;
        Ok(())
    }

    fn contents(&mut self, record: &StoredRecord) -> Result<(), VerifyError> {
        let number = record.number;
        let what = record::decode(&record.bytes).and_then(|record| record.what);
        match what {
            Some(What::Start(start)) => {
                let (genesis, key) = (self.header.genesis, self.header.checkpoint_key);
                if start.genesis != genesis.0.0 {
                    let found = hex::encode(&start.genesis);
                    return Err(VerifyError::OtherBroker { number, expected: genesis, found });
                }
                if start.checkpoint_key != key.0 {
                    let found = hex::encode(&start.checkpoint_key);
                    return Err(VerifyError::OtherKey { number, expected: key, found });
                }
            }
            _ if number == 1 => return Err(VerifyError::NoStart { number }),
            Some(What::Checkpoint(checkpoint)) => self.checkpoint(number, &checkpoint)?,
            _ => {}
        }
        Ok(())
    }

    fn checkpoint(&mut self, number: u64, checkpoint: &AuditCheckpoint) -> Result<(), VerifyError> {
        let size = checkpoint.size;
        let forged = VerifyError::Checkpoint { number, size };
        if size >= number || !self.header.checkpoint_key.verifies(self.header.genesis, checkpoint) {
            return Err(forged);
        }
        // Over a record before those in the file: there is nothing to compare.
        if size >= self.header.first {
            let back = usize::try_from(number - size).unwrap_or(usize::MAX);
            let over = self.hashes.len().checked_sub(back).and_then(|at| self.hashes.get(at));
            if over.is_none_or(|hash| hash.0 != *checkpoint.hash) {
                return Err(forged);
            }
        }
        self.checkpoints += 1;
        Ok(())
    }

    fn end(self) -> Result<VerifiedLog, VerifyError> {
        let Header { genesis, checkpoint_key, first, checkpoint } = self.header;
        let size = checkpoint.size;
        if self.next <= size {
            return Err(VerifyError::Truncated { number: self.next, size });
        }
        let Some(hash) = self.previous.filter(|hash| hash.0 == *checkpoint.hash) else {
            return Err(VerifyError::Checkpoint { number: size, size });
        };
        if let Some((head, _)) = self.expected.head.filter(|(head, _)| *head > size) {
            return Err(VerifyError::Truncated { number: size + 1, size: head });
        }
        Ok(VerifiedLog { genesis, checkpoint_key, first, size, hash, checkpoints: self.checkpoints + 1 })
    }
}

#[cfg(test)]
mod tests;
