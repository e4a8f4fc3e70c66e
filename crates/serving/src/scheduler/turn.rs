//! Whose turn a run takes: one client's, or that of several whose requests are in one batch.

use std::time::Duration;

use super::client::{Client, Priority, current};

/// A client's part of a run.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Whose requests these are.
    pub client: Client,
    /// The highest priority among them.
    pub priority: Priority,
    /// The examples of these requests; at least 1 counts.
    pub rows: usize,
}

/// Whose turn a run takes. Each client is charged for its share of the run.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Which model runs: any number that is the model's alone.
    pub(super) model: usize,
    first: Share,
    others: Vec<Share>,
}

impl Turn {
    /// The turn of the client for whom this task works.
    pub fn current(model: usize) -> Self {
        let (client, priority) = current();
        Self { model, first: Share { client, priority, rows: 1 }, others: Vec::new() }
    }

    /// The turn of those whose requests are in a batch; shares of one client count together.
    pub fn of_batch(model: usize, shares: impl IntoIterator<Item = Share>) -> Self {
        let mut all: Vec<Share> = Vec::new();
        for share in shares {
            match all.iter_mut().find(|known| known.client == share.client) {
                Some(known) => {
                    known.rows = known.rows.saturating_add(share.rows);
                    known.priority = known.priority.min(share.priority);
                }
                None => all.push(share),
            }
        }
        let mut all = all.into_iter();
        match all.next() {
            Some(first) => Self { model, first, others: all.collect() },
            None => Self::current(model),
        }
    }

    /// The parts of its clients, each with what it costs of `cost`.
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    pub(super) fn charges(&self, cost: Duration) -> impl Iterator<Item = (Share, Duration)> + use<'_> {
        let all = || std::iter::once(&self.first).chain(&self.others);
        let total = all().map(|share| share.rows.max(1)).fold(0, usize::saturating_add);
        all().map(move |share| (*share, cost.mul_f64(share.rows.max(1) as f64 / total as f64)))
    }
}
