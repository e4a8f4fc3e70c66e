//! The domain `ai.onnx.ml`: trees, linear models, support vectors, encoders.
//!
//! What scikit-learn, xgboost and lightgbm models become when they are exported. The
//! arithmetic is ONNX Runtime's: 32-bit sums where it has them, 64-bit where it has them.

mod classes;
mod features;
mod labels;
mod linear;
mod maps;
mod scaling;
mod support_vectors;
mod transform;
mod trees;

pub(super) use features::OPERATORS as FEATURES;
pub(super) use labels::OPERATORS as LABELS;
pub(super) use linear::OPERATORS as LINEAR;
pub(super) use maps::OPERATORS as MAPS;
pub(super) use scaling::OPERATORS as SCALING;
pub(super) use support_vectors::OPERATORS as SUPPORT_VECTORS;
pub(super) use trees::OPERATORS as TREES;

/// The domain of these operators.
const DOMAIN: &str = "ai.onnx.ml";
