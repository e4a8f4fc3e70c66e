//! Admission of requests: how many are read and answered at once, before a byte
//! of their bodies is taken in. One beyond is refused at once rather than queued:
//! who is admitted keeps his latency. What becomes of each is counted here, and
//! what is logged of it stands in a span that names session and trace.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use adytum_ratls::session::SessionInfo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{
    Code,
    body::Body,
    codegen::http::{HeaderMap, HeaderValue, Request, Response},
};
use tower::{Layer, Service as TowerService};
use tracing::Instrument as _;

use crate::{
    metrics::{Metrics, Present},
    status::{self, CODE, RETRY},
    trace_context::TraceParent,
};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Workloads' requests for secrets: small and many.
    Release,
    /// All others: few, and as long as a command may be.
    Administration,
}

impl Service {
    fn of(path: &str) -> Self {
        let release = path.strip_prefix("/adytum.broker.v1.KeyBroker/").is_some();
        if release { Self::Release } else { Self::Administration }
    }

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Administration => "administration",
        }
    }
}

/// Requests in progress over all sessions.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Of workloads.
    pub release: usize,
    /// Of all others. Each may be as long as a command.
    pub administration: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { release: 512, administration: 16 }
    }
}

/// Puts [`Admitting`] before a service.
#[derive(Clone)]
pub(super) struct Admission {
    metrics: Arc<Metrics>,
    release: Arc<Semaphore>,
    administration: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new(metrics: Arc<Metrics>, limits: RequestLimits) -> Self {
        Self {
            metrics,
            release: Arc::new(Semaphore::new(limits.release)),
            administration: Arc::new(Semaphore::new(limits.administration)),
        }
    }

    fn admit(&self, service: Service) -> Option<OwnedSemaphorePermit> {
        let places = match service {
            Service::Release => &self.release,
            Service::Administration => &self.administration,
        };
        Arc::clone(places).try_acquire_owned().ok()
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitting<S>;

    fn layer(&self, inner: S) -> Admitting<S> {
        Admitting { admission: self.clone(), inner }
    }
}

/// Admits requests to the service behind it.
#[derive(Clone)]
pub(super) struct Admitting<S> {
    admission: Admission,
    inner: S,
}

impl<S> TowerService<Request<Body>> for Admitting<S>
where
    S: TowerService<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = Service::of(request.uri().path());
        let metrics = Arc::clone(&self.admission.metrics);
        let outcome = Outcome { metrics, service, began: Instant::now(), code: None };
        let Some(permit) = self.admission.admit(service) else {
            outcome.ended(status::OVERLOADED.to_owned());
            return Box::pin(async { Ok(status::overloaded().into_http()) });
        };
        let span = span(service, &request);
        let answer = self.inner.call(request);
        let answered = async move {
            let _permit = permit;
            let _present = Present::in_(&outcome.metrics.requests_in_flight);
            let mut response = answer.await;
            if let Ok(response) = &mut response {
                outcome.ended(code_of(response.headers_mut()));
            }
            response
        };
        Box::pin(answered.instrument(span))
    }
}

fn span(service: Service, request: &Request<Body>) -> tracing::Span {
    let session = request.extensions().get::<SessionInfo>().map(SessionInfo::id);
    let trace = TraceParent::of(request.headers());
    tracing::info_span!(
        "request",
        service = service.name(),
        session = session.map(tracing::field::display),
        trace_id = trace.map(|trace| tracing::field::display(trace.trace_id())),
        parent_id = trace.map(|trace| tracing::field::display(trace.parent_id())),
    )
}

/// The stable code of an answer. What gRPC itself refused gets one.
fn code_of(fields: &mut HeaderMap) -> String {
    if let Some(code) = fields.get(CODE) {
        return code.to_str().unwrap_or_default().to_owned();
    }
    let (code, retry) = match fields.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes())) {
        None | Some(Code::Ok) => return "ok".to_owned(),
        Some(Code::OutOfRange) => ("message-too-long", "false"),
        Some(Code::Unimplemented) => ("method-unknown", "false"),
        Some(_) => ("message-malformed", "false"),
    };
    fields.insert(CODE, HeaderValue::from_static(code));
    fields.insert(RETRY, HeaderValue::from_static(retry));
    code.to_owned()
}

/// Counts what became of a request, also when its peer went away or its time was
/// up.
struct Outcome {
    metrics: Arc<Metrics>,
    service: Service,
    began: Instant,
    code: Option<String>,
}

impl Outcome {
    fn ended(mut self, code: String) {
        self.code = Some(code);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let code = self.code.as_deref().unwrap_or("abandoned");
        self.metrics.request(self.service, code, self.began.elapsed());
    }
}
