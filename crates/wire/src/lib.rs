//! Protocol buffers on the wire
//! (<https://protobuf.dev/programming-guides/encoding/>): a reader that gives
//! each field's place and copies nothing, and the few writers needed to put a
//! changed message together again.
//!
//! Models are read with it: in the types that generated code would make of them they
//! can be many times larger.

use std::ops::Range;

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct WireError {
    pub reason: &'static str,
    /// Where, from the beginning of the outermost message.
    pub offset: usize,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Wire type 0.
    Varint(u64),
    /// Wire types 1 and 5: where its bytes are.
    Fixed(Range<usize>),
    /// Wire type 2: where its bytes are.
    Bytes(Range<usize>),
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub number: u64,
    pub value: Value,
    /// The whole field, tag included.
    pub whole: Range<usize>,
}

impl Field {
    /// The place of a length-delimited value.
    pub fn bytes(&self) -> Option<Range<usize>> {
        match &self.value {
            Value::Bytes(range) => Some(range.clone()),
            _ => None,
        }
    }

    /// A varint value.
    pub fn varint(&self) -> Option<u64> {
        match self.value {
            Value::Varint(value) => Some(value),
            _ => None,
        }
    }
}

/// Reads the fields of the message at `range` in `data`. Places are counted
/// from the beginning of `data`.
pub struct Fields<'a> {
    data: &'a [u8],
    position: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    /// The message that is the whole of `data`.
    pub fn of(data: &'a [u8]) -> Self {
        Self { data, position: 0, end: data.len() }
    }

    /// A message inside `data`; a range outside it reads as empty.
    pub fn within(data: &'a [u8], range: Range<usize>) -> Self {
        let end = range.end.min(data.len());
        Self { data, position: range.start.min(end), end }
    }

    fn malformed(&self, reason: &'static str) -> WireError {
        WireError { reason, offset: self.position }
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.position >= self.end
    }

    /// Reads a varint: for the contents of packed fields.
    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = match self.data.get(self.position) {
                Some(byte) if self.position < self.end => *byte,
                _ => return Err(self.malformed("a number is cut off")),
            };
            self.position += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.malformed("a number has more than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number has more than 10 bytes"))
    }

    fn take(&mut self, length: u64) -> Result<Range<usize>, WireError> {
        let start = self.position;
        match usize::try_from(length).ok().and_then(|length| start.checked_add(length)) {
            Some(end) if end <= self.end => {
                self.position = end;
                Ok(start..end)
            }
            _ => Err(self.malformed("a field is cut off")),
        }
    }

    fn field(&mut self) -> Result<Field, WireError> {
        let start = self.position;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed(self.take(4)?),
            _ => return Err(self.malformed("a field has an unknown wire type")),
        };
        if tag >> 3 == 0 {
            return Err(self.malformed("a field has the number 0"));
        }
        Ok(Field { number: tag >> 3, value, whole: start..self.position })
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.end {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.position = self.end;
        }
        Some(field)
    }
}

/// The text of a field; bytes that are not UTF-8 are replaced.
pub fn text(data: &[u8], field: &Field) -> String {
    field
        .bytes()
        .and_then(|range| data.get(range))
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .unwrap_or_default()
}

/// Adds the 32-bit numbers of a repeated field of type `float`, packed or not.
pub fn push_floats(data: &[u8], field: &Field, into: &mut Vec<f32>) -> Result<(), WireError> {
    let (bytes, offset) = fixed(data, field)?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(WireError { reason: "a list of numbers is cut off", offset });
    }
    into.extend(numbers.iter().map(|number| f32::from_le_bytes(*number)));
    Ok(())
}

/// Adds the 64-bit numbers of a repeated field of type `double`, packed or not.
pub fn push_doubles(data: &[u8], field: &Field, into: &mut Vec<f64>) -> Result<(), WireError> {
    let (bytes, offset) = fixed(data, field)?;
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(WireError { reason: "a list of numbers is cut off", offset });
    }
    into.extend(numbers.iter().map(|number| f64::from_le_bytes(*number)));
    Ok(())
}

fn fixed<'a>(data: &'a [u8], field: &Field) -> Result<(&'a [u8], usize), WireError> {
    match &field.value {
        Value::Fixed(range) | Value::Bytes(range) => {
            Ok((data.get(range.clone()).unwrap_or_default(), range.start))
        }
        Value::Varint(_) => Err(WireError { reason: "a number is a varint", offset: field.whole.start }),
    }
}

/// Adds the integers of a repeated field, packed or not.
pub fn push_integers(data: &[u8], field: &Field, into: &mut Vec<i64>) -> Result<(), WireError> {
    match &field.value {
        Value::Varint(value) => into.push(value.cast_signed()),
        Value::Bytes(range) => {
            let mut packed = Fields::within(data, range.clone());
            while !packed.is_at_end() {
                into.push(packed.varint()?.cast_signed());
            }
        }
        Value::Fixed(range) => {
            return Err(WireError { reason: "a number is not a varint", offset: range.start });
        }
    }
    Ok(())
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint field.
pub fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// Appends a length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_come_with_their_places() {
        let mut message = Vec::new();
        put_number(&mut message, 1, 300);
        put_bytes(&mut message, 2, b"graph");
        let fields: Vec<Field> = Fields::of(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields[0], Field { number: 1, value: Value::Varint(300), whole: 0..3 });
        assert_eq!(fields[1], Field { number: 2, value: Value::Bytes(5..10), whole: 3..10 });
        assert_eq!(text(&message, &fields[1]), "graph");
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for message in [&[0x08][..], &[0x08, 0xff], &[0x12, 5, 1], &[0x0d, 1, 2], &[0x0b], &[0x00, 0x00]] {
            assert!(Fields::of(message).any(|field| field.is_err()), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_stay_inside(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for field in Fields::of(&bytes) {
                let Ok(field) = field else { break };
                prop_assert!(field.whole.end <= bytes.len());
                let mut integers = Vec::new();
                let _ = push_integers(&bytes, &field, &mut integers);
            }
        }

        #[test]
        fn numbers_survive(value in any::<u64>()) {
            let mut message = Vec::new();
            put_number(&mut message, 7, value);
            let field = Fields::of(&message).next().unwrap().unwrap();
            prop_assert_eq!(field.varint(), Some(value));
        }
    }
}
