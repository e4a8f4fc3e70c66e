//! Is the broker alive, is it ready, and if not, why not: what those ask who
//! run it. The port tells nothing else, and nothing of a secret.

pub mod server;

use std::sync::{Arc, PoisonError, RwLock};

/// Why a broker is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// It has not taken up its state yet.
    #[error("the broker is starting")]
    Starting,
    /// Its root key is not on this machine.
    #[error("the root key has to be recovered with `adytum broker recover`")]
    AwaitingRecovery,
    /// Its root key went to another broker.
    #[error("the root key was handed over: the next broker serves")]
    Fenced,
    /// After an unplanned restart the owners have not confirmed the state yet.
    #[error(
        "the restart was unplanned, and the owners have to confirm the state with `adytum broker confirm`"
    )]
    AwaitingConfirmation,
    /// Nothing can be recorded, so nothing is released.
    #[error("the store failed; the broker's log says how, docs/operate.md what to do")]
    StoreFailed,
    /// It ends requests in progress and takes no new sessions.
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
pub trait Observed: Send + Sync {
    /// Ready, or why not.
    fn readiness(&self) -> Result<(), NotReady>;
    /// Its metrics in the text form of OpenMetrics.
    fn metrics_text(&self) -> String;
}

/// What the health port tells, from before there is a broker until its end.
#[derive(Clone)]
pub struct Health(Arc<RwLock<Phase>>);

enum Phase {
    /// There is no broker yet.
    Before(NotReady),
    Broker(Arc<dyn Observed>),
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
    pub fn of(&self, broker: Arc<impl Observed + 'static>) {
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
