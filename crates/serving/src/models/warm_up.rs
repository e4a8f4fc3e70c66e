//! Inputs that are made up, to try a model with.

use adytum_engine::tensor::{ElementType, Tensor};

use crate::tensor::TensorSpecification;

/// The largest input that a warm-up makes up, in elements: 16 Mi.
pub(super) const LARGEST: usize = 16 << 20;

/// What a dimension that may vary is tried as: one example first; then sizes without
/// which some models can't do, such as the length of a text, the side of a picture or the samples
/// of a second of sound. `adytum model check` tries the same sizes.
pub(super) const TRIED_SIZES: [usize; 10] = [1, 2, 4, 8, 32, 128, 224, 48, 512, 16_000];

/// Zeros or ones of the declared shape, with `size` for what may vary; `None` of an
/// unknown rank, which nothing can be made up for, and of what would be too large.
pub(super) fn made_up(specification: &TensorSpecification, size: usize, ones: bool) -> Option<Tensor> {
    let shape: Vec<usize> = specification.shape.as_ref()?.iter().map(|known| known.unwrap_or(size)).collect();
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
    if count > LARGEST {
        return None;
    }
    if !ones {
        return Tensor::zeros(specification.element_type, shape);
    }
    macro_rules! ones {
        ($one:expr) => {
            Tensor::from_vec(shape, vec![$one; count])
        };
    }
    match specification.element_type {
        ElementType::Float => ones!(1.0_f32),
        ElementType::Double => ones!(1.0_f64),
        ElementType::Half => ones!(half::f16::ONE),
        ElementType::Bfloat16 => ones!(half::bf16::ONE),
        ElementType::Int8 => ones!(1_i8),
        ElementType::Int16 => ones!(1_i16),
        ElementType::Int32 => ones!(1_i32),
        ElementType::Int64 => ones!(1_i64),
        ElementType::Uint8 => ones!(1_u8),
        ElementType::Uint16 => ones!(1_u16),
        ElementType::Uint32 => ones!(1_u32),
        ElementType::Uint64 => ones!(1_u64),
        ElementType::Bool => ones!(true),
        ElementType::Text => ones!(adytum_engine::tensor::Text::from_static(b"1")),
    }
}

/// Elements of these tensors, with one for each size that may vary.
pub(super) fn count_declared<'a>(specifications: impl Iterator<Item = &'a TensorSpecification>) -> usize {
    specifications
        .map(|tensor| {
            tensor.shape.iter().flatten().map(|size| size.unwrap_or(1)).fold(1, usize::saturating_mul)
        })
        .fold(0, usize::saturating_add)
}
