use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// Writes a table as LevelDB does: `per_block` entries a block, prefixes shared.
pub(crate) fn write(entries: &[(Vec<u8>, Vec<u8>)], per_block: usize, compress: bool) -> Vec<u8> {
    let mut file = Vec::new();
    let mut index = Vec::new();
    for chunk in entries.chunks(per_block.max(1)) {
        let handle = add_block(&mut file, &encode(chunk), compress);
        let last = chunk.last().map(|(key, _)| key.clone()).unwrap_or_default();
        index.push((last, handle));
    }
    let meta = add_block(&mut file, &encode(&[]), false);
    let index = add_block(&mut file, &encode(&index), compress);
    let mut footer = [meta, index].concat();
    footer.resize(FOOTER - 8, 0);
    footer.extend(MAGIC.to_le_bytes());
    file.extend(footer);
    file
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn encode(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut previous: &[u8] = &[];
    for (key, value) in entries {
        let shared = previous.iter().zip(key).take_while(|(a, b)| a == b).count();
        varint(shared, &mut block);
        varint(key.len() - shared, &mut block);
        varint(value.len(), &mut block);
        block.extend(&key[shared..]);
        block.extend(value);
        previous = key;
    }
    block.extend(0u32.to_le_bytes());
    block.extend(1u32.to_le_bytes());
    block
}

fn add_block(file: &mut Vec<u8>, contents: &[u8], compress: bool) -> Vec<u8> {
    let offset = file.len();
    let stored =
        if compress { snap::raw::Encoder::new().compress_vec(contents).unwrap() } else { contents.to_vec() };
    file.extend(&stored);
    file.push(u8::from(compress));
    let sum = masked(crc32c::crc32c_append(crc32c::crc32c(&stored), &[u8::from(compress)]));
    file.extend(sum.to_le_bytes());
    let mut handle = Vec::new();
    varint(offset, &mut handle);
    varint(stored.len(), &mut handle);
    handle
}

fn some_entries() -> Vec<(Vec<u8>, Vec<u8>)> {
    let keys = (0..100).map(|index| format!("layer/{index:03}/kernel").into_bytes());
    keys.map(|key| (key.clone(), key.repeat(3))).collect()
}

#[test]
fn what_is_written_is_read_compressed_or_not() {
    for compress in [false, true] {
        for per_block in [1, 7, 1000] {
            let table = Bytes::from(write(&some_entries(), per_block, compress));
            let read = read(&table, 1 << 20).unwrap();
            let read: Vec<(Vec<u8>, Vec<u8>)> = read.into_iter().map(|(k, v)| (k, v.to_vec())).collect();
            assert_eq!(read, some_entries());
        }
    }
}

#[test]
fn a_changed_byte_is_found() {
    let table = write(&some_entries(), 10, true);
    for position in 0..table.len() - FOOTER {
        let mut changed = table.clone();
        changed[position] ^= 0x10;
        // The block of metadata between the last block of data and the index is not read.
        if let Ok(read) = read(&changed.into(), 1 << 20) {
            let read: Vec<(Vec<u8>, Vec<u8>)> = read.into_iter().map(|(k, v)| (k, v.to_vec())).collect();
            assert_eq!(read, some_entries(), "byte {position}");
        }
    }
}

#[test]
fn a_small_table_that_unpacks_to_much_is_refused() {
    let entries = vec![(b"key".to_vec(), vec![0; 8 << 20])];
    let table = Bytes::from(write(&entries, 1, true));
    assert!(table.len() < 1 << 20);
    assert_eq!(read(&table, 4 << 20).unwrap_err(), "it unpacks to more than is allowed");
    let entries = vec![(b"key".to_vec(), vec![0; 32 << 20])];
    let table = Bytes::from(write(&entries, 1, true));
    assert!(read(&table, 1 << 40).unwrap_err().starts_with("a block has"));
}

#[test]
fn the_checksum_is_masked_as_in_leveldb() {
    // From the formula: rotated right by 15 bits, plus a constant.
    assert_eq!(masked(0), 0xa282_ead8);
    assert_eq!(masked(1), 0xa282_ead8 + (1 << 17));
    // CRC-32C of "123456789", the check value of the polynomial.
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = read(&bytes.into(), 1 << 16);
    }

    #[test]
    fn a_damaged_table_is_read_or_refused(position: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut table = write(&some_entries(), 13, false);
        let position = position.index(table.len());
        table[position] = byte;
        let cut = cut.index(table.len() + 1);
        let _ = read(&Bytes::copy_from_slice(&table[..cut]), 1 << 20);
        let _ = read(&Bytes::copy_from_slice(&table[cut..]), 1 << 20);
    }

    #[test]
    fn any_block_is_read_or_refused(bytes: Vec<u8>) {
        let mut left = 1 << 16;
        let _ = block(&bytes.into(), &mut left);
    }

    #[test]
    fn any_entries_come_back(keys in prop::collection::btree_map("[a-c]{0,6}", "[x-z]{0,9}", 0..40), per_block in 1usize..9) {
        let entries: Vec<(Vec<u8>, Vec<u8>)> = keys.into_iter().map(|(k, v)| (k.into_bytes(), v.into_bytes())).collect();
        let read = read(&write(&entries, per_block, per_block % 2 == 0).into(), 1 << 20).unwrap();
        let read: Vec<(Vec<u8>, Vec<u8>)> = read.into_iter().map(|(k, v)| (k, v.to_vec())).collect();
        prop_assert_eq!(read, entries);
    }
}
