//! Tells a connection that does something from one that only is there, and the scheduler
//! whose requests it runs.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use adytum_crowd::places::Place;
use tower::Service;

use crate::scheduler::{Client, Priority};

/// The service of one connection: while it answers, the connection's place is at work.
#[derive(Clone)]
pub(super) struct Working<S> {
    inner: S,
    place: Arc<Place>,
    client: Client,
}

impl<S> Working<S> {
    pub(super) fn new(inner: S, place: Arc<Place>) -> Self {
        Self { inner, place, client: Client::new() }
    }
}

/// A request in progress.
struct Work(Arc<Place>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.end_work(Instant::now());
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
        self.place.begin_work(Instant::now());
        let work = Work(Arc::clone(&self.place));
        let priority = request.headers().get(Priority::HEADER);
        let priority = priority.map_or_else(Priority::default, |value| Priority::parse(value.as_bytes()));
        let answer = self.client.scope_with(priority, self.inner.call(request));
        Box::pin(async move {
            let _work = work;
            answer.await
        })
    }
}
