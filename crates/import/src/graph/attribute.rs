//! Attributes of ONNX nodes.

use std::hash::{Hash, Hasher};

use bytes::Bytes;

use super::Subgraph;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Attribute {
    Integer(i64),
    Integers(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    Text(Bytes),
    Texts(Vec<Bytes>),
    Graph(Subgraph),
}

impl From<Subgraph> for Attribute {
    fn from(graph: Subgraph) -> Self {
        Self::Graph(graph)
    }
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<Vec<i64>> for Attribute {
    fn from(values: Vec<i64>) -> Self {
        Self::Integers(values)
    }
}

impl From<&'static str> for Attribute {
    fn from(text: &'static str) -> Self {
        Self::Text(Bytes::from_static(text.as_bytes()))
    }
}

/// The attributes of a node.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Attributes(pub(crate) Vec<(&'static str, Attribute)>);

impl Attributes {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// One more attribute.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Attribute::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn integers(&self, name: &str) -> Option<&[i64]> {
        match self.get(name)? {
            Attribute::Integers(values) => Some(values),
            _ => None,
        }
    }

    /// Replaces the value of an attribute.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<Attribute>) {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value.into()));
    }

    /// Whether a graph is among them: such a node is never merged with another.
    pub(crate) fn have_graph(&self) -> bool {
        self.0.iter().any(|(_, value)| matches!(value, Attribute::Graph(_)))
    }
}

impl Eq for Attributes {}

impl Hash for Attributes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (name, value) in &self.0 {
            name.hash(state);
            match value {
                Attribute::Integer(value) => value.hash(state),
                Attribute::Integers(values) => values.hash(state),
                Attribute::Float(value) => value.to_bits().hash(state),
                Attribute::Floats(values) => values.len().hash(state),
                Attribute::Text(text) => text.hash(state),
                Attribute::Texts(texts) => texts.len().hash(state),
                Attribute::Graph(_) => {}
            }
        }
    }
}
