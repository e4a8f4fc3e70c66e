//! The order of runs, and the number of cores of each.
//!
//! One request alone is run on all cores: its latency is what counts. Many at
//! once are run one core each, which gives the most answers per second, since a
//! model never uses two cores twice as well as one. Those that wait take turns by
//! connection (`turns`), and on a connection by priority and by model (`own`): nobody holds others
//! up. A run so short that handing
//! it to another thread would cost more than it saves is done at once by the
//! thread that received the request, if that is one of ours.

mod client;
mod estimate;
mod inline;
mod own;
mod patience;
mod queue;
mod turn;
mod turns;

#[cfg(test)]
mod tests;

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use adytum_engine::threads::Threads;
pub(crate) use client::current as current_client;
pub use client::{Client, Priority, Waited};
pub use estimate::CostEstimate;
use inline::Verdict;
pub use inline::enter as enter_inline;
pub use patience::Patience;
use queue::{Job, Queue};
pub use turn::{Share, Turn};

/// Runs predicted to be shorter than this are done where they arrive.
pub const INLINE_LIMIT: Duration = Duration::from_micros(200);

/// Runs predicted to be shorter than this on one core gain nothing from more:
/// waking the other cores and waiting for them costs as much.
pub const WORTH_ALL_CORES: Duration = Duration::from_millis(1);

/// The reason why a run did not start or did not end.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// As many requests, sessions, handshakes or quotes run or wait as the program takes at
    /// once.
    ///
    /// Do: try again after a pause. If it happens often, run more replicas of a model server,
    /// or raise the limits of a broker (docs/limits.md).
    ///
    /// Retry: yes
    #[error("{queued} requests are waiting already; at most {limit} may")]
    Overloaded {
        /// The requests that wait already.
        queued: usize,
        /// The most that may wait.
        limit: usize,
    },
    /// More requests come than the server can answer: for some time all of them have waited long.
    /// This one would have waited for longer than the limit.
    ///
    /// Do: try again after a pause, or on another replica. If it happens often, run more
    /// replicas. `--overload_wait_milliseconds` says how long requests may wait.
    ///
    /// Retry: yes
    #[error(
        "the server is overloaded: a request like this may wait for {limit:?} and would wait longer; try again later"
    )]
    Congested {
        /// The longest wait of such a request.
        limit: Duration,
    },
    /// The model's run ended with a programming error in the engine.
    ///
    /// Do: report it with the server's log and the model; the same inputs fail again.
    #[error("the model's run panicked")]
    Panicked,
    /// The server is shutting down and takes no new run.
    ///
    /// Do: send the request again on a new connection, which another replica takes.
    ///
    /// Retry: yes
    #[error("the server is stopping")]
    Stopped,
}

/// Runs work on the machine's cores.
#[derive(Clone)]
pub struct Scheduler {
    queue: Arc<Queue>,
    patience: Patience,
}

/// Stops the scheduler's threads when dropped; queued work is dropped.
pub struct SchedulerGuard {
    queue: Arc<Queue>,
}

impl Drop for SchedulerGuard {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Scheduler {
    /// Starts the threads. At most `queue_limit` requests wait, and during an overload none for
    /// longer than `patience` says.
    pub fn start(
        cores: NonZeroUsize,
        queue_limit: usize,
        patience: Patience,
    ) -> std::io::Result<(Self, SchedulerGuard)> {
        let queue = Arc::new(Queue::new(cores.get(), queue_limit, patience));
        let guard = SchedulerGuard { queue: Arc::clone(&queue) };
        let all = Threads::new(cores.get());
        for index in 0..cores.get() {
            let queue = Arc::clone(&queue);
            let all = all.clone();
            std::thread::Builder::new().name(format!("model-{index}")).spawn(move || {
                let single = Threads::new(1);
                single.enter(|| queue.work(&single, &all));
            })?;
        }
        Ok((Self { queue, patience }, guard))
    }

    /// Runs `work` in the turn of the client for whom this task works.
    pub async fn run<T: Send + 'static>(
        &self,
        predicted: Option<Duration>,
        work: impl FnOnce(&Threads) -> T + Send + 'static,
    ) -> Result<T, ScheduleError> {
        self.run_in(Turn::current(0), predicted, work).await
    }

    /// Runs `work` in this turn and gives its result. `predicted` is how long it is expected
    /// to take on one core, if that is known. If the caller goes away before
    /// the work has begun, it is never done.
    pub async fn run_in<T: Send + 'static>(
        &self,
        turn: Turn,
        predicted: Option<Duration>,
        work: impl FnOnce(&Threads) -> T + Send + 'static,
    ) -> Result<T, ScheduleError> {
        let waited = client::waited();
        if predicted.is_some_and(|predicted| predicted < INLINE_LIMIT) {
            match inline::judge(waited, predicted, self.patience) {
                Verdict::Here(threads) => {
                    return catch_unwind(AssertUnwindSafe(|| work(&threads)))
                        .map_err(|_| ScheduleError::Panicked);
                }
                Verdict::Refused { limit } => return Err(ScheduleError::Congested { limit }),
                Verdict::Elsewhere => {}
            }
        }
        let (sender, receiver) = oneshot::channel();
        self.queue.submit(&turn, predicted, waited, Instant::now(), Work { sender, work: Some(work) })?;
        // The sender is dropped without a result when the work panicked or the
        // queue was closed.
        receiver.await.unwrap_or_else(|_| {
            Err(if self.queue.is_closed() { ScheduleError::Stopped } else { ScheduleError::Panicked })
        })
    }

    /// Requests waiting and running.
    pub fn load(&self) -> usize {
        self.queue.load()
    }
}

struct Work<T, F> {
    sender: oneshot::Sender<Result<T, ScheduleError>>,
    work: Option<F>,
}

impl<T: Send, F: FnOnce(&Threads) -> T + Send> Job for Work<T, F> {
    fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    fn refuse(self: Box<Self>, error: ScheduleError) {
        // Nobody may be waiting any more.
        let _ = self.sender.send(Err(error));
    }

    fn run(mut self: Box<Self>, threads: &Threads) {
        let Some(work) = self.work.take() else { return };
        let result = catch_unwind(AssertUnwindSafe(|| work(threads))).map_err(|_| ScheduleError::Panicked);
        // Nobody may be waiting any more.
        let _ = self.sender.send(result);
    }
}
