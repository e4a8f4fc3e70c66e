//! A node's attributes. TensorFlow strips those that have their default from the
//! file; the defaults come from the definitions in the file, or from our table.

use bytes::Bytes;

use super::{
    defaults::{self, Default},
    edges::Port,
    messages::{Attribute, AttributeValue, List, Node, OperatorDefinition, Shape, Tensor},
    tensors::element_type,
};
use crate::tensor::ElementType;

/// A node with the defaults of its operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeView<'m> {
    pub(crate) node: &'m Node,
    pub(crate) definition: Option<&'m OperatorDefinition>,
}

impl<'m> NodeView<'m> {
    pub(crate) fn operator(&self) -> &'m str {
        &self.node.operator
    }

    fn value(&self, name: &str) -> Option<&'m AttributeValue> {
        if let Some(attribute) = self.node.attributes.get(name) {
            return attribute.value.as_ref();
        }
        let defined = self.definition?.attributes.iter().find(|attribute| attribute.name == name)?;
        defined.default.as_ref().and_then(|Attribute { value }| value.as_ref())
    }

    fn default(&self, name: &str) -> Option<Default> {
        defaults::default(self.operator(), name)
    }

    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        match (self.value(name), self.default(name)) {
            (Some(AttributeValue::Integer(value)), _) => Some(*value),
            (None, Some(Default::Integer(value))) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn float(&self, name: &str) -> Option<f32> {
        match (self.value(name), self.default(name)) {
            (Some(AttributeValue::Float(value)), _) => Some(*value),
            (None, Some(Default::Float(value))) => Some(value),
            _ => None,
        }
    }

    /// Absent is false: so is every boolean default but those of our table.
    pub(crate) fn boolean(&self, name: &str) -> bool {
        match (self.value(name), self.default(name)) {
            (Some(AttributeValue::Boolean(value)), _) => *value,
            (None, Some(Default::Boolean(value))) => value,
            _ => false,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<Bytes> {
        match (self.value(name), self.default(name)) {
            (Some(AttributeValue::Text(text)), _) => Some(text.clone()),
            (None, Some(Default::Text(text))) => Some(Bytes::from_static(text.as_bytes())),
            _ => None,
        }
    }

    pub(crate) fn kind(&self, name: &str) -> Option<ElementType> {
        match (self.value(name), self.default(name)) {
            (Some(AttributeValue::Type(value)), _) => element_type(*value),
            (None, Some(Default::Type(value))) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn integers(&self, name: &str) -> Vec<i64> {
        match (self.list(name), self.default(name)) {
            (Some(list), _) => list.integers.clone(),
            (None, Some(Default::Integers(values))) => values.to_vec(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.list(name).map_or_else(Vec::new, |list| list.floats.clone())
    }

    pub(crate) fn list(&self, name: &str) -> Option<&'m List> {
        match self.value(name)? {
            AttributeValue::List(list) => Some(list),
            _ => None,
        }
    }

    pub(crate) fn shape(&self, name: &str) -> Option<&'m Shape> {
        match self.value(name)? {
            AttributeValue::Shape(shape) => Some(shape),
            _ => None,
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&'m Tensor> {
        match self.value(name)? {
            AttributeValue::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'m str> {
        match self.value(name)? {
            AttributeValue::Function(function) => Some(&function.name),
            _ => None,
        }
    }

    /// How many types a list attribute has.
    fn types(&self, name: &str) -> Option<usize> {
        self.list(name).map(|list| list.types.len())
    }

    /// Where a port lies among all outputs of the node.
    pub(crate) fn port(&self, port: Port<'_>) -> Option<usize> {
        let (name, index) = match port {
            Port::Index(index) => return Some(index),
            Port::Named(name, index) => (name, index),
        };
        let Some(definition) = self.definition else {
            let outputs = defaults::outputs(self.operator());
            return match outputs.iter().position(|known| *known == name) {
                Some(position) => position.checked_add(index),
                // An operator with one output, which may be a list.
                None => Some(index),
            };
        };
        let mut before = 0usize;
        for output in &definition.outputs {
            if output.name == name {
                return before.checked_add(index);
            }
            let length = if !output.number_attribute.is_empty() {
                usize::try_from(self.integer(&output.number_attribute)?).ok()?
            } else if !output.type_list_attribute.is_empty() {
                self.types(&output.type_list_attribute)?
            } else {
                1
            };
            before = before.checked_add(length)?;
        }
        None
    }
}
