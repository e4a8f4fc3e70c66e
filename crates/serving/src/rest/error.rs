//! Why a request to the REST API got no answer.

use http::StatusCode;
use tonic::Code;

use crate::{
    error::RequestError, examples::ExampleError, inference::HasCode, json::JsonError, status, v2::V2Error,
};

/// The reason why a request to the REST API got no answer. The texts are TensorFlow Serving's
/// where it has one.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestError {
    /// The model can't be asked, or did not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The body is not JSON, or has a value of the wrong type.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A request of the Open Inference Protocol has a fault.
    #[error(transparent)]
    V2(#[from] V2Error),
    /// The method or the path of the request is none of the API.
    ///
    /// Do: send `POST /v1/models/NAME:predict`, `:classify` or `:regress`, or
    /// `GET /v1/models/NAME`, with `/versions/NUMBER` or `/labels/LABEL` after the name.
    #[error("Malformed request: {method} {path}")]
    MalformedRequest { method: String, path: String },
    /// The path of the request belongs to no API of this port.
    ///
    /// Do: use a path that begins with `/v1/` or `/v2/`.
    #[error("no API at {path}; expected a path that begins with /v1/ or /v2/")]
    NoPath { path: String },
    /// The version in the path is not a number.
    ///
    /// Do: give the version's number, or its label after `/labels/`.
    #[error("Failed to convert version: {version} to numeric.")]
    Version { version: String },
    /// The body has neither `instances` nor `inputs`.
    ///
    /// Do: send `{"instances": [...]}` or `{"inputs": ...}`.
    #[error("Missing 'inputs' or 'instances' key")]
    NoInputs,
    /// The body has both `instances` and `inputs`.
    ///
    /// Do: send one of them.
    #[error("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")]
    BothForms,
    /// The list of instances or of examples is empty.
    ///
    /// Do: send at least one.
    #[error("No values in '{key}' array")]
    Nothing { key: &'static str },
    /// The body has values without names, and the signature has several inputs.
    ///
    /// Do: send an object with a key for each input that the message names.
    #[error(
        "{key} is a plain list, but expecting list of objects as multiple input tensors required: \
         {}", .expected.join(",")
    )]
    Unnamed { key: &'static str, expected: Vec<String> },
    /// An element of `instances` is an object where values are expected, or the other way
    /// around.
    ///
    /// Do: make all instances objects, or none.
    #[error("Expecting {expected} but got {found} at item {item} of input list")]
    Mixed {
        expected: &'static str,
        found: &'static str,
        /// Its place in the list, counted from 0.
        item: usize,
    },
    /// An instance can't be read.
    ///
    /// Do: correct the value at the place in the message.
    #[error("Failed to process element: {item} key: {key} of 'instances' list. Error: {error}")]
    Instance {
        /// Its place in the list, counted from 0.
        item: usize,
        key: String,
        error: JsonError,
    },
    /// An instance or the object of inputs does not have the inputs of the signature.
    ///
    /// Do: give each input that the message names, once, and no other.
    #[error("Failed to process {place}. JSON object: keys must be equal to: {}", .expected.join(","))]
    Keys {
        /// Where, such as `element: 3 of 'instances' list`.
        place: String,
        expected: Vec<String>,
    },
    /// The signature has no inputs that a request could give.
    ///
    /// Do: name a signature with inputs; `GET /v1/models/NAME/metadata` lists them.
    #[error("Failed to get input map for signature: {signature}")]
    NoSignatureInputs { signature: String },
    /// The key `examples` is missing.
    ///
    /// Do: send `{"examples": [{...}, ...]}`.
    #[error("When method is {method}, key 'examples' is expected and was not found")]
    NoExamples { method: &'static str },
    /// A feature of an example has values that no feature can have, or of different kinds.
    ///
    /// Do: give a feature numbers only, or texts only, or one of them without a list.
    #[error("Unexpected element type in feature: {feature} expecting type: {expected}, at item {item}")]
    Feature {
        feature: String,
        expected: &'static str,
        /// Which example, counted from 0.
        item: usize,
    },
    /// The outputs of the signature do not have one entry for each instance.
    ///
    /// Do: send the request in its columnar form, with `inputs`.
    #[error("Tensor name: {name} {reason}; the columnar form ('inputs') has no such rule")]
    NotRows { name: String, reason: String },
    /// The values in the body stand for more bytes than the largest message has.
    ///
    /// Do: send a smaller batch.
    #[error("the values take up to {size} bytes, more than the {limit} of the largest message")]
    TooLarge {
        /// Bytes that they may take.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The server did not answer within the time that it has for a request.
    ///
    /// Do: send a smaller batch, or raise `--rest_api_timeout_in_ms`.
    #[error("no answer within {milliseconds} ms, the server's --rest_api_timeout_in_ms")]
    Timeout { milliseconds: u64 },
}

impl From<ExampleError> for RestError {
    fn from(error: ExampleError) -> Self {
        Self::Request(error.into())
    }
}

impl RestError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(error) => error.code(),
            Self::Json(error) => error.code(),
            Self::V2(error) => error.code(),
            Self::MalformedRequest { .. } => "rest-malformed",
            Self::NoPath { .. } => "rest-no-path",
            Self::Version { .. } => "rest-version",
            Self::NoInputs => "rest-no-inputs",
            Self::BothForms => "rest-both-forms",
            Self::Nothing { .. } => "rest-nothing",
            Self::Unnamed { .. } => "rest-unnamed",
            Self::Mixed { .. } => "rest-mixed",
            Self::Instance { error, .. } => error.code(),
            Self::Keys { .. } => "rest-keys",
            Self::NoSignatureInputs { .. } => "rest-no-signature-inputs",
            Self::NoExamples { .. } => "rest-no-examples",
            Self::Feature { .. } => "rest-feature",
            Self::NotRows { .. } => "rest-not-rows",
            Self::TooLarge { .. } => "rest-too-large",
            Self::Timeout { .. } => "rest-timeout",
        }
    }

    fn grpc_code(&self) -> Code {
        match self {
            Self::Request(error) => status::code(error),
            Self::V2(error) => error.grpc_code(),
            Self::NoPath { .. } => Code::NotFound,
            Self::Timeout { .. } => Code::DeadlineExceeded,
            _ => Code::InvalidArgument,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        status::http(self.grpc_code())
    }
}

impl HasCode for RestError {
    fn code(&self) -> Code {
        self.grpc_code()
    }
}
