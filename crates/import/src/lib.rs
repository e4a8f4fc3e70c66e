//! TensorFlow SavedModels become ONNX, without Python or TensorFlow.
//!
//! [`saved_model::import`] reads a directory and gives one ONNX file with all its
//! signatures. The way there:
//!
//! 1. `tensorflow` reads `saved_model.pb`, the variables and the assets;
//! 2. `convert` follows each signature's outputs back to its inputs, inlines
//!    functions and gives each operator its counterpart in a `graph`, which
//!    folds constants and keeps what is known of shapes;
//! 3. `passes` cancel transpositions and merge scales into convolutions;
//! 4. `onnx` writes the file.
//!
//! An error names every operator that can't be converted, with the reason. Files come
//! from outside: see [`limits::Limits`].

#![forbid(unsafe_code)]

mod convert;
pub mod error;
pub mod files;
mod graph;
pub mod limits;
mod onnx;
mod passes;
pub mod saved_model;
pub mod signature;
mod tensor;
mod tensorflow;
pub mod variables;

pub use tensor::ElementType;
