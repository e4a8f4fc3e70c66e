//! Operators that bring values to a mean and a deviation.

pub(super) mod batch;
pub(super) mod channels;
pub(super) mod embedding;
pub(super) mod layer;
pub(super) mod norm;

use super::{number::Real, reduction::reduce::sum_of};

/// The mean and the variance of values, the variance about the mean.
pub(crate) fn moments<T: Real>(values: &[T]) -> (T, T) {
    let count = T::from_i64(values.len() as i64);
    let mean = sum_of(values, |value| value) / count;
    let variance = sum_of(values, |value| (value - mean) * (value - mean)) / count;
    (mean, variance)
}
