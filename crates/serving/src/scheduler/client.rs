//! For whom a run is: the connection that a request came on.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
};

tokio::task_local! {
    static CURRENT: Client;
}

/// Somebody who is served in turn with others: a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(u64);

impl Client {
    /// All work that belongs to no connection.
    pub(super) const NOBODY: Self = Self(0);

    /// A client that is none of the others.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Does this for the client: what it runs is the client's.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The client for whom this task works.
    pub(crate) fn current() -> Self {
        CURRENT.try_with(|client| *client).unwrap_or(Self::NOBODY)
    }
}
