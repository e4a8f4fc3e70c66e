//! The status of a model's versions, as protobuf's JSON has `GetModelStatusResponse`.

use serde_json::{Value, json};
use tonic::Code;

use super::{RestError, path::ModelPath};
use crate::{
    inference::Inference,
    service::{model_status, target::Target},
};

pub(super) fn status(inference: &Inference, model: ModelPath) -> Result<Value, RestError> {
    let target = Target { name: model.name, version: model.version, signature: String::new() };
    let response = model_status::status(&inference.models, &target)?;
    let versions: Vec<Value> = response
        .model_version_status
        .into_iter()
        .map(|version| {
            let state = version.state().as_str_name();
            let status = version.status.unwrap_or_default();
            json!({
                "version": version.version.to_string(),
                "state": state,
                "status": {
                    "error_code": code_name(status.error_code.into()),
                    "error_message": status.error_message,
                },
            })
        })
        .collect();
    Ok(json!({ "model_version_status": versions }))
}

/// The names of `google.rpc.Code`, which TensorFlow's own are the same as.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
