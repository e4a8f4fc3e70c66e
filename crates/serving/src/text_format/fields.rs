//! The fields of a message by name and type.

use zeroize::Zeroizing;

use super::{
    TextError,
    syntax::{Field, Message, Scalar, Value},
};

/// The fields of one message. Each is taken by its name; [`Fields::finish`] refuses
/// what is left.
pub struct Fields {
    message: &'static str,
    fields: Vec<Field>,
    known: Vec<&'static str>,
}

impl Fields {
    /// The fields of a message of this type.
    pub fn new(message: &'static str, fields: Message) -> Self {
        Self { message, fields: fields.fields, known: Vec::new() }
    }

    /// All values of a field with their lines; a list is as many values.
    fn take(&mut self, name: &'static str) -> Vec<(usize, Value)> {
        self.known.push(name);
        let mut values = Vec::new();
        for field in self.fields.extract_if(.., |field| field.name == name) {
            let line = field.line;
            match field.value {
                Value::List(list) => values.extend(list.into_iter().map(|value| (line, value))),
                value => values.push((line, value)),
            }
        }
        values
    }

    fn take_one(&mut self, name: &'static str) -> Result<Option<(usize, Value)>, TextError> {
        let mut values = self.take(name);
        if let Some((line, _)) = values.get(1) {
            return Err(TextError::Repeated { message: self.message, line: *line, name });
        }
        Ok(values.pop())
    }

    fn wrong(&self, line: usize, name: &'static str, expected: &'static str) -> TextError {
        TextError::Type { message: self.message, line, name, expected }
    }

    /// The lines on which a field is given.
    fn line_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.line)
    }

    /// Refuses more than one of the fields of a `oneof`.
    pub fn one_of(&self, names: &[&'static str]) -> Result<(), TextError> {
        let mut given = names.iter().filter_map(|name| Some((self.line_of(name)?, *name)));
        match (given.next(), given.next()) {
            (Some((_, other)), Some((line, name))) => {
                Err(TextError::Conflict { message: self.message, line, name, other })
            }
            _ => Ok(()),
        }
    }

    /// A message.
    pub fn message(&mut self, name: &'static str) -> Result<Option<Message>, TextError> {
        let value = self.take_one(name)?;
        value.map(|(line, value)| self.to_message(line, name, value)).transpose()
    }

    /// A repeated field of messages.
    pub fn messages(&mut self, name: &'static str) -> Result<Vec<Message>, TextError> {
        let values = self.take(name);
        values.into_iter().map(|(line, value)| self.to_message(line, name, value)).collect()
    }

    fn to_message(&self, line: usize, name: &'static str, value: Value) -> Result<Message, TextError> {
        match value {
            Value::Message(message) => Ok(message),
            _ => Err(self.wrong(line, name, "a message in { }")),
        }
    }

    /// A string. It is wiped when it is dropped.
    pub fn secret_text(&mut self, name: &'static str) -> Result<Option<Zeroizing<String>>, TextError> {
        let Some((line, value)) = self.take_one(name)? else { return Ok(None) };
        let Value::Scalar(Scalar::Text(bytes)) = value else {
            return Err(self.wrong(line, name, "a quoted string"));
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(self.wrong(line, name, "a string of UTF-8")),
        }
    }

    /// A string.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, TextError> {
        Ok(self.secret_text(name)?.map(|text| text.to_string()))
    }

    /// A boolean.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, TextError> {
        let Some((line, value)) = self.take_one(name)? else { return Ok(None) };
        match &value {
            Value::Scalar(Scalar::Word(word)) => match word.as_str() {
                "true" | "True" | "t" | "1" => Ok(Some(true)),
                "false" | "False" | "f" | "0" => Ok(Some(false)),
                _ => Err(self.wrong(line, name, "true or false")),
            },
            _ => Err(self.wrong(line, name, "true or false")),
        }
    }

    /// An integer.
    pub fn integer(&mut self, name: &'static str) -> Result<Option<i64>, TextError> {
        let value = self.take_one(name)?;
        value.map(|(line, value)| self.to_integer(line, name, &value)).transpose()
    }

    /// A repeated field of integers.
    pub fn integers(&mut self, name: &'static str) -> Result<Vec<i64>, TextError> {
        let values = self.take(name);
        values.iter().map(|(line, value)| self.to_integer(*line, name, value)).collect()
    }

    fn to_integer(&self, line: usize, name: &'static str, value: &Value) -> Result<i64, TextError> {
        let wrong = || self.wrong(line, name, "an integer of 64 bits");
        let Value::Scalar(Scalar::Word(word)) = value else { return Err(wrong()) };
        parse_integer(word).ok_or_else(wrong)
    }

    /// An unsigned integer of 32 bits.
    pub fn unsigned(&mut self, name: &'static str) -> Result<Option<u32>, TextError> {
        let Some((line, value)) = self.take_one(name)? else { return Ok(None) };
        let expected = "an integer from 0 to 4294967295";
        let number = self.to_integer(line, name, &value).ok().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(line, name, expected))
    }

    /// The integer in a message of one field `value`, as `google.protobuf.Int64Value` is.
    pub fn wrapped_integer(&mut self, name: &'static str) -> Result<Option<i64>, TextError> {
        let Some(message) = self.message(name)? else { return Ok(None) };
        let mut fields = Self::new(self.message, message);
        let value = fields.integer("value")?;
        fields.finish()?;
        Ok(Some(value.unwrap_or(0)))
    }

    /// A boolean, or a `BoolValue`: files have both where the field changed its type.
    pub fn wrapped_boolean(&mut self, name: &'static str) -> Result<Option<bool>, TextError> {
        let is_message =
            self.fields.iter().any(|field| field.name == name && matches!(field.value, Value::Message(_)));
        if !is_message {
            return self.boolean(name);
        }
        let Some(message) = self.message(name)? else { return Ok(None) };
        let mut fields = Self::new(self.message, message);
        let value = fields.boolean("value")?;
        fields.finish()?;
        Ok(Some(value.unwrap_or(false)))
    }

    /// Whether a field is given, whatever it holds: one that exists and has no use here.
    pub fn is_given(&mut self, name: &'static str) -> bool {
        !self.take(name).is_empty()
    }

    /// Refuses what no call has taken.
    pub fn finish(self) -> Result<(), TextError> {
        let Some(field) = self.fields.first() else { return Ok(()) };
        let name = field.name.chars().take(80).collect();
        Err(TextError::UnknownField {
            message: self.message,
            line: field.line,
            name,
            known: self.known.join(", "),
        })
    }
}

/// Decimal, octal (`017`) or hexadecimal (`0x1f`), with or without a minus.
fn parse_integer(word: &str) -> Option<i64> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        // `from_str_radix` would take a sign.
        return None;
    }
    let magnitude = if let Some(digits) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        i128::from_str_radix(digits, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i128::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    let magnitude = magnitude.ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}
