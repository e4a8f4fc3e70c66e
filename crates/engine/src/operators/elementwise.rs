//! Operators that compute each element of the output from one element of each input.

pub(super) mod activation;
pub(super) mod arithmetic;
pub(super) mod bits;
pub(super) mod clip;
pub(super) mod comparison;
pub(super) mod power;
pub(super) mod unary;
pub(super) mod variadic;
