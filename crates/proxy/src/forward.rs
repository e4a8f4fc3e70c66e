//! One request: to a replica, and its answer back. Bodies are streams in both directions, and
//! nothing of them is kept.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::{answer::Body, error::ProxyError, replicas::Replicas};

/// The authority under which requests go out. It names nobody: attestation has settled who the
/// peer is.
const AUTHORITY: &str = "attested-session";

/// A request that never left is given to another session so often.
const ATTEMPTS: usize = 4;

/// What belongs to one connection and not to a request (RFC 9110, section 7.6.1), besides what the
/// field Connection names.
const OF_A_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
];

/// Sends a request to a replica, and to another one only if it never left.
pub(crate) async fn forward(
    replicas: &Replicas,
    request: Request<Incoming>,
) -> Result<Response<Body>, ProxyError> {
    if request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE) {
        return Err(ProxyError::Method { method: request.method().to_string() });
    }
    let mut request = outgoing(request);
    let (mut failed_once, mut tried, mut last) = (Vec::new(), Vec::new(), None);
    for _ in 0..ATTEMPTS {
        let (mut session, address, turn) = match (replicas.sender(&tried).await, last.take()) {
            (Ok(found), _) => found,
            // The first replica broke the connection, and there is no other one.
            (Err(_), Some(broken)) => return Err(ProxyError::Broken(broken)),
            (Err(error), None) => return Err(ProxyError::NoReplica(error)),
        };
        match session.try_send_request(request).await {
            Ok(response) => return Ok(incoming(response)),
            Err(mut failed) => match failed.take_message() {
                // A session that had ended is replaced by another with the same replica, once.
                Some(unsent) => {
                    request = unsent;
                    let again = failed_once.contains(&address);
                    (if again { &mut tried } else { &mut failed_once }).push(address);
                    last = Some(failed.into_error());
                }
                None => return Err(ProxyError::Broken(failed.into_error())),
            },
        }
        drop(turn);
    }
    match last {
        Some(error) => Err(ProxyError::Broken(error)),
        None => Err(ProxyError::Overloaded { limit: ATTEMPTS }),
    }
}

/// A request of HTTP/1.1 or HTTP/2 as one of HTTP/2.
fn outgoing(request: Request<Incoming>) -> Request<Incoming> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTPS);
    uri.authority = Some(Authority::from_static(AUTHORITY));
    uri.path_and_query = Some(path);
    // All three are there and valid.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    parts.version = Version::HTTP_2;
    without_connection(&mut parts.headers);
    // HTTP/2 knows one value (RFC 9113, section 8.2.2), which gRPC needs.
    if parts.headers.remove(header::TE).is_some_and(|value| value == "trailers") {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Request::from_parts(parts, body)
}

fn incoming(response: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    without_connection(&mut parts.headers);
    parts.version = Version::default();
    Response::from_parts(parts, Either::Left(body))
}

fn without_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OF_A_CONNECTION.iter().chain(&named) {
        if *name != header::TE {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop, keep-alive"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("host", "localhost"),
            ("content-type", "application/json"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        without_connection(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
    }
}
