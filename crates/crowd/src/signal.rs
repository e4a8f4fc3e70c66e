//! Says once that a place was given to another.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// The holder of a place and what it is made of: few tasks.
const MOST_WAKERS: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Signal {
    given: AtomicBool,
    /// Those who asked last.
    wakers: Mutex<Vec<Waker>>,
}

impl Signal {
    pub(crate) fn give(&self) {
        self.given.store(true, Ordering::Release);
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_given() {
            return Poll::Ready(());
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|known| known.will_wake(context.waker())) {
            // Tasks that asked before and moved on are woken for nothing at most.
            wakers.truncate(MOST_WAKERS - 1);
            wakers.insert(0, context.waker().clone());
        }
        drop(wakers);
        // It may have been given in between.
        if self.is_given() { Poll::Ready(()) } else { Poll::Pending }
    }
}
