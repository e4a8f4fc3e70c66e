//! Writes an entry when its answer was sent.

use std::sync::{Arc, atomic::Ordering};

use super::{Entry, Traces, entry::Outcome};

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
    pub(super) fn new(observer: Observer, entry: Arc<Entry>) -> Self {
        Self { observer, entry, closed: false }
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
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
