//! Tells a connection that does something from one that only is there, and the scheduler
//! whose requests it runs.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use adytum_crowd::places::Place;
use tower::Service;

use crate::scheduler::{Client, Priority, Waited};

/// The service of one connection: while it answers, the connection's place is at work.
#[derive(Clone)]
pub(super) struct Working<S> {
    inner: S,
    place: Arc<Place>,
    client: Client,
    /// The connection's requests in progress.
    requests: Arc<AtomicUsize>,
}

impl<S> Working<S> {
    pub(super) fn new(inner: S, place: Arc<Place>) -> Self {
        Self { inner, place, client: Client::new(), requests: Arc::default() }
    }
}

/// A request in progress.
struct Work {
    place: Arc<Place>,
    requests: Arc<AtomicUsize>,
}

impl Work {
    fn begin(place: &Arc<Place>, requests: &Arc<AtomicUsize>, now: Instant) -> Self {
        if requests.fetch_add(1, Ordering::Relaxed) == 0 {
            place.begin_work(now);
        } else {
            place.touch(now);
        }
        Self { place: Arc::clone(place), requests: Arc::clone(requests) }
    }

    /// Whether the connection has no other request in progress.
    fn is_alone(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.place.end_work(Instant::now());
        }
    }
}

impl<S, B> Service<http::Request<B>> for Working<S>
where
    S: Service<http::Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let came = Instant::now();
        let work = Work::begin(&self.place, &self.requests, came);
        let priority = request.headers().get(Priority::HEADER);
        let priority = priority.map_or_else(Priority::default, |value| Priority::parse(value.as_bytes()));
        let (client, answering) = (self.client, self.inner.call(request));
        Box::pin(async move {
            // Others were before it on this thread.
            let waited = Waited { time: came.elapsed(), exempt: work.is_alone() };
            let answer = client.scope_with(priority, Some(waited), answering).await;
            drop(work);
            answer
        })
    }
}
