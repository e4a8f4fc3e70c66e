//! Quantised numbers: small integers with a scale and a zero point.
//!
//! A real number is `(q - zero point) * scale`. Integers are multiplied and added
//! exactly, in 32 bits; results are rounded to the nearest integer, halves to the even
//! one, and saturate, as in ONNX Runtime.

mod attention;
mod concatenation;
mod convolution;
pub(crate) mod dynamic;
mod elementwise;
mod gemm;
mod kernel;
mod linear;
mod matmul;
mod number;
pub(crate) mod packed;
mod panel;
mod pool;
mod recurrent;
mod scales;
mod window;

use super::definition::Builder;

pub(super) use convolution::OPERATORS as CONVOLUTIONS;
pub(super) use elementwise::OPERATORS as ELEMENTWISE;
pub(super) use pool::OPERATORS as POOLS;

/// Operators that quantise and dequantise.
pub(super) const LINEAR: &[(&str, &str, Builder)] = &[
    ("", "QuantizeLinear", linear::build_quantize),
    (MICROSOFT, "QuantizeLinear", linear::build_quantize),
    ("", "DequantizeLinear", linear::build_dequantize),
    (MICROSOFT, "DequantizeLinear", linear::build_dequantize),
    ("", "DynamicQuantizeLinear", dynamic::build),
    (MICROSOFT, "QLinearConcat", concatenation::build),
];

/// Operators that multiply matrices.
pub(super) const PRODUCTS: &[(&str, &str, Builder)] = &[
    ("", "MatMulInteger", matmul::build_integer),
    ("", "QLinearMatMul", matmul::build_linear),
    (MICROSOFT, "MatMulIntegerToFloat", gemm::build_to_float),
    (MICROSOFT, "DynamicQuantizeMatMul", gemm::build_dynamic),
    (MICROSOFT, "QGemm", gemm::build_gemm),
    (MICROSOFT, "QAttention", attention::build),
];

/// Operators with a state.
pub(super) const RECURRENT: &[(&str, &str, Builder)] =
    &[(MICROSOFT, "DynamicQuantizeLSTM", recurrent::build)];

/// The domain of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";
