//! Admission of requests: how many are answered at once, and how much of their bodies is
//! taken in. One beyond is refused at once rather than queued: an admitted request keeps
//! its latency. The outcome of each is counted here, and its log lines are in a span that
//! names session and trace.
//!
//! Every peer with a session can ask, so strangers' sessions have few requests each. A
//! small body needs no more than that: nobody can keep an owner from giving a command. A
//! large one needs a place, which has to be used in time, and which can be displaced.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use adytum_api::refusal::{CODE, KIND, RETRY, RefusalKind};
use adytum_crowd::places::{Place, Places};
use adytum_ratls::session::{Peer, SessionInfo};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{HeaderMap, HeaderValue, Request, Response},
};
use tower::{Layer, Service as TowerService};
use tracing::Instrument as _;

use super::{
    ServerLimits,
    overload::TransportFault,
    session::Caller,
    sessions::{Host, WithoutEvidence},
    standing::{InRequest, Kind, Standing},
    status,
    trace_context::TraceParent,
};
use crate::telemetry::metrics::{GaugeGuard, Metrics, Service};

/// What a request to this path is for.
fn service_of(path: &str) -> Service {
    let release = path.strip_prefix("/adytum.broker.v1.KeyBroker/").is_some();
    if release { Service::Release } else { Service::Administration }
}

/// The one request for which evidence is needed whatever it says.
const GET_SECRETS: &str = "/adytum.broker.v1.KeyBroker/GetSecrets";

/// A body of at most this number of bytes needs no place.
const SMALL_BODY: usize = 64 * 1024;
/// How long a large body may do nothing before it is displaced by one of an address with as
/// many.
const BODY_GRACE: Duration = Duration::from_millis(500);
/// When a refused request is worth trying again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Requests in progress over all sessions.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// The number of requests for secrets.
    pub release: usize,
    /// The number of requests of more than 64 KiB on sessions of strangers. Sessions that
    /// have shown an owner's signature may have as many again. Each may be as long as a
    /// command.
    pub large: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { release: 512, large: 16 }
    }
}

/// Puts [`Admitting`] before a service.
#[derive(Clone)]
pub(super) struct Admission {
    metrics: Arc<Metrics>,
    without_evidence: WithoutEvidence,
    release: Arc<Semaphore>,
    large: Arc<Places>,
    owners_large: Arc<Places>,
    body_timeout: Duration,
}

/// What an admitted request holds until it is answered.
struct Admitted {
    _request: InRequest,
    _release: Option<OwnedSemaphorePermit>,
    /// Of its body, if that is large.
    body: Arc<OnceLock<Place>>,
}

impl Admission {
    pub(super) fn new(host: &Host, limits: &ServerLimits) -> Self {
        let RequestLimits { release, large } = limits.requests;
        Self {
            metrics: Arc::clone(&host.metrics),
            without_evidence: Arc::clone(&host.without_evidence),
            release: Arc::new(Semaphore::new(release)),
            large: Places::new(large, BODY_GRACE),
            owners_large: Places::new(large, BODY_GRACE),
            body_timeout: limits.body_timeout,
        }
    }

    /// The caller, and the places that the request takes; or the refusal.
    fn admit(&self, service: Service, request: &mut Request<Body>) -> Result<(Caller, Admitted), Status> {
        let caller = request.extensions().get::<Caller>().ok_or_else(status::no_session)?.clone();
        request.extensions_mut().insert(caller.info.clone());
        // Anybody can ask without evidence, and workloads pay for no place of theirs.
        if request.uri().path() == GET_SECRETS && matches!(caller.info.peer, Peer::Unattested) {
            return Err(span(service, request).in_scope(|| (self.without_evidence)(&caller.info)));
        }
        let overloaded = || status::overloaded(RETRY_AFTER);
        let in_request = caller.standing.begin(Instant::now()).ok_or_else(overloaded)?;
        let release = match service {
            Service::Release => {
                Some(Arc::clone(&self.release).try_acquire_owned().map_err(|_| overloaded())?)
            }
            Service::Administration | Service::Kbs | Service::Occlum => None,
        };
        let admitted = Admitted { _request: in_request, _release: release, body: Arc::default() };
        Ok((caller, admitted))
    }

