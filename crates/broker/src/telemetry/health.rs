//! The answers for operators: is the broker alive, is it ready, and if not, why not. The
//! port gives nothing else, and nothing of a secret.

pub mod server;

use std::sync::{Arc, PoisonError, RwLock};

/// Why a broker is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// The broker is starting and has not taken up its state yet.
    ///
    /// Do: wait until `/readyz` answers 200.
    ///
    /// Retry: later
    #[error("the broker is starting")]
    Starting,
    /// The broker's root key is not on this machine, so it waits for the shares of the recovery
    /// key.
    ///
    /// Do: have the holders of recovery keys run `adytum broker recover`. Or put the state
    /// directory back on the machine where it was written.
    ///
    /// Retry: later
    #[error("the root key is not on this machine and has to be recovered with `adytum broker recover`")]
    AwaitingRecovery,
    /// The broker handed its root key to the next broker and releases and changes nothing any
    /// more.
    ///
    /// Do: use the address of the next broker, and stop this one.
    ///
    /// Retry: later
    #[error("the root key was handed over; the next broker serves")]
    Fenced,
    /// The broker restarted unplanned, and the owners have not confirmed yet that its state is the
    /// newest.
    ///
    /// Do: compare the state with `adytum broker status`, then confirm it with `adytum broker
    /// confirm`.
    ///
    /// Retry: later
    #[error(
        "the restart was unplanned, and the owners have to confirm the state with `adytum broker confirm`"
    )]
    AwaitingConfirmation,
    /// The store failed, so the broker can record nothing and releases nothing.
    ///
    /// Do: find the failure in the broker's log; docs/broker-state.md has the next steps.
    ///
    /// Retry: later
    #[error("the store failed; the broker's log says how, docs/broker-state.md what to do")]
    StoreFailed,
    /// The broker is shutting down: it ends requests in progress and takes no new sessions.
    ///
    /// Do: try again when the broker, or the one that replaces it, is ready.
    ///
    /// Retry: later
    #[error("the broker is shutting down")]
    Draining,
}

impl NotReady {
    /// Stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::AwaitingRecovery => "awaiting-recovery",
            Self::Fenced => "fenced",
            Self::AwaitingConfirmation => "awaiting-confirmation",
            Self::StoreFailed => "store-failed",
            Self::Draining => "draining",
        }
    }
}

/// A broker as the health port sees it.
pub trait Observable: Send + Sync {
    /// Ready, or why not.
    fn readiness(&self) -> Result<(), NotReady>;
    /// Its metrics in the text form of OpenMetrics.
    fn metrics_text(&self) -> String;
}

/// The state that the health port reports, from before there is a broker until its end.
#[derive(Clone)]
pub struct Health(Arc<RwLock<Phase>>);

enum Phase {
    /// There is no broker yet.
    Before(NotReady),
    Broker(Arc<dyn Observable>),
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Phase::Before(NotReady::Starting))))
    }
}

impl Health {
    /// There is no broker yet, for this reason.
    pub fn waits(&self, reason: NotReady) {
        self.set(Phase::Before(reason));
    }

    /// From now on this broker is asked.
    pub fn of(&self, broker: Arc<impl Observable + 'static>) {
        self.set(Phase::Broker(broker));
    }

    /// Ready, or why not.
    pub fn readiness(&self) -> Result<(), NotReady> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Phase::Before(reason) => Err(*reason),
            Phase::Broker(broker) => broker.readiness(),
        }
    }

    /// The broker's metrics in the text form of OpenMetrics; none before there is
    /// one.
    pub fn metrics_text(&self) -> String {
        let broker = match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Phase::Before(_) => return "# EOF\n".to_owned(),
            Phase::Broker(broker) => Arc::clone(broker),
        };
        broker.metrics_text()
    }

    fn set(&self, phase: Phase) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}
