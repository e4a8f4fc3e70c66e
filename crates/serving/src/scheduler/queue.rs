//! The queue between the threads that receive requests and those that run
//! models.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    ScheduleError, WORTH_ALL_CORES,
    client::Waited,
    patience::{Congestion, Patience},
    turn::Turn,
    turns::Turns,
};
use adytum_engine::threads::Threads;

use crate::memory;

/// Something to run.
pub(super) trait Job: Send {
    /// Whether anybody still waits for the result.
    fn is_wanted(&self) -> bool;

    /// Another displaced it, or it waited too long.
    fn refuse(self: Box<Self>, error: ScheduleError);

    /// Runs it; does not panic.
    fn run(self: Box<Self>, threads: &Threads);
}

struct Queued {
    job: Box<dyn Job>,
    /// Whether it may have all cores.
    wide: bool,
    predicted: Option<Duration>,
    /// How long it had waited when it came, and when that was.
    waited: Duration,
    came: Instant,
}

struct State {
    waiting: Turns<Queued>,
    running: usize,
    /// Whether anything ran since memory was last given back.
    used: bool,
    /// When two requests were last in the house at once, and for how long
    /// after that a request does not count as alone.
    crowded: Option<(Instant, Duration)>,
    overload: Congestion,
    closed: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    cores: usize,
    limit: usize,
}

/// After this long without a run, the memory that runs left is given back. The
/// next run pays for it with a millisecond or two.
const IDLE: Duration = Duration::from_millis(500);

/// How long "many at once" is remembered at least.
const SHORTEST_MEMORY: Duration = Duration::from_millis(20);

impl Queue {
    pub(super) fn new(cores: usize, limit: usize, patience: Patience) -> Self {
        let state = State {
            waiting: Turns::default(),
            running: 0,
            used: false,
            crowded: None,
            overload: Congestion::new(patience, Instant::now()),
            closed: false,
        };
        Self { state: Mutex::new(state), ready: Condvar::new(), cores, limit }
    }

    /// No code panics while it holds the lock; if one did, the state would
    /// still be whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job in that has `waited` already, if that is known.
    pub(super) fn submit(
        &self,
        turn: &Turn,
        predicted: Option<Duration>,
        waited: Option<Waited>,
        now: Instant,
        job: impl Job + 'static,
    ) -> Result<(), ScheduleError> {
        let mut state = self.lock();
        if state.closed {
            return Err(ScheduleError::Stopped);
        }
        if state.waiting.len() >= self.limit {
            // What nobody waits for any more must not keep others out.
            state.waiting.retain(|queued| queued.job.is_wanted());
        }
        if state.waiting.is_empty() && state.running < self.cores {
            state.overload.begins_after(waited.map_or(Duration::ZERO, |waited| waited.time), now);
        }
        let waited = waited.map_or(Duration::ZERO, Waited::counted);
        if let Some(refusal) = self.refusal(&mut state, predicted, waited, now) {
            let gone = state.waiting.make_room(turn, predicted).ok_or_else(|| refusal.clone())?;
            // Each hears of its own limit.
            let limit = state.overload.limit(gone.predicted, now);
            gone.job.refuse(match (refusal, limit) {
                (ScheduleError::Congested { .. }, Some(limit)) => ScheduleError::Congested { limit },
                (refusal, _) => refusal,
            });
        }
        let alone = state.running == 0 && state.waiting.is_empty();
        if !alone {
            // Two clients that ask in turn meet only sometimes: remember it for
            // the time of two runs.
            let memory = predicted.unwrap_or_default().saturating_mul(2).max(SHORTEST_MEMORY);
            state.crowded = Some((now, memory));
        }
        let recently_crowded =
            state.crowded.is_some_and(|(when, memory)| now.saturating_duration_since(when) < memory);
        let worth = predicted.is_none_or(|predicted| predicted >= WORTH_ALL_CORES);
        let wide = self.cores > 1 && alone && !recently_crowded && worth;
        let queued = Queued { job: Box::new(job), wide, predicted, waited, came: now };
        state.waiting.push(turn, predicted, queued);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Why there is no room for one more.
    fn refusal(
        &self,
        state: &mut State,
        predicted: Option<Duration>,
        waited: Duration,
        now: Instant,
    ) -> Option<ScheduleError> {
        if state.waiting.len() >= self.limit {
            return Some(ScheduleError::Overloaded { queued: state.waiting.len(), limit: self.limit });
        }
        let limit = state.overload.limit(predicted, now)?;
        let would_wait = |state: &State| waited.saturating_add(self.backlog(state));
        if would_wait(state) > limit {
            state.waiting.retain(|queued| queued.job.is_wanted());
        }
        (would_wait(state) > limit).then_some(ScheduleError::Congested { limit })
    }

    /// How long all that waits takes.
    fn backlog(&self, state: &State) -> Duration {
        state.waiting.cost() / u32::try_from(self.cores).unwrap_or(u32::MAX)
    }

    /// The next job; those that waited too long are refused.
    fn next(&self, state: &mut State, now: Instant) -> Option<Queued> {
        while let Some(queued) = state.waiting.pop() {
            if !queued.job.is_wanted() {
                continue;
            }
            let waited = queued.waited.saturating_add(now.saturating_duration_since(queued.came));
            // Short runs of clients with few begin soon even while others pile up.
            let backlog = self.backlog(state);
            state.overload.begins_after(waited.max(backlog), now);
            match state.overload.limit(queued.predicted, now) {
                Some(limit) if waited > limit => queued.job.refuse(ScheduleError::Congested { limit }),
                _ => return Some(queued),
            }
        }
        None
    }

    /// A worker: runs jobs until the queue is closed. `single` is the pool of
    /// the calling thread, `all` that of all cores.
    pub(super) fn work(&self, single: &Threads, all: &Threads) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let Some(queued) = self.next(&mut state, Instant::now()) else {
                state = self.wait(state);
                continue;
            };
            state.running += 1;
            state.used = true;
            drop(state);
            queued.job.run(if queued.wide { all } else { single });
            state = self.lock();
            state.running -= 1;
        }
    }

    /// Waits for a job; may return without one.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if !state.used {
            return self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut state, timeout) =
            self.ready.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
        let idle = timeout.timed_out() && state.running == 0 && state.waiting.is_empty();
        if idle && std::mem::take(&mut state.used) {
            drop(state);
            memory::give_back();
            state = self.lock();
        }
        state
    }

    /// What a worker does, until nothing waits.
    #[cfg(test)]
    pub(super) fn run_waiting(&self, now: Instant, single: &Threads, all: &Threads) {
        while let Some(queued) = { self.next(&mut self.lock(), now) } {
            queued.job.run(if queued.wide { all } else { single });
        }
    }

    /// What a worker does once.
    #[cfg(test)]
    pub(super) fn run_one(&self, now: Instant, single: &Threads) {
        let next = self.next(&mut self.lock(), now);
        if let Some(queued) = next {
            queued.job.run(single);
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.ready.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn load(&self) -> usize {
        let state = self.lock();
        state.running + state.waiting.len()
    }
}
