//! Tensors in the server: checked ones of a request, and those of an answer.

mod decode;
mod elements;
mod encode;
mod error;
pub mod half;
mod specification;
mod values;

#[cfg(test)]
mod tests;

pub use decode::EncodedTensor;
pub use elements::{ElementType, Elements};
pub use encode::encode;
pub use error::TensorError;
pub use specification::TensorSpecification;

/// A dense tensor, row-major. The number of elements is the product of the
/// shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    elements: Elements,
}

impl Tensor {
    /// A tensor; `None` when the number of elements is not the shape's product.
    pub fn new(shape: Vec<usize>, elements: Elements) -> Option<Self> {
        let expected = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        (expected == Some(elements.len())).then_some(Self { shape, elements })
    }

    /// A tensor of zeros.
    pub fn zeros(element_type: ElementType, shape: Vec<usize>) -> Option<Self> {
        let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
        Some(Self { shape, elements: Elements::zeros(element_type, count) })
    }

    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Its parts.
    pub fn into_parts(self) -> (Vec<usize>, Elements) {
        (self.shape, self.elements)
    }
}
