//! The order of jobs. Each client gets an equal share of the cores' time, whatever it asks for:
//! one that asks for long runs waits for them, and nobody else does.
//!
//! This is weighted fair queueing (Demers, Keshav, Shenker, SIGCOMM 1989). A client's next job
//! gets a tag: the time at which it would end if its client had a share of its own, on a clock
//! that advances with the work done, divided by the number of clients that wait. The job with
//! the lowest tag is next. So of two clients that ask at once the one with the shorter run
//! is first; but the clock passes the tag of a long one at last, however many short ones
//! come. Which of its jobs is a client's next one is the client's own affair
//! ([`OwnJobs`]): nothing that it says of them changes what others get.
//!
//! A batch has requests of several clients. It takes the turn of the one that is due first, and
//! when it begins, each of them is charged for its share.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    client::Client,
    own::{Own, OwnJobs},
    turn::Turn,
};

/// The cost of a run that was never measured.
pub(super) const USUAL_COST: Duration = Duration::from_millis(10);
/// No run is taken to be shorter: taking a turn is work too.
const LEAST_COST: Duration = Duration::from_micros(50);
/// Or longer: an estimate that is wrong must not lock a client out.
const MOST_COST: Duration = Duration::from_secs(60);
/// Clients that are remembered although they wait for nothing.
const REMEMBERED: usize = 4096;

/// Jobs that wait for their turn.
#[derive(Debug)]
pub(super) struct Turns<J> {
    /// Clients that have jobs waiting, or are ahead of the clock.
    clients: HashMap<Client, Lane<J>>,
    /// The next job of each client that has one.
    next: BTreeMap<Tag, Client>,
    clock: Duration,
    arrived: u64,
    len: usize,
    /// What all waiting jobs cost together.
    cost: Duration,
}

/// When a client's next job would end, and the order in which clients came.
type Tag = (Duration, u64);

/// A client's jobs, and what it has had.
#[derive(Debug)]
struct Lane<J> {
    jobs: OwnJobs<Queued<J>>,
    /// The end of its last job.
    last: Duration,
    /// What its jobs cost together.
    cost: Duration,
    tag: Option<Tag>,
}

#[derive(Debug)]
struct Queued<J> {
    /// What the whole run costs.
    cost: Duration,
    /// What it costs other clients.
    others: Vec<(Client, Duration)>,
    job: J,
}

impl<J> Default for Lane<J> {
    fn default() -> Self {
        Self { jobs: OwnJobs::default(), last: Duration::ZERO, cost: Duration::ZERO, tag: None }
    }
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Self {
            clients: HashMap::new(),
            next: BTreeMap::new(),
            clock: Duration::ZERO,
            arrived: 0,
            len: 0,
            cost: Duration::ZERO,
        }
    }
}

