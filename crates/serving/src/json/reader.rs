//! A reader that goes through a document once and keeps nothing.

use super::JsonError;

/// The most lists and objects in each other.
pub const MAXIMUM_DEPTH: usize = 64;

/// The most characters of a value that an error repeats.
const QUOTED: usize = 60;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keys and values in braces.
    Object,
    /// Values in brackets.
    Array,
    /// A text in quotes.
    Text,
    /// A number, finite or not.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

impl Kind {
    /// As errors name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "Object",
            Self::Array => "Array",
            Self::Text => "String",
            Self::Number => "Number",
            Self::True => "True",
            Self::False => "False",
            Self::Null => "Null",
        }
    }
}

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number<'a> {
    /// Of RFC 8259's grammar, or one of the words for what is not finite.
    pub(super) text: &'a str,
    /// Whether it has no fraction and no exponent.
    pub(super) integer: bool,
    pub(super) offset: usize,
}

/// A place in a document.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, position: 0 }
    }

    /// At `position` of `text`.
    pub(super) fn at(text: &'a [u8], position: usize) -> Self {
        Self { text, position }
    }

    /// Where it is, in bytes from the beginning.
    pub fn position(&self) -> usize {
        self.position
    }

    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// An error here.
    pub(super) fn syntax(&self, problem: &'static str) -> JsonError {
        JsonError::Syntax { problem, offset: self.position }
    }

    /// The error that the value at `offset` is not what is expected.
    pub fn not(&self, expected: &'static str, kind: Kind, offset: usize) -> JsonError {
        JsonError::Type { value: self.quote(offset), kind: kind.name(), expected, offset }
    }

    /// The first characters of what is at `offset`.
    fn quote(&self, offset: usize) -> String {
        let text = self.text.get(offset..).unwrap_or_default();
        let text = text.get(..4 * QUOTED).unwrap_or(text);
        let text = String::from_utf8_lossy(text);
        let end = match text.as_bytes().first() {
            Some(b'[' | b'{' | b'"') | None => text.len(),
            Some(_) => text.find([',', ']', '}', ' ', '\n', '\t', '\r']).unwrap_or(text.len()),
        };
        text.get(..end).unwrap_or_default().chars().take(QUOTED).collect()
    }

    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.position) {
            self.position += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    /// Takes `byte` if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    /// The kind of the next value, after any space.
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Kind::Number),
            Some(b't') => Ok(Kind::True),
            Some(b'f') => Ok(Kind::False),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.syntax("Invalid value.")),
            None => Err(self.syntax("The document is cut off.")),
        }
    }

    /// Nothing but space may be left.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.syntax("The document root must not be followed by other values.")),
        }
    }

    /// Begins a list: false if it is empty, and then over.
    pub fn begin_array(&mut self) -> Result<bool, JsonError> {
        let kind = self.kind()?;
        if !self.take(b'[') {
            return Err(self.not("list", kind, self.position));
        }
        self.skip_space();
        Ok(!self.take(b']'))
    }

    /// Whether the list goes on after an element.
    pub fn next_element(&mut self) -> Result<bool, JsonError> {
        self.skip_space();
        if self.take(b',') {
            return Ok(true);
        }
        if self.take(b']') {
            return Ok(false);
        }
        Err(self.syntax("Missing a comma or ] after an array element."))
    }

    /// A number, which is next.
    pub(super) fn number(&mut self) -> Result<Number<'a>, JsonError> {
        let start = self.position;
        self.take(b'-');
        if matches!(self.peek(), Some(b'N' | b'I')) {
            return self.not_finite(start);
        }
        let digits = self.digits();
        if digits == 0 || (digits > 1 && self.text.get(self.position - digits) == Some(&b'0')) {
            return Err(self.syntax("Invalid value."));
        }
        let mut integer = true;
        if self.take(b'.') {
            integer = false;
            if self.digits() == 0 {
                return Err(self.syntax("Miss fraction part in number."));
            }
        }
        if self.take(b'e') || self.take(b'E') {
            integer = false;
            if !self.take(b'-') {
                self.take(b'+');
            }
            if self.digits() == 0 {
                return Err(self.syntax("Miss exponent in number."));
            }
        }
        Ok(Number { text: self.slice(start), integer, offset: start })
    }

    fn digits(&mut self) -> usize {
        let start = self.position;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.position += 1;
        }
        self.position - start
    }

    /// The words for numbers that are not finite.
    fn not_finite(&mut self, start: usize) -> Result<Number<'a>, JsonError> {
        for word in ["NaN", "Infinity", "Inf"] {
            if self.text.get(self.position..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
                self.position += word.len();
                return Ok(Number { text: self.slice(start), integer: false, offset: start });
            }
        }
        Err(self.syntax("Invalid value."))
    }

    /// From `start` to here, where there is ASCII only.
    fn slice(&self, start: usize) -> &'a str {
        self.text
            .get(start..self.position)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    /// Takes `true`, `false` or `null`, of which the first letter is next.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.text.get(self.position..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            return Err(self.syntax("Invalid value."));
        }
        self.position += word.len();
        Ok(())
    }

    /// True or false, if that comes next.
    pub fn boolean(&mut self) -> Result<bool, JsonError> {
        match self.kind()? {
            Kind::True => self.word("true").map(|()| true),
            Kind::False => self.word("false").map(|()| false),
            other => Err(self.not("bool", other, self.position)),
        }
    }

    /// Goes over the next value, and checks that it is one. Gives the number of commas in it
    /// outside of texts: one less than the most values that it has.
    pub fn skip(&mut self) -> Result<usize, JsonError> {
        // One bit for each list or object that is open: set for an object.
        let (mut open, mut depth, mut commas) = (0_u64, 0_usize, 0_usize);
        loop {
            let kind = self.kind()?;
            let mut closed = true;
            match kind {
                Kind::Array | Kind::Object => {
                    self.position += 1;
                    if depth == MAXIMUM_DEPTH {
                        return Err(JsonError::Depth { limit: MAXIMUM_DEPTH, offset: self.position });
                    }
                    let object = kind == Kind::Object;
                    open = open << 1 | u64::from(object);
                    depth += 1;
                    self.skip_space();
                    if self.take(if object { b'}' } else { b']' }) {
                        open >>= 1;
                        depth -= 1;
                    } else {
                        closed = false;
                        if object {
                            self.skip_key()?;
                        }
                    }
                }
                Kind::Text => self.skip_text()?,
                Kind::Number => {
                    self.number()?;
                }
                Kind::True => self.word("true")?,
                Kind::False => self.word("false")?,
                Kind::Null => self.word("null")?,
            }
            // After a value: the next one of the list or object around it, or its end.
            while closed {
                if depth == 0 {
                    return Ok(commas);
                }
                let object = open & 1 == 1;
                self.skip_space();
                if self.take(b',') {
                    commas += 1;
                    if object {
                        self.skip_key()?;
                    }
                    closed = false;
                } else if self.take(if object { b'}' } else { b']' }) {
                    open >>= 1;
                    depth -= 1;
                } else {
                    return Err(self.syntax(if object {
                        "Missing a comma or } after an object member."
                    } else {
                        "Missing a comma or ] after an array element."
                    }));
                }
            }
        }
    }

    /// Goes over lists in lists of numbers without a look at the numbers: their reader checks them.
    /// Gives the number of commas; `None`, and nothing is passed, where something else is in
    /// the lists, or nothing closes them. For a document of many numbers this is several times as
    /// fast as [`Self::skip`].
    pub(super) fn skip_unread(&mut self) -> Option<usize> {
        /// The number of bytes that are looked at together.
        const BLOCK: usize = 32;
        self.skip_space();
        let rest = self.text.get(self.position..).filter(|rest| rest.first() == Some(&b'['))?;
        let (mut depth, mut commas) = (0_usize, 0_usize);
        for (index, block) in rest.chunks(BLOCK).enumerate() {
            // Without a branch at each byte, so that the compiler makes vectors of it.
            let (mut structure, mut block_commas) = (false, 0_u8);
            for byte in block {
                structure |= matches!(byte, b'[' | b']' | b'{' | b'}' | b'"');
                block_commas += u8::from(*byte == b',');
            }
            if !structure {
                commas += usize::from(block_commas);
                continue;
            }
            for (place, byte) in block.iter().enumerate() {
                match byte {
                    b',' => commas += 1,
                    b'[' if depth < MAXIMUM_DEPTH => depth += 1,
                    b']' if depth == 1 => {
                        self.position += index * BLOCK + place + 1;
                        return Some(commas);
                    }
                    b']' => depth -= 1,
                    b'[' | b'{' | b'}' | b'"' => return None,
                    _ => {}
                }
            }
        }
        None
    }

    fn skip_key(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.syntax("Missing a name for object member."));
        }
        self.skip_text()?;
        self.colon()
    }

    pub(super) fn colon(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.take(b':') {
            Ok(())
        } else {
            Err(self.syntax("Missing a colon after a name of object member."))
        }
    }

    pub(super) fn advance(&mut self, to: usize) {
        self.position = to.min(self.text.len());
    }
}
