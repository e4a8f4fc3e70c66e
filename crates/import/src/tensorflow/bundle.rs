//! The variables of a SavedModel: `variables/variables.index`, a table of where
//! each tensor lies, and `variables/variables.data-NNNNN-of-NNNNN`.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::{
    messages::{BundleEntry, BundleHeader},
    table,
    tensors::{dimensions, element_type},
};
use crate::{
    error::ImportError,
    files::{Files, read_whole},
    limits::Limits,
    tensor::{ElementType, Tensor, count},
};

const INDEX: &str = "variables/variables.index";

/// The variables, each read when it is asked for.
pub(crate) struct Bundle<'f> {
    files: &'f dyn Files,
    shards: u32,
    entries: BTreeMap<String, BundleEntry>,
}

impl<'f> Bundle<'f> {
    /// Reads the index. A model without variables has none.
    pub(crate) fn open(files: &'f dyn Files, limits: &Limits) -> Result<Self, ImportError> {
        let mut bundle = Self { files, shards: 0, entries: BTreeMap::new() };
        let Some(index) = read_whole(files, INDEX, "bytes of variables.index", limits.index_bytes)? else {
            return Ok(bundle);
        };
        let malformed = |reason: String| ImportError::malformed(INDEX, reason);
        let budget = limits.index_bytes.saturating_mul(4);
        for (key, value) in table::read(&index, budget).map_err(malformed)? {
            if key.is_empty() {
                let header = BundleHeader::decode(value).map_err(|error| malformed(error.to_string()))?;
                if header.endianness != 0 {
                    return Err(malformed("it is big-endian".to_owned()));
                }
                bundle.shards = u32::try_from(header.shards)
                    .map_err(|_| malformed("the number of its files is negative".to_owned()))?;
                continue;
            }
            let entry = BundleEntry::decode(value).map_err(|error| malformed(error.to_string()))?;
            let key = String::from_utf8(key).map_err(|_| malformed("a key is not text".to_owned()))?;
            bundle.entries.insert(key, entry);
        }
        Ok(bundle)
    }

    /// The keys of all tensors.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is a tensor under this key.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reads the tensor under a key and checks its checksum.
    pub(crate) fn read(&self, key: &str) -> Result<Tensor, ImportError> {
        let missing = |reason: String| ImportError::NoValue { variable: key.to_owned(), reason };
        let entry = self.entries.get(key).ok_or_else(|| missing(String::new()))?;
        if !entry.slices.is_empty() {
            return Err(missing(", it was saved in slices; save it whole".to_owned()));
        }
        let malformed = |reason: &str| ImportError::malformed(INDEX, format!("{key}: {reason}"));
        let kind = element_type(entry.kind)
            .ok_or_else(|| malformed(&format!("the type number {} is not supported", entry.kind)))?;
        let shape = dimensions(entry.shape.as_ref()).ok_or_else(|| malformed("its shape is unknown"))?;
        let total = count(&shape).ok_or_else(|| malformed("its shape is too large"))?;
        let size = usize::try_from(entry.size).map_err(|_| malformed("its size is negative"))?;
        let fits = match kind.size() {
            Some(width) => total.checked_mul(width) == Some(size),
            None => total <= size,
        };
        if !fits {
            return Err(malformed(&format!("{size} bytes don't fit the shape {shape:?}")));
        }
        let offset = u64::try_from(entry.offset).map_err(|_| malformed("its offset is negative"))?;
        if entry.shard < 0 || entry.shard.unsigned_abs() >= self.shards {
            return Err(malformed("it lies in a file that the header doesn't count"));
        }
        let file = format!("variables/variables.data-{:05}-of-{:05}", entry.shard, self.shards);
        let bytes = self
            .files
            .read(&file, offset, size)
            .map_err(|source| ImportError::File { file: file.clone(), source })?;
        let wrong_sum =
            || ImportError::malformed(&file, format!("the checksum of {key} is wrong: its bytes changed"));
        if kind == ElementType::String {
            let (strings, sum) =
                strings(&bytes, total).ok_or_else(|| malformed("its strings are cut off"))?;
            if table::masked(sum) != entry.crc32c {
                return Err(wrong_sum());
            }
            return Tensor::strings(shape, strings).ok_or_else(|| malformed("its strings don't fit"));
        }
        if table::masked(crc32c::crc32c(&bytes)) != entry.crc32c {
            return Err(wrong_sum());
        }
        Tensor::fixed(kind, shape, bytes).ok_or_else(|| malformed("its bytes don't fit its shape"))
    }
}

/// The strings of a tensor, and the checksum over it. The lengths come first, as
/// varints, then their checksum, then the strings. The lengths enter the sum as
/// numbers of 4 bytes, or of 8 if they need them.
fn strings(bytes: &Bytes, total: usize) -> Option<(Vec<Bytes>, u32)> {
    let mut lengths = Vec::with_capacity(total);
    let mut position = 0usize;
    let mut sum = 0u32;
    for _ in 0..total {
        let mut length = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = *bytes.get(position)?;
            position += 1;
            length |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        sum = match u32::try_from(length) {
            Ok(short) => crc32c::crc32c_append(sum, &short.to_le_bytes()),
            Err(_) => crc32c::crc32c_append(sum, &length.to_le_bytes()),
        };
        lengths.push(usize::try_from(length).ok()?);
    }
    let stored = bytes.get(position..position.checked_add(4)?)?;
    if stored != table::masked(sum).to_le_bytes() {
        return None;
    }
    sum = crc32c::crc32c_append(sum, stored);
    position += 4;
    let mut all = Vec::with_capacity(total);
    for length in lengths {
        let end = position.checked_add(length).filter(|end| *end <= bytes.len())?;
        sum = crc32c::crc32c_append(sum, bytes.get(position..end)?);
        all.push(bytes.slice(position..end));
        position = end;
    }
    Some((all, sum))
}
