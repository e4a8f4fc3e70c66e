//! For whom a run is: the connection that a request came on, and what that wants first.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

tokio::task_local! {
    static CURRENT: Caller;
}

#[derive(Clone, Copy)]
struct Caller {
    client: Client,
    priority: Priority,
    waited: Option<Waited>,
}

/// The time that a request lay on the thread that received it, before that looked at it.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    /// How long it was.
    pub time: Duration,
    /// Whether the request is not refused for it: its connection has no other, so it is not what
    /// overloads the server.
    pub exempt: bool,
}

impl Waited {
    /// The part of the wait that counts against the request.
    pub(super) fn counted(self) -> Duration {
        if self.exempt { Duration::ZERO } else { self.time }
    }
}

/// Somebody who is served in turn with others: a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(u64);

/// What a client wants first, of its own requests. It says nothing to other clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Before all others of the client.
    High,
    /// What a request without the header has.
    #[default]
    Normal,
    /// After all others of the client.
    Low,
}

impl Priority {
    /// The header of a request that names it.
    pub const HEADER: &'static str = "x-request-priority";

    /// Reads the header's value. Any other than `high` or `low` is normal: a client that another
    /// server taught other words is served all the same.
    pub fn parse(value: &[u8]) -> Self {
        if value.eq_ignore_ascii_case(b"high") {
            Self::High
        } else if value.eq_ignore_ascii_case(b"low") {
            Self::Low
        } else {
            Self::Normal
        }
    }
}

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
        self.scope_with(Priority::Normal, None, work)
    }

    /// Does this for the client, with this priority among what the client wants. It has
    /// `waited` for the thread that received it, if that is known.
    pub fn scope_with<F: Future>(
        self,
        priority: Priority,
        waited: Option<Waited>,
        work: F,
    ) -> impl Future<Output = F::Output> {
        CURRENT.scope(Caller { client: self, priority, waited }, work)
    }
}

/// The client for whom this task works, and the priority of that.
pub(crate) fn current() -> (Client, Priority) {
    CURRENT.try_with(|caller| (caller.client, caller.priority)).unwrap_or((Client::NOBODY, Priority::Normal))
}

/// How long the request for which this task works has waited, if it works for one alone.
pub(super) fn waited() -> Option<Waited> {
    CURRENT.try_with(|caller| caller.waited).ok().flatten()
}
