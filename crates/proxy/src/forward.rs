//! One request: to a replica, and its answer back. Bodies are streams in both directions.
//!
//! A request is sent again only if nobody has processed it: it never left, or the replica said so
//! (REFUSED_STREAM, or a GOAWAY that leaves its stream out: RFC 9113, sections 8.7 and 6.8).

use std::error::Error as _;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::{
    answer::Body,
    body::{Budget, Kept},
    error::ProxyError,
    replicas::Replicas,
};

/// The authority under which requests go out. It names nobody: attestation has settled who the
/// peer is.
const AUTHORITY: &str = "attested-session";

/// A request that nobody has processed is given to another session at most this often.
const ATTEMPTS: usize = 4;

/// Fields that belong to one connection and not to a request (RFC 9110, section 7.6.1), besides what the
/// field Connection names.
const OF_A_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
];

/// Sends a request to a replica, and to another one only if nobody has processed it.
pub(crate) async fn forward(
    replicas: &Replicas,
    budget: &Budget,
    request: Request<Incoming>,
) -> Result<Response<Body>, ProxyError> {
    if request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE) {
        return Err(ProxyError::Method { method: request.method().to_string() });
    }
    let (parts, body) = outgoing(request).into_parts();
    let body = Kept::new(body, budget);
    let (mut failed_once, mut tried, mut last) = (Vec::new(), Vec::new(), None);
    for _ in 0..ATTEMPTS {
        let (mut session, address, turn) = match (replicas.sender(&tried).await, last.take()) {
            (Ok(found), _) => found,
            // The first replica broke the connection, and there is no other one.
            (Err(_), Some(broken)) => return Err(ProxyError::Broken(broken)),
            (Err(error), None) => return Err(ProxyError::NoReplica(error)),
        };
        match session.try_send_request(Request::from_parts(parts.clone(), body.send())).await {
            Ok(response) => {
                body.forget();
                return Ok(incoming(response));
            }
            Err(failed) => {
                let never_left = failed.message().is_some();
                let error = failed.into_error();
                if !body.is_whole() || !(never_left || is_unprocessed(&error)) {
                    return Err(ProxyError::Broken(error));
                }
                // A session that has ended is replaced by another with the same replica, once.
                if !is_refused_stream(&error) {
                    turn.discard().await;
                }
                let again = failed_once.contains(&address);
                (if again { &mut tried } else { &mut failed_once }).push(address);
                last = Some(error);
            }
        }
        drop(turn);
    }
    match last {
        Some(error) => Err(ProxyError::Broken(error)),
        None => Err(ProxyError::Overloaded { limit: ATTEMPTS }),
    }
}

/// What the other side of HTTP/2 said about a stream, if it did.
fn remote(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return Some(error).filter(|error| error.is_remote());
        }
        source = error.source();
    }
    None
}

fn is_refused_stream(error: &hyper::Error) -> bool {
    remote(error).is_some_and(|error| error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// Has the replica said that it did not process the request? A stream fails with the replica's GOAWAY
/// only if that leaves it out.
fn is_unprocessed(error: &hyper::Error) -> bool {
    is_refused_stream(error) || remote(error).is_some_and(h2::Error::is_go_away)
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
