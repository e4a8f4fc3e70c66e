//! Reads constants: `TensorProto`.

use std::ops::Range;

use adytum_kernels::{pages::zeros, spare::Shrinking};
use bytes::Bytes;
use half::{bf16, f16};

use super::{
    Limits, OnnxError,
    declaration::unknown_type,
    files::{DataFiles, FileName},
    model::{Constant, Place, Stored},
};
use crate::tensor::{Element, ElementType, Tensor, Text, element_count};
use adytum_wire::{Field, Fields, push_doubles, push_floats, push_integers, text};

/// Constants of fewer bytes are decoded when they are read.
const SMALLEST_STORED: usize = 1024;

/// The part of a constant that is moved at once: 16 MiB.
pub(super) const MOVED_AT_ONCE: usize = 16 << 20;

/// The parts of a `TensorProto`.
#[derive(Default)]
struct Parts {
    name: String,
    dimensions: Vec<i64>,
    data_type: u64,
    segment: bool,
    raw: Option<Range<usize>>,
    floats: Vec<Field>,
    integers: Vec<Field>,
    longs: Vec<Field>,
    doubles: Vec<Field>,
    unsigned: Vec<Field>,
    texts: Vec<Range<usize>>,
    external: Vec<(String, String)>,
    is_external: bool,
}

fn parts(data: &[u8], range: Range<usize>) -> Result<Parts, OnnxError> {
    let mut parts = Parts::default();
    for field in Fields::within(data, range) {
        let field = field?;
        match field.number {
            1 => push_integers(data, &field, &mut parts.dimensions)?,
            2 => parts.data_type = field.varint().unwrap_or_default(),
            3 => parts.segment = true,
            4 => parts.floats.push(field),
            5 => parts.integers.push(field),
            6 => parts.texts.push(field.bytes().unwrap_or_default()),
            7 => parts.longs.push(field),
            8 => parts.name = text(data, &field),
            9 => parts.raw = field.bytes(),
            10 => parts.doubles.push(field),
            11 => parts.unsigned.push(field),
            13 => {
                let (mut key, mut value) = (String::new(), String::new());
                for part in Fields::within(data, field.bytes().unwrap_or_default()) {
                    let part = part?;
                    match part.number {
                        1 => key = text(data, &part),
                        2 => value = text(data, &part),
                        _ => {}
                    }
                }
                parts.external.push((key, value));
            }
            14 => parts.is_external = field.varint() == Some(1),
            _ => {}
        }
    }
    Ok(parts)
}

/// Reads a `TensorProto`: its name and its value.
pub(super) fn constant(
    data: &[u8],
    range: Range<usize>,
    limits: &Limits,
) -> Result<(String, Constant), OnnxError> {
    let parts = parts(data, range)?;
    let failed = |reason: String| OnnxError::Tensor { name: parts.name.clone(), reason };
    if parts.segment {
        return Err(failed("it is one of several segments, which no writer makes".to_owned()));
    }
    let element_type = i32::try_from(parts.data_type)
        .ok()
        .and_then(ElementType::from_onnx)
        .ok_or_else(|| failed(unknown_type(parts.data_type)))?;
    if parts.dimensions.len() > limits.rank {
        return Err(OnnxError::TooMany {
            what: "dimensions of a tensor",
            found: parts.dimensions.len(),
            limit: limits.rank,
        });
    }
    let shape: Vec<usize> = parts
        .dimensions
        .iter()
        .map(|size| usize::try_from(*size))
        .collect::<Result<_, _>>()
        .map_err(|_| failed(format!("its shape is {:?}", parts.dimensions)))?;
    let size = element_count(&shape)
        .and_then(|count| Some((count, count.checked_mul(element_type.size())?)))
        .ok_or_else(|| failed(format!("its shape {shape:?} is too large for any machine")))?;
    let (count, bytes) = size;

    let stored = |place| {
        Constant::Stored(Stored {
            name: parts.name.clone(),
            element_type,
            shape: shape.clone(),
            bytes,
            place,
        })
    };
    let is_text = element_type == ElementType::Text;
    if parts.is_external || !parts.external.is_empty() {
        if is_text {
            return Err(failed("texts can't be in another file".to_owned()));
        }
        let place = external(&parts.external, bytes).map_err(failed)?;
        return Ok((parts.name.clone(), stored(place)));
    }
    if let Some(raw) = parts.raw.clone().filter(|raw| !(raw.is_empty() && count > 0)) {
        if is_text {
            return Err(failed("texts can't be raw data".to_owned()));
        }
        if raw.len() != bytes {
            return Err(failed(format!(
                "its shape {shape:?} takes {bytes} bytes of {element_type}; it has {}",
                raw.len()
            )));
        }
        return if bytes >= SMALLEST_STORED {
            Ok((parts.name.clone(), stored(Place::File(raw))))
        } else {
            let decoded = decode(element_type, &shape, data.get(raw).unwrap_or_default());
            let decoded = decoded.ok_or_else(|| failed("its data is cut off".to_owned()))?;
            Ok((parts.name.clone(), Constant::Tensor(decoded)))
        };
    }
    // One packed list of floats is what raw data would be.
    if element_type == ElementType::Float
        && bytes >= SMALLEST_STORED
        && let [Field { value: adytum_wire::Value::Bytes(range), .. }] = parts.floats.as_slice()
        && range.len() == bytes
    {
        return Ok((parts.name.clone(), stored(Place::File(range.clone()))));
    }
    let tensor = typed(data, &parts, element_type, &shape)?.ok_or_else(|| {
        failed(format!("it has not {count} elements of {element_type}, as its shape {shape:?} says"))
    })?;
    Ok((parts.name, Constant::Tensor(tensor)))
}

