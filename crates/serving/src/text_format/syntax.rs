//! The syntax of the format: a text becomes a tree.

use std::fmt;

use zeroize::Zeroizing;

use super::TextError;

/// Messages inside each other; protobuf's own reader has the same limit.
const DEEPEST: usize = 100;

/// A message: its fields in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub fields: Vec<Field>,
}

/// A field. One name may be there often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The line of its name, counted from 1.
    pub line: usize,
    /// Its name; that of an extension or an `Any` with its brackets.
    pub name: String,
    pub value: Value,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string, a number or an identifier.
    Scalar(Scalar),
    Message(Message),
    /// Values of a repeated field in `[ ]`: no lists.
    List(Vec<Value>),
}

/// A value without parts.
#[derive(Clone, PartialEq, Eq)]
pub enum Scalar {
    /// One or more adjacent strings, joined.
    Text(Zeroizing<Vec<u8>>),
    /// An identifier or a number, with its minus.
    Word(String),
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(bytes) => write!(f, "a string of {} bytes", bytes.len()),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// Reads a text as the fields of a message of type `message`.
pub fn parse(message: &'static str, text: &[u8]) -> Result<Message, TextError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    Parser { message, text, position: 0 }.fields(None, 0)
}

struct Parser<'a> {
    message: &'static str,
    text: &'a [u8],
    position: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    /// Steps over this byte, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn before(&self) -> &[u8] {
        self.text.get(..self.position).unwrap_or(self.text)
    }

    fn error(&self, problem: &'static str) -> TextError {
        let before = self.before();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        TextError::Syntax { message: self.message, line, column, problem }
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

    /// The bytes from here on for which `belongs` holds.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &str {
        let start = self.position;
        while self.peek().is_some_and(&belongs) {
            self.position += 1;
        }
        // Only ASCII belongs.
        self.text.get(start..self.position).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }

    /// The fields up to `end`, or to the end of the text.
    fn fields(&mut self, end: Option<u8>, depth: usize) -> Result<Message, TextError> {
        if depth > DEEPEST {
            return Err(self.error("messages are more than 100 deep"));
        }
        let mut fields = Vec::new();
        // Counted as the text is read: counting from its start each time would take the
        // square of its length.
        let (mut line, mut counted) = (1 + count_lines(self.before()), self.position);
        loop {
            self.skip();
            match (self.peek(), end) {
                (None, None) => break,
                (None, Some(_)) => return Err(self.error("a message has no closing brace")),
                (Some(byte), Some(end)) if byte == end => {
                    self.position += 1;
                    break;
                }
                _ => {}
            }
            line += count_lines(self.text.get(counted..self.position).unwrap_or_default());
            counted = self.position;
            let name = self.name()?;
            let value = self.value(depth)?;
            fields.push(Field { line, name, value });
            self.skip();
            if !self.take(b',') {
                self.take(b';');
            }
        }
        Ok(Message { fields })
    }

    fn name(&mut self) -> Result<String, TextError> {
        if self.take(b'[') {
            let is_part = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-' | b' ' | b'\t')
            };
            let name = format!("[{}]", self.take_while(is_part));
            return if self.take(b']') { Ok(name) } else { Err(self.error("expected ']' after a name")) };
        }
        if !self.peek().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
            return Err(self.error("expected a field's name"));
        }
        Ok(self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_').to_owned())
    }

    /// A field's value, with the ':' before it.
    fn value(&mut self, depth: usize) -> Result<Value, TextError> {
        self.skip();
        let colon = self.take(b':');
        self.skip();
        match self.peek() {
            Some(b'{' | b'<') => self.one(depth),
            Some(b'[') => {
                self.position += 1;
                let list = self.list(depth)?;
                // As protobuf: without ':' there are messages only.
                if !colon && !list.iter().all(|value| matches!(value, Value::Message(_))) {
                    return Err(self.error("expected ':' after the field's name before this list"));
                }
                Ok(Value::List(list))
            }
            _ if !colon => Err(self.error("expected ':' or '{' after a field's name")),
            _ => self.one(depth),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, TextError> {
        let mut values = Vec::new();
        self.skip();
        if self.take(b']') {
            return Ok(values);
        }
        loop {
            self.skip();
            values.push(self.one(depth)?);
            self.skip();
            if self.take(b']') {
                return Ok(values);
            }
            if !self.take(b',') {
                return Err(self.error("expected ',' or ']' in a list"));
            }
        }
    }

    /// A value that is no list.
    fn one(&mut self, depth: usize) -> Result<Value, TextError> {
        match self.peek() {
            Some(b'{') => {
                self.position += 1;
                Ok(Value::Message(self.fields(Some(b'}'), depth + 1)?))
            }
            Some(b'<') => {
                self.position += 1;
                Ok(Value::Message(self.fields(Some(b'>'), depth + 1)?))
            }
            Some(b'"' | b'\'') => Ok(Value::Scalar(Scalar::Text(self.strings()?))),
            _ => Ok(Value::Scalar(Scalar::Word(self.word()?))),
        }
    }

    /// A number or an identifier. Which one it is, the field's type says.
    fn word(&mut self) -> Result<String, TextError> {
        let mut word = String::new();
        if self.take(b'-') {
            word.push('-');
            self.skip();
        }
        let start = self.peek();
        let is_number = start.is_some_and(|byte| byte.is_ascii_digit() || byte == b'.');
        let is_hexadecimal = self.text.get(self.position + 1).is_some_and(|byte| matches!(byte, b'x' | b'X'));
        loop {
            let part = self.take_while(|byte| {
                byte.is_ascii_alphanumeric() || byte == b'_' || (is_number && byte == b'.')
            });
            word.push_str(part);
            // The sign of an exponent.
            let exponent = is_number && !is_hexadecimal && word.ends_with(['e', 'E']);
            match self.peek() {
                Some(sign @ (b'+' | b'-')) if exponent => {
                    self.position += 1;
                    word.push(char::from(sign));
                }
                _ => break,
            }
        }
        if word.is_empty() || word == "-" {
            return Err(self.error("expected a value: a quoted string, a number, a word or a message"));
        }
        Ok(word)
    }

    /// Adjacent strings are one.
    fn strings(&mut self) -> Result<Zeroizing<Vec<u8>>, TextError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.longest_string()));
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.position += 1;
            self.string(quote, &mut bytes)?;
            self.skip();
        }
        Ok(bytes)
    }

    /// As long as the strings from here on can be: the buffer never grows, so that no
    /// part of a key is left behind in a smaller one.
    fn longest_string(&self) -> usize {
        let mut ahead = Self { message: self.message, text: self.text, position: self.position };
        while let Some(quote @ (b'"' | b'\'')) = ahead.peek() {
            ahead.position += 1;
            loop {
                match ahead.peek() {
                    None | Some(b'\n') => return ahead.position - self.position,
                    Some(b'\\') => ahead.position += 2,
                    Some(byte) => {
                        ahead.position += 1;
                        if byte == quote {
                            break;
                        }
                    }
                }
            }
            ahead.skip();
        }
        ahead.position.min(self.text.len()) - self.position
    }

    fn string(&mut self, quote: u8, out: &mut Vec<u8>) -> Result<(), TextError> {
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

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), TextError> {
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

fn count_lines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}
