//! Errors between an image and its class.

use std::{path::PathBuf, time::Duration};

use tonic::Code;

use crate::{
    connection::{ConnectError, TargetError},
    image::ImageError,
    server_status::ServerStatus,
};

/// The reason why there is no answer. [`ClientError::code`] names the kind for
/// programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server can't be named or trusted as given.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is no connection to the server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke while a request was on it, each time the request was sent.
    ///
    /// Do: follow the advice in the message; check that the server still runs.
    #[error("the connection to {server} broke: {problem}; {advice}")]
    Broken { server: String, problem: String, advice: &'static str },
    /// The server gave no answer within the allowed time.
    ///
    /// Do: allow more time, or send fewer requests at once.
    #[error("no answer from {server} within {limit:?}; is it overloaded, or is the time too short?")]
    Deadline { server: String, limit: Duration },
    /// The server answered with an error.
    #[error("{server} answered {status:?}: {message}{}", ServerStatus::from(*status).advice())]
    Refused { server: String, status: Code, message: String },
    /// The model's interface does not take an image.
    ///
    /// Do: name the model and the signature of an image classifier.
    #[error("the model does not take an image: {problem}")]
    Interface { problem: String },
    /// The image can't be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The server's answer is not a list of scores for each image.
    ///
    /// Do: check that the model is an image classifier; the message says which part of the
    /// answer is wrong.
    #[error("the answer can't be used: {problem}")]
    Answer { problem: String },
    /// The file of labels can't be used.
    ///
    /// Do: give a text file with one label a line, in the order of the model's classes.
    #[error("{}: {problem}; one label a line, in the order of the model's classes", path.display())]
    Labels { path: PathBuf, problem: String },
}

impl ClientError {
    /// A stable name of the kind of error.
    pub fn code(&self) -> &str {
        match self {
            Self::Target(error) => error.code(),
            Self::Connect(error) => error.code(),
            Self::Broken { .. } => "connection-broken",
            Self::Deadline { .. } => "deadline-exceeded",
            Self::Refused { status, .. } => ServerStatus::from(*status).code(),
            Self::Interface { .. } => "unsupported-model",
            Self::Image(error) => error.code(),
            Self::Answer { .. } => "bad-answer",
            Self::Labels { .. } => "bad-labels",
        }
    }

    /// May the same request succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Deadline { .. } => true,
            Self::Connect(error) => error.retry(),
            Self::Refused { status, .. } => ServerStatus::from(*status).retry(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let error = ClientError::Refused {
            server: "localhost:1".to_owned(),
            status: Code::NotFound,
            message: "Servable not found".to_owned(),
        };
        assert_eq!(error.code(), "not-found");
        assert!(!error.retry());
        let text = error.to_string();
        assert!(text.contains("Servable not found") && text.contains("localhost:1"), "{text}");
        assert!(text.contains("does the server serve"), "{text}");
    }
}
