//! Threads that share the work of one kernel after the other.
//!
//! A region has many small kernels. To hand a part of each to a sleeping thread takes as long as some of them.
//! Helpers of a crew look for work until the crew is closed, and do not sleep meanwhile. The leader waits for
//! parts that a helper has taken, and for no others: a helper that comes late, or not at all, holds nobody up.

#![expect(unsafe_code, reason = "helpers call a function that is on the stack of the leader")]

use std::{
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{
        AtomicBool, AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// Work in parts, by number.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// How often a helper looks for work before it lets other threads of the machine go first.
const LOOKS: u32 = 20_000;

/// The bits of a state that count parts.
const PARTS: u64 = u32::MAX as u64;

/// A leader and its helpers.
#[derive(Default)]
pub struct Crew {
    /// The number of the work, and in the lower half how many of its parts nobody has taken yet.
    state: AtomicU64,
    /// The parts of the work that helpers, or the leader after its own, have done.
    done: AtomicUsize,
    work: UnsafeCell<Option<&'static Work<'static>>>,
    /// Whether there is a leader.
    is_led: AtomicBool,
    is_closed: AtomicBool,
}

// SAFETY: `work` is written by the one leader, while no part of any work is taken. Helpers read it between the
// time when they take a part and the time when they count it as done, for which the leader waits.
unsafe impl Sync for Crew {}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").finish_non_exhaustive()
    }
}

impl Crew {
    /// Looks for parts and does them until the crew is closed.
    pub fn help(&self) {
        let mut looks = 0;
        loop {
            let state = self.state.load(Acquire);
            if state & PARTS > 0 {
                if self.state.compare_exchange(state, state - 1, AcqRel, Relaxed).is_ok() {
                    // SAFETY: this thread has taken a part, so the leader waits and does not write.
                    let work = unsafe { *self.work.get() };
                    if let Some(work) = work {
                        // After a panic the leader finds that the result of the part is missing.
                        let _ = catch_unwind(AssertUnwindSafe(|| work((state & PARTS) as usize)));
                    }
                    self.done.fetch_add(1, Release);
                }
                looks = 0;
            } else if self.is_closed.load(Acquire) {
                return;
            } else if looks < LOOKS {
                looks += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Calls `work` for each part from 0 on. Helpers do some of the parts, if there are any. All are done at the
    /// end, except those that panicked.
    pub fn share(&self, parts: usize, work: &Work<'_>) {
        let others = u32::try_from(parts.saturating_sub(1)).unwrap_or(0);
        if others == 0 || self.is_led.swap(true, Acquire) {
            (0..parts).for_each(work);
            return;
        }
        // SAFETY: only the lifetime changes. Helpers call it only for parts that they have taken, and this function
        // does not end, by a panic either, before all parts are done: `Waiting` sees to that.
        let work: &'static Work<'static> = unsafe { std::mem::transmute::<&Work<'_>, _>(work) };
        // SAFETY: no part is taken, and there is no other leader.
        unsafe { *self.work.get() = Some(work) };
        self.done.store(0, Relaxed);
        let number = (self.state.load(Relaxed) >> 32).wrapping_add(1) << 32;
        self.state.store(number | u64::from(others), Release);
        let waiting = Waiting { crew: self, others: others as usize };
        work(0);
        while let Some(part) = self.take() {
            let _done = Done(&self.done);
            work(part);
        }
        drop(waiting);
    }

    /// Takes a part for the leader.
    fn take(&self) -> Option<usize> {
        loop {
            let state = self.state.load(Acquire);
            if state & PARTS == 0 {
                return None;
            }
            if self.state.compare_exchange(state, state - 1, AcqRel, Relaxed).is_ok() {
                return Some((state & PARTS) as usize);
            }
        }
    }

    /// Sends the helpers home.
    pub fn close(&self) {
        self.is_closed.store(true, Release);
    }
}

/// Counts a part as done when it is dropped.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

/// Waits for all parts that were taken when it is dropped.
struct Waiting<'a> {
    crew: &'a Crew,
    others: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // After a panic, nobody is to begin with what is left.
        while self.crew.take().is_some() {
            self.crew.done.fetch_add(1, Release);
        }
        let mut looks = 0;
        while self.crew.done.load(Acquire) < self.others {
            if looks < LOOKS {
                looks += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        self.crew.is_led.store(false, Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn every_part_is_done_once_with_any_number_of_helpers() {
        for helpers in 0..4 {
            let crew = Crew::default();
            std::thread::scope(|scope| {
                for _ in 0..helpers {
                    scope.spawn(|| crew.help());
                }
                for round in 0..200 {
                    let parts = round % 6;
                    let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                    crew.share(parts, &|part| {
                        counts[part].fetch_add(part + 1, Relaxed);
                    });
                    for (part, count) in counts.iter().enumerate() {
                        assert_eq!(count.load(Relaxed), part + 1);
                    }
                }
                crew.close();
            });
        }
    }

    #[test]
    fn a_part_that_panics_holds_nobody_up() {
        for bad in 0..3 {
            let crew = Crew::default();
            std::thread::scope(|scope| {
                scope.spawn(|| crew.help());
                let count = AtomicUsize::new(0);
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    crew.share(3, &|part| {
                        assert_ne!(part, bad, "a part that is bad");
                        count.fetch_add(1, Relaxed);
                    });
                }));
                // The leader's own panic goes on; a helper's is seen by what is missing.
                assert!(count.load(Relaxed) == 2 || outcome.is_err());
                count.store(0, Relaxed);
                crew.share(3, &|_| {
                    count.fetch_add(1, Relaxed);
                });
                assert_eq!(count.load(Relaxed), 3);
                crew.close();
            });
        }
    }

    #[test]
    fn work_within_work_is_done_by_its_own_thread() {
        let crew = Crew::default();
        let count = AtomicUsize::new(0);
        crew.share(3, &|_| {
            crew.share(4, &|_| {
                count.fetch_add(1, Relaxed);
            });
        });
        assert_eq!(count.load(Relaxed), 12);
    }
}
