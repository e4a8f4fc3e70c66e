//! Requests of all connections and protocols, run in batches.
//!
//! A batch is run by a task of its own, so that it ends whatever becomes of the request
//! that began it. Each connection is charged for what it has in the batch.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adytum_engine::tensor::{ElementType, Tensor};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    BatchingParameters,
    member::Member,
    queue::{BatchLimits, BatchQueue, Waiting},
    run,
};
use crate::{
    error::RequestError,
    models::Servable,
    observation,
    scheduler::{INLINE_LIMIT, ScheduleError, Scheduler, current_client},
    tensor::rows::{cut, join},
};

/// TensorFlow Serving's defaults (`BasicBatchScheduler::Options`).
const ROWS: usize = 1000;
const TIMEOUT: Duration = Duration::ZERO;
const WAITING: usize = 10;

/// The requests that may be run together.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    /// The address of the version, which lives as long as its requests.
    servable: usize,
    signature: String,
    outputs: Vec<usize>,
    inputs: Vec<(ElementType, Row)>,
}

/// What the rows of an input must have in common.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    /// All sizes.
    Shape(Vec<usize>),
    /// The number of dimensions: they are padded.
    Rank(usize),
}

struct Shared {
    queue: Mutex<BatchQueue<Key, Member>>,
    scheduler: Scheduler,
    limits: BatchLimits,
    /// The sizes that batches are padded to, in ascending order; empty: any.
    sizes: Vec<NonZeroUsize>,
    /// Whether rows of different sizes are padded to the largest.
    pads: bool,
    /// Whether a request with more rows than a batch may have is split.
    splits: bool,
}

/// Merges requests into batches. Clones are the same.
#[derive(Clone)]
pub struct Batcher(Arc<Shared>);

/// A batch that runs; when it is dropped, another one may.
struct Running(Batcher);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().ended();
    }
}

impl Batcher {
    /// Batches by these parameters. As many of them run at once as there are `cores`, if the
    /// parameters don't say another number.
    pub fn new(parameters: &BatchingParameters, scheduler: Scheduler, cores: NonZeroUsize) -> Self {
        let number = |given: Option<NonZeroUsize>, usual| given.map_or(usual, NonZeroUsize::get);
        let largest = parameters.max_execution_batch_size.or(parameters.max_batch_size);
        let allowed = parameters.allowed_batch_sizes.last().copied();
        let limits = BatchLimits {
            rows: number(largest.or(allowed), ROWS),
            // A day is as good as for ever, and can be added to any time.
            timeout: parameters.batch_timeout.unwrap_or(TIMEOUT).min(Duration::from_secs(86_400)),
            waiting: number(parameters.max_enqueued_batches, WAITING),
            running: number(parameters.num_batch_threads, cores.get()),
        };
        Self(Arc::new(Shared {
            queue: Mutex::new(BatchQueue::new(limits)),
            scheduler,
            limits,
            sizes: parameters.allowed_batch_sizes.clone(),
            pads: parameters.pad_variable_length_inputs,
            splits: parameters.enable_large_batch_splitting,
        }))
    }

    /// No code panics while it holds the lock; if one did, the queue would still be whole.
    fn lock(&self) -> MutexGuard<'_, BatchQueue<Key, Member>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request of this many rows is run in batches. A larger one is split, if that is
    /// wanted, or runs alone.
    pub(crate) fn takes(&self, rows: usize) -> bool {
        rows <= self.0.limits.rows || self.0.splits
    }

    /// Whether a batch can gain anything for a run that is predicted to take so long. A shorter one
    /// is done at once where it arrives: to hand it over would cost more than a batch saves. If the
    /// parameters have requests wait for others, all of them do.
    pub(crate) fn pays(&self, predicted: Option<Duration>) -> bool {
        self.0.limits.timeout > Duration::ZERO || predicted.is_none_or(|predicted| predicted >= INLINE_LIMIT)
    }