fn external(entries: &[(String, String)], bytes: usize) -> Result<Place, String> {
    let entry = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let location = entry("location").ok_or("it is in another file, but in which is not said")?;
    let file = FileName::parse(location)
        .ok_or_else(|| format!("it is in the file {location:?}, which is not in the model's directory"))?;
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(value) => {
            value.parse::<u64>().map(Some).map_err(|_| format!("its {key} is {value:?}, not a number"))
        }
    };
    if let Some(length) = number("length")?
        && length != bytes as u64
    {
        return Err(format!("its shape takes {bytes} bytes; it has {length}"));
    }
    Ok(Place::Beside { file, offset: number("offset")?.unwrap_or(0) })
}

/// The tensor of a `TensorProto`'s typed fields; `None` when their number is not the shape's.
fn typed(
    data: &[u8],
    parts: &Parts,
    element_type: ElementType,
    shape: &[usize],
) -> Result<Option<Tensor>, OnnxError> {
    let integers = |fields: &[Field]| {
        let mut values = Vec::new();
        for field in fields {
            push_integers(data, field, &mut values)?;
        }
        Ok::<_, OnnxError>(values)
    };
    fn make<T: Element>(shape: &[usize], values: Vec<i64>, convert: impl Fn(i64) -> T) -> Option<Tensor> {
        Tensor::from_vec(shape, values.into_iter().map(convert).collect())
    }
    Ok(match element_type {
        ElementType::Float => {
            let mut values = Vec::new();
            for field in &parts.floats {
                push_floats(data, field, &mut values)?;
            }
            Tensor::from_vec(shape, values)
        }
        ElementType::Double => {
            let mut values = Vec::new();
            for field in &parts.doubles {
                push_doubles(data, field, &mut values)?;
            }
            Tensor::from_vec(shape, values)
        }
        ElementType::Int64 => make(shape, integers(&parts.longs)?, |value| value),
        ElementType::Uint64 => make(shape, integers(&parts.unsigned)?, i64::cast_unsigned),
        ElementType::Uint32 => make(shape, integers(&parts.unsigned)?, |value| value as u32),
        ElementType::Int32 => make(shape, integers(&parts.integers)?, |value| value as i32),
        ElementType::Int16 => make(shape, integers(&parts.integers)?, |value| value as i16),
        ElementType::Int8 => make(shape, integers(&parts.integers)?, |value| value as i8),
        ElementType::Uint16 => make(shape, integers(&parts.integers)?, |value| value as u16),
        ElementType::Uint8 => make(shape, integers(&parts.integers)?, |value| value as u8),
        ElementType::Bool => make(shape, integers(&parts.integers)?, |value| value != 0),
        ElementType::Half => make(shape, integers(&parts.integers)?, |value| f16::from_bits(value as u16)),
        ElementType::Bfloat16 => {
            make(shape, integers(&parts.integers)?, |value| bf16::from_bits(value as u16))
        }
        ElementType::Text => {
            let texts = parts.texts.iter();
            let texts =
                texts.map(|range| Bytes::copy_from_slice(data.get(range.clone()).unwrap_or_default()));
            Tensor::from_vec(shape, texts.collect::<Vec<Text>>())
        }
    })
}

