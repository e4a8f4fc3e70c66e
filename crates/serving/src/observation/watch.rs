//! Begins an entry with a request, and follows it to the end of its answer.

use std::sync::Arc;

use http::{Request, Response};
use tonic::{Code, Status, body::Body};

use super::{
    Entry, Observer, Protocol, TraceParent,
    body::{Received, Sent},
    entry::Outcome,
    observer::Open,
};

impl Observer {
    /// Begins to observe a request, whose bytes are counted from now on.
    pub(crate) fn open(&self, protocol: Protocol, request: Request<Body>) -> (Request<Body>, Open) {
        let entry = Arc::new(Entry::new(protocol, TraceParent::of(request.headers())));
        let counted = Arc::clone(&entry);
        let request = request.map(|body| Body::new(Received::new(body, counted)));
        (request, Open::new(self.clone(), entry))
    }
}

impl Open {
    /// Waits for the answer, and writes down what becomes of it.
    pub(crate) async fn follow<F, E>(self, answering: F) -> Result<Response<Body>, E>
    where
        F: Future<Output = Result<Response<Body>, E>>,
    {
        let response = self.entry().scope(answering).await?;
        let outcome = match self.entry().protocol {
            // Without the header it is in the trailers.
            Protocol::Grpc => Outcome::Grpc(
                response
                    .headers()
                    .get(Status::GRPC_STATUS)
                    .map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes())),
            ),
            Protocol::Rest => Outcome::Http(response.status()),
        };
        Ok(response.map(|body| Body::new(Sent::new(body, self, outcome))))
    }
}
