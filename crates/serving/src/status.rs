//! The one place where errors become gRPC statuses: TensorFlow Serving's codes
//! where it has the case.

use tonic::{Code, Status, metadata::MetadataValue};

use adytum_engine::{engine::RunError, operators::OperatorError};

use crate::{error::RequestError, scheduler::ScheduleError};

/// The metadata key under which answers carry the error's stable code.
pub const ERROR_CODE_KEY: &str = "adytum-error";

fn code(error: &RequestError) -> Code {
    match error {
        RequestError::ServableNotFound { .. } | RequestError::ModelNotFound { .. } => Code::NotFound,
        RequestError::SignatureNotFound { .. } => Code::FailedPrecondition,
        RequestError::Malformed(_)
        | RequestError::NoMessage
        | RequestError::MissingModelSpec
        | RequestError::VersionLabel { .. }
        | RequestError::InputNames { .. }
        | RequestError::OutputName { .. }
        | RequestError::DuplicateOutput { .. }
        | RequestError::Tensor { .. }
        | RequestError::NoMetadataField
        | RequestError::MetadataField { .. }
        | RequestError::TooMany { .. }
        | RequestError::Run(RunError::Input { .. }) => Code::InvalidArgument,
        RequestError::Run(RunError::Node { error, .. }) => match error {
            OperatorError::Inputs { .. } => Code::InvalidArgument,
            OperatorError::TooLarge { .. } | OperatorError::Budget { .. } => Code::ResourceExhausted,
            OperatorError::Cancelled => Code::Cancelled,
            _ => Code::Internal,
        },
        RequestError::Run(_) | RequestError::Schedule(ScheduleError::Panicked) => Code::Internal,
        RequestError::Compressed => Code::Unimplemented,
        RequestError::Stalled { .. } | RequestError::TooSlow { .. } => Code::DeadlineExceeded,
        RequestError::Connection(status) => status.code(),
        RequestError::MessageTooLarge { .. }
        | RequestError::AnswerTooLarge { .. }
        | RequestError::MemoryInUse { .. }
        | RequestError::ValuesNotSent { .. }
        | RequestError::RunTooLarge { .. }
        | RequestError::RunMemoryInUse { .. }
        | RequestError::Schedule(ScheduleError::Overloaded { .. }) => Code::ResourceExhausted,
        RequestError::Loading { .. } | RequestError::Schedule(ScheduleError::Stopped) => Code::Unavailable,
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        let mut status = Self::new(code(&error), error.to_string());
        status.metadata_mut().insert(ERROR_CODE_KEY, MetadataValue::from_static(error.code()));
        status
    }
}
