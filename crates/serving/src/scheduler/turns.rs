//! The order of jobs. Each client gets an equal share of the cores' time, whatever it asks for:
//! one that asks for long runs waits for them, and nobody else does.
//!
//! This is weighted fair queueing (Demers, Keshav, Shenker, SIGCOMM 1989). A job gets a tag:
//! the time at which it would end if its client had a share of its own, on a clock that
//! advances with the work done, divided by the number of clients that wait. The job with
//! the lowest tag is next. So of two clients that ask at once the one with the shorter run
//! is first; but the clock passes the tag of a long one at last, however many short ones
//! come.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::client::Client;

/// The cost of a run that was never measured.
const USUAL_COST: Duration = Duration::from_millis(10);
/// No run is taken to be shorter: taking a turn is work too.
const LEAST_COST: Duration = Duration::from_micros(50);
/// Or longer: an estimate that is wrong must not lock a client out.
const MOST_COST: Duration = Duration::from_secs(60);
/// Clients that are remembered although they wait for nothing.
const REMEMBERED: usize = 4096;

/// Jobs that wait for their turn.
#[derive(Debug)]
pub(super) struct Turns<J> {
    jobs: BTreeMap<Tag, Waiting<J>>,
    /// Clients that have jobs waiting, or are ahead of the clock.
    clients: HashMap<Client, Share>,
    /// The number of those that have jobs waiting.
    active: u32,
    clock: Duration,
    arrived: u64,
}

/// When a job would end, and the order of arrival.
type Tag = (Duration, u64);

#[derive(Debug)]
struct Waiting<J> {
    client: Client,
    cost: Duration,
    job: J,
}

#[derive(Debug, Default)]
struct Share {
    waiting: usize,
    /// The tag of its last job.
    last: Duration,
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Self { jobs: BTreeMap::new(), clients: HashMap::new(), active: 0, clock: Duration::ZERO, arrived: 0 }
    }
}

impl<J> Turns<J> {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn push(&mut self, client: Client, predicted: Option<Duration>, job: J) {
        let cost = cost(predicted);
        let tag = self.tag(client, cost);
        let share = self.clients.entry(client).or_default();
        share.last = tag;
        share.waiting += 1;
        if share.waiting == 1 {
            self.active += 1;
        }
        self.arrived += 1;
        self.jobs.insert((tag, self.arrived), Waiting { client, cost, job });
    }

    /// Where there is no room for one more: takes the job that would be last out, if one
    /// of this client would come before it.
    pub(super) fn make_room(&mut self, client: Client, predicted: Option<Duration>) -> Option<J> {
        let newcomer = self.tag(client, cost(predicted));
        let ((last, _), _) = self.jobs.last_key_value()?;
        if newcomer >= *last {
            return None;
        }
        let (_, waiting) = self.jobs.pop_last()?;
        self.waits_no_more(waiting.client);
        Some(waiting.job)
    }

    pub(super) fn pop(&mut self) -> Option<J> {
        let (_, Waiting { client, cost, job }) = self.jobs.pop_first()?;
        self.clock += cost / self.active.max(1);
        self.waits_no_more(client);
        if self.jobs.is_empty() {
            // Nobody waits, so nobody has a claim.
            self.clear();
        } else if self.clients.len() > self.jobs.len() + REMEMBERED {
            let clock = self.clock;
            self.clients.retain(|_, share| share.waiting > 0 || share.last > clock);
            if self.clients.len() > self.jobs.len() + REMEMBERED {
                self.clients.retain(|_, share| share.waiting > 0);
            }
        }
        Some(job)
    }

