//! Operators with a window that moves over images of any number of dimensions.

pub(super) mod convolution;
pub(super) mod fold;
pub(crate) mod geometry;
pub(super) mod pool;
pub(super) mod transposed;
pub(super) mod unpool;
