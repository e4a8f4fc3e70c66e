//! Texts of a document.

use std::borrow::Cow;

use super::{JsonError, Reader, reader::Kind};

impl<'a> Reader<'a> {
    /// The raw text that is next, without its quotes, and whether it has escapes.
    fn raw_text(&mut self) -> Result<(&'a [u8], bool), JsonError> {
        self.take(b'"');
        let start = self.position();
        let rest = self.text().get(start..).unwrap_or_default();
        let mut escaped = false;
        let mut index = 0;
        while let Some(byte) = rest.get(index) {
            match byte {
                b'"' => {
                    self.advance(start + index + 1);
                    return Ok((rest.get(..index).unwrap_or_default(), escaped));
                }
                b'\\' => {
                    escaped = true;
                    index += 2;
                }
                0..=0x1f => {
                    self.advance(start + index);
                    return Err(self.syntax("Invalid encoding in string."));
                }
                _ => index += 1,
            }
        }
        self.advance(start + index);
        Err(self.syntax("Missing a closing quotation mark in string."))
    }

    /// Goes over a text, which is next, and checks it.
    pub(super) fn skip_text(&mut self) -> Result<(), JsonError> {
        self.read_text().map(drop)
    }

    /// A text, if one comes next.
    pub fn text_value(&mut self) -> Result<Cow<'a, str>, JsonError> {
        match self.kind()? {
            Kind::Text => self.read_text(),
            other => Err(self.not("string", other, self.position())),
        }
    }

    /// A text, which is next.
    pub(super) fn read_text(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = self.position() + 1;
        let (raw, escaped) = self.raw_text()?;
        let text = std::str::from_utf8(raw).map_err(|error| JsonError::Syntax {
            problem: "Invalid encoding in string.",
            offset: start + error.valid_up_to(),
        })?;
        if !escaped {
            return Ok(Cow::Borrowed(text));
        }
        unescape(text, start).map(Cow::Owned)
    }
}

/// The text that `raw` stands for.
fn unescape(raw: &str, start: usize) -> Result<String, JsonError> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let offset = start + (raw.len() - after.len());
        let wrong = |problem| JsonError::Syntax { problem, offset };
        let mut characters = after.chars();
        text.push(match characters.next() {
            Some(plain @ ('"' | '\\' | '/')) => plain,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (character, length) = unicode(after.get(1..).unwrap_or_default())
                    .ok_or_else(|| wrong("Incorrect hex digit or surrogate after \\u escape in string."))?;
                rest = after.get(1 + length..).unwrap_or_default();
                text.push(character);
                continue;
            }
            _ => return Err(wrong("Invalid escape character in string.")),
        });
        rest = characters.as_str();
    }
    text.push_str(rest);
    Ok(text)
}

/// The character after `\u`, and the length of what stands for it: four digits, or two
/// surrogates.
fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| {
        let digits = text.get(..4)?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(text)?;
    if let Some(character) = char::from_u32(first.into()) {
        return Some((character, 4));
    }
    let second = unit(text.get(4..)?.strip_prefix("\\u")?)?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, 10))
}
