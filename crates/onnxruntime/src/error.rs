//! Why ONNX Runtime can't be used.

use std::path::PathBuf;

/// The reason that ONNX Runtime can't be used.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The system's loader refuses the library of ONNX Runtime, or one that it needs.
    ///
    /// Do: name the file `libonnxruntime.so.VERSION` of the Python package `onnxruntime`, for
    /// this machine, in a program that is linked dynamically.
    #[error(
        "{} can't be loaded: {reason}; expected libonnxruntime.so.VERSION of the Python package onnxruntime, \
         and a dynamically linked program",
        path.display()
    )]
    Load {
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// The library is not ONNX Runtime.
    ///
    /// Do: name the file `libonnxruntime.so.VERSION` of the Python package `onnxruntime`.
    #[error(
        "{} is not ONNX Runtime: expected the symbol OrtGetApiBase, found none; name libonnxruntime.so.VERSION of \
         the Python package onnxruntime",
        path.display()
    )]
    NotOnnxRuntime { path: PathBuf },
    /// The library is a version of ONNX Runtime that this program does not work with.
    ///
    /// Do: install a version that the message names.
    #[error("{} is ONNX Runtime {found}; expected {expected}; install that version", path.display())]
    Version {
        path: PathBuf,
        expected: String,
        /// What the library says of itself.
        found: String,
    },
    /// ONNX Runtime would send what it sees of models to its vendor.
    ///
    /// Do: set the variable that the message names before the program starts.
    #[error(
        "ONNX Runtime would send telemetry: expected {variable}=1 in the environment, found {found:?}; set it before \
         the program starts"
    )]
    Telemetry {
        variable: &'static str,
        /// The value of the variable.
        found: Option<String>,
    },
    /// ONNX Runtime does not start.
    ///
    /// Do: read ONNX Runtime's message; on a full machine, free memory or threads.
    #[error("ONNX Runtime does not start: {reason}")]
    Start {
        /// ONNX Runtime's own message.
        reason: String,
    },
}

impl RuntimeError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Load { .. } => "onnxruntime-not-loaded",
            Self::NotOnnxRuntime { .. } => "onnxruntime-other-library",
            Self::Version { .. } => "onnxruntime-version",
            Self::Telemetry { .. } => "onnxruntime-telemetry",
            Self::Start { .. } => "onnxruntime-start",
        }
    }
}
