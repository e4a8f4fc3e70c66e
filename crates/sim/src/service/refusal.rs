//! Requests that the service refuses, as HTTP answers.

use crate::{error::SimError, messages::ErrorReply};
use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};

/// The reason why the service refuses a request.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The service has nothing at that path.
    ///
    /// Do: ask for a path of Intel's PCS API, version 4, or of the simulation.
    #[error("no such path on a simulated platform")]
    Path,
    /// The body of a request for a quote is not valid JSON of that request.
    ///
    /// Do: correct the part of the body that the message names.
    #[error("{}", .0.body_text())]
    Body(#[from] JsonRejection),
    /// The query parameter `fmspc` is missing or malformed.
    ///
    /// Do: give the platform family as 12 hexadecimal digits.
    #[error("{0}")]
    Fmspc(String),
    /// The query parameter `ca` is missing or names no CA.
    ///
    /// Do: give `processor` or `platform`.
    #[error("{0}")]
    Ca(String),
    /// The query parameter `encoding` names no encoding.
    ///
    /// Do: give `pem` or `der`, or leave it out.
    #[error("encoding: expected \"pem\" or \"der\", found {0:?}")]
    Encoding(String),
    /// The query parameter `update` names no evaluation.
    ///
    /// Do: give `standard` or `early`, or leave it out.
    #[error("update: expected \"standard\" or \"early\", found {0:?}")]
    Update(String),
    /// The platform has no collateral of that family or CA.
    ///
    /// Do: ask for the family and the CA that the message names.
    #[error("{0}")]
    NoCollateral(String),
    /// The service could not write its certificate chain into a header.
    ///
    /// Do: make a new simulated platform; this one's certificates are damaged.
    #[error("{0}")]
    IssuerChain(String),
    /// The service did not answer in time.
    ///
    /// Do: send the request again when the machine is less busy.
    ///
    /// Retry: yes
    #[error("the request took too long")]
    Timeout,
    /// The platform has a fault of its own.
    #[error(transparent)]
    Platform(#[from] SimError),
}

impl Refusal {
    /// Stable code for logs and answers.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Body(_) => "bad-request",
            Self::Fmspc(_) => "fmspc",
            Self::Ca(_) => "ca",
            Self::Encoding(_) => "encoding",
            Self::Update(_) => "update",
            Self::NoCollateral(_) => "no-collateral",
            Self::IssuerChain(_) => "issuer-chain",
            Self::Timeout => "timeout",
            Self::Platform(error) => error.code(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Path | Self::NoCollateral(_) => StatusCode::NOT_FOUND,
            Self::Body(rejection) => rejection.status(),
            Self::Fmspc(_) | Self::Ca(_) | Self::Encoding(_) | Self::Update(_) => StatusCode::BAD_REQUEST,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::IssuerChain(_) | Self::Platform(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = ErrorReply { code: self.code().to_owned(), message: self.to_string() };
        (self.status(), Json(body)).into_response()
    }
}
