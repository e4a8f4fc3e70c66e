//! Admission of requests: how many are read and answered at once, before a byte
//! of their bodies is taken in. One beyond is refused at once rather than queued:
//! an admitted request keeps its latency. The outcome of each is counted here, and
//! its log lines are in a span that names session and trace.
//!
//! Every peer with a session can ask, so no session and no address gets all places,
//! and a place is not held for a body that does not come.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use adytum_api::refusal::{CODE, KIND, RETRY, RefusalKind};
use adytum_ratls::session::{Peer, SessionId, SessionInfo};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
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
    peers::PeerKey,
    sessions::{Host, WithoutEvidence},
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

/// Requests in progress over all sessions. One session gets at most a quarter of
/// each, and one address half of the latter two, but at least one.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Of workloads. A whole cluster of them may have one address.
    pub release: usize,
    /// Of owners. Each may be as long as a command.
    pub administration: usize,
    /// That supply shares or take the root key over. They have places of their
    /// own: what strangers do to owners' must not keep a broker from recovering.
    pub recovery: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { release: 512, administration: 16, recovery: 8 }
    }
}

/// The places for requests of one kind.
#[derive(Debug)]
struct Places {
    all: usize,
    of_session: usize,
    of_address: usize,
    taken: Mutex<Taken>,
}

/// A session without a place is not in the tables: they never have more entries
/// than there are places.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_session: HashMap<SessionId, usize>,
    by_address: HashMap<PeerKey, usize>,
}

impl Places {
    fn new(all: usize, of_address: usize) -> Arc<Self> {
        Arc::new(Self { all, of_session: (all / 4).max(1), of_address, taken: Mutex::default() })
    }

    /// One address gets half of them.
    fn shared_by_addresses(all: usize) -> Arc<Self> {
        Self::new(all, (all / 2).max(1))
    }

    fn take(self: &Arc<Self>, session: SessionId, address: PeerKey) -> Option<Place> {
        let mut taken = self.lock();
        let of_session = taken.by_session.get(&session).copied().unwrap_or_default();
        let of_address = taken.by_address.get(&address).copied().unwrap_or_default();
        if taken.all >= self.all || of_session >= self.of_session || of_address >= self.of_address {
            return None;
        }
        taken.all += 1;
        taken.by_session.insert(session, of_session + 1);
        taken.by_address.insert(address, of_address + 1);
        Some(Place { places: Arc::clone(self), session, address })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place of one request, given back when it is dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    session: SessionId,
    address: PeerKey,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        give_back(&mut taken.by_session, &self.session);
        give_back(&mut taken.by_address, &self.address);
    }
}

fn give_back<K: Eq + Hash>(taken: &mut HashMap<K, usize>, key: &K) {
    if let Some(places) = taken.get_mut(key) {
        *places = places.saturating_sub(1);
        if *places == 0 {
            taken.remove(key);
        }
    }
}

/// Puts [`Admitting`] before a service.
#[derive(Clone)]
pub(super) struct Admission {
    metrics: Arc<Metrics>,
    without_evidence: WithoutEvidence,
    release: Arc<Places>,
    administration: Arc<Places>,
    recovery: Arc<Places>,
    body_timeout: Duration,
}

impl Admission {
    pub(super) fn new(host: &Host, limits: &ServerLimits) -> Self {
        let RequestLimits { release, administration, recovery } = limits.requests;
        Self {
            metrics: Arc::clone(&host.metrics),
            without_evidence: Arc::clone(&host.without_evidence),
            release: Places::new(release, usize::MAX),
            administration: Places::shared_by_addresses(administration),
            recovery: Places::shared_by_addresses(recovery),
            body_timeout: limits.body_timeout,
        }
    }

    /// The place of a request, or why it gets none.
    fn admit(&self, service: Service, request: &Request<Body>) -> Result<Place, Status> {
        let session = request.extensions().get::<SessionInfo>().ok_or_else(status::no_session)?;
        let path = request.uri().path();
        // Anybody can ask without evidence, and workloads pay for no place of theirs.
        if path == GET_SECRETS && matches!(session.peer, Peer::Unattested) {
            return Err(span(service, request).in_scope(|| (self.without_evidence)(session)));
        }
        let address = PeerKey::of(session.peer_address.ip());
        self.places(service, path).take(session.id(), address).ok_or_else(status::overloaded)
    }

    fn places(&self, service: Service, path: &str) -> &Arc<Places> {
        let is_of = |prefix: &str| path.starts_with(prefix);
        match service {
            Service::Release => &self.release,
            Service::Administration
                if is_of("/adytum.broker.v1.BrokerRecovery/")
                    || is_of("/adytum.broker.v1.BrokerSuccession/") =>
            {
                &self.recovery
            }
            Service::Administration => &self.administration,
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
        let place = match self.admission.admit(service, &request) {
            Ok(place) => place,
            Err(refused) => {
                let mut response: Response<Body> = refused.into_http();
                outcome.ended(code_of(response.headers_mut()));
                return Box::pin(async move { Ok(response) });
            }
        };
        let span = span(service, &request);
        let body_timeout = self.admission.body_timeout;
        let answer = self.inner.call(request.map(|body| Body::new(TimelyBody::new(body, body_timeout))));
        let answered = async move {
            let _place = place;
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

/// The body of a request, which fails if its end does not come in time. Who answers
/// drops it when it was read: how long an answer takes is not its concern.
struct TimelyBody {
    body: Body,
    end: Pin<Box<Sleep>>,
}

impl TimelyBody {
    fn new(body: Body, timeout: Duration) -> Self {
        Self { body, end: Box::pin(sleep(timeout)) }
    }
}

impl HttpBody for TimelyBody {
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
        Pin::new(&mut self.body).poll_frame(cx)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u8) -> SessionId {
        crate::fixture::owner_session(number).id()
    }

    fn address(number: u8) -> PeerKey {
        PeerKey::of([10, 0, 0, number].into())
    }

    fn taken(places: &Arc<Places>, session: SessionId, address: PeerKey) -> Vec<Place> {
        std::iter::from_fn(|| places.take(session, address)).collect()
    }

    #[test]
    fn no_session_and_no_address_gets_all_places() {
        let places = Places::shared_by_addresses(16);
        let mut held = taken(&places, session(1), address(1));
        assert_eq!(held.len(), 4);
        held.extend(taken(&places, session(2), address(1)));
        held.extend(taken(&places, session(3), address(1)));
        assert_eq!(held.len(), 8);
        held.extend(taken(&places, session(4), address(2)));
        held.extend(taken(&places, session(5), address(3)));
        held.extend(taken(&places, session(6), address(4)));
        assert_eq!(held.len(), 16);
        // A place that is given back is free for anybody, and nothing is left of its holder.
        drop(held.remove(0));
        held.extend(taken(&places, session(6), address(4)));
        assert_eq!(held.len(), 16);
        drop(held);
        let left = places.lock();
        assert!(left.all == 0 && left.by_session.is_empty() && left.by_address.is_empty());
    }

    #[test]
    fn few_places_are_at_least_one_each() {
        let places = Places::shared_by_addresses(1);
        let held = taken(&places, session(1), address(1));
        assert_eq!((held.len(), taken(&places, session(2), address(2)).len()), (1, 0));
        assert!(Places::shared_by_addresses(0).take(session(1), address(1)).is_none());
        let release = Places::new(512, usize::MAX);
        let held: Vec<_> = (1..=4).flat_map(|n| taken(&release, session(n), address(1))).collect();
        assert_eq!(held.len(), 512);
    }
}
