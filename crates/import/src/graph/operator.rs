//! ONNX's operators that an import writes.

macro_rules! operators {
    ($($name:ident),* $(,)?) => {
        /// An ONNX operator, under its name there.
        #[expect(clippy::upper_case_acronyms, reason = "ONNX names its operators so")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Operator { $($name),* }

        impl Operator {
            /// The name in the file.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

operators! {
    Abs, Acos, Acosh, Add, And, ArgMax, ArgMin, Asin, Asinh, Atan, Atanh, AveragePool, BatchNormalization, Cast,
    Ceil, Clip, Concat, Conv, ConvTranspose, Cos, Cosh, CumSum, DepthToSpace, Div, Einsum, Elu,
    Equal, Erf, Exp, Expand, Floor, GRU, Gather, GatherND, Greater, GreaterOrEqual,
    Identity, If, IsInf, IsNaN, LRN, LSTM, LabelEncoder, LeakyRelu, Less, LessOrEqual, Log, LogSoftmax, Loop,
    MatMul, Max, MaxPool, Min, Mod, Mul, Neg, Not, Or, Pad, Pow, Range,
    Reciprocal, ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum, Relu, Reshape, Resize, ReverseSequence,
    Round, ScatterND, Selu, Shape, Sigmoid, Sign, Sin, Sinh, Size, Slice, Softmax, Softplus, Softsign,
    SpaceToDepth, Split, Sqrt, Squeeze, Sub, Tan, Tanh, Tile, TopK, Transpose, Unsqueeze,
    Where, Xor,
}

/// How the elements of the result depend on those of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Each element of the first input gives one of the result. Other inputs are scalars.
    Unary,
    /// The inputs are broadcast; the result has their type.
    Broadcast,
    /// The inputs are broadcast; the result is boolean.
    Comparison,
    Reduction,
    Other,
}

impl Operator {
    /// The domain in the file; ONNX's own is the empty one.
    pub(crate) fn domain(self) -> &'static str {
        if self == Self::LabelEncoder { "ai.onnx.ml" } else { "" }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::Abs
            | Self::Acos
            | Self::Acosh
            | Self::Asin
            | Self::Asinh
            | Self::Atan
            | Self::Atanh
            | Self::Cast
            | Self::Ceil
            | Self::Clip
            | Self::Cos
            | Self::Cosh
            | Self::Elu
            | Self::Erf
            | Self::Exp
            | Self::Floor
            | Self::Identity
            | Self::IsInf
            | Self::IsNaN
            | Self::LabelEncoder
            | Self::LeakyRelu
            | Self::Log
            | Self::Neg
            | Self::Not
            | Self::Reciprocal
            | Self::Relu
            | Self::Round
            | Self::Selu
            | Self::Sigmoid
            | Self::Sign
            | Self::Sin
            | Self::Sinh
            | Self::Softplus
            | Self::Softsign
            | Self::Sqrt
            | Self::Tan
            | Self::Tanh => Family::Unary,
            Self::Add
            | Self::And
            | Self::Div
            | Self::Max
            | Self::Min
            | Self::Mod
            | Self::Mul
            | Self::Or
            | Self::Pow
            | Self::Sub
            | Self::Where
            | Self::Xor => Family::Broadcast,
            Self::Equal | Self::Greater | Self::GreaterOrEqual | Self::Less | Self::LessOrEqual => {
                Family::Comparison
            }
            Self::ReduceMax | Self::ReduceMean | Self::ReduceMin | Self::ReduceProd | Self::ReduceSum => {
                Family::Reduction
            }
            _ => Family::Other,
        }
    }
}
