//! Shapes: the sizes of a tensor's dimensions, outermost first.

/// The size of each dimension, outermost first.
pub type Shape = Vec<usize>;

/// The number of elements of a shape; `None` when it does not fit `usize`.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the product zero, whatever overflows besides it.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
}

/// The distance between neighbours along each dimension, in elements, of a row-major tensor.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    let mut product = 1_usize;
    for (stride, size) in strides.iter_mut().zip(shape).rev() {
        *stride = product;
        product = product.saturating_mul(*size);
    }
    strides
}
