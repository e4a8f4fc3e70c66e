//! The table that a variables' index is: LevelDB's table format. Blocks of
//! key-value pairs with shared prefixes, each followed by its compression and a
//! masked CRC-32C; a block of handles; a footer of 48 bytes.

use bytes::Bytes;

const FOOTER: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
const TRAILER: usize = 5;
/// TensorFlow writes blocks of 256 KiB; one entry may be longer.
const LARGEST_BLOCK: usize = 16 << 20;
const LONGEST_KEY: usize = 4 << 10;

/// A sorted table of keys and values.
pub(crate) type Entries = Vec<(Vec<u8>, Bytes)>;

/// Reads a whole table. `budget` is how many bytes keys, values and unpacked
/// blocks may have together: prefixes and compression make more of few bytes.
pub(crate) fn read(table: &Bytes, budget: u64) -> Result<Entries, String> {
    let footer_start = table.len().checked_sub(FOOTER).ok_or("it is shorter than a footer")?;
    let footer = table.slice(footer_start..);
    let magic: [u8; 8] =
        footer.get(FOOTER - 8..).and_then(|tail| tail.try_into().ok()).ok_or("it has no footer")?;
    if u64::from_le_bytes(magic) != MAGIC {
        return Err("it is not a table: the magic number at its end is wrong".to_owned());
    }
    let mut handles = Reader(&footer);
    handles.handle().ok_or("the footer is cut off")?;
    let index = handles.handle().ok_or("the footer is cut off")?;
    let mut left = budget;
    let mut entries = Vec::new();
    for (_, handle) in block(&unpack(table, index, &mut left)?, &mut left)? {
        let place = Reader(&handle).handle().ok_or("the handle of a block is cut off")?;
        entries.extend(block(&unpack(table, place, &mut left)?, &mut left)?);
    }
    if entries.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a >= b)) {
        return Err("its keys are not sorted".to_owned());
    }
    Ok(entries)
}

/// TensorFlow stores checksums rotated and shifted, so that the checksum of
/// bytes with their checksum is not a constant.
pub(crate) fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn charge(left: &mut u64, bytes: usize) -> Result<(), String> {
    *left = left.checked_sub(bytes as u64).ok_or("it unpacks to more than is allowed")?;
    Ok(())
}

/// The contents of the block at an offset, of a size.
fn unpack(table: &Bytes, (offset, size): (u64, u64), left: &mut u64) -> Result<Bytes, String> {
    let outside = "a block lies outside the file";
    let start = usize::try_from(offset).map_err(|_| outside)?;
    let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size)).ok_or(outside)?;
    let trailer_end = end.checked_add(TRAILER).filter(|end| *end <= table.len()).ok_or(outside)?;
    let (contents, trailer) = (table.slice(start..end), table.slice(end..trailer_end));
    let (Some(compression), Some(stored)) = (trailer.first(), trailer.get(1..TRAILER)) else {
        return Err(outside.to_owned());
    };
    let computed = masked(crc32c::crc32c_append(crc32c::crc32c(&contents), &[*compression]));
    if stored != computed.to_le_bytes() {
        return Err("the checksum of a block is wrong".to_owned());
    }
    match compression {
        0 => Ok(contents),
        1 => {
            let length = snap::raw::decompress_len(&contents).map_err(|error| error.to_string())?;
            if length > LARGEST_BLOCK {
                return Err(format!("a block has {length} bytes; at most {LARGEST_BLOCK} are read"));
            }
            charge(left, length)?;
            let unpacked =
                snap::raw::Decoder::new().decompress_vec(&contents).map_err(|error| error.to_string())?;
            Ok(unpacked.into())
        }
        other => Err(format!("a block has the unknown compression {other}")),
    }
}

/// The entries of a block.
fn block(contents: &Bytes, left: &mut u64) -> Result<Entries, String> {
    let cut = "a block is cut off";
    let restarts_at = contents.len().checked_sub(4).ok_or(cut)?;
    let restarts: [u8; 4] = contents.get(restarts_at..).and_then(|t| t.try_into().ok()).ok_or(cut)?;
    let restarts = u32::from_le_bytes(restarts) as usize;
    let end = restarts.checked_mul(4).and_then(|bytes| restarts_at.checked_sub(bytes)).ok_or(cut)?;
    let mut reader = Reader(contents.get(..end).ok_or(cut)?);
    let mut entries: Entries = Vec::new();
    while !reader.0.is_empty() {
        let sizes = (reader.size(), reader.size(), reader.size());
        let (Some(shared), Some(added), Some(length)) = sizes else { return Err(cut.to_owned()) };
        let suffix = reader.take(added).ok_or(cut)?;
        let value = reader.take(length).ok_or(cut)?;
        let previous = entries.last().map(|(key, _)| key.as_slice()).unwrap_or_default();
        let prefix = previous.get(..shared).ok_or("a key shares more than the key before has")?;
        if shared + added > LONGEST_KEY {
            return Err(format!("a key has {} bytes; at most {LONGEST_KEY} are read", shared + added));
        }
        charge(left, shared + added + 64)?;
        let key = [prefix, suffix].concat();
        entries.push((key, contents.slice_ref(value)));
    }
    Ok(entries)
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(first & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    fn handle(&mut self) -> Option<(u64, u64)> {
        Some((self.varint()?, self.varint()?))
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
pub(crate) mod tests;
