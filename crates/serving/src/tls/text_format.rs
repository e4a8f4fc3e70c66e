//! Protobuf's text format (<https://protobuf.dev/reference/protobuf/textformat-spec/>),
//! as far as a message of strings and booleans needs it.

use zeroize::Zeroizing;

/// Where and why a text is not in the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) problem: &'static str,
}

/// A field's value.
pub(super) enum Value<'a> {
    /// One or more adjacent strings, joined.
    Text(Zeroizing<String>),
    /// An identifier or number.
    Word(&'a str),
}

/// A field.
pub(super) struct Field<'a> {
    pub(super) line: usize,
    pub(super) name: &'a str,
    pub(super) value: Value<'a>,
}

/// Reads the fields of a message.
pub(super) struct Parser<'a> {
    text: &'a [u8],
    position: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), position: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    fn line(&self) -> usize {
        self.before().iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn before(&self) -> &[u8] {
        self.text.get(..self.position).unwrap_or(self.text)
    }

    fn error(&self, problem: &'static str) -> SyntaxError {
        let column = self.before().iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        SyntaxError { line: self.line(), column, problem }
    }

    /// Skips white space and comments.
    fn skip(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.position += 1;
                    }
                }
                _ if byte.is_ascii_whitespace() || byte == 0x0b => self.position += 1,
                _ => break,
            }
        }
    }

    fn word(&mut self) -> Option<&'a str> {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.position += 1;
        }
        self.text
            .get(start..self.position)
            .filter(|word| !word.is_empty())
            .and_then(|word| std::str::from_utf8(word).ok())
    }

    /// The next field, or none at the end.
    pub(super) fn field(&mut self) -> Result<Option<Field<'a>>, SyntaxError> {
        self.skip();
        if self.peek().is_none() {
            return Ok(None);
        }
        let line = self.line();
        let name = self.word().ok_or_else(|| self.error("expected a field's name"))?;
        self.skip();
        if self.peek() != Some(b':') {
            return Err(self.error("expected ':' after a field's name"));
        }
        self.position += 1;
        self.skip();
        let value = match self.peek() {
            Some(b'"' | b'\'') => Value::Text(self.strings()?),
            _ => {
                Value::Word(self.word().ok_or_else(|| self.error("expected a quoted string, true or false"))?)
            }
        };
        self.skip();
        if matches!(self.peek(), Some(b',' | b';')) {
            self.position += 1;
        }
        Ok(Some(Field { line, name, value }))
    }

    /// Adjacent strings are one.
    fn strings(&mut self) -> Result<Zeroizing<String>, SyntaxError> {
        // As long as the rest of the text: it never grows, so that no part of
        // a key is left behind in a smaller buffer.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.text.len() - self.position));
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.position += 1;
            self.string(quote, &mut bytes)?;
            self.skip();
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(self.error("the string before this is not UTF-8")),
        }
    }

    fn string(&mut self, quote: u8, out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        loop {
            match self.peek() {
                None => return Err(self.error("a string has no closing quote")),
                Some(b'\n') => {
                    return Err(self.error("a string must end on its line; write \\n for a line's end"));
                }
                Some(byte) if byte == quote => {
                    self.position += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.position += 1;
                    self.escape(out)?;
                }
                Some(byte) => {
                    self.position += 1;
                    out.push(byte);
                }
            }
        }
    }

    /// The digits of an escape, at most `most` of them.
    fn digits(&mut self, radix: u32, most: usize) -> Option<u32> {
        let mut value = None;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(radix)) else { break };
            self.position += 1;
            value = Some(value.unwrap_or(0) * radix + digit);
        }
        value
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let Some(byte) = self.peek() else { return Err(self.error("a string has no closing quote")) };
        if (b'0'..=b'7').contains(&byte) {
            let value = self.digits(8, 3).and_then(|value| u8::try_from(value).ok());
            out.push(value.ok_or_else(|| self.error("an octal escape above \\377"))?);
            return Ok(());
        }
        self.position += 1;
        let plain = match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'\\' | b'\'' | b'"' | b'?' => byte,
            b'x' | b'X' => {
                let value = self.digits(16, 2).and_then(|value| u8::try_from(value).ok());
                value.ok_or_else(|| self.error("\\x needs hexadecimal digits"))?
            }
            b'u' | b'U' => {
                let most = if byte == b'u' { 4 } else { 8 };
                let before = self.position;
                let character = self
                    .digits(16, most)
                    .filter(|_| self.position - before == most)
                    .and_then(char::from_u32)
                    .ok_or_else(|| self.error("\\u needs 4 and \\U 8 digits of a character"))?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.error("an unknown escape")),
        };
        out.push(plain);
        Ok(())
    }
}