impl<J> Turns<J> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What all waiting jobs cost together.
    pub(super) fn cost(&self) -> Duration {
        self.cost
    }

    pub(super) fn push(&mut self, turn: &Turn, predicted: Option<Duration>, job: J) {
        let cost = cost(predicted);
        let Some((share, own)) = turn.charges(cost).min_by_key(|(share, own)| self.end(share.client) + *own)
        else {
            return;
        };
        let others = turn
            .charges(cost)
            .filter(|(other, _)| other.client != share.client)
            .map(|(other, cost)| (other.client, cost))
            .collect();
        let begin = self.begin(share.client);
        let lane = self.clients.entry(share.client).or_default();
        if lane.jobs.is_empty() {
            lane.last = begin;
        }
        lane.cost += own;
        lane.jobs.push(share.priority, turn.model, Own { cost: own, job: Queued { cost, others, job } });
        self.len += 1;
        self.cost += cost;
        self.tag(share.client);
    }

    /// Where there is no room for one more: takes the job that would be last out, if one of this
    /// turn would come before it.
    pub(super) fn make_room(&mut self, turn: &Turn, predicted: Option<Duration>) -> Option<J> {
        let end = |client: &Client, lane: &Lane<J>| (lane.last + lane.cost, *client);
        let waiting = self.clients.iter().filter(|(_, lane)| !lane.jobs.is_empty());
        let (last, heaviest) = waiting.map(|(client, lane)| end(client, lane)).max()?;
        let (share, own) =
            turn.charges(cost(predicted)).min_by_key(|(share, own)| self.end(share.client) + *own)?;
        let newcomer = self.end(share.client) + own;
        let lane = self.clients.get_mut(&heaviest)?;
        let gone = if share.client == heaviest {
            lane.jobs.make_room(share.priority, turn.model, own)?
        } else if newcomer < last {
            lane.jobs.pop_last()?
        } else {
            return None;
        };
        lane.cost = lane.cost.saturating_sub(gone.cost);
        self.cost = self.cost.saturating_sub(gone.job.cost);
        self.len -= 1;
        self.tag(heaviest);
        Some(gone.job.job)
    }

    pub(super) fn pop(&mut self) -> Option<J> {
        let active = u32::try_from(self.next.len()).unwrap_or(u32::MAX).max(1);
        let ((end, _), client) = self.next.pop_first()?;
        let lane = self.clients.get_mut(&client)?;
        lane.tag = None;
        let own = lane.jobs.pop()?;
        lane.cost = lane.cost.saturating_sub(own.cost);
        lane.last = end;
        self.cost = self.cost.saturating_sub(own.job.cost);
        self.len -= 1;
        self.tag(client);
        for (other, cost) in own.job.others {
            let begin = self.begin(other);
            self.clients.entry(other).or_default().last = begin + cost;
            self.tag(other);
        }
        self.clock += own.job.cost / active;
        if self.is_empty() {
            // Nobody waits, so nobody has a claim.
            self.clear();
        } else if self.clients.len() > self.len + REMEMBERED {
            let clock = self.clock;
            self.clients.retain(|_, lane| !lane.jobs.is_empty() || lane.last > clock);
            if self.clients.len() > self.len + REMEMBERED {
                self.clients.retain(|_, lane| !lane.jobs.is_empty());
            }
        }
        Some(own.job.job)
    }

    /// Forgets jobs.
    pub(super) fn retain(&mut self, keep: impl Fn(&J) -> bool) {
        let mut changed = Vec::new();
        for (client, lane) in &mut self.clients {
            let before = lane.jobs.len();
            lane.cost = lane.jobs.retain(|queued| {
                let kept = keep(&queued.job);
                if !kept {
                    self.cost = self.cost.saturating_sub(queued.cost);
                }
                kept
            });
            if lane.jobs.len() < before {
                self.len -= before - lane.jobs.len();
                changed.push(*client);
            }
        }
        for client in changed {
            self.tag(client);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self { arrived: self.arrived, ..Self::default() };
    }

    /// When a client's next job would begin if it had no others waiting.
    fn begin(&self, client: Client) -> Duration {
        match self.clients.get(&client) {
            Some(lane) if lane.jobs.is_empty() => lane.last.max(self.clock),
            Some(lane) => lane.last,
            None => self.clock,
        }
    }

    /// When a client's last job would end.
    fn end(&self, client: Client) -> Duration {
        self.begin(client) + self.clients.get(&client).map_or(Duration::ZERO, |lane| lane.cost)
    }

    /// Puts a client where its next job says.
    fn tag(&mut self, client: Client) {
        let Some(lane) = self.clients.get_mut(&client) else { return };
        let arrived = match lane.tag.take() {
            Some(tag) => {
                self.next.remove(&tag);
                tag.1
            }
            None => {
                self.arrived += 1;
                self.arrived
            }
        };
        if let Some(cost) = lane.jobs.next_cost() {
            let tag = (lane.last + cost, arrived);
            lane.tag = Some(tag);
            self.next.insert(tag, client);
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
    use crate::scheduler::{Priority, Share};

    const SHORT: Option<Duration> = Some(Duration::from_millis(1));
    const LONG: Option<Duration> = Some(Duration::from_secs(5));

    fn turn(client: Client) -> Turn {
        of_model(client, 0, Priority::Normal)
    }

    fn of_model(client: Client, model: usize, priority: Priority) -> Turn {
        Turn::of_batch(model, [Share { client, priority, rows: 1 }])
    }

    fn order(turns: &mut Turns<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn one_connection_with_many_runs_holds_nobody_up() {
        let mut turns = Turns::default();
        let (hostile, honest) = (Client::new(), Client::new());
        for _ in 0..1000 {
            turns.push(&turn(hostile), LONG, "hostile");
        }
        // One is running already.
        turns.pop();
        turns.push(&turn(honest), SHORT, "honest");
        turns.push(&turn(honest), LONG, "long");
        let order = order(&mut turns);
        assert_eq!(order.first(), Some(&"honest"));
        let long = order.iter().position(|job| *job == "long");
        assert!(long.is_some_and(|at| at <= 2), "equal shares: {long:?}");
    }

    #[test]
    fn many_connections_with_long_runs_hold_short_ones_up_no_more_than_one_does() {
        let mut turns = Turns::default();
        for _ in 0..1000 {
            turns.push(&turn(Client::new()), LONG, "hostile");
        }
        for _ in 0..10 {
            assert_eq!(turns.pop(), Some("hostile"));
            turns.push(&turn(Client::new()), SHORT, "honest");
            assert_eq!(turns.pop(), Some("honest"));
        }
    }

    /// How many short runs come before a long one.
    fn before_the_long_one(next: impl Fn() -> Client) -> usize {
        let mut turns = Turns::default();
        turns.push(&turn(next()), SHORT, "short");
        turns.push(&turn(Client::new()), LONG, "long");
        let mut before = 0;
        while turns.pop() == Some("short") {
            before += 1;
            turns.push(&turn(next()), SHORT, "short");
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
            turns.push(&turn(hostile), LONG, "hostile");
        }
        assert_eq!(turns.make_room(&turn(hostile), SHORT), None, "it would be last itself");
        assert_eq!(turns.make_room(&turn(honest), LONG), Some("hostile"));
        turns.push(&turn(honest), LONG, "honest");
        assert_eq!((turns.len(), turns.make_room(&turn(honest), SHORT)), (10, Some("hostile")));
        assert!(order(&mut turns).contains(&"honest"));
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let mut turns = Turns::default();
        turns.push(&turn(Client::new()), LONG, 0);
        turns.push(&turn(Client::new()), LONG, 0);
        for _ in 0..3 * REMEMBERED {
            turns.push(&turn(Client::new()), SHORT, 1);
            turns.pop();
        }
        assert!(turns.clients.len() <= REMEMBERED + 3, "{}", turns.clients.len());
        turns.retain(|job| *job == 1);
        assert_eq!((turns.len(), turns.next.len()), (0, 0));
    }

    #[test]
    fn jobs_of_one_client_keep_their_order_and_nothing_is_left() {
        let mut turns = Turns::default();
        let client = Client::new();
        for (cost, job) in [(LONG, "first"), (SHORT, "second"), (None, "third")] {
            turns.push(&turn(client), cost, job);
        }
        assert_eq!(order(&mut turns), ["first", "second", "third"]);
        assert!(turns.clients.is_empty() && turns.clock.is_zero());
    }

    #[test]
    fn a_client_orders_its_own_jobs_and_nobody_elses() {
        let mut turns = Turns::default();
        let (pushy, other) = (Client::new(), Client::new());
        for _ in 0..10 {
            turns.push(&of_model(pushy, 0, Priority::High), LONG, "high");
        }
        turns.push(&of_model(other, 0, Priority::Low), LONG, "other");
        turns.push(&of_model(other, 0, Priority::Normal), LONG, "other first");
        let order = order(&mut turns);
        let place = |job| order.iter().position(|found| *found == job).unwrap();
        assert!(place("other first") <= 1 && place("other") <= 3, "{order:?}");
    }

    #[test]
    fn one_models_flood_leaves_another_its_turns_on_the_same_connection() {
        let mut turns = Turns::default();
        let proxy = Client::new();
        for _ in 0..1000 {
            turns.push(&of_model(proxy, 1, Priority::Normal), LONG, "slow");
        }
        turns.pop();
        assert_eq!(turns.make_room(&of_model(proxy, 1, Priority::Normal), LONG), None);
        assert_eq!(turns.make_room(&of_model(proxy, 2, Priority::Normal), SHORT), Some("slow"));
        turns.push(&of_model(proxy, 2, Priority::Normal), SHORT, "quick");
        assert_eq!(turns.pop(), Some("quick"));
    }

    #[test]
    fn the_cost_of_all_counts_batches_whole() {
        let mut turns = Turns::default();
        let shares = (0..4).map(|_| Share { client: Client::new(), priority: Priority::Normal, rows: 1 });
        let batch = Turn::of_batch(0, shares.collect::<Vec<_>>());
        turns.push(&batch, LONG, "batch");
        turns.push(&turn(Client::new()), SHORT, "short");
        assert_eq!(turns.cost(), LONG.unwrap() + SHORT.unwrap());
        turns.retain(|job| *job == "batch");
        assert_eq!(turns.cost(), LONG.unwrap());
        assert_eq!(turns.pop(), Some("batch"));
        assert_eq!(turns.cost(), Duration::ZERO);
    }

    #[test]
    fn a_batch_is_charged_to_each_client_by_its_rows() {
        let mut turns = Turns::default();
        let (one, other, third) = (Client::new(), Client::new(), Client::new());
        let share = |client, rows| Share { client, priority: Priority::Normal, rows };
        let seconds = |count| Some(Duration::from_secs(count));
        // The run of 10 seconds is 9 of one and 1 of the other.
        turns.push(&Turn::of_batch(0, [share(one, 9), share(other, 1)]), seconds(10), "batch");
        turns.push(&turn(third), seconds(60), "long");
        assert_eq!(turns.pop(), Some("batch"));
        // Both waited for it; the one that had little of it is first.
        turns.push(&turn(one), seconds(2), "one");
        turns.push(&turn(other), seconds(2), "other");
        assert_eq!(order(&mut turns), ["other", "one", "long"]);
    }

    #[test]
    fn a_batch_goes_when_the_first_of_its_clients_is_due() {
        let mut turns = Turns::default();
        let (hostile, honest) = (Client::new(), Client::new());
        for _ in 0..100 {
            turns.push(&turn(hostile), LONG, "hostile");
        }
        turns.pop();
        let shares = [hostile, honest].map(|client| Share { client, priority: Priority::Normal, rows: 1 });
        turns.push(&Turn::of_batch(0, shares), SHORT, "both");
        assert_eq!(turns.pop(), Some("both"));
    }

    proptest! {
        /// Clients that always have work get equal shares of time, whatever their runs take.
        #[test]
        fn shares_are_equal(costs in proptest::collection::vec(1..400_u64, 2..6)) {
            let mut turns = Turns::default();
            let clients: Vec<Client> = costs.iter().map(|_| Client::new()).collect();
            let push = |turns: &mut Turns<usize>, index: usize| {
                turns.push(&turn(clients[index]), Some(Duration::from_millis(costs[index])), index);
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