/// A tensor of little-endian bytes; `None` when their number is not the shape's, or for texts.
pub fn decode(element_type: ElementType, shape: &[usize], bytes: &[u8]) -> Option<Tensor> {
    fn make<T: Element, const N: usize>(
        shape: &[usize],
        bytes: &[u8],
        convert: impl Fn([u8; N]) -> T,
    ) -> Option<Tensor> {
        let (chunks, rest) = bytes.as_chunks::<N>();
        if !rest.is_empty() || element_count(shape) != Some(chunks.len()) {
            return None;
        }
        Tensor::from_vec(shape, chunks.iter().map(|chunk| convert(*chunk)).collect())
    }
    match element_type {
        ElementType::Float => {
            let (chunks, rest) = bytes.as_chunks();
            if !rest.is_empty() || element_count(shape) != Some(chunks.len()) {
                return None;
            }
            // The largest constants are floats.
            let mut values = zeros(chunks.len());
            values.iter_mut().zip(chunks).for_each(|(value, chunk)| *value = f32::from_le_bytes(*chunk));
            Tensor::from_vec(shape, values)
        }
        ElementType::Double => make(shape, bytes, f64::from_le_bytes),
        ElementType::Half => make(shape, bytes, f16::from_le_bytes),
        ElementType::Bfloat16 => make(shape, bytes, bf16::from_le_bytes),
        ElementType::Int8 => make(shape, bytes, i8::from_le_bytes),
        ElementType::Int16 => make(shape, bytes, i16::from_le_bytes),
        ElementType::Int32 => make(shape, bytes, i32::from_le_bytes),
        ElementType::Int64 => make(shape, bytes, i64::from_le_bytes),
        ElementType::Uint8 => make(shape, bytes, u8::from_le_bytes),
        ElementType::Uint16 => make(shape, bytes, u16::from_le_bytes),
        ElementType::Uint32 => make(shape, bytes, u32::from_le_bytes),
        ElementType::Uint64 => make(shape, bytes, u64::from_le_bytes),
        ElementType::Bool => make(shape, bytes, |[byte]| byte != 0),
        ElementType::Text => None,
    }
}

impl Stored {
    fn failed(&self, reason: impl Into<String>) -> OnnxError {
        OnnxError::Tensor { name: self.name.clone(), reason: reason.into() }
    }

    /// The bytes. Those in memory are not copied.
    pub fn into_bytes(self, files: &dyn DataFiles) -> Result<Vec<u8>, OnnxError> {
        match self.place {
            Place::Memory(bytes) => Ok(bytes),
            Place::Beside { ref file, offset } => {
                files.read(file, offset, self.bytes).map_err(|reason| self.failed(reason))
            }
            Place::File(_) => Err(self.failed("its data is not read yet")),
        }
    }

    /// The tensor. `model` is the model's file, as far as constants are still in it.
    pub fn tensor(&self, model: &[u8], files: &dyn DataFiles) -> Result<Tensor, OnnxError> {
        let decoded = match &self.place {
            Place::Memory(bytes) => decode(self.element_type, &self.shape, bytes),
            Place::Beside { file, offset } => {
                let bytes = files.read(file, *offset, self.bytes).map_err(|reason| self.failed(reason))?;
                decode(self.element_type, &self.shape, &bytes)
            }
            Place::File(range) => {
                model.get(range.clone()).and_then(|bytes| decode(self.element_type, &self.shape, bytes))
            }
        };
        decoded.ok_or_else(|| self.failed("its data does not fit its shape"))
    }

