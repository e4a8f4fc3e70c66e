//! Inference engines. An engine loads a model and runs it.

mod rten_engine;
mod threads;

use crate::{
    onnx::{OnnxError, signature::Signature},
    tensor::{ElementType, Tensor},
};

pub use rten_engine::RtenEngine;
pub use threads::Threads;

/// The reason why a model could not be loaded.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is no ONNX model that can be served.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The engine can't load the model.
    ///
    /// Do: read the reason in the message; export the model again with operators that the
    /// engine has.
    #[error("the engine can't load the model: {reason}")]
    Engine {
        /// What the engine says.
        reason: String,
    },
}

impl LoadError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Onnx(error) => error.code(),
            Self::Engine { .. } => "engine-load",
        }
    }
}

/// The reason why a run gave no answer.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The model can't compute with the inputs of this request.
    ///
    /// Do: compare the inputs' shapes with those that `GetModelMetadata` lists, and with
    /// one another.
    #[error("the model can't compute with these inputs: {reason}")]
    Inputs {
        /// What the engine says.
        reason: String,
    },
    /// An input has a value that the engine can't represent.
    ///
    /// Do: send values within the range that the message gives.
    #[error(
        "the value {value} of the input {input:?} ({element_type}) is out of the engine's range, \
         {minimum} to {maximum}"
    )]
    ValueRange { input: String, value: String, element_type: ElementType, minimum: String, maximum: String },
    /// The engine failed while it ran the model.
    ///
    /// Do: report it with the message and the model; the same inputs fail again.
    #[error("the engine failed: {reason}")]
    Engine { reason: String },
}

impl RunError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Inputs { .. } => "engine-inputs",
            Self::ValueRange { .. } => "engine-value-range",
            Self::Engine { .. } => "engine-failed",
        }
    }
}

/// Makes loaded models of ONNX files.
pub trait Engine: Send + Sync {
    /// Loads the model in `file`, whose memory is given back on the way.
    fn load(&self, file: Vec<u8>) -> Result<Box<dyn LoadedModel>, LoadError>;
}

/// A model that can be run, by many threads at once.
pub trait LoadedModel: Send + Sync {
    /// Its inputs and outputs.
    fn signature(&self) -> &Signature;

    /// Runs it. `inputs` are all inputs of the signature in its order, each of
    /// the signature's type; `outputs` are indices of outputs, without
    /// duplicates. May panic if the engine has a bug: callers catch that.
    fn run(&self, inputs: Vec<Tensor>, outputs: &[usize], threads: &Threads)
    -> Result<Vec<Tensor>, RunError>;
}
