//! Tensors in NumPy's files: `.npz`, a ZIP archive of `.npy` arrays.
//!
//! Formats: PKWARE's APPNOTE for the archive, NumPy's `numpy.lib.format` for arrays.
//! Arrays are read that `numpy.savez` writes: stored without compression, in C order.

use std::collections::BTreeMap;

use half::f16;

use crate::tensor::{Elements, Tensor, Text, element_count};

/// The reason that a file could not be read.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NpzError {
    /// The file is not an archive, or is cut off.
    ///
    /// Do: write the file again with `numpy.savez`, and copy it whole.
    #[error("the file is not an .npz archive: {reason}; write it with numpy.savez")]
    Archive { reason: &'static str },
    /// An array of the archive has a header, an element type or an order that is not read.
    ///
    /// Do: save the array in C order and in a type that ONNX has, with `numpy.savez`.
    #[error("the array {name:?} can't be read: {reason}")]
    Array { name: String, reason: String },
}

impl NpzError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Archive { .. } => "npz-archive",
            Self::Array { .. } => "npz-array",
        }
    }
}

/// Whole numbers at places of a file.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn part(self, start: usize, length: usize) -> Result<&'a [u8], NpzError> {
        let end = start.checked_add(length);
        end.and_then(|end| self.0.get(start..end)).ok_or(NpzError::Archive { reason: "it is cut off" })
    }

    fn number(self, start: usize, length: usize) -> Result<usize, NpzError> {
        let bytes = self.part(start, length)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

const END: &[u8] = b"PK\x05\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const FILE: &[u8] = b"PK\x03\x04";

/// The arrays of an archive, by name. Texts may be of any length, numbers of any type of ONNX.
pub fn read(file: &[u8]) -> Result<BTreeMap<String, Tensor>, NpzError> {
    let bytes = Bytes(file);
    let end = file
        .windows(END.len())
        .rposition(|window| window == END)
        .ok_or(NpzError::Archive { reason: "it has no directory" })?;
    let count = bytes.number(end + 10, 2)?;
    let mut place = bytes.number(end + 16, 4)?;
    let mut arrays = BTreeMap::new();
    for _ in 0..count {
        if bytes.part(place, 4)? != ENTRY {
            return Err(NpzError::Archive { reason: "its directory is damaged" });
        }
        let (compression, size) = (bytes.number(place + 10, 2)?, bytes.number(place + 20, 4)?);
        let lengths = [28, 30, 32].map(|offset| bytes.number(place + offset, 2));
        let [name_length, extra_length, comment_length] = lengths;
        let (name_length, after) = (name_length?, extra_length? + comment_length?);
        let name = String::from_utf8_lossy(bytes.part(place + 46, name_length)?);
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        if compression != 0 {
            return Err(NpzError::Array {
                name,
                reason: "it is compressed; write it with numpy.savez".to_owned(),
            });
        }
        let local = bytes.number(place + 42, 4)?;
        if bytes.part(local, 4)? != FILE {
            return Err(NpzError::Archive { reason: "its directory is damaged" });
        }
        let start = local + 30 + bytes.number(local + 26, 2)? + bytes.number(local + 28, 2)?;
        let array = read_array(bytes.part(start, size)?);
        let array = array.map_err(|reason| NpzError::Array { name: name.clone(), reason })?;
        arrays.insert(name, array);
        place += 46 + name_length + after;
    }
    Ok(arrays)
}

/// The array of a file of `numpy.save` (`.npy`).
pub fn read_npy(file: &[u8]) -> Result<Tensor, NpzError> {
    read_array(file).map_err(|reason| NpzError::Array { name: "npy".to_owned(), reason })
}

/// One `.npy` array.
fn read_array(file: &[u8]) -> Result<Tensor, String> {
    let cut_off = || "it is cut off".to_owned();
    let magic = file.get(..8).ok_or_else(cut_off)?;
    if !magic.starts_with(b"\x93NUMPY") {
        return Err("it is not an array of NumPy".to_owned());
    }
    // Version 1 has a length of 2 bytes, later ones of 4.
    let width = if magic[6] == 1 { 2 } else { 4 };
    let length = file.get(8..8 + width).ok_or_else(cut_off)?;
    let length = length.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    let start = 8 + width;
    let header = file.get(start..start.saturating_add(length)).ok_or_else(cut_off)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not a text")?;
    if field(header, "fortran_order") == Some("True") {
        return Err("its order is Fortran's; use numpy.ascontiguousarray".to_owned());
    }
    let kind = field(header, "descr").ok_or("its header has no type")?.trim_matches('\'');
    let shape = field(header, "shape").ok_or("its header has no shape")?;
    let shape = shape
        .trim_matches(['(', ')'])
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(str::parse)
        .collect::<Result<Vec<usize>, _>>()
        .map_err(|_| "its shape is not of whole numbers")?;
    let data = &file[start + length..];
    let elements = elements(kind, data, element_count(&shape).ok_or("its shape is too large")?)?;
    Tensor::new(shape, elements).ok_or_else(|| "its data do not fill its shape".to_owned())
}

/// The value of a field of a header, which is a dictionary of Python.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let rest = header.split_once(&format!("'{name}':"))?.1.trim_start();
    let end = if rest.starts_with('(') { rest.find(')')? + 1 } else { rest.find([',', '}'])? };
    rest.get(..end)
}