    /// The tensor, which takes the place of this constant: bytes in memory become it without a copy.
    pub(crate) fn take_tensor(&mut self, model: &[u8], files: &dyn DataFiles) -> Result<Tensor, OnnxError> {
        match &mut self.place {
            Place::Memory(bytes)
                if self.element_type == ElementType::Uint8
                    && element_count(&self.shape) == Some(bytes.len()) =>
            {
                Tensor::from_vec(self.shape.as_slice(), std::mem::take(bytes))
                    .ok_or_else(|| self.failed("its data does not fit its shape"))
            }
            _ => self.tensor(model, files),
        }
    }

    /// Reads the bytes of a constant that is still in `file`.
    pub(crate) fn settle(&mut self, file: &[u8]) {
        if let Place::File(range) = &self.place {
            let found = file.get(range.clone()).unwrap_or_default();
            let mut bytes = zeros(found.len());
            bytes.copy_from_slice(found);
            self.place = Place::Memory(bytes);
        }
    }

    /// Moves the bytes of a constant out of the end of `file`. Those of a large one go in parts, last part first, and the
    /// file ends where they began afterwards, so that even the largest constant of a model is not held twice.
    pub(super) fn move_out(&mut self, file: &mut Shrinking) {
        let Place::File(range) = &self.place else { return };
        let length = file.bytes().len();
        let range = range.start.min(length)..range.end.min(length);
        let mut bytes = zeros(range.len());
        for (part, place) in bytes.chunks_mut(MOVED_AT_ONCE).enumerate().rev() {
            let start = range.start + part * MOVED_AT_ONCE;
            place.copy_from_slice(&file.bytes()[start..start + place.len()]);
            if range.len() > MOVED_AT_ONCE {
                file.cut(start);
            }
        }
        self.place = Place::Memory(bytes);
    }
}

/// Reads a `TensorProto` that is a file of its own, such as a recorded input: its name, its value.
pub fn read(message: &[u8]) -> Result<(String, Tensor), OnnxError> {
    let (name, constant) = constant(message, 0..message.len(), &Limits::default())?;
    let tensor = match constant {
        Constant::Tensor(tensor) => tensor,
        Constant::Stored(stored) => stored.tensor(message, &super::files::NoFiles)?,
    };
    Ok((name, tensor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use adytum_wire::{put_bytes, put_number};

    fn proto(shape: &[u64], data_type: u64, field: u64, bytes: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        for size in shape {
            put_number(&mut message, 1, *size);
        }
        put_number(&mut message, 2, data_type);
        put_bytes(&mut message, 8, b"t");
        put_bytes(&mut message, field, bytes);
        message
    }

    #[test]
    fn raw_and_typed_data_are_read() {
        let raw = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
        for field in [9, 4] {
            let (name, tensor) = read(&proto(&[2], 1, field, &raw)).unwrap();
            assert_eq!(name, "t");
            assert_eq!(tensor, Tensor::vector(vec![1.5_f32, -2.0]));
        }
        let (_, tensor) = read(&proto(&[2, 1], 9, 9, &[0, 7])).unwrap();
        assert_eq!(tensor, Tensor::from_vec([2, 1], vec![false, true]).unwrap());
        let (_, tensor) = read(&proto(&[], 8, 6, b"text")).unwrap();
        assert_eq!(tensor, Tensor::scalar(Text::from_static(b"text")));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert!(read(&proto(&[3], 1, 9, &[0; 8])).is_err());
        assert!(read(&proto(&[1 << 40, 1 << 40], 1, 9, &[0; 8])).is_err());
        assert!(read(&proto(&[u64::MAX], 1, 9, &[0; 8])).is_err());
        assert!(read(&proto(&[8], 17, 9, &[0; 8])).is_err());
    }

    #[test]
    fn a_large_constant_is_moved_in_parts() {
        for length in [0, 5, MOVED_AT_ONCE, 2 * MOVED_AT_ONCE + 7] {
            let content: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            let mut file = Shrinking::new([b"front", content.as_slice(), b"behind"].concat());
            let mut constant = Stored {
                name: "t".to_owned(),
                element_type: ElementType::Uint8,
                shape: vec![length],
                bytes: length,
                place: Place::File(5..5 + length),
            };
            constant.move_out(&mut file);
            assert!(
                file.bytes().starts_with(b"front") && (length <= MOVED_AT_ONCE || file.bytes().len() == 5)
            );
            assert!(constant.into_bytes(&super::super::files::NoFiles).unwrap() == content);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
