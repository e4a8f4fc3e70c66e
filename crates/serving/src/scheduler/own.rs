//! The order of one client's own jobs: by their priority, and with the same priority each model
//! in turn. So one model that has many or long runs waiting does not hold up another one, even
//! where all requests come on one connection, as from a proxy.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::client::Priority;

/// Models that are remembered although nothing of theirs waits.
const REMEMBERED: usize = 64;

/// When a job is done, among those of its client: first by priority, then by the time at which it
/// would end if its model had a share of its own, then by arrival.
type Place = (Priority, Duration, u64);

/// The jobs of a client.
#[derive(Debug)]
pub(super) struct OwnJobs<J> {
    jobs: BTreeMap<Place, Own<J>>,
    /// The end of each model's last job, by priority.
    models: HashMap<(Priority, usize), Duration>,
    /// How far each priority is.
    clocks: BTreeMap<Priority, Duration>,
    arrived: u64,
}

/// A job, and what it costs its client.
#[derive(Debug)]
pub(super) struct Own<J> {
    pub(super) cost: Duration,
    pub(super) job: J,
}

impl<J> Default for OwnJobs<J> {
    fn default() -> Self {
        Self { jobs: BTreeMap::new(), models: HashMap::new(), clocks: BTreeMap::new(), arrived: 0 }
    }
}

impl<J> OwnJobs<J> {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// What the next job costs.
    pub(super) fn next_cost(&self) -> Option<Duration> {
        self.jobs.first_key_value().map(|(_, own)| own.cost)
    }

    pub(super) fn push(&mut self, priority: Priority, model: usize, own: Own<J>) {
        let end = self.end(priority, model, own.cost);
        self.models.insert((priority, model), end);
        self.arrived += 1;
        self.jobs.insert((priority, end, self.arrived), own);
    }

    pub(super) fn pop(&mut self) -> Option<Own<J>> {
        let ((priority, end, _), own) = self.jobs.pop_first()?;
        self.clocks.insert(priority, end);
        if self.models.len() > self.jobs.len() + REMEMBERED {
            let clocks = &self.clocks;
            self.models.retain(|(priority, _), last| clocks.get(priority).is_none_or(|clock| *last > *clock));
        }
        Some(own)
    }

    /// Takes the last job, if one like this would come before it.
    pub(super) fn make_room(&mut self, priority: Priority, model: usize, cost: Duration) -> Option<Own<J>> {
        let newcomer = (priority, self.end(priority, model, cost));
        let (last_priority, last_end, _) = *self.jobs.last_key_value()?.0;
        if newcomer >= (last_priority, last_end) { None } else { self.pop_last() }
    }

    pub(super) fn pop_last(&mut self) -> Option<Own<J>> {
        self.jobs.pop_last().map(|(_, own)| own)
    }

    /// Forgets jobs, and says what those that stay cost together.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&J) -> bool) -> Duration {
        self.jobs.retain(|_, own| keep(&own.job));
        self.jobs.values().map(|own| own.cost).sum()
    }

    fn end(&self, priority: Priority, model: usize, cost: Duration) -> Duration {
        let last = self.models.get(&(priority, model)).copied().unwrap_or_default();
        let clock = self.clocks.get(&priority).copied().unwrap_or_default();
        last.max(clock) + cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1);
    const SHORT: Duration = Duration::from_millis(1);

    fn push(
        jobs: &mut OwnJobs<&'static str>,
        priority: Priority,
        model: usize,
        cost: Duration,
        job: &'static str,
    ) {
        jobs.push(priority, model, Own { cost, job });
    }

    fn order(mut jobs: OwnJobs<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| jobs.pop().map(|own| own.job)).collect()
    }

    #[test]
    fn what_is_wanted_first_is_first() {
        let mut jobs = OwnJobs::default();
        for (priority, job) in [
            (Priority::Low, "low"),
            (Priority::Normal, "normal"),
            (Priority::High, "high"),
            (Priority::Normal, "another"),
        ] {
            push(&mut jobs, priority, 1, LONG, job);
        }
        assert_eq!(order(jobs), ["high", "normal", "another", "low"]);
    }

    #[test]
    fn a_model_with_many_long_runs_does_not_hold_up_another() {
        let mut jobs = OwnJobs::default();
        for _ in 0..100 {
            push(&mut jobs, Priority::Normal, 1, LONG, "slow");
        }
        jobs.pop();
        for _ in 0..3 {
            push(&mut jobs, Priority::Normal, 2, SHORT, "quick");
        }
        assert_eq!(order(jobs)[..4], ["quick", "quick", "quick", "slow"]);
    }

    #[test]
    fn where_there_is_no_room_the_last_of_the_busiest_model_goes() {
        let mut jobs = OwnJobs::default();
        for _ in 0..10 {
            push(&mut jobs, Priority::Normal, 1, LONG, "slow");
        }
        assert!(jobs.make_room(Priority::Normal, 1, LONG).is_none(), "it would be last itself");
        assert!(jobs.make_room(Priority::Low, 2, SHORT).is_none());
        assert_eq!(jobs.make_room(Priority::Normal, 2, LONG).unwrap().job, "slow");
        assert_eq!(jobs.make_room(Priority::High, 1, LONG).unwrap().job, "slow");
        assert_eq!(jobs.len(), 8);
    }
}
