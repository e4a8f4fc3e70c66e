//! Threads that both serve connections and may run small models themselves.

use std::cell::RefCell;

use adytum_engine::threads::Threads;

thread_local! {
    static THREADS: RefCell<Option<Threads>> = const { RefCell::new(None) };
}

/// Calls `work` on a thread where runs may be done inline: the one thread of a
/// pool made for it, so that the engine finds itself at home there.
pub fn enter<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let threads = Threads::new(1);
    let own = threads.clone();
    threads.enter(move || {
        THREADS.with(|slot| *slot.borrow_mut() = Some(own));
        let result = work();
        THREADS.with(|slot| *slot.borrow_mut() = None);
        result
    })
}

/// The pool of this thread, if runs may be done on it.
pub(super) fn threads() -> Option<Threads> {
    THREADS.with(|slot| slot.borrow().clone())
}
