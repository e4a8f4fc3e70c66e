//! The proxy's own answers: a refusal in the protocol of the client.

use adytum_api::refusal::{CODE, RETRY};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::error::ProxyError;

/// A replica's body, or one of the proxy.
pub(crate) type Body = Either<Incoming, Full<Bytes>>;

/// gRPC's status UNAVAILABLE.
const UNAVAILABLE: &str = "14";

/// What gRPC escapes in a message ("gRPC over HTTP2", Status-Message).
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Is this a request of gRPC's?
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a request that no replica answered.
pub(crate) fn refusal(error: &ProxyError, is_grpc: bool) -> Response<Body> {
    let text = error.to_string();
    let mut response = if is_grpc {
        let mut response = Response::new(Either::Right(Full::default()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(UNAVAILABLE));
        let message = utf8_percent_encode(&text, ESCAPED).to_string();
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert("grpc-message", message);
        }
        response
    } else {
        let json = serde_json::json!({ "error": text, "code": error.code() });
        let mut response = Response::new(Either::Right(Full::from(format!("{json}\n"))));
        *response.status_mut() = status(error);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if error.retry() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(RETRY, HeaderValue::from_static(if error.retry() { "true" } else { "false" }));
    if let Ok(code) = HeaderValue::from_str(error.code()) {
        headers.insert(CODE, code);
    }
    response
}

fn status(error: &ProxyError) -> StatusCode {
    match error {
        ProxyError::NoReplica(error) if error.retry() => StatusCode::SERVICE_UNAVAILABLE,
        // The replica is there and was judged.
        ProxyError::NoReplica(_) => StatusCode::FORBIDDEN,
        ProxyError::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
        ProxyError::Broken(_) => StatusCode::BAD_GATEWAY,
        ProxyError::Method { .. } => StatusCode::NOT_IMPLEMENTED,
        ProxyError::Listen { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use adytum_client::ConnectError;
    use http_body_util::BodyExt as _;

    use super::*;

    fn refused(retry: bool) -> ProxyError {
        ProxyError::NoReplica(ConnectError::Attestation {
            server: "r:1".to_owned(),
            code: "policy-refused".to_owned(),
            reason: "identity: 50 %".to_owned(),
            retry,
        })
    }

    #[tokio::test]
    async fn a_refusal_is_said_in_the_clients_protocol() {
        let response = refusal(&refused(false), true);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()[CODE], "policy-refused");
        assert!(response.headers()["grpc-message"].to_str().unwrap().ends_with("50 %25"));
        for (retry, status) in [(false, StatusCode::FORBIDDEN), (true, StatusCode::SERVICE_UNAVAILABLE)] {
            let response = refusal(&refused(retry), false);
            assert_eq!(response.status(), status);
            let Either::Right(body) = response.into_body() else { panic!("a replica's body") };
            let text = body.collect().await.unwrap().to_bytes();
            let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(json["code"], "policy-refused");
        }
    }
}
