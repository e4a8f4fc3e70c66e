//! Inference: tensors, operators, the plan of a model, engines.
//!
//! An answer is right, or the model is refused at load. This crate knows
//! nothing of networks, keys or requests.

pub mod accuracy;
pub mod bfloat16_engine;
mod control;
pub mod difference;
pub mod engine;
pub mod facts;
mod fused;
pub mod inputs;
mod island;

pub mod npz;
pub mod onnx;
pub mod operators;
pub mod outside;
pub mod plan;
pub mod precision;
mod probes;
pub mod program;
mod region;
pub mod static_engine;
pub mod tensor;
pub mod threads;
