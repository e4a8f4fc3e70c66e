//! Inference: tensors, operators, the plan of a model, engines.
//!
//! An answer is right, or the model is refused at load. This crate knows
//! nothing of networks, keys or requests.

pub mod operators;
pub mod tensor;
