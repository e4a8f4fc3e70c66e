//! Work that is done to its end, even if nobody waits for it.
//!
//! A request's future is dropped when its connection breaks or its time is over,
//! between any two awaits. What a command does to the disk, and then to what is in
//! force, must not come apart there: a host could cut the connection just then, and
//! the broker would go by rules that its own log says were replaced.

use std::{future::Future, panic::resume_unwind};

use tracing::Instrument as _;

/// Runs `work` to its end, also if this future is dropped after its first poll.
pub(crate) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Nobody aborts it but a runtime that ends, and then nobody waits.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        task::{Context, Waker},
        time::Duration,
    };

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn work_ends_without_who_asked_for_it() {
        let (go_on, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait, tell) = (Arc::clone(&go_on), Arc::clone(&done));
        let mut asked = Box::pin(to_its_end(async move {
            wait.notified().await;
            tell.notify_one();
        }));
        assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(asked);
        go_on.notify_one();
        tokio::time::timeout(Duration::from_secs(10), done.notified()).await.expect("it went on");
    }

    #[tokio::test]
    #[should_panic(expected = "injected")]
    async fn a_panic_is_that_of_who_asked() {
        to_its_end(async { panic!("injected") }).await
    }
}
