//! Ends runs whose callers are gone.
//!
//! ONNX Runtime looks at a flag of its own between two nodes. A thread looks at the callers'
//! flags, while there are runs, and sets it.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use adytum_engine::operators::Cancellation;
use ort::session::RunOptions;

/// How often the callers' flags are looked at.
const PERIOD: Duration = Duration::from_millis(5);

/// Watches runs, until it is dropped.
pub(crate) struct Watcher {
    runs: Arc<Runs>,
}

#[derive(Default)]
struct Runs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    watched: BTreeMap<u64, (Cancellation, Arc<RunOptions>)>,
    next: u64,
    is_over: bool,
}

/// A run that is watched until this is dropped.
pub(crate) struct Watched<'a> {
    runs: &'a Runs,
    number: u64,
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return;
            }
            state = if state.watched.is_empty() {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed.wait_timeout(state, PERIOD).unwrap_or_else(PoisonError::into_inner).0
            };
            for (cancellation, options) in state.watched.values() {
                if cancellation.is_cancelled() {
                    // It fails only for a null pointer.
                    let _ = options.terminate();
                }
            }
        }
    }
}

impl Watcher {
    pub(crate) fn start() -> io::Result<Self> {
        let runs = Arc::new(Runs::default());
        let watching = Arc::clone(&runs);
        thread::Builder::new().name("onnxruntime-end".to_owned()).spawn(move || watching.look())?;
        Ok(Self { runs })
    }

    /// Sets the flag of `options` when the run is cancelled.
    pub(crate) fn watch(&self, cancellation: &Cancellation, options: &Arc<RunOptions>) -> Watched<'_> {
        let mut state = self.runs.lock();
        let number = state.next;
        state.next += 1;
        let is_first = state.watched.is_empty();
        state.watched.insert(number, (cancellation.clone(), Arc::clone(options)));
        drop(state);
        if is_first {
            self.runs.changed.notify_one();
        }
        Watched { runs: &self.runs, number }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.runs.lock().is_over = true;
        self.runs.changed.notify_one();
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.runs.lock().watched.remove(&self.number);
    }
}
