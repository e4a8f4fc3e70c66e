//! Answers of the REST API.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use tonic::body::Body;

use super::RestError;
use crate::{json::write_text, status::ERROR_CODE_KEY};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// JSON that was written already.
pub(super) fn json(text: Vec<u8>) -> Response<Body> {
    with_type(text.into(), JSON)
}

/// Bytes of a type.
pub(super) fn with_type(body: Bytes, content_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body)));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// A status without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// `{"error": TEXT}` with the status of the error.
pub(super) fn error(error: &RestError) -> Response<Body> {
    let mut text = b"{\n    \"error\": ".to_vec();
    write_text(&mut text, &error.to_string());
    text.extend_from_slice(b"\n}");
    let mut response = json(text);
    *response.status_mut() = error.status();
    response.headers_mut().insert(ERROR_CODE_KEY, HeaderValue::from_static(error.code()));
    response
}

/// Lets pages of any origin read the answer, as TensorFlow Serving's flag for it does.
pub(super) fn allow_any_origin(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Content-Type, Content-Encoding, Inference-Header-Content-Length, X-Request-Priority, Traceparent",
        ),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Inference-Header-Content-Length"),
    );
}