    /// Runs a request of `rows` rows, with others or alone.
    pub(crate) async fn run(
        &self,
        servable: &Arc<Servable>,
        signature: &str,
        inputs: Vec<Tensor>,
        rows: usize,
        outputs: Vec<usize>,
    ) -> Result<Vec<Tensor>, RequestError> {
        if rows <= self.0.limits.rows {
            let key = key(servable, signature, &inputs, &outputs, self.0.pads);
            return self.wait(key, servable, inputs, rows).await;
        }
        let whole = self.0.limits.rows;
        let sizes: Vec<usize> = (0..rows).step_by(whole).map(|start| whole.min(rows - start)).collect();
        let mut parts: Vec<Vec<Tensor>> = sizes.iter().map(|_| Vec::new()).collect();
        for input in inputs {
            let cut = cut(&input, &sizes, rows).ok_or(RequestError::BatchParts)?;
            for (part, input) in parts.iter_mut().zip(cut) {
                part.push(input);
            }
        }
        // Not padded: the answers of all parts must fit together.
        let waits = parts.into_iter().zip(&sizes).map(|(part, rows)| {
            let key = key(servable, signature, &part, &outputs, false);
            self.wait(key, servable, part, *rows)
        });
        let answers = futures_util::future::try_join_all(waits).await?;
        (0..outputs.len())
            .map(|output| {
                let parts: Option<Vec<&Tensor>> = answers.iter().map(|answer| answer.get(output)).collect();
                parts.and_then(|parts| join(&parts, 0)).ok_or(RequestError::BatchParts)
            })
            .collect()
    }

    /// Waits for the batch of a request of `rows` rows, and for its answer.
    async fn wait(
        &self,
        key: Key,
        servable: &Arc<Servable>,
        inputs: Vec<Tensor>,
        rows: usize,
    ) -> Result<Vec<Tensor>, RequestError> {
        let (answer, mut answered) = oneshot::channel();
        let (client, priority) = current_client();
        let (owner, arrived) = (key.servable, Instant::now());
        let member = Member {
            servable: Arc::clone(servable),
            signature: key.signature.clone(),
            outputs: key.outputs.clone(),
            inputs,
            rows,
            client,
            priority,
            submitted: arrived.into_std(),
            entry: observation::current(),
            answer,
        };
        let waiting = Waiting { client, priority, rows, arrived, request: member };
        let full = || RequestError::BatchesWaiting { limit: self.0.limits.waiting };
        let added = self.lock().add(owner, key, waiting, |member| !member.answer.is_closed());
        let added = added.ok_or_else(full)?;
        for member in added.displaced {
            // Nobody may be waiting any more.
            let _ = member.answer.send(Err(full()));
        }
        self.start_batches();
        let answer = tokio::select! {
            biased;
            answer = &mut answered => answer,
            () = sleep_until(added.due) => {
                self.start_batches();
                answered.await
            }
        };
        // The sender is dropped without an answer only when the server ends.
        answer.unwrap_or(Err(RequestError::Schedule(ScheduleError::Stopped)))
    }

    /// Starts what may run now.
    fn start_batches(&self) {
        loop {
            let wanted = |member: &Member| !member.answer.is_closed();
            let Some(members) = self.lock().take(Instant::now(), wanted) else { return };
            let running = Running(self.clone());
            let batcher = self.clone();
            tokio::spawn(async move {
                let shared = &batcher.0;
                run::members(&shared.scheduler, &shared.sizes, members).await;
                drop(running);
                batcher.start_batches();
            });
        }
    }
}

fn key(servable: &Arc<Servable>, signature: &str, inputs: &[Tensor], outputs: &[usize], pads: bool) -> Key {
    let row = |input: &Tensor| {
        let shape: Vec<usize> = input.shape().iter().skip(1).copied().collect();
        // There is no value to pad nothing with.
        let row = if pads && !input.is_empty() { Row::Rank(shape.len()) } else { Row::Shape(shape) };
        (input.element_type(), row)
    };
    Key {
        servable: Arc::as_ptr(servable).addr(),
        signature: signature.to_owned(),
        outputs: outputs.to_vec(),
        inputs: inputs.iter().map(row).collect(),
    }
}
