//! How many records `saved_model.pb` holds, counted before it is decoded: a
//! node of two bytes becomes a structure of two hundred.

use super::messages::FILE;
use crate::error::ImportError;

/// The messages whose fields are looked into.
#[derive(Debug, Clone, Copy)]
enum Kind {
    SavedModel,
    MetaGraph,
    Information,
    Operators,
    Definition,
    AttributeDefinition,
    Graph,
    Library,
    Function,
    Node,
    AttributeEntry,
    Attribute,
    List,
    Shape,
    Tensor,
    MapOfSignatures,
    Signature,
    Leaf,
}

impl Kind {
    /// What a length-delimited field of this message holds.
    fn field(self, number: u64) -> Self {
        match (self, number) {
            (Self::SavedModel, 2) => Self::MetaGraph,
            (Self::MetaGraph, 1) => Self::Information,
            (Self::MetaGraph, 2) => Self::Graph,
            (Self::MetaGraph, 5) => Self::MapOfSignatures,
            (Self::MapOfSignatures, 2) => Self::Signature,
            (Self::Information, 2) => Self::Operators,
            (Self::Operators, 1) | (Self::Function, 1) => Self::Definition,
            (Self::Definition, 4) => Self::AttributeDefinition,
            (Self::Graph, 1) | (Self::Function, 3) => Self::Node,
            (Self::Graph, 2) => Self::Library,
            (Self::Library, 1) => Self::Function,
            (Self::Node, 5) => Self::AttributeEntry,
            (Self::AttributeEntry, 2) | (Self::AttributeDefinition, 3) => Self::Attribute,
            (Self::Attribute, 1) => Self::List,
            (Self::Attribute, 7) | (Self::List, 7) | (Self::Tensor, 2) => Self::Shape,
            (Self::Attribute, 8) => Self::Tensor,
            _ => Self::Leaf,
        }
    }
}

/// Refuses a file with more than `limit` records.
pub(crate) fn check(bytes: &[u8], limit: usize) -> Result<(), ImportError> {
    let mut stack = vec![(Kind::SavedModel, bytes)];
    let mut records = 0usize;
    let mut previous = u64::MAX;
    while let Some((kind, mut rest)) = stack.pop() {
        while !rest.is_empty() {
            let malformed = || ImportError::malformed(FILE, "it is cut off, or not a protocol buffer");
            let (key, after) = varint(rest).ok_or_else(malformed)?;
            let number = key >> 3;
            rest = after;
            // A literal's numbers may be written one by one: they cost their own size.
            let literal = matches!(kind, Kind::Tensor) && number == previous;
            previous = number;
            if !literal {
                records += 1;
            }
            if records > limit {
                return Err(ImportError::TooLarge {
                    what: "records in saved_model.pb",
                    limit: limit as u64,
                    needed: records as u64,
                });
            }
            match key & 7 {
                0 => rest = varint(rest).ok_or_else(malformed)?.1,
                1 => rest = rest.get(8..).ok_or_else(malformed)?,
                5 => rest = rest.get(4..).ok_or_else(malformed)?,
                2 => {
                    let (length, after) = varint(rest).ok_or_else(malformed)?;
                    let length = usize::try_from(length).map_err(|_| malformed())?;
                    let (field, after) = after.split_at_checked(length).ok_or_else(malformed)?;
                    rest = after;
                    let inner = kind.field(number);
                    if !matches!(inner, Kind::Leaf) {
                        stack.push((inner, field));
                    }
                }
                _ => return Err(malformed()),
            }
        }
    }
    Ok(())
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index as u32).min(63);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests;
