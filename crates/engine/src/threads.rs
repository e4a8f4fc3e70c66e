//! The threads that a run may use.

use std::sync::Arc;

/// A pool of threads for the engine.
///
/// Work inside [`Threads::enter`] is on one of the pool's own threads, so
/// that a model run there with the same pool starts at once: without that, each
/// run is handed to another thread and back, which costs more than a small
/// model's run itself.
#[derive(Clone)]
pub struct Threads {
    pool: Arc<rten::ThreadPool>,
    count: usize,
}

impl Threads {
    /// A pool of `count` threads.
    pub fn new(count: usize) -> Self {
        Self { pool: Arc::new(rten::ThreadPool::with_num_threads(count)), count }
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Calls `work` on one of the pool's threads and waits for it.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.run(work)
    }

    pub(crate) fn pool(&self) -> Arc<rten::ThreadPool> {
        Arc::clone(&self.pool)
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("count", &self.count).finish_non_exhaustive()
    }
}
