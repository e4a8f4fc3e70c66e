//! What can go wrong between an image and its class.

use std::{path::PathBuf, time::Duration};

use tonic::Code;

use crate::{connection::ConnectError, image::ImageError};

/// Why there is no answer. [`ClientError::code`] names the kind for programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The text is not an address.
    #[error("{text:?} is not a server address: {problem}; give host:port, as in localhost:31001")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file of the trusted certificate can't be used.
    #[error("{}: {problem}; give the server's certificate in PEM", path.display())]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke while a request was on it, each time it was sent.
    #[error("the connection to {server} broke: {problem}; {advice}")]
    Broken {
        /// The server.
        server: String,
        /// What happened.
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// No answer in time.
    #[error("no answer from {server} within {limit:?}; is it overloaded, or is the time too short?")]
    Deadline {
        /// The server.
        server: String,
        /// The time allowed.
        limit: Duration,
    },
    /// The server answered with an error.
    #[error("{server} answered {status:?}: {message}{}", advice(*status))]
    Refused {
        /// The server.
        server: String,
        /// Its gRPC status.
        status: Code,
        /// Its words.
        message: String,
    },
    /// The model's interface is not one that takes an image.
    #[error("the model does not take an image: {problem}")]
    Interface {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The image can't be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The answer is not a list of scores.
    #[error("the answer can't be used: {problem}")]
    Answer {
        /// What is wrong with it.
        problem: String,
    },
    /// The file of labels can't be used.
    #[error("{}: {problem}; one label a line, in the order of the model's classes", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl ClientError {
    /// A stable name of the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "bad-address",
            Self::CertificateFile { .. } => "bad-certificate-file",
            Self::Connect(error) => error.code(),
            Self::Broken { .. } => "connection-broken",
            Self::Deadline { .. } => "deadline-exceeded",
            Self::Refused { status, .. } => status_code(*status),
            Self::Interface { .. } => "unsupported-model",
            Self::Image(error) => error.code(),
            Self::Answer { .. } => "bad-answer",
            Self::Labels { .. } => "bad-labels",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Deadline { .. } => true,
            Self::Connect(error) => error.is_transient(),
            Self::Refused { status, .. } => {
                matches!(
                    status,
                    Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::Cancelled
                )
            }
            _ => false,
        }
    }
}

/// gRPC's status codes in our spelling.
fn status_code(status: Code) -> &'static str {
    match status {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid-argument",
        Code::DeadlineExceeded => "deadline-exceeded",
        Code::NotFound => "not-found",
        Code::AlreadyExists => "already-exists",
        Code::PermissionDenied => "permission-denied",
        Code::ResourceExhausted => "resource-exhausted",
        Code::FailedPrecondition => "failed-precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out-of-range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data-loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// What to do about a status, as far as a client can tell.
fn advice(status: Code) -> &'static str {
    match status {
        Code::NotFound => " (does the server serve a model, version and signature of that name?)",
        Code::Unavailable => " (is the model still loading? try again)",
        Code::ResourceExhausted => " (the server is overloaded or the message is too large)",
        Code::Unimplemented => " (is that a server with TensorFlow Serving's API?)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_code() {
        let codes: std::collections::BTreeSet<_> = (0..17).map(|n| status_code(Code::from(n))).collect();
        assert_eq!(codes.len(), 17);
        for code in codes {
            assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{code}");
        }
    }

    #[test]
    fn messages_say_what_to_do() {
        let error = ClientError::Refused {
            server: "localhost:1".to_owned(),
            status: Code::NotFound,
            message: "Servable not found".to_owned(),
        };
        assert_eq!(error.code(), "not-found");
        assert!(!error.is_transient());
        let text = error.to_string();
        assert!(text.contains("Servable not found") && text.contains("localhost:1"), "{text}");
        assert!(text.contains("does the server serve"), "{text}");
    }
}
