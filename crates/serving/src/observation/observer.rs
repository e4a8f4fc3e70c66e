//! Begins an entry with a request, and writes it when the answer was sent.

use std::sync::{Arc, atomic::Ordering};

use http::{Request, Response};
use tonic::{Code, Status, body::Body};

use super::{
    Entry, Protocol, TraceParent, Traces,
    body::{Received, Sent},
    entry::Outcome,
};

/// Writes the access log and traces. Clones are the same.
#[derive(Clone)]
pub struct Observer(Arc<Inner>);

struct Inner {
    access_log: bool,
    traces: Option<Traces>,
}

impl Observer {
    /// An observer; `None` if there is nothing to write.
    pub fn new(access_log: bool, traces: Option<Traces>) -> Option<Self> {
        let wanted = access_log || traces.is_some();
        wanted.then(|| Self(Arc::new(Inner { access_log, traces })))
    }

    /// Begins to observe a request, whose bytes are counted from now on.
    pub(crate) fn open(&self, protocol: Protocol, request: Request<Body>) -> (Request<Body>, Open) {
        let entry = Arc::new(Entry::new(protocol, TraceParent::of(request.headers())));
        let counted = Arc::clone(&entry);
        let request = request.map(|body| Body::new(Received::new(body, counted)));
        (request, Open { observer: self.clone(), entry, closed: false })
    }

    /// Sends the traces that wait, at most for a few seconds. It blocks its thread, and not the
    /// runtime in which [`Traces::start`] was called.
    pub fn finish(&self) {
        if let Some(traces) = &self.0.traces {
            traces.finish();
        }
    }

    fn write(&self, entry: &Entry, outcome: Outcome) {
        if self.0.access_log {
            log(entry, outcome);
        }
        if let Some(traces) = &self.0.traces {
            traces.record(entry, outcome);
        }
    }
}

/// A request that is not answered yet. If it is dropped, its client went.
pub(crate) struct Open {
    observer: Observer,
    entry: Arc<Entry>,
    closed: bool,
}

impl Open {
    /// Waits for the answer, and writes down what becomes of it.
    pub(crate) async fn follow<F, E>(self, answering: F) -> Result<Response<Body>, E>
    where
        F: Future<Output = Result<Response<Body>, E>>,
    {
        let response = self.entry.scope(answering).await?;
        let outcome = match self.entry.protocol {
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

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Only the first call counts.
    pub(super) fn close(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.closed, true) {
            self.observer.write(&self.entry, outcome);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close(Outcome::Gone);
    }
}

/// One line of the access log.
fn log(entry: &Entry, outcome: Outcome) {
    let model = entry.model();
    let (name, version) = match &model {
        Some(model) => {
            (model.name.as_str(), model.version.map_or_else(|| "-".to_owned(), |it| it.to_string()))
        }
        None => ("-", "-".to_owned()),
    };
    let trace = entry.parent.map_or_else(|| "-".to_owned(), |parent| parent.trace.to_string());
    let (queue, engine) = entry.queue_and_engine();
    tracing::info!(
        target: "access",
        protocol = %entry.protocol,
        call = %entry.call(),
        model = %name,
        version = %version,
        status = %outcome,
        received = entry.received.load(Ordering::Relaxed),
        sent = entry.sent.load(Ordering::Relaxed),
        queue_us = micros(queue),
        engine_us = micros(engine),
        total_us = micros(entry.started.elapsed()),
        trace = %trace,
        "request"
    );
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
