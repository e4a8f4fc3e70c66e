//! Objects whose members are looked at in another order than they come in: the type of a
//! tensor may be said after its values.

use super::{JsonError, Kind, Reader};

/// A value of a document that was gone over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    /// The commas in it outside of texts.
    commas: usize,
}

impl Span {
    /// A reader before the value.
    pub fn reader<'a>(&self, text: &'a [u8]) -> Reader<'a> {
        Reader::at(text, self.start)
    }

    /// The most values that it can have.
    pub fn most_values(&self) -> usize {
        self.commas + 1
    }
}

/// The members of an object, in their order.
#[derive(Clone, Debug, Default)]
pub struct Members(Vec<(String, Span)>);

/// The most members that are kept of an object that carries no tensors.
const MOST_MEMBERS: usize = 256;

impl Members {
    /// Goes over an object, which must come next.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        Self::read_before(reader, &[])
    }

    /// Goes over an object, which must come next. The caller reads the values of the keys that
    /// are `read_later` to their end, or refuses the document: so numbers in them are not checked
    /// here.
    pub fn read_before(reader: &mut Reader<'_>, read_later: &[&str]) -> Result<Self, JsonError> {
        let mut members = Vec::new();
        each_member(reader, |reader, key, offset| {
            if members.iter().any(|(known, _)| known == key) {
                return Err(JsonError::Twice { key: key.chars().take(80).collect(), offset });
            }
            reader.skip_space();
            let start = reader.position();
            let unread = if read_later.contains(&key) { reader.skip_unread() } else { None };
            let commas = unread.map_or_else(|| reader.skip(), Ok)?;
            if members.len() >= MOST_MEMBERS {
                return Err(JsonError::Syntax { problem: "An object has too many members.", offset });
            }
            members.push((key.to_owned(), Span { start, commas }));
            Ok(())
        })?;
        Ok(Self(members))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Span> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, span)| *span)
    }

    /// The keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// Keys and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Span)> {
        self.0.iter().map(|(key, span)| (key.as_str(), *span))
    }
}

/// Gives `member` each key of an object, which must come next, with the key's place; it must
/// read the value.
pub fn each_member<'a>(
    reader: &mut Reader<'a>,
    mut member: impl FnMut(&mut Reader<'a>, &str, usize) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    let kind = reader.kind()?;
    if !reader.take(b'{') {
        return Err(reader.not("object", kind, reader.position()));
    }
    reader.skip_space();
    if reader.take(b'}') {
        return Ok(());
    }
    loop {
        reader.skip_space();
        let offset = reader.position();
        if reader.kind()? != Kind::Text {
            return Err(reader.syntax("Missing a name for object member."));
        }
        let key = reader.read_text()?;
        reader.colon()?;
        member(reader, &key, offset)?;
        reader.skip_space();
        if reader.take(b'}') {
            return Ok(());
        }
        if !reader.take(b',') {
            return Err(reader.syntax("Missing a comma or } after an object member."));
        }
    }
}
