//! The floats in which convolutions and products are computed.

use std::fmt;

use adytum_kernels::{Level, bfloat};

/// The floats of convolutions and of products with constant matrices. Everything else is computed in the types of
/// the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Float32,
    /// Weights and inputs are rounded to 16-bit floats (bfloat16). Sums are 32-bit floats.
    BFloat16,
}

impl Precision {
    /// Whether this processor has instructions for it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Float32 => true,
            Self::BFloat16 => bfloat::is_available(Level::best()),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "f32",
            Self::BFloat16 => "bf16",
        })
    }
}

/// Why a model is not served in 16-bit floats.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrecisionError {
    /// The processor has no instructions for 16-bit floats.
    ///
    /// Do: use a processor with AVX512-BF16, or leave `--precision bf16` out.
    #[error(
        "16-bit floats: expected a processor with AVX512-BF16, found one without it; use another machine, or 32-bit \
         floats"
    )]
    Unsupported,
    /// An answer in 16-bit floats is too far from that in 32-bit floats.
    ///
    /// Do: leave `--precision bf16` out for this model: it needs 32-bit floats.
    #[error("16-bit floats: the output {output:?} {reason}; load the model with 32-bit floats")]
    Inaccurate {
        output: String,
        /// How far it is off, and what is allowed.
        reason: String,
    },
    /// No answers could be compared.
    ///
    /// Do: give the inputs of the model fixed shapes, or leave `--precision bf16` out.
    #[error(
        "16-bit floats: no answers can be compared with those of 32-bit floats: {reason}; give the inputs fixed \
         shapes, or load the model with 32-bit floats"
    )]
    Unmeasured { reason: String },
}

impl PrecisionError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported => "precision-unsupported",
            Self::Inaccurate { .. } => "precision-inaccurate",
            Self::Unmeasured { .. } => "precision-unmeasured",
        }
    }
}