    fn body(&self, body: Body, standing: Arc<Standing>, place: &Arc<OnceLock<Place>>) -> LimitedBody {
        let places = match standing.kind() {
            Kind::Owner => &self.owners_large,
            Kind::Attested | Kind::Stranger => &self.large,
        };
        LimitedBody {
            body,
            end: Box::pin(sleep(self.body_timeout)),
            received: 0,
            standing,
            places: Arc::clone(places),
            place: Arc::clone(place),
        }
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
        let service = service_of(request.uri().path());
        let metrics = Arc::clone(&self.admission.metrics);
        let outcome = Outcome { metrics, service, began: Instant::now(), code: None };
        let mut request = request;
        let (caller, admitted) = match self.admission.admit(service, &mut request) {
            Ok(admitted) => admitted,
            Err(refused) => {
                let mut response: Response<Body> = refused.into_http();
                outcome.ended(code_of(response.headers_mut()));
                return Box::pin(async move { Ok(response) });
            }
        };
        let span = span(service, &request);
        let limited =
            |body| Body::new(self.admission.body(body, Arc::clone(&caller.standing), &admitted.body));
        let answer = self.inner.call(request.map(limited));
        let answered = async move {
            let _admitted = admitted;
            let _present = GaugeGuard::enter(&outcome.metrics.requests_in_flight);
            let mut response = answer.await;
            if let Ok(response) = &mut response {
                outcome.ended(code_of(response.headers_mut()));
            }
            response
        };
        Box::pin(answered.instrument(span))
    }
}

/// The body of a request. It fails if its end does not come in time, or if it is large and
/// there is no place for it. The service drops it when it was read: how long an answer takes
/// is not its concern.
struct LimitedBody {
    body: Body,
    end: Pin<Box<Sleep>>,
    received: usize,
    standing: Arc<Standing>,
    places: Arc<Places>,
    place: Arc<OnceLock<Place>>,
}

impl LimitedBody {
    /// More has come: a large body needs a place from now on.
    fn grow(&mut self, bytes: usize) -> Result<(), Status> {
        self.received = self.received.saturating_add(bytes);
        if self.received <= SMALL_BODY {
            return Ok(());
        }
        let now = Instant::now();
        if let Some(place) = self.place.get() {
            place.touch(now);
            return Ok(());
        }
        let place = self.places.take(self.standing.address(), now);
        let place = place.map_err(|full| status::overloaded(full.retry_after.max(RETRY_AFTER)))?;
        // It was empty.
        let _ = self.place.set(place);
        Ok(())
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // First, so that one who always has a little more is late too.
        if self.end.as_mut().poll(cx).is_ready() {
            let late = "the request's body did not come in time; try again";
            return Poll::Ready(Some(Err(Status::deadline_exceeded(late))));
        }
        if self.place.get().is_some_and(|place| place.poll_displaced(cx).is_ready()) {
            return Poll::Ready(Some(Err(status::overloaded(RETRY_AFTER))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(refused) = self.grow(data.len())
        {
            return Poll::Ready(Some(Err(refused)));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
    let fault = match fields.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes())) {
        None | Some(Code::Ok) => return "ok".to_owned(),
        Some(Code::DeadlineExceeded) => TransportFault::BodyLate,
        Some(Code::OutOfRange) => TransportFault::MessageTooLong,
        Some(Code::Unimplemented) => TransportFault::MethodUnknown,
        Some(_) => TransportFault::MessageMalformed,
    };
    fields.insert(CODE, HeaderValue::from_static(fault.code()));
    fields.insert(RETRY, HeaderValue::from_static(if fault.retry() { "true" } else { "false" }));
    fields.insert(KIND, HeaderValue::from_static(RefusalKind::Request.as_str()));
    fault.code().to_owned()
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
