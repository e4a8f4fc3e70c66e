//! Products of matrices, and what is made of them.

pub(super) mod blocks;
pub(super) mod determinant;
pub(super) mod einsum;
pub(super) mod gemm;
pub(super) mod kernel;
pub(super) mod matmul;
