//! Inference engines: what runs a model.

mod rten_engine;
mod threads;

use crate::{
    onnx::{OnnxError, signature::Signature},
    tensor::{ElementType, Tensor},
};

pub use rten_engine::RtenEngine;
pub use threads::Threads;

/// Why a model could not be loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file itself.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The engine refuses it.
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

/// Why a run gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The model can't compute with these inputs.
    #[error("the model can't compute with these inputs: {reason}")]
    Inputs {
        /// What the engine says.
        reason: String,
    },
    /// A value that the engine can't represent.
    #[error(
        "the value {value} of the input {input:?} ({element_type}) is out of the engine's range, \
         {minimum} to {maximum}"
    )]
    ValueRange {
        /// The input.
        input: String,
        /// The value.
        value: String,
        /// The input's type.
        element_type: ElementType,
        /// The smallest value.
        minimum: String,
        /// The largest value.
        maximum: String,
    },
    /// The engine failed.
    #[error("the engine failed: {reason}")]
    Engine {
        /// What it says.
        reason: String,
    },
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
