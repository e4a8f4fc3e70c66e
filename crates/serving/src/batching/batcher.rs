//! Requests of all connections and protocols, run in batches.
//!
//! A batch is run by a task of its own, so that it ends whatever becomes of the request
//! that began it. It counts for the connection of the first request that it has.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adytum_engine::{
    operators::Cancellation,
    tensor::{ElementType, Tensor},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    BatchingParameters,
    queue::{BatchLimits, BatchQueue},
};
use crate::{
    error::RequestError,
    models::{Servable, count_elements},
    scheduler::{Client, ScheduleError, Scheduler},
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
    /// Types and shapes of the rows of the inputs.
    inputs: Vec<(ElementType, Vec<usize>)>,
}

/// A request that waits for its batch.
struct Member {
    servable: Arc<Servable>,
    signature: String,
    outputs: Vec<usize>,
    inputs: Vec<Tensor>,
    rows: usize,
    client: Client,
    submitted: Instant,
    answer: oneshot::Sender<Result<Vec<Tensor>, RequestError>>,
}

struct Shared {
    queue: Mutex<BatchQueue<Key, Member>>,
    scheduler: Scheduler,
    limits: BatchLimits,
    /// The sizes that batches are padded to, in ascending order; empty: any.
    sizes: Vec<NonZeroUsize>,
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
        let largest = parameters.allowed_batch_sizes.last().copied();
        let limits = BatchLimits {
            rows: number(parameters.max_batch_size.or(largest), ROWS),
            // A day is as good as for ever, and can be added to any time.
            timeout: parameters.batch_timeout.unwrap_or(TIMEOUT).min(Duration::from_secs(86_400)),
            waiting: number(parameters.max_enqueued_batches, WAITING),
            running: number(parameters.num_batch_threads, cores.get()),
        };
        let sizes = parameters.allowed_batch_sizes.clone();
        Self(Arc::new(Shared { queue: Mutex::new(BatchQueue::new(limits)), scheduler, limits, sizes }))
    }

    /// No code panics while it holds the lock; if one did, the queue would still be whole.
    fn lock(&self) -> MutexGuard<'_, BatchQueue<Key, Member>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request of this many rows is run in batches. A larger one runs alone.
    pub(crate) fn takes(&self, rows: usize) -> bool {
        rows <= self.0.limits.rows
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
        let row = |input: &Tensor| (input.element_type(), input.shape().iter().skip(1).copied().collect());
        let owner = Arc::as_ptr(servable).addr();
        let key = Key {
            servable: owner,
            signature: signature.to_owned(),
            outputs: outputs.clone(),
            inputs: inputs.iter().map(row).collect(),
        };
        let (answer, mut answered) = oneshot::channel();
        let now = Instant::now();
        let member = Member {
            servable: Arc::clone(servable),
            signature: signature.to_owned(),
            outputs,
            inputs,
            rows,
            client: Client::current(),
            submitted: now,
            answer,
        };
        let is_wanted = |member: &Member| !member.answer.is_closed();
        let due = self.lock().add(owner, key, rows, member, now, is_wanted);
        let due = due.ok_or(RequestError::BatchesWaiting { limit: self.0.limits.waiting })?;
        self.start_batches();
        let answer = tokio::select! {
            biased;
            answer = &mut answered => answer,
            () = sleep_until(due) => {
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
            let Some(batch) = self.lock().take(Instant::now()) else { return };
            let running = Running(self.clone());
            let batcher = self.clone();
            tokio::spawn(async move {
                batcher.run_members(batch.requests).await;
                drop(running);
                batcher.start_batches();
            });
        }
    }

    /// Runs those whose callers are still there, in as few runs as the memory allows.
    async fn run_members(&self, members: Vec<Member>) {
        let mut together: Vec<Member> = Vec::new();
        for member in members.into_iter().filter(|member| !member.answer.is_closed()) {
            if !together.is_empty() && !self.fits(&together, &member) {
                self.run_together(std::mem::take(&mut together)).await;
            }
            together.push(member);
        }
        self.run_together(together).await;
    }

    /// Whether one more request may be in a run with these.
    fn fits(&self, together: &[Member], member: &Member) -> bool {
        let rows = together.iter().map(|one| one.rows).sum::<usize>() + member.rows;
        let elements = count_elements(&member.inputs).div_ceil(member.rows.max(1));
        let Ok(signature) = member.servable.signature(&member.signature) else { return false };
        let elements = elements.saturating_mul(rows + self.padding(rows));
        member.servable.check_memory(signature, elements).is_ok()
    }

    fn padding(&self, rows: usize) -> usize {
        let allowed = self.0.sizes.iter().find(|size| size.get() >= rows);
        allowed.map_or(0, |size| size.get() - rows)
    }

    /// Runs these as one. If that gives no answer for each, each is run alone.
    async fn run_together(&self, mut members: Vec<Member>) {
        members.retain(|member| !member.answer.is_closed());
        for member in &members {
            member.servable.metrics().queued(member.submitted.elapsed());
        }
        let rows = members.iter().map(|member| member.rows).sum();
        if members.len() > 1 || self.padding(rows) > 0 {
            let sizes: Vec<usize> = members.iter().map(|member| member.rows).collect();
            let Some(answers) = self.run_joined(&mut members, &sizes).await else { return };
            match answers {
                Ok(answers) => {
                    for (member, answer) in members.into_iter().zip(answers) {
                        // Nobody may be waiting any more.
                        let _ = member.answer.send(Ok(answer));
                    }
                    return;
                }
                // Each alone would fare no better.
                Err(Some(RequestError::Schedule(
                    error @ (ScheduleError::Overloaded { .. } | ScheduleError::Stopped),
                ))) => {
                    for member in members {
                        let _ = member.answer.send(Err(error.clone().into()));
                    }
                    return;
                }
                Err(_) => {}
            }
        }
        for mut member in members {
            let inputs = std::mem::take(&mut member.inputs);
            let rows = member.rows;
            let ran = self.run_engine(&mut [&mut member], inputs, rows).await;
            if let Some(answer) = ran {
                let _ = member.answer.send(answer);
            }
        }
    }

    /// The answers of each of these members by one run; `Err` if it has none for each, with
    /// the run's error if it had one; `None` if all callers went.
    async fn run_joined(
        &self,
        members: &mut [Member],
        sizes: &[usize],
    ) -> Option<Result<Vec<Vec<Tensor>>, Option<RequestError>>> {
        let rows: usize = sizes.iter().sum();
        let padding = self.padding(rows);
        let count = members.first().map_or(0, |member| member.inputs.len());
        let inputs: Option<Vec<Tensor>> = (0..count)
            .map(|index| {
                let parts: Option<Vec<&Tensor>> =
                    members.iter().map(|member| member.inputs.get(index)).collect();
                join(&parts?, padding)
            })
            .collect();
        let Some(inputs) = inputs else { return Some(Err(None)) };
        let mut callers: Vec<&mut Member> = members.iter_mut().collect();
        let outputs = match self.run_engine(&mut callers, inputs, rows + padding).await? {
            Ok(outputs) => outputs,
            Err(error) => return Some(Err(Some(error))),
        };
        let mut answers: Vec<Vec<Tensor>> = sizes.iter().map(|_| Vec::new()).collect();
        for output in outputs {
            let Some(parts) = cut(&output, sizes, rows + padding) else { return Some(Err(None)) };
            for (answer, part) in answers.iter_mut().zip(parts) {
                answer.push(part);
            }
        }
        Some(Ok(answers))
    }

    /// A run for these callers; `None` if all of them went.
    async fn run_engine(
        &self,
        callers: &mut [&mut Member],
        inputs: Vec<Tensor>,
        rows: usize,
    ) -> Option<Result<Vec<Tensor>, RequestError>> {
        let first = callers.first()?;
        let servable = Arc::clone(&first.servable);
        let (name, outputs, client) = (first.signature.clone(), first.outputs.clone(), first.client);
        let predicted =
            servable.signature(&name).ok().and_then(|found| found.cost().predict(count_elements(&inputs)));
        let cancellation = Cancellation::default();
        let seen = cancellation.clone();
        let run = client.scope(self.0.scheduler.run(predicted, move |threads| {
            servable.metrics().batch(rows);
            let signature = servable.signature(&name)?;
            servable.run(signature, inputs, &outputs, threads, &seen)
        }));
        let gone = async {
            for caller in callers {
                caller.answer.closed().await;
            }
        };
        tokio::select! {
            biased;
            answer = run => Some(answer.unwrap_or_else(|error| Err(error.into()))),
            () = gone => {
                cancellation.cancel();
                None
            }
        }
    }
}
