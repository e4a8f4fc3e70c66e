//! Why a request of the Open Inference Protocol got no answer.

use std::collections::BTreeSet;

use adytum_wire::WireError;
use tonic::{Code, Status};

use crate::{
    error::RequestError,
    inference::HasCode,
    status,
    tensor::{RawError, TensorError},
};

/// The reason why a request of the Open Inference Protocol got no answer.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum V2Error {
    /// The model can't be asked, or did not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The bytes of the request are no `ModelInferRequest`.
    ///
    /// Do: send a `ModelInferRequest`, as the Open Inference Protocol defines it.
    #[error("not a ModelInferRequest: {0}")]
    Malformed(#[from] WireError),
    /// The body of the request is not what the protocol says.
    ///
    /// Do: send the JSON that the protocol describes for `/infer`.
    #[error("the body is not an inference request: {problem}")]
    Body { problem: String },
    /// The request names an input that the model does not have, or names it twice.
    ///
    /// Do: send each input that the model's metadata lists, once.
    #[error("unexpected input {name:?}; expected {{{}}}", join(.expected))]
    Input { name: String, expected: BTreeSet<String> },
    /// The request lacks an input of the model.
    ///
    /// Do: send each input that the model's metadata lists.
    #[error("the input {name:?} is missing; expected {{{}}}", join(.expected))]
    MissingInput { name: String, expected: BTreeSet<String> },
    /// The data type of an input is none of the protocol.
    ///
    /// Do: use one of the protocol's names, such as `FP32` or `BYTES`.
    #[error("input {input:?}: unknown datatype {found:?}; expected {expected}")]
    DataType { input: String, expected: &'static str, found: String },
    /// The tensor of an input does not fit the model.
    #[error("input {input:?}: {source}")]
    Tensor { input: String, source: TensorError },
    /// The values of an input do not fit its type and shape.
    ///
    /// Do: send as many values as the shape has elements, in the field of the type.
    #[error("input {input:?}: {source}")]
    Data { input: String, source: DataError },
    /// There is raw data for some inputs, and not for each of them.
    ///
    /// Do: send raw data for all inputs, in their order, or for none.
    #[error("{found} raw contents for {inputs} inputs; expected one for each input, or none")]
    RawCount { inputs: usize, found: usize },
    /// The request asks for an output that the model does not have, or for one twice.
    ///
    /// Do: ask for outputs that the model's metadata lists, each once.
    #[error("unexpected output {name:?}; expected {{{}}}", join(.expected))]
    Output { name: String, expected: BTreeSet<String> },
    /// The texts of an output are not UTF-8, so that JSON can't hold them.
    ///
    /// Do: ask for the output in binary (`"parameters": {"binary_data": true}`), or use gRPC.
    #[error("the output {output:?} has bytes that are not UTF-8; ask for binary data")]
    NotText { output: String },
    /// The sizes of the binary data do not fit the body.
    ///
    /// Do: send `Inference-Header-Content-Length` and `binary_data_size` as they are.
    #[error("binary data: {problem}")]
    Binary { problem: String },
}

impl V2Error {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(error) => error.code(),
            Self::Malformed(_) => "v2-malformed",
            Self::Body { .. } => "v2-body",
            Self::Input { .. } => "v2-input",
            Self::MissingInput { .. } => "v2-missing-input",
            Self::DataType { .. } => "v2-datatype",
            Self::Tensor { source, .. } => source.code(),
            Self::Data { .. } => "v2-data",
            Self::RawCount { .. } => "v2-raw-count",
            Self::Output { .. } => "v2-output",
            Self::NotText { .. } => "v2-not-text",
            Self::Binary { .. } => "v2-binary",
        }
    }

    pub(crate) fn grpc_code(&self) -> Code {
        match self {
            Self::Request(error) => status::code(error),
            _ => Code::InvalidArgument,
        }
    }
}

impl HasCode for V2Error {
    fn code(&self) -> Code {
        self.grpc_code()
    }
}

impl From<V2Error> for Status {
    fn from(error: V2Error) -> Self {
        status::status(error.grpc_code(), error.code(), &error.to_string())
    }
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// Why values do not fit their type and shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The bytes are no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There are more or fewer values than the shape has elements.
    #[error("expected {expected} values for the shape, found {found}")]
    Count { expected: usize, found: usize },
    /// Raw data does not hold the values.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// The type can't hold a value.
    #[error("the value {index} is out of the range of the type")]
    Range { index: usize },
    /// The values are in the field of another type.
    #[error("the values are in the field of another type")]
    OtherField,
    /// The type has no field, so its values must be raw data.
    #[error("a type without a field of its own; expected raw data")]
    RawOnly,
    /// The input has no values.
    #[error("there is no data")]
    Missing,
    /// The values in JSON have a fault.
    #[error("{0}")]
    Json(String),
}
