//! Threads that both serve connections and may run small models themselves.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use adytum_engine::threads::Threads;

use super::{
    client::Waited,
    patience::{Congestion, Patience},
};

thread_local! {
    static INLINE: RefCell<Option<Inline>> = const { RefCell::new(None) };
}

struct Inline {
    threads: Threads,
    overload: Option<Congestion>,
}

/// What to do with a run that is short enough.
pub(super) enum Verdict {
    /// Do it here.
    Here(Threads),
    /// This thread does none.
    Elsewhere,
    /// It has waited longer than this, in an overload.
    Refused { limit: Duration },
}

/// Calls `work` on a thread where runs may be done inline: the one thread of a
/// pool made for it, so that the engine finds itself at home there.
pub fn enter<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let threads = Threads::new(1);
    let own = threads.clone();
    threads.enter(move || {
        INLINE.with(|slot| *slot.borrow_mut() = Some(Inline { threads: own, overload: None }));
        let result = work();
        INLINE.with(|slot| *slot.borrow_mut() = None);
        result
    })
}

/// Whether a run is done on this thread, after the wait that its request had.
pub(super) fn judge(waited: Option<Waited>, predicted: Option<Duration>, patience: Patience) -> Verdict {
    INLINE.with_borrow_mut(|slot| {
        let Some(inline) = slot else { return Verdict::Elsewhere };
        let Some(waited) = waited else { return Verdict::Here(inline.threads.clone()) };
        let now = Instant::now();
        let overload = inline.overload.get_or_insert_with(|| Congestion::new(patience, now));
        overload.begins_after(waited.time, now);
        match overload.limit(predicted, now) {
            Some(limit) if waited.counted() > limit => Verdict::Refused { limit },
            _ => Verdict::Here(inline.threads.clone()),
        }
    })
}

/// Lets time pass on this thread: no request has begun in time since.
#[cfg(test)]
pub(super) fn pass(time: Duration) {
    INLINE.with_borrow_mut(|slot| {
        if let Some(overload) = slot.as_mut().and_then(|inline| inline.overload.as_mut()) {
            overload.pass(time);
        }
    });
}
