//! The facts about a request that are collected while it is answered.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;
use tonic::Code;

use super::TraceParent;

tokio::task_local! {
    static CURRENT: Arc<Entry>;
}

/// Runs that are remembered of one request. `MultiInference` has as many as it has tasks.
const MOST_RUNS: usize = 32;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// By gRPC.
    Grpc,
    /// By HTTP with JSON.
    Rest,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Grpc => "grpc",
            Self::Rest => "rest",
        })
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With this status of gRPC.
    Grpc(Code),
    /// With this status of HTTP.
    Http(StatusCode),
    /// Its client went, or its time was up, before there was an answer.
    Gone,
}

impl Outcome {
    /// Whether the server was at fault, as OpenTelemetry's conventions count it.
    pub(super) fn is_failure(self) -> bool {
        match self {
            Self::Grpc(code) => matches!(
                code,
                Code::Unknown
                    | Code::DeadlineExceeded
                    | Code::Unimplemented
                    | Code::Internal
                    | Code::Unavailable
                    | Code::DataLoss
            ),
            Self::Http(status) => status.is_server_error(),
            Self::Gone => false,
        }
    }
}

impl fmt::Display for Outcome {
    /// The number of the status, or `gone`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grpc(code) => write!(f, "{}", i32::from(*code)),
            Self::Http(status) => write!(f, "{}", status.as_u16()),
            Self::Gone => f.pad("gone"),
        }
    }
}

/// When a request's run was asked for, began and ended.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// When the scheduler got it.
    pub submitted: Instant,
    /// When the engine began.
    pub began: Instant,
    /// When the engine ended.
    pub ended: Instant,
    /// The examples in the run, with those of other requests.
    pub batch: usize,
}

/// A model of the configuration, and the version that a request got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) version: Option<i64>,
}

/// A request that is answered.
#[derive(Debug)]
pub struct Entry {
    pub(super) protocol: Protocol,
    pub(super) started: Instant,
    pub(super) started_at: SystemTime,
    pub(super) parent: Option<TraceParent>,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    call: OnceLock<&'static str>,
    model: Mutex<Option<Model>>,
    runs: Mutex<Vec<Ran>>,
}

/// No code panics while it holds such a lock; if one did, the content would still be whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    pub(super) fn new(protocol: Protocol, parent: Option<TraceParent>) -> Self {
        Self {
            protocol,
            started: Instant::now(),
            started_at: SystemTime::now(),
            parent,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            call: OnceLock::new(),
            model: Mutex::new(None),
            runs: Mutex::new(Vec::new()),
        }
    }

    /// The call, from a closed list; `-` for a path that is none.
    pub(super) fn call(&self) -> &'static str {
        self.call.get().copied().unwrap_or("-")
    }

    pub(super) fn model(&self) -> Option<Model> {
        lock(&self.model).clone()
    }

    pub(super) fn runs(&self) -> Vec<Ran> {
        lock(&self.runs).clone()
    }

    /// The time that its runs waited, and the time in the engine.
    pub(super) fn queue_and_engine(&self) -> (Duration, Duration) {
        lock(&self.runs).iter().fold((Duration::ZERO, Duration::ZERO), |(queue, engine), ran| {
            (queue + (ran.began - ran.submitted), engine + (ran.ended - ran.began))
        })
    }

    /// One of its runs ended.
    pub fn ran(&self, ran: Ran) {
        let mut runs = lock(&self.runs);
        if runs.len() < MOST_RUNS {
            runs.push(ran);
        }
    }

    /// Notes what this work finds out about the request.
    pub(super) fn scope<F: Future>(self: &Arc<Self>, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(Arc::clone(self), work)
    }

    pub(super) fn add(counter: &AtomicU64, length: usize) {
        counter.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// The request that this task answers, if requests are observed.
pub(crate) fn current() -> Option<Arc<Entry>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// The request that this task answers is for that call, one of a closed list.
pub(crate) fn note_call(call: &'static str) {
    // An error means that nobody wants to know.
    let _ = CURRENT.try_with(|entry| entry.call.set(call));
}

/// The request that this task answers is for that model of the configuration.
pub(crate) fn note_model(name: &str, version: Option<i64>) {
    let _ = CURRENT.try_with(|entry| *lock(&entry.model) = Some(Model { name: name.to_owned(), version }));
}
