//! Tensors: dense, row-major, of every element type of ONNX that we compute with.

mod elements;
mod shape;
mod value;

pub use elements::{Element, ElementType, Elements, Text};
pub use shape::{Shape, element_count, strides};
pub use value::{Value, ValueType};

use std::sync::Arc;

/// A dense tensor, row-major. The number of elements is the product of the shape.
///
/// Copies share their elements: an operator that owns the only copy may change it in
/// place ([`Tensor::into_vec`] then copies nothing).
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    elements: Elements,
}

impl Tensor {
    /// A tensor; `None` when the number of elements is not the shape's product.
    pub fn new(shape: impl Into<Shape>, elements: Elements) -> Option<Self> {
        let shape = shape.into();
        (element_count(&shape) == Some(elements.len())).then_some(Self { shape, elements })
    }

    /// A tensor of `values`; `None` when their number is not the shape's product.
    pub fn from_vec<T: Element>(shape: impl Into<Shape>, values: Vec<T>) -> Option<Self> {
        Self::new(shape, T::wrap(Arc::new(values)))
    }

    /// A tensor without dimensions.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self { shape: Shape::new(), elements: T::wrap(Arc::new(vec![value])) }
    }

    /// A tensor of one dimension.
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        Self { shape: vec![values.len()], elements: T::wrap(Arc::new(values)) }
    }

    /// A tensor of zeros, of false or of empty texts.
    pub fn zeros(element_type: ElementType, shape: impl Into<Shape>) -> Option<Self> {
        let shape = shape.into();
        let count = element_count(&shape)?;
        Some(Self { shape, elements: Elements::zeros(element_type, count) })
    }

    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of its dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of its elements.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of its elements.
    pub fn element_type(&self) -> ElementType {
        self.elements.element_type()
    }

    /// Its elements.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Its elements, if they are of this type.
    pub fn values<T: Element>(&self) -> Option<&[T]> {
        T::unwrap_ref(&self.elements).map(|values| values.as_slice())
    }

    /// Its elements, if they are of this type: without a copy where no other tensor shares them.
    pub fn into_vec<T: Element>(self) -> Option<Vec<T>> {
        T::unwrap_owned(self.elements)
            .ok()
            .map(|shared| Arc::try_unwrap(shared).unwrap_or_else(|shared| shared.as_ref().clone()))
    }

    /// The same elements in another shape; `None` when the numbers differ.
    pub fn reshaped(self, shape: impl Into<Shape>) -> Option<Self> {
        Self::new(shape, self.elements)
    }

    /// Its parts.
    pub fn into_parts(self) -> (Shape, Elements) {
        (self.shape, self.elements)
    }

    /// The bytes that its elements take in memory, without the letters of texts.
    pub fn bytes(&self) -> usize {
        self.len().saturating_mul(self.element_type().size())
    }
}
