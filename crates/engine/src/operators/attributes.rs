//! The attributes of a node, typed.

use std::collections::BTreeMap;

use crate::tensor::{ElementType, Tensor, Text, ValueType};

/// The value of an attribute. Graphs are kept apart: only control flow has them.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A number.
    Float(f32),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(Text),
    /// A tensor.
    Tensor(Tensor),
    /// Numbers.
    Floats(Vec<f32>),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Texts.
    Texts(Vec<Text>),
    /// The type of a tensor, by its element type (`Optional`).
    Type(ElementType),
    /// The type of a sequence or of an optional (`Optional`).
    NestedType(ValueType),
}

/// An attribute that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attribute {name:?} is {found}; expected {expected}")]
pub struct AttributeError {
    pub name: String,
    pub expected: &'static str,
    pub found: String,
}

/// The attributes of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(BTreeMap<String, Attribute>);

impl FromIterator<(String, Attribute)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (String, Attribute)>>(attributes: I) -> Self {
        Self(attributes.into_iter().collect())
    }
}

macro_rules! readers {
    ($( $(#[$documentation:meta])* $name:ident, $variant:ident, $result:ty, $expected:literal, $convert:expr; )*) => {
        $(
            $(#[$documentation])*
            pub fn $name(&self, name: &str) -> Result<Option<$result>, AttributeError> {
                match self.0.get(name) {
                    None => Ok(None),
                    Some(Attribute::$variant(value)) => Ok(Some($convert(value))),
                    Some(other) => Err(AttributeError {
                        name: name.to_owned(),
                        expected: $expected,
                        found: other.kind().to_owned(),
                    }),
                }
            }
        )*
    };
}

impl Attribute {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Float(_) => "a number",
            Self::Integer(_) => "a whole number",
            Self::Text(_) => "a text",
            Self::Tensor(_) => "a tensor",
            Self::Floats(_) => "a list of numbers",
            Self::Integers(_) => "a list of whole numbers",
            Self::Texts(_) => "a list of texts",
            Self::Type(_) => "a type",
            Self::NestedType(_) => "the type of a sequence or of an optional",
        }
    }
}

impl Attributes {
    readers! {
        /// A number; `None` if the node does not have it.
        float, Float, f32, "a number", |value: &f32| *value;
        /// A whole number.
        integer, Integer, i64, "a whole number", |value: &i64| *value;
        /// A text, as bytes.
        bytes, Text, &Text, "a text", |value| value;
        /// A tensor.
        tensor, Tensor, &Tensor, "a tensor", |value| value;
        /// Numbers.
        floats, Floats, &[f32], "a list of numbers", Vec::as_slice;
        /// Whole numbers.
        integers, Integers, &[i64], "a list of whole numbers", Vec::as_slice;
        /// Texts, as bytes.
        texts, Texts, &[Text], "a list of texts", Vec::as_slice;
        /// A type.
        element_type, Type, ElementType, "a type", |value: &ElementType| *value;
        /// The type of a sequence or of an optional.
        nested_type, NestedType, &ValueType, "the type of a sequence or of an optional", |value| value;
    }

    /// A text in UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, AttributeError> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|_| AttributeError {
            name: name.to_owned(),
            expected: "a text in UTF-8",
            found: "other bytes".to_owned(),
        })
    }

    /// A whole number that is 0 or 1; `default` if the node does not have it.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, AttributeError> {
        match self.integer(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => {
                Err(AttributeError { name: name.to_owned(), expected: "0 or 1", found: other.to_string() })
            }
        }
    }

    /// Whether the node has it.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Sets one: for passes that rewrite nodes.
    pub fn set(&mut self, name: &str, value: Attribute) {
        self.0.insert(name.to_owned(), value);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}