    /// Forgets jobs.
    pub(super) fn retain(&mut self, keep: impl Fn(&J) -> bool) {
        let gone: Vec<Tag> =
            self.jobs.iter().filter(|(_, waiting)| !keep(&waiting.job)).map(|(tag, _)| *tag).collect();
        for tag in gone {
            if let Some(waiting) = self.jobs.remove(&tag) {
                self.waits_no_more(waiting.client);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self { arrived: self.arrived, ..Self::default() };
    }

    fn tag(&self, client: Client, cost: Duration) -> Duration {
        let last = self.clients.get(&client).map_or(Duration::ZERO, |share| share.last);
        last.max(self.clock) + cost
    }

    fn waits_no_more(&mut self, client: Client) {
        if let Some(share) = self.clients.get_mut(&client) {
            share.waiting = share.waiting.saturating_sub(1);
            if share.waiting == 0 {
                self.active = self.active.saturating_sub(1);
            }
        }
    }
}

fn cost(predicted: Option<Duration>) -> Duration {
    predicted.unwrap_or(USUAL_COST).clamp(LEAST_COST, MOST_COST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHORT: Option<Duration> = Some(Duration::from_millis(1));
    const LONG: Option<Duration> = Some(Duration::from_secs(5));

    fn order(turns: &mut Turns<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn one_connection_with_many_runs_holds_nobody_up() {
        let mut turns = Turns::default();
        let (hostile, honest) = (Client::new(), Client::new());
        for _ in 0..1000 {
            turns.push(hostile, LONG, "hostile");
        }
        // One is running already.
        turns.pop();
        turns.push(honest, SHORT, "honest");
        turns.push(honest, LONG, "long");
        let order = order(&mut turns);
        assert_eq!(order.first(), Some(&"honest"));
        let long = order.iter().position(|job| *job == "long");
        assert!(long.is_some_and(|at| at <= 2), "equal shares: {long:?}");
    }

    #[test]
    fn many_connections_with_long_runs_hold_short_ones_up_no_more_than_one_does() {
        let mut turns = Turns::default();
        for _ in 0..1000 {
            turns.push(Client::new(), LONG, "hostile");
        }
        for _ in 0..10 {
            assert_eq!(turns.pop(), Some("hostile"));
            turns.push(Client::new(), SHORT, "honest");
            assert_eq!(turns.pop(), Some("honest"));
        }
    }

    /// How many short runs come before a long one.
    fn before_the_long_one(next: impl Fn() -> Client) -> usize {
        let mut turns = Turns::default();
        turns.push(next(), SHORT, "short");
        turns.push(Client::new(), LONG, "long");
        let mut before = 0;
        while turns.pop() == Some("short") {
            before += 1;
            turns.push(next(), SHORT, "short");
        }
        before
    }

    #[test]
    fn a_long_run_has_its_turn_however_many_short_ones_come() {
        // Until the short ones have had as much time.
        let one = Client::new();
        let of_one = before_the_long_one(|| one);
        assert!((4990..=5010).contains(&of_one), "{of_one}");
        // Or, when each is another's, as much as two clients would.
        let of_many = before_the_long_one(Client::new);
        assert!((9900..=10_100).contains(&of_many), "{of_many}");
    }

    #[test]
    fn where_there_is_no_room_the_last_one_goes() {
        let mut turns = Turns::default();
        let (hostile, honest) = (Client::new(), Client::new());
        for _ in 0..10 {
            turns.push(hostile, LONG, "hostile");
        }
        assert_eq!(turns.make_room(hostile, SHORT), None, "it would be last itself");
        assert_eq!(turns.make_room(honest, LONG), Some("hostile"));
        turns.push(honest, LONG, "honest");
        assert_eq!((turns.len(), turns.make_room(honest, SHORT)), (10, Some("hostile")));
        assert!(order(&mut turns).contains(&"honest"));
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let mut turns = Turns::default();
        turns.push(Client::new(), LONG, 0);
        turns.push(Client::new(), LONG, 0);
        for _ in 0..3 * REMEMBERED {
            turns.push(Client::new(), SHORT, 1);
            turns.pop();
        }
        assert!(turns.clients.len() <= REMEMBERED + 3, "{}", turns.clients.len());
        turns.retain(|job| *job == 1);
        assert_eq!((turns.len(), turns.active), (0, 0));
    }

    #[test]
    fn jobs_of_one_client_keep_their_order_and_nothing_is_left() {
        let mut turns = Turns::default();
        let client = Client::new();
        for (cost, job) in [(LONG, "first"), (SHORT, "second"), (None, "third")] {
            turns.push(client, cost, job);
        }
        assert_eq!(order(&mut turns), ["first", "second", "third"]);
        assert!(turns.clients.is_empty() && turns.clock.is_zero());
    }

    proptest! {
        /// Clients that always have work get equal shares of time, whatever their runs take.
        #[test]
        fn shares_are_equal(costs in proptest::collection::vec(1..400_u64, 2..6)) {
            let mut turns = Turns::default();
            let clients: Vec<Client> = costs.iter().map(|_| Client::new()).collect();
            let push = |turns: &mut Turns<usize>, index: usize| {
                turns.push(clients[index], Some(Duration::from_millis(costs[index])), index);
            };
            for index in 0..costs.len() {
                push(&mut turns, index);
                push(&mut turns, index);
            }
            let mut had = vec![0; costs.len()];
            for _ in 0..4000 {
                let index = turns.pop().unwrap();
                had[index] += costs[index];
                push(&mut turns, index);
            }
            let (least, most) = (had.iter().min().unwrap(), had.iter().max().unwrap());
            prop_assert!(most - least <= 3 * 400, "{had:?} for runs of {costs:?}");
        }
    }
}
