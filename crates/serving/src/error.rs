//! Why a request got no answer. [`crate::status`] makes gRPC statuses of these.

use std::{collections::BTreeSet, time::Duration};

use tonic::Status;

use adytum_engine::engine::RunError;
use adytum_wire::WireError;

use crate::{scheduler::ScheduleError, tensor::TensorError};

/// What is wrong with a request, or with serving it. The texts are TensorFlow
/// Serving's where it has one, since clients match on them.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not a `PredictRequest`.
    #[error("not a PredictRequest: {0}")]
    Malformed(#[from] WireError),
    /// No `model_spec`.
    #[error("Missing ModelSpec")]
    MissingModelSpec,
    /// A model or version that isn't served.
    #[error("Servable not found for request: {}", describe_servable(.name, *.version))]
    ServableNotFound {
        /// The model's name.
        name: String,
        /// The version, if one was asked for.
        version: Option<i64>,
    },
    /// The status of a model that isn't configured.
    #[error("{}", describe_missing(.name, *.version))]
    ModelNotFound {
        /// The model's name.
        name: String,
        /// The version, if one was asked for.
        version: Option<i64>,
    },
    /// The model is not loaded yet.
    #[error("the model {name:?} is being loaded; try again")]
    Loading {
        /// The model's name.
        name: String,
    },
    /// Versions have numbers only.
    #[error("Unrecognized servable version label: {label}; versions are chosen by number")]
    VersionLabel {
        /// The label.
        label: String,
    },
    /// An unknown signature.
    #[error("Serving signature key \"{name}\" not found. Expected \"serving_default\".")]
    SignatureNotFound {
        /// The signature's name.
        name: String,
    },
    /// Too many or too few inputs.
    #[error("{}", describe_inputs(.sent, .expected))]
    InputNames {
        /// The inputs sent.
        sent: BTreeSet<String>,
        /// The model's inputs.
        expected: BTreeSet<String>,
    },
    /// An output that the model doesn't have.
    #[error(
        "output tensor alias not found in signature: {name} Outputs expected to be in the set {{{}}}.",
        join(.expected)
    )]
    OutputName {
        /// The output asked for.
        name: String,
        /// The model's outputs.
        expected: BTreeSet<String>,
    },
    /// An output asked for twice.
    #[error("duplicate output tensor alias: {name}")]
    DuplicateOutput {
        /// The output.
        name: String,
    },
    /// An input's tensor.
    #[error("input tensor \"{input}\": {source}")]
    Tensor {
        /// The input.
        input: String,
        /// What is wrong with it.
        source: TensorError,
    },
    /// Nothing was asked for.
    #[error("GetModelMetadataRequest must specify at least one metadata_field; there is \"signature_def\"")]
    NoMetadataField,
    /// Unknown metadata.
    #[error("Metadata field {name} is not supported; there is \"signature_def\"")]
    MetadataField {
        /// The field.
        name: String,
    },
    /// The run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Waiting for the run.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A message larger than allowed.
    #[error("Received message larger than max ({length} vs. {limit})")]
    MessageTooLarge {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A compressed message.
    #[error("the message is compressed; expected it as it is (grpc-encoding identity)")]
    Compressed,
    /// A call without its message.
    #[error("the request ended before its message was complete")]
    NoMessage,
    /// A message that stopped coming.
    #[error("nothing came of the request's message for {limit:?}")]
    Stalled {
        /// How long is waited.
        limit: Duration,
    },
    /// A message that comes too slowly.
    #[error("the request's message comes too slowly; expected {rate} bytes a second on average")]
    TooSlow {
        /// Bytes a second.
        rate: u64,
    },
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(#[source] Box<Status>),
    /// An answer that gRPC can't carry.
    #[error(
        "the answer has {length} bytes, more than gRPC can carry; ask for fewer outputs or a smaller batch"
    )]
    AnswerTooLarge {
        /// Its length in bytes.
        length: usize,
    },
    /// Requests being received and worked on fill the memory set aside for them.
    #[error("the {limit} bytes set aside for requests are in use; try again")]
    MemoryInUse {
        /// The limit in bytes.
        limit: usize,
    },
    /// A message that only costs memory.
    #[error("the message has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl RequestError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "request-malformed",
            Self::MissingModelSpec => "missing-model-spec",
            Self::ServableNotFound { .. } => "servable-not-found",
            Self::ModelNotFound { .. } => "model-not-found",
            Self::Loading { .. } => "model-loading",
            Self::VersionLabel { .. } => "version-label",
            Self::SignatureNotFound { .. } => "signature-not-found",
            Self::InputNames { .. } => "input-names",
            Self::OutputName { .. } => "output-name",
            Self::DuplicateOutput { .. } => "duplicate-output",
            Self::Tensor { source, .. } => source.code(),
            Self::NoMetadataField => "no-metadata-field",
            Self::MetadataField { .. } => "metadata-field",
            Self::Run(error) => error.code(),
            Self::Schedule(ScheduleError::Overloaded { .. }) => "overloaded",
            Self::Schedule(ScheduleError::Panicked) => "engine-panicked",
            Self::Schedule(ScheduleError::Stopped) => "stopping",
            Self::MessageTooLarge { .. } => "message-too-large",
            Self::Compressed => "compressed",
            Self::NoMessage => "no-message",
            Self::Stalled { .. } => "stalled",
            Self::TooSlow { .. } => "too-slow",
            Self::Connection(_) => "connection",
            Self::AnswerTooLarge { .. } => "answer-too-large",
            Self::MemoryInUse { .. } => "memory-in-use",
            Self::TooMany { .. } => "too-many",
        }
    }
}

fn describe_servable(name: &str, version: Option<i64>) -> String {
    match version {
        None => format!("Latest({name})"),
        Some(version) => format!("Specific({name}, {version})"),
    }
}

fn describe_missing(name: &str, version: Option<i64>) -> String {
    match version {
        None => format!("Could not find any versions of model {name}"),
        Some(version) => format!("Could not find version {version} of model {name}"),
    }
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn describe_inputs(sent: &BTreeSet<String>, expected: &BTreeSet<String>) -> String {
    let extra = sent.difference(expected).cloned().collect();
    let missing = expected.difference(sent).cloned().collect();
    format!(
        "input size does not match signature: {}!={} len({{{}}}) != len({{{}}}). Sent extra: {{{}}}. \
         Missing but required: {{{}}}.",
        sent.len(),
        expected.len(),
        join(sent),
        join(expected),
        join(&extra),
        join(&missing)
    )
}