fn elements(kind: &str, data: &[u8], count: usize) -> Result<Elements, String> {
    fn all<const N: usize, T>(
        data: &[u8],
        count: usize,
        read: impl Fn([u8; N]) -> T,
    ) -> std::sync::Arc<Vec<T>> {
        let (numbers, _) = data.as_chunks::<N>();
        std::sync::Arc::new(numbers.iter().take(count).map(|bytes| read(*bytes)).collect())
    }
    Ok(match kind {
        "<f4" => Elements::Float(all(data, count, f32::from_le_bytes)),
        "<f8" => Elements::Double(all(data, count, f64::from_le_bytes)),
        "<f2" => Elements::Half(all(data, count, f16::from_le_bytes)),
        "|i1" => Elements::Int8(all(data, count, i8::from_le_bytes)),
        "<i2" => Elements::Int16(all(data, count, i16::from_le_bytes)),
        "<i4" => Elements::Int32(all(data, count, i32::from_le_bytes)),
        "<i8" => Elements::Int64(all(data, count, i64::from_le_bytes)),
        "|u1" => Elements::Uint8(all(data, count, u8::from_le_bytes)),
        "<u2" => Elements::Uint16(all(data, count, u16::from_le_bytes)),
        "<u4" => Elements::Uint32(all(data, count, u32::from_le_bytes)),
        "<u8" => Elements::Uint64(all(data, count, u64::from_le_bytes)),
        "|b1" => Elements::Bool(all(data, count, |[byte]: [u8; 1]| byte != 0)),
        _ => {
            let length = |prefix| kind.strip_prefix(prefix).and_then(|length| length.parse::<usize>().ok());
            let texts = match (length("<U"), length("|S")) {
                (Some(length), _) => unicode(data, length, count)?,
                (None, Some(length)) => byte_strings(data, length, count),
                (None, None) => return Err(format!("its type {kind:?} is not read")),
            };
            Elements::Text(std::sync::Arc::new(texts))
        }
    })
}

/// Texts of no letters: a limited number of them, since they take no place in the file.
fn empty_texts(data: &[u8], count: usize) -> Vec<Text> {
    if data.is_empty() && count <= 1 << 20 { vec![Text::new(); count] } else { Vec::new() }
}

