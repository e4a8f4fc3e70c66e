//! Whether this replica may be sent requests, and a port that says so.
//!
//! The states go one way: a replica that drains does not become ready again.
//! The facts that decide are kept in one place ([`Health`]); the port of its own
//! ([`HealthPort`]) and a program's own health service read it.

mod port;

use std::{fmt, sync::Arc};

use tokio::sync::watch;

pub use self::port::{HealthPort, HealthPortError, Page};

/// Why a replica drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainReason {
    /// It was asked to end.
    Stopped,
    /// The broker no longer grants what the replica has.
    Revoked,
    /// No broker was reached until the lease and its grace were over.
    LeaseExpired,
}

impl fmt::Display for DrainReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stopped => "asked to stop",
            Self::Revoked => "the broker no longer grants the secrets",
            Self::LeaseExpired => "the lease has expired and no broker was reached",
        })
    }
}

/// May this replica be sent requests?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet.
    Starting,
    /// Yes.
    Ready,
    /// No longer.
    Draining(DrainReason),
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.pad("starting"),
            Self::Ready => f.pad("ready"),
            Self::Draining(reason) => write!(f, "draining: {reason}"),
        }
    }
}

/// The readiness of this replica. Clones are the same.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Readiness>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Readiness::Starting)))
    }
}

impl Health {
    /// What it is now.
    pub fn readiness(&self) -> Readiness {
        *self.0.borrow()
    }

    /// Requests may come. Without effect on one that drains already.
    pub fn set_ready(&self) {
        self.change(Readiness::Ready);
    }

    /// Requests should not come for now. Without effect on one that drains already.
    pub fn set_unready(&self) {
        self.change(Readiness::Starting);
    }

    /// No more requests should come. The first reason stays.
    pub fn drain(&self, reason: DrainReason) {
        self.change(Readiness::Draining(reason));
    }

    fn change(&self, to: Readiness) {
        self.0.send_if_modified(|readiness| {
            let changes = *readiness != to && !matches!(readiness, Readiness::Draining(_));
            if changes {
                *readiness = to;
            }
            changes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_drains_stays_so_for_its_first_reason() {
        let health = Health::default();
        assert_eq!(health.readiness(), Readiness::Starting);
        health.set_ready();
        assert_eq!(health.readiness(), Readiness::Ready);
        health.drain(DrainReason::Revoked);
        health.drain(DrainReason::Stopped);
        health.set_ready();
        assert_eq!(health.readiness(), Readiness::Draining(DrainReason::Revoked));
    }

    #[test]
    fn one_that_is_stopped_while_it_starts_never_becomes_ready() {
        let health = Health::default();
        health.drain(DrainReason::Stopped);
        health.set_ready();
        assert_eq!(health.readiness().to_string(), "draining: asked to stop");
    }
}
