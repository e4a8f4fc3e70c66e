//! Why a request got no answer. [`crate::status`] makes gRPC statuses of these.

use std::{collections::BTreeSet, time::Duration};

use tonic::Status;

use adytum_engine::engine::RunError;
use adytum_wire::WireError;

use crate::{examples::ExampleError, scheduler::ScheduleError, tensor::TensorError};

/// The reason why a request got no answer. The texts are TensorFlow Serving's where it
/// has one, since clients match on them.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request's message is not the one that the called method takes.
    ///
    /// Do: send the message that the called method takes, such as a `PredictRequest`.
    #[error("not the message that this method takes: {0}")]
    Malformed(#[from] WireError),
    /// The request names no model: its `model_spec` is missing.
    ///
    /// Do: set `model_spec.name` to the model's name.
    #[error("Missing ModelSpec")]
    MissingModelSpec,
    /// The server serves no model of that name, or not that version.
    ///
    /// Do: ask for a name and a version that is served; `GetModelStatus` lists the versions
    /// of a model.
    #[error("Servable not found for request: {}", describe_servable(.name, *.version))]
    ServableNotFound {
        name: String,
        /// The version, if one was asked for.
        version: Option<i64>,
    },
    /// The server has no model of that name to give the status of.
    ///
    /// Do: ask for a name of the server's configuration (`--model_name`).
    #[error("{}", describe_missing(.name, *.version))]
    ModelNotFound {
        name: String,
        /// The version, if one was asked for.
        version: Option<i64>,
    },
    /// The model is not loaded yet.
    ///
    /// Do: wait until `/readyz` answers 200, then send the request again.
    ///
    /// Retry: later
    #[error("the model {name:?} is being loaded; try again")]
    Loading { name: String },
    /// The model is not among those that this replica announced when the attested session
    /// began.
    ///
    /// Do: open a new session, which names the models that answer now, and send the request
    /// again; or ask for one of the models that the session names.
    ///
    /// Retry: later
    #[error(
        "the model {name:?}{} is none of this attested session; open a new session, which names the models that answer \
         now", .version.map(|version| format!(" version {version}")).unwrap_or_default()
    )]
    NotInSession { name: String, version: Option<i64> },
    /// The request chooses a version by a label that the model does not have.
    ///
    /// Do: choose one of the labels in the model's configuration, or a version by its
    /// number.
    #[error("Unrecognized servable version label: {label}")]
    VersionLabel { label: String },
    /// The request names a signature that the model does not have.
    ///
    /// Do: name a signature that `GetModelMetadata` lists.
    #[error("Serving signature key \"{name}\" not found. Expected one of {{{}}}.", join(.expected))]
    SignatureNotFound { name: String, expected: BTreeSet<String> },
    /// The request's inputs are not the model's inputs.
    ///
    /// Do: send exactly the inputs that `GetModelMetadata` lists.
    #[error("{}", describe_inputs(.sent, .expected))]
    InputNames { sent: BTreeSet<String>, expected: BTreeSet<String> },
    /// The request's output filter names an output that the model does not have.
    ///
    /// Do: name outputs that `GetModelMetadata` lists, or leave the filter out for all.
    #[error(
        "output tensor alias not found in signature: {name} Outputs expected to be in the set {{{}}}.",
        join(.expected)
    )]
    OutputName {
        /// The output asked for.
        name: String,
        expected: BTreeSet<String>,
    },
    /// The request's output filter names an output twice.
    ///
    /// Do: name each output once.
    #[error("duplicate output tensor alias: {name}")]
    DuplicateOutput { name: String },
    /// The tensor of an input can't be used.
    #[error("input tensor \"{input}\": {source}")]
    Tensor { input: String, source: TensorError },
    /// The request for metadata names no field.
    ///
    /// Do: ask for the field `signature_def`.
    #[error("GetModelMetadataRequest must specify at least one metadata_field; there is \"signature_def\"")]
    NoMetadataField,
    /// The request asks for metadata that the server does not have.
    ///
    /// Do: ask for the field `signature_def`.
    #[error("Metadata field {name} is not supported; there is \"signature_def\"")]
    MetadataField { name: String },
    /// The model's run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run did not start or did not end.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The request's message is larger than the server takes.
    ///
    /// Do: send a smaller batch.
    #[error("Received message larger than max ({length} vs. {limit})")]
    MessageTooLarge {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The request's message is compressed in a way that the server does not know.
    ///
    /// Do: compress with gzip or deflate, or not at all.
    #[error("the compression {name:?} is not known; expected identity, gzip or deflate")]
    Compression { name: String },
    /// The request's message is marked as compressed, and can't be unpacked.
    ///
    /// Do: correct the client: the message is not what its `grpc-encoding` or
    /// `Content-Encoding` says.
    #[error("the message can't be unpacked: {reason}")]
    Packed { reason: String },
    /// The byte before the request's message is not 0 or 1.
    ///
    /// Do: correct the client: this is not gRPC's framing.
    #[error("expected the byte before the message to be 0 or 1, found {flag}")]
    Flag { flag: u8 },
    /// The examples of the request can't be used.
    #[error(transparent)]
    Example(#[from] ExampleError),
    /// The signature does not take examples.
    ///
    /// Do: call `Predict`, or name a signature that takes examples; `GetModelMetadata` lists
    /// them.
    #[error("the signature \"{signature}\" does not take examples alone: Expected one input Tensor.")]
    NoExamples { signature: String },
    /// The signature answers another call.
    ///
    /// Do: make the call that the signature is for, or name a signature of this call;
    /// `GetModelMetadata` lists them.
    #[error("Expected the method_name of the signature \"{signature}\" to be {expected}. Was: {found}")]
    Method { signature: String, expected: String, found: String },
    /// The signature has none of the outputs that the call answers with.
    ///
    /// Do: export the model with the outputs that the message names.
    #[error(
        "Expected the outputs of the signature \"{signature}\" to contain at least one of \"{expected}\""
    )]
    MissingOutputs { signature: String, expected: String },
    /// An output of the model does not have the shape or the type that the call answers with.
    ///
    /// Do: call `Predict`, or export the model with the output that the message expects.
    #[error("Expected the output {name} to be {expected}. Got: {found}")]
    OutputShape { name: &'static str, expected: String, found: String },
    /// The tasks of one request are for several models.
    ///
    /// Do: send a request for each model.
    #[error("All ModelSpecs in a MultiInferenceRequest must access the same model name; found {name:?} too")]
    SeveralModels { name: String },
    /// Two tasks of one request have the same signature.
    ///
    /// Do: name each signature once.
    #[error("Duplicate evaluation of signature: {signature}")]
    SignatureTwice { signature: String },
    /// A task has a method that is neither classify nor regress.
    ///
    /// Do: set the task's `method_name` to `tensorflow/serving/classify` or
    /// `tensorflow/serving/regress`.
    #[error("Unsupported signature method_name: {method}")]
    TaskMethod { method: String },
    /// The request has no tasks.
    ///
    /// Do: send at least one task.
    #[error("Inference request must have at least one task.")]
    NoTasks,
    /// The request ended before its message was complete.
    ///
    /// Do: send the message again; if it fails again, look for a proxy that cuts
    /// connections.
    ///
    /// Retry: yes
    #[error("the request ended before its message was complete")]
    NoMessage,
    /// No byte of the request's message arrived for the time that the server waits.
    ///
    /// Do: send the message again; if it fails again, check the network between client and
    /// server.
    ///
    /// Retry: yes
    #[error("nothing came of the request's message for {limit:?}")]
    Stalled {
        /// How long is waited.
        limit: Duration,
    },
    /// The request's message arrives more slowly than the server allows.
    ///
    /// Do: send a smaller batch, or from nearer to the server.
    #[error("the request's message comes too slowly; expected {rate} bytes a second on average")]
    TooSlow {
        /// The lowest average rate, in bytes a second.
        rate: u64,
    },
    /// The connection failed while the request's message was read.
    ///
    /// Do: open a new connection and send the request again.
    ///
    /// Retry: yes
    #[error("the connection failed: {0}")]
    Connection(#[source] Box<Status>),
    /// The answer has more bytes than gRPC can carry.
    ///
    /// Do: ask for fewer outputs (`output_filter`), or send a smaller batch.
    #[error(
        "the answer has {length} bytes, more than gRPC can carry; ask for fewer outputs or a smaller batch"
    )]
    AnswerTooLarge {
        /// Its length in bytes.
        length: usize,
    },
    /// The requests in progress use all the memory that the server sets aside for requests.
    ///
    /// Do: send the request again after a pause; if it happens often, run more replicas.
    ///
    /// Retry: yes
    #[error("the {limit} bytes set aside for requests are in use; try again")]
    MemoryInUse {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request stands for many values that its message does not carry: a shape with one
    /// value, or none, that is repeated.
    ///
    /// Do: send the values, as `tensor_content`.
    #[error("{bytes} bytes of values are not in the message but repeat its last value; at most {limit} may")]
    ValuesNotSent {
        /// What they would take.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The run needs more memory than one run may have.
    ///
    /// Do: send a smaller batch; or raise `--max_run_bytes`, and the server's memory with it.
    #[error(
        "the run would take about {expected} bytes for its values, and one may have {limit}; send a smaller batch"
    )]
    RunTooLarge {
        /// By what runs before it took.
        expected: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The runs in progress use the memory that the run would need.
    ///
    /// Do: send the request again after a pause; if it happens often, send smaller batches,
    /// raise `--run_memory_bytes`, or run more replicas.
    ///
    /// Retry: yes
    #[error("the {limit} bytes set aside for runs are in use; try again")]
    RunMemoryInUse {
        /// The limit in bytes.
        limit: usize,
    },
    /// As many batches of the model wait as may.
    ///
    /// Do: send the request again after a pause; if it happens often, raise
    /// `max_enqueued_batches` of the batching parameters, or run more replicas.
    ///
    /// Retry: yes
    #[error("{limit} batches of the model are waiting already; try again")]
    BatchesWaiting {
        /// The most that may wait.
        limit: usize,
    },
    /// The request has more examples than a batch may have, was split, and the answers of its
    /// parts don't fit together.
    ///
    /// Do: send fewer examples, or leave `enable_large_batch_splitting` out of the batching
    /// parameters.
    #[error(
        "the request was split into batches, and the answers of its parts differ in the sizes of an output; send \
         fewer examples at once"
    )]
    BatchParts,
    /// The request's message has more entries of a kind than the server reads.
    ///
    /// Do: send each input and each output name once, and no empty entries.
    #[error("the message has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
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
            Self::NotInSession { .. } => "model-not-in-session",
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
            Self::Schedule(ScheduleError::Congested { .. }) => "congested",
            Self::Schedule(ScheduleError::Panicked) => "engine-panicked",
            Self::Schedule(ScheduleError::Stopped) => "stopping",
            Self::MessageTooLarge { .. } => "message-too-large",
            Self::Compression { .. } => "compression",
            Self::Packed { .. } => "packed",
            Self::Flag { .. } => "message-flag",
            Self::Example(error) => error.code(),
            Self::NoExamples { .. } => "no-examples",
            Self::Method { .. } => "signature-method",
            Self::MissingOutputs { .. } => "missing-outputs",
            Self::OutputShape { .. } => "output-shape",
            Self::SeveralModels { .. } => "several-models",
            Self::SignatureTwice { .. } => "signature-twice",
            Self::TaskMethod { .. } => "task-method",
            Self::NoTasks => "no-tasks",
            Self::NoMessage => "no-message",
            Self::Stalled { .. } => "stalled",
            Self::TooSlow { .. } => "too-slow",
            Self::Connection(_) => "connection",
            Self::AnswerTooLarge { .. } => "answer-too-large",
            Self::MemoryInUse { .. } => "memory-in-use",
            Self::TooMany { .. } => "too-many",
            Self::ValuesNotSent { .. } => "values-not-sent",
            Self::RunTooLarge { .. } => "run-too-large",
            Self::BatchesWaiting { .. } => "batches-waiting",
            Self::BatchParts => "batch-parts",
            Self::RunMemoryInUse { .. } => "run-memory-in-use",
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
