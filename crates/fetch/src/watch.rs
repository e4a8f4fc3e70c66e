//! Looks at the source again and again.

use std::{convert::Infallible, time::Duration};

use crate::{
    error::PullError,
    pull::{Event, Puller, Round},
};

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The time between looks at the source. After failures it doubles, up to five minutes.
#[derive(Clone, Debug)]
pub struct Pauses {
    interval: Duration,
    failures: u32,
}

impl Pauses {
    /// This long between looks that succeed.
    pub fn new(interval: Duration) -> Self {
        Self { interval, failures: 0 }
    }

    /// The pause after a look.
    pub fn after(&mut self, success: bool) -> Duration {
        if success {
            self.failures = 0;
            return self.interval;
        }
        let pause = self.interval.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        pause.min(LONGEST_PAUSE.max(self.interval))
    }
}

/// Looks at the source until the caller drops this. `looked` gets the outcome of each look.
pub async fn watch(
    puller: &Puller,
    mut pauses: Pauses,
    report: &mut dyn FnMut(Event),
    looked: &mut dyn FnMut(Result<Round, PullError>),
) -> Infallible {
    loop {
        let outcome = puller.round(report).await;
        let success = outcome.as_ref().is_ok_and(|round| round.failed.is_empty());
        looked(outcome);
        tokio::time::sleep(pauses.after(success)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_only() {
        let mut pauses = Pauses::new(Duration::from_secs(30));
        let seconds: Vec<u64> = [true, false, false, false, false, false, true]
            .map(|success| pauses.after(success).as_secs())
            .to_vec();
        assert_eq!(seconds, [30, 30, 60, 120, 240, 300, 30]);
        let mut rare = Pauses::new(Duration::from_secs(3600));
        assert_eq!((rare.after(false), rare.after(false)), (rare.interval, rare.interval));
        let mut ever = Pauses::new(Duration::from_secs(1));
        assert!((0..100).all(|_| ever.after(false) <= LONGEST_PAUSE));
    }
}
