//! gRPC's status of an answer that refuses, as a code of ours.

use tonic::Code;

/// The status with which a server refused a request (gRPC's status codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerStatus {
    /// The server answered with an error whose status says that there is none.
    ///
    /// Do: report it to the server's maker, with the message.
    Ok,
    /// The server cancelled the request.
    ///
    /// Do: send the request again; read the server's log if it happens often.
    Cancelled,
    /// The server gave a reason that has no status of its own.
    ///
    /// Do: read the message and the server's log.
    Unknown,
    /// The server can't use the request as it is.
    ///
    /// Do: correct the part of the request that the message names.
    InvalidArgument,
    /// The request took longer than the server allows.
    ///
    /// See: ClientError::Deadline
    DeadlineExceeded,
    /// The server has no model, version or signature of that name.
    ///
    /// Do: compare the names in the request with those that the server serves.
    NotFound,
    /// The server has that object already.
    ///
    /// Do: use the object that is there, or choose another name.
    AlreadyExists,
    /// The server does not allow this client to do that.
    ///
    /// Do: ask the server's owner for permission.
    PermissionDenied,
    /// The server is overloaded, or the message is too large for it.
    ///
    /// Do: send fewer or smaller requests at once, or run more replicas.
    ResourceExhausted,
    /// The server is not in a state for this request.
    ///
    /// Do: read in the message what the server needs first.
    FailedPrecondition,
    /// The server gave the request up because of another one.
    ///
    /// Do: send the request again.
    Aborted,
    /// A value of the request is out of the server's range.
    ///
    /// Do: send a value in the range that the message names.
    OutOfRange,
    /// The server does not have this method.
    ///
    /// Do: check that the address is that of a server with TensorFlow Serving's API.
    Unimplemented,
    /// The server has a fault of its own.
    ///
    /// Do: read the server's log, and report it to the server's maker.
    Internal,
    /// The server can't serve now, for example because its model is still loading.
    ///
    /// Do: send the request again after a pause.
    Unavailable,
    /// The server lost data, or found it damaged.
    ///
    /// Do: read the server's log; restore the model from a good copy.
    DataLoss,
    /// The server does not know who this client is.
    ///
    /// Do: give the credentials that the server asks for.
    Unauthenticated,
}

impl From<Code> for ServerStatus {
    fn from(code: Code) -> Self {
        match code {
            Code::Ok => Self::Ok,
            Code::Cancelled => Self::Cancelled,
            Code::Unknown => Self::Unknown,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::OutOfRange => Self::OutOfRange,
            Code::Unimplemented => Self::Unimplemented,
            Code::Internal => Self::Internal,
            Code::Unavailable => Self::Unavailable,
            Code::DataLoss => Self::DataLoss,
            Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}

impl ServerStatus {
    /// A stable name of the status.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::InvalidArgument => "invalid-argument",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::PermissionDenied => "permission-denied",
            Self::ResourceExhausted => "resource-exhausted",
            Self::FailedPrecondition => "failed-precondition",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out-of-range",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data-loss",
            Self::Unauthenticated => "unauthenticated",
        }
    }

    /// May the same request succeed later?
    pub(crate) fn retry(self) -> bool {
        matches!(self, Self::Unavailable | Self::ResourceExhausted | Self::Aborted | Self::Cancelled)
    }

    /// The next step in a few words, for the statuses where a client can tell.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::NotFound => " (does the server serve a model, version and signature of that name?)",
            Self::Unavailable => " (is the model still loading? try again)",
            Self::ResourceExhausted => " (the server is overloaded or the message is too large)",
            Self::Unimplemented => " (is that a server with TensorFlow Serving's API?)",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_code() {
        let statuses = (0..17).map(|number| ServerStatus::from(Code::from(number)));
        let codes: std::collections::BTreeSet<_> = statuses.map(ServerStatus::code).collect();
        assert_eq!(codes.len(), 17);
        for code in codes {
            assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{code}");
        }
    }
}
