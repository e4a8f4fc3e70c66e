//! The one place where errors become gRPC statuses, and these HTTP's: TensorFlow Serving's codes
//! where it has the case.

use http::StatusCode;
use tonic::{Code, Status, metadata::MetadataValue};

use adytum_engine::{engine::RunError, operators::OperatorError};

use crate::{error::RequestError, scheduler::ScheduleError};

/// The metadata key under which answers carry the error's stable code.
pub const ERROR_CODE_KEY: &str = "adytum-error";

/// The longest text of an error, as it is sent, in bytes. It is sent in a header, and clients
/// limit the size of these.
const LONGEST_TEXT: usize = 1024;

/// The sign for the rest of a text that is cut.
const CUT: &str = "...";

/// The code of an error.
pub(crate) fn code(error: &RequestError) -> Code {
    match error {
        RequestError::ServableNotFound { .. } | RequestError::ModelNotFound { .. } => Code::NotFound,
        RequestError::SignatureNotFound { .. } | RequestError::MissingOutputs { .. } => {
            Code::FailedPrecondition
        }
        RequestError::Malformed(_)
        | RequestError::Example(_)
        | RequestError::NoExamples { .. }
        | RequestError::Method { .. }
        | RequestError::OutputShape { .. }
        | RequestError::BatchParts
        | RequestError::SeveralModels { .. }
        | RequestError::SignatureTwice { .. }
        | RequestError::NoTasks
        | RequestError::Packed { .. }
        | RequestError::Flag { .. }
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
        RequestError::Compression { .. } | RequestError::TaskMethod { .. } => Code::Unimplemented,
        RequestError::Stalled { .. } | RequestError::TooSlow { .. } => Code::DeadlineExceeded,
        RequestError::Connection(status) => status.code(),
        RequestError::MessageTooLarge { .. }
        | RequestError::AnswerTooLarge { .. }
        | RequestError::MemoryInUse { .. }
        | RequestError::ValuesNotSent { .. }
        | RequestError::RunTooLarge { .. }
        | RequestError::RunMemoryInUse { .. }
        | RequestError::Schedule(ScheduleError::Overloaded { .. } | ScheduleError::Congested { .. }) => {
            Code::ResourceExhausted
        }
        RequestError::Loading { .. }
        | RequestError::NotInSession { .. }
        | RequestError::BatchesWaiting { .. }
        | RequestError::Schedule(ScheduleError::Stopped) => Code::Unavailable,
    }
}

/// The HTTP status of a code, as TensorFlow Serving's `http_server.cc` has it.
pub(crate) fn http(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // "Client closed request": nobody reads it.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A status with a stable code, and a text that is not too long.
pub(crate) fn status(code: Code, stable: &'static str, text: &str) -> Status {
    let mut status = Status::new(code, bounded(text));
    status.metadata_mut().insert(ERROR_CODE_KEY, MetadataValue::from_static(stable));
    status
}

/// As much of a text as may be sent, cut between two characters.
///
/// gRPC percent-encodes what is not printable ASCII ("gRPC over HTTP2", Status-Message), each of
/// such bytes becoming three. tonic encodes some more characters, which are counted as three too.
fn bounded(text: &str) -> String {
    let length = |character: char| match character {
        'a'..='z'
        | 'A'..='Z'
        | '0'..='9'
        | '-'
        | '.'
        | '_'
        | ':'
        | ','
        | '/'
        | '('
        | ')'
        | '='
        | '+'
        | '*' => 1,
        other => 3 * other.len_utf8(),
    };
    let mut whole = 0;
    let mut cut = 0;
    for (index, character) in text.char_indices() {
        whole += length(character);
        if whole <= LONGEST_TEXT - CUT.len() {
            cut = index + character.len_utf8();
        }
        if whole > LONGEST_TEXT {
            return format!("{}{CUT}", text.get(..cut).unwrap_or_default());
        }
    }
    text.to_owned()
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        status(code(&error), error.code(), &error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The length of a text as tonic sends it.
    fn sent(text: &str) -> usize {
        let answer = Status::internal(text).into_http::<tonic::body::Body>();
        answer.headers().get(Status::GRPC_MESSAGE).map_or(0, |text| text.as_bytes().len())
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let text = bounded(&"\u{1f600}".repeat(1000));
        assert!(text.ends_with("\u{1f600}...") && sent(&text) <= LONGEST_TEXT, "{text}");
        let exact = "a".repeat(LONGEST_TEXT);
        assert_eq!(bounded(&exact), exact);
        assert_eq!(bounded(&"a".repeat(LONGEST_TEXT + 1)).len(), LONGEST_TEXT);
        assert_eq!(bounded("50%"), "50%");
    }

    proptest! {
        #[test]
        fn no_text_is_longer_than_it_may_be(text in "(\\PC|%|[\u{0}-\u{1f}]|[ \"<>{}?#`|^\\[\\]&;@!$'~]{30}|a{100}){0,200}") {
            prop_assert!(sent(&bounded(&text)) <= LONGEST_TEXT);
        }
    }
}