/// Texts of at most `length` bytes, filled with zeros.
fn byte_strings(data: &[u8], length: usize, count: usize) -> Vec<Text> {
    if length == 0 {
        return empty_texts(data, count);
    }
    let read = |text: &[u8]| {
        let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Text::copy_from_slice(&text[..end])
    };
    data.chunks_exact(length).take(count).map(read).collect()
}

/// Texts of at most `length` letters, each of 32 bits, filled with zeros.
fn unicode(data: &[u8], length: usize, count: usize) -> Result<Vec<Text>, String> {
    if length == 0 {
        return Ok(empty_texts(data, count));
    }
    let size = length.checked_mul(4).ok_or("its texts are too long")?;
    let read = |text: &[u8]| -> Result<Text, String> {
        let (letters, _) = text.as_chunks::<4>();
        let letters = letters.iter().map(|letter| u32::from_le_bytes(*letter));
        let mut text = letters
            .map(|letter| char::from_u32(letter).ok_or("a text has a letter that is not of Unicode"))
            .collect::<Result<String, _>>()?;
        text.truncate(text.trim_end_matches('\0').len());
        Ok(Text::from(text))
    };
    data.chunks_exact(size).take(count).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive as `numpy.savez` writes it, of one array.
    fn archive(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut array = b"\x93NUMPY\x01\x00".to_vec();
        array.extend((header.len() as u16).to_le_bytes());
        array.extend(header.as_bytes());
        array.extend(data);
        let mut file = FILE.to_vec();
        file.extend([0; 22]);
        file.extend([5, 0, 0, 0]);
        file.extend(b"x.npy");
        file.extend(&array);
        let directory = file.len() as u32;
        file.extend(ENTRY);
        file.extend([0; 16]);
        file.extend((array.len() as u32).to_le_bytes());
        file.extend([0; 4]);
        file.extend([5, 0]);
        file.extend([0; 16]);
        file.extend(b"x.npy");
        let length = file.len() as u32 - directory;
        file.extend(END);
        file.extend([0; 6]);
        file.extend([1, 0]);
        file.extend(length.to_le_bytes());
        file.extend(directory.to_le_bytes());
        file.extend([0, 0]);
        file
    }

    #[test]
    fn numbers_and_texts() {
        let numbers = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
        let arrays = read(&archive("<f4", "(2,)", &numbers)).unwrap();
        assert_eq!(arrays["x"], Tensor::vector(vec![1.5_f32, -2.0]));
        let letters = [u32::from('é'), 0, u32::from('a'), u32::from('b')].map(u32::to_le_bytes).concat();
        let arrays = read(&archive("<U2", "(1, 2)", &letters)).unwrap();
        assert_eq!(arrays["x"].values::<Text>().unwrap(), [Text::from("é"), Text::from("ab")]);
        let arrays = read(&archive("|S3", "(3,)", b"a\0\0\0\0\0\xffbc")).unwrap();
        let expected = [&b"a"[..], b"", b"\xffbc"].map(Text::copy_from_slice);
        assert_eq!(arrays["x"].values::<Text>().unwrap(), expected);
    }

    #[test]
    fn what_is_not_an_archive_is_an_error() {
        assert_eq!(read(b"not a zip").unwrap_err().code(), "npz-archive");
        assert_eq!(read(&archive("<c8", "(2,)", &[0; 16])).unwrap_err().code(), "npz-array");
        assert_eq!(read(&archive("<f4", "(3,)", &[0; 8])).unwrap_err().code(), "npz-array");
        assert_eq!(read(&archive("<f4", "(99999999999, 99999999999)", &[])).unwrap_err().code(), "npz-array");
    }

    proptest::proptest! {
        #[test]
        fn damaged_archives_never_panic(cut in 0_usize..200, place in 0_usize..200, byte in 0_u8..) {
            let mut file = archive("<f4", "(2,)", &[0; 8]);
            let place = place % file.len();
            file[place] = byte;
            file.truncate(file.len().saturating_sub(cut % 3 * cut));
            drop(read(&file));
        }
    }
}
