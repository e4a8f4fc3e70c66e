//! Which requests wait for which batch, and which batch runs next. It knows no clock and no
//! thread: the time is given to it.
//!
//! Requests are kept by connection, and become a batch when it is taken: one request of each
//! connection in turn. So one with many requests shares each batch with those that have few.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::scheduler::{Client, Priority};

/// Owners whose turn is remembered although nothing of theirs waits.
const REMEMBERED: usize = 64;

/// The limits of batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    /// The most rows in a batch.
    pub(super) rows: usize,
    /// The longest time that a request waits for others while a batch could run.
    pub(super) timeout: Duration,
    /// The most batches of one owner that wait.
    pub(super) waiting: usize,
    /// The most batches that run at once.
    pub(super) running: usize,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) client: Client,
    pub(super) priority: Priority,
    pub(super) rows: usize,
    /// The time from which its batch is due.
    pub(super) arrived: Instant,
    pub(super) request: T,
}

/// Requests that may run together.
#[derive(Debug)]
struct Group<K, T> {
    key: K,
    owner: usize,
    /// Those of each connection, in the order of the connections' turns.
    lanes: VecDeque<Lane<T>>,
    rows: usize,
}

#[derive(Debug)]
struct Lane<T> {
    client: Client,
    /// By priority, then by arrival.
    requests: VecDeque<Waiting<T>>,
}

/// All requests that wait for a batch.
#[derive(Debug)]
pub(super) struct BatchQueue<K, T> {
    limits: BatchLimits,
    groups: Vec<Group<K, T>>,
    running: usize,
    /// Batches that were taken so far.
    taken: u64,
    /// When a batch of each owner was last taken, on that count.
    turns: HashMap<usize, u64>,
}

/// A request that was taken in.
#[derive(Debug)]
pub(super) struct Added<T> {
    /// When its batch is due.
    pub(super) due: Instant,
    /// Requests of the connection with the most, which had to go for it.
    pub(super) displaced: Vec<T>,
}

impl<K: PartialEq, T> BatchQueue<K, T> {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self { limits, groups: Vec::new(), running: 0, taken: 0, turns: HashMap::new() }
    }

    /// Takes a request in; `None` if as many requests of its owner wait as fill the batches that
    /// may wait. `is_wanted` is asked about those that wait before one is refused; and a
    /// connection that has fewer rows waiting than another displaces the last ones of that.
    pub(super) fn add(
        &mut self,
        owner: usize,
        key: K,
        waiting: Waiting<T>,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Option<Added<T>> {
        let mut displaced = Vec::new();
        if !self.has_room(owner, &key, waiting.rows, 0) {
            // What nobody waits for any more must not keep others out.
            self.retain(owner, is_wanted);
            if !self.has_room(owner, &key, waiting.rows, 0) {
                displaced = self.displace(owner, &key, &waiting)?;
            }
        }
        let due = waiting.arrived + self.limits.timeout;
        let (client, rows) = (waiting.client, waiting.rows);
        let at = self.groups.iter().position(|group| group.key == key).unwrap_or_else(|| {
            self.groups.push(Group { key, owner, lanes: VecDeque::new(), rows: 0 });
            self.groups.len() - 1
        });
        if let Some(group) = self.groups.get_mut(at) {
            group.rows += rows;
            match group.lanes.iter_mut().find(|lane| lane.client == client) {
                Some(lane) => lane.push(waiting),
                None => group.lanes.push_back(Lane { client, requests: VecDeque::from([waiting]) }),
            }
        }
        Some(Added { due, displaced })
    }

    /// The batch to run now, if one more may run: of those that are full or due, one of the owner
    /// whose last turn is the longest ago. `is_wanted` is asked about those of a batch that is
    /// full: what nobody waits for any more does not fill it.
    pub(super) fn take(&mut self, now: Instant, is_wanted: impl Fn(&T) -> bool) -> Option<Vec<T>> {
        if self.running >= self.limits.running {
            return None;
        }
        let full = self.limits.rows;
        for group in self.groups.iter_mut().filter(|group| group.rows >= full) {
            group.retain(&is_wanted);
        }
        self.groups.retain(|group| !group.lanes.is_empty());
        let (at, _) = self
            .groups
            .iter()
            .enumerate()
            .filter_map(|(at, group)| {
                let due = group.oldest()? + self.limits.timeout;
                let last = self.turns.get(&group.owner).copied().unwrap_or(0);
                (group.rows >= self.limits.rows || due <= now).then_some((at, (last, due)))
            })
            .min_by_key(|(_, order)| *order)?;
        let group = self.groups.get_mut(at)?;
        let batch = group.take(self.limits.rows);
        self.taken += 1;
        self.turns.insert(group.owner, self.taken);
        if group.lanes.is_empty() {
            self.groups.swap_remove(at);
        }
        if self.turns.len() > self.groups.len() + REMEMBERED {
            let groups = &self.groups;
            self.turns.retain(|owner, _| groups.iter().any(|group| group.owner == *owner));
        }
        self.running += 1;
        Some(batch)
    }

    /// A batch that was taken has ended.
    pub(super) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Whether `rows` more fit into the batches that may wait, when `gone` of their key's
    /// rows have gone.
    fn has_room(&self, owner: usize, key: &K, rows: usize, gone: usize) -> bool {
        let batches = |rows: usize| rows.div_ceil(self.limits.rows.max(1));
        let others = self.groups.iter().filter(|group| group.owner == owner && group.key != *key);
        let same = self.groups.iter().find(|group| group.key == *key).map_or(0, |group| group.rows);
        let all = batches(same.saturating_sub(gone) + rows);
        others.map(|group| batches(group.rows)).sum::<usize>() + all <= self.limits.waiting
    }

    /// Takes out what the connection with the most rows has to give for this one: its last
    /// requests of the same key, or, if that has none, all of one of its batches of another key.
    fn displace(&mut self, owner: usize, key: &K, newcomer: &Waiting<T>) -> Option<Vec<T>> {
        let mut rows: HashMap<Client, usize> = HashMap::new();
        let lanes = self.groups.iter().filter(|group| group.owner == owner).flat_map(|group| &group.lanes);
        for lane in lanes {
            *rows.entry(lane.client).or_default() += lane.rows();
        }
        let own = rows.get(&newcomer.client).copied().unwrap_or(0) + newcomer.rows;
        let (heaviest, most) = rows.into_iter().max_by_key(|(client, rows)| (*rows, *client))?;
        if heaviest == newcomer.client {
            return None;
        }
        let may_lose = most.checked_sub(own)?;
        if let Some(at) = self.groups.iter().position(|group| group.key == *key) {
            let lane = self.groups.get(at)?.lanes.iter().find(|lane| lane.client == heaviest);
            let mut gone = 0;
            let mut count = 0;
            for waiting in lane.iter().flat_map(|lane| lane.requests.iter().rev()) {
                if self.has_room(owner, key, newcomer.rows, gone) {
                    break;
                }
                gone += waiting.rows;
                count += 1;
            }
            if gone > 0 && gone <= may_lose && self.has_room(owner, key, newcomer.rows, gone) {
                return Some(self.groups.get_mut(at)?.give_up(heaviest, count));
            }
        }
        // A whole group of its own, small enough.
        let at = self.groups.iter().position(|group| {
            let alone = group.lanes.iter().all(|lane| lane.client == heaviest);
            group.owner == owner && group.key != *key && alone && group.rows <= may_lose
        })?;
        let group = self.groups.swap_remove(at);
        let requests = group.lanes.into_iter().flat_map(|lane| lane.requests);
        Some(requests.map(|waiting| waiting.request).collect())
    }

    fn retain(&mut self, owner: usize, is_wanted: impl Fn(&T) -> bool) {
        for group in self.groups.iter_mut().filter(|group| group.owner == owner) {
            group.retain(&is_wanted);
        }
        self.groups.retain(|group| !group.lanes.is_empty());
    }
}

impl<T> Lane<T> {
    fn rows(&self) -> usize {
        self.requests.iter().map(|waiting| waiting.rows).sum()
    }

    /// After all that are wanted before it or as soon.
    fn push(&mut self, waiting: Waiting<T>) {
        let at = self.requests.partition_point(|other| other.priority <= waiting.priority);
        self.requests.insert(at, waiting);
    }
}

impl<K, T> Group<K, T> {
    /// When the first of its requests came.
    fn oldest(&self) -> Option<Instant> {
        self.lanes.iter().flat_map(|lane| &lane.requests).map(|waiting| waiting.arrived).min()
    }

    /// Takes requests of the connections in turn, until the next one would be too much.
    fn take(&mut self, most: usize) -> Vec<T> {
        let mut batch = Vec::new();
        let mut rows = 0_usize;
        while let Some(mut lane) = self.lanes.pop_front() {
            match lane.requests.pop_front() {
                None => {}
                Some(next) if batch.is_empty() || rows + next.rows <= most => {
                    rows += next.rows;
                    batch.push(next.request);
                    if !lane.requests.is_empty() {
                        self.lanes.push_back(lane);
                    }
                }
                Some(next) => {
                    // It is the first of the next batch.
                    lane.requests.push_front(next);
                    self.lanes.push_front(lane);
                    break;
                }
            }
        }
        self.rows = self.rows.saturating_sub(rows);
        batch
    }

    /// Takes a connection's last `count` requests out.
    fn give_up(&mut self, client: Client, count: usize) -> Vec<T> {
        let lane = self.lanes.iter_mut().find(|lane| lane.client == client);
        let gone = lane.map(|lane| lane.requests.split_off(lane.requests.len().saturating_sub(count)));
        self.tidy();
        gone.into_iter().flatten().map(|waiting| waiting.request).collect()
    }

    fn retain(&mut self, is_wanted: impl Fn(&T) -> bool) {
        for lane in &mut self.lanes {
            lane.requests.retain(|waiting| is_wanted(&waiting.request));
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.lanes.retain(|lane| !lane.requests.is_empty());
        self.rows = self.lanes.iter().map(Lane::rows).sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Queue = BatchQueue<&'static str, u32>;

    fn queue(rows: usize, running: usize) -> Queue {
        let timeout = Duration::from_millis(5);
        BatchQueue::new(BatchLimits { rows, timeout, waiting: 2, running })
    }

    fn of(client: Client, rows: usize, id: u32, arrived: Instant) -> Waiting<u32> {
        Waiting { client, priority: Priority::Normal, rows, arrived, request: id }
    }

    fn take(queue: &mut Queue, now: Instant) -> Option<Vec<u32>> {
        queue.take(now, |_| true)
    }

    fn add(queue: &mut Queue, key: &'static str, rows: usize, id: u32, now: Instant) {
        assert!(queue.add(0, key, of(Client::new(), rows, id, now), |_| true).is_some());
    }

    #[test]
    fn one_alone_waits_until_it_is_due_and_a_full_batch_goes_at_once() {
        let now = Instant::now();
        let mut queue = queue(3, 4);
        add(&mut queue, "a", 1, 1, now);
        assert_eq!(take(&mut queue, now + Duration::from_millis(4)), None);
        add(&mut queue, "b", 1, 2, now + Duration::from_millis(4));
        assert_eq!(take(&mut queue, now + Duration::from_millis(5)), Some(vec![1]));
        add(&mut queue, "b", 2, 3, now + Duration::from_millis(5));
        assert_eq!(take(&mut queue, now + Duration::from_millis(5)), Some(vec![2, 3]));
    }

    #[test]
    fn what_does_not_fit_is_in_the_next_batch() {
        let now = Instant::now();
        let mut queue = queue(3, 4);
        add(&mut queue, "a", 2, 1, now);
        add(&mut queue, "a", 2, 2, now);
        assert_eq!(take(&mut queue, now), Some(vec![1]));
        assert_eq!(take(&mut queue, now), None);
        assert_eq!(take(&mut queue, now + Duration::from_millis(5)), Some(vec![2]));
    }

    #[test]
    fn while_all_threads_are_busy_batches_grow() {
        let now = Instant::now();
        let late = now + Duration::from_secs(1);
        let mut queue = queue(8, 1);
        add(&mut queue, "a", 1, 1, now);
        assert_eq!(take(&mut queue, late), Some(vec![1]));
        add(&mut queue, "a", 1, 2, now);
        add(&mut queue, "a", 1, 3, late);
        assert_eq!(take(&mut queue, late), None);
        queue.ended();
        assert_eq!(take(&mut queue, late), Some(vec![2, 3]));
    }

    #[test]
    fn too_many_are_refused_by_owner_and_the_unwanted_make_room() {
        let now = Instant::now();
        let mut queue = queue(1, 1);
        let client = Client::new();
        for id in [1, 2] {
            assert!(queue.add(0, "a", of(client, 1, id, now), |_| true).is_some());
        }
        assert!(queue.add(0, "a", of(client, 1, 3, now), |_| true).is_none());
        assert!(queue.add(1, "other", of(client, 1, 4, now), |_| true).is_some());
        assert!(queue.add(0, "a", of(client, 1, 5, now), |id| *id != 1).is_some());
        assert_eq!(take(&mut queue, now), Some(vec![2]));
    }

    #[test]
    fn a_connection_that_fills_the_queue_gives_way_to_another() {
        let now = Instant::now();
        let mut queue = queue(4, 1);
        let (hostile, honest) = (Client::new(), Client::new());
        for id in 0..8 {
            assert!(queue.add(0, "a", of(hostile, 1, id, now), |_| true).is_some());
        }
        assert!(queue.add(0, "a", of(hostile, 1, 8, now), |_| true).is_none());
        let added = queue.add(0, "a", of(honest, 2, 9, now), |_| true).unwrap();
        assert_eq!(added.displaced, [6, 7], "the last ones go");
        assert_eq!(take(&mut queue, now), Some(vec![0, 9, 1]), "and the other is in the first batch");
        // Until both have as much.
        for id in 10..20 {
            let _ = queue.add(0, "a", of(honest, 1, id, now), |_| true);
        }
        let rows = |client| {
            let lanes = queue.groups.iter().flat_map(|group| &group.lanes);
            lanes.filter(|lane| lane.client == client).map(Lane::rows).sum::<usize>()
        };
        assert_eq!((rows(hostile), rows(honest)), (4, 4));
    }

    #[test]
    fn requests_of_another_key_give_way_too() {
        let now = Instant::now();
        let mut queue = queue(4, 1);
        let (hostile, honest) = (Client::new(), Client::new());
        for (key, id) in [("a", 0), ("a", 1), ("b", 2), ("b", 3)] {
            assert!(queue.add(0, key, of(hostile, 1, id, now), |_| true).is_some());
        }
        let added = queue.add(0, "c", of(honest, 1, 9, now), |_| true).unwrap();
        assert_eq!(added.displaced.len(), 2);
        assert!(queue.add(0, "d", of(Client::new(), 3, 9, now), |_| true).is_none(), "it has more itself");
    }

    #[test]
    fn what_nobody_waits_for_does_not_fill_a_batch() {
        let now = Instant::now();
        let mut queue = queue(3, 4);
        for id in 1..4 {
            add(&mut queue, "a", 1, id, now);
        }
        assert_eq!(queue.take(now, |id| *id != 2), None);
        add(&mut queue, "a", 1, 4, now);
        assert_eq!(take(&mut queue, now), Some(vec![1, 3, 4]));
    }

    #[test]
    fn owners_take_turns() {
        let now = Instant::now();
        let mut queue = queue(1, 9);
        for id in [1, 2] {
            assert!(queue.add(0, "a", of(Client::new(), 1, id, now), |_| true).is_some());
        }
        assert_eq!(take(&mut queue, now), Some(vec![1]));
        // It came later, and the owner of the others had a turn already.
        let later = now + Duration::from_millis(1);
        assert!(queue.add(7, "b", of(Client::new(), 1, 3, later), |_| true).is_some());
        assert_eq!(take(&mut queue, later), Some(vec![3]));
        assert_eq!(take(&mut queue, later), Some(vec![2]));
    }

    #[test]
    fn a_client_puts_its_own_first() {
        let now = Instant::now();
        let mut queue = queue(2, 9);
        let (one, other) = (Client::new(), Client::new());
        for (client, priority, id) in [
            (one, Priority::Low, 1),
            (one, Priority::High, 2),
            (other, Priority::Low, 3),
            (one, Priority::High, 4),
        ] {
            let waiting = Waiting { priority, ..of(client, 1, id, now) };
            assert!(queue.add(0, "a", waiting, |_| true).is_some());
        }
        assert_eq!(take(&mut queue, now), Some(vec![2, 3]));
        assert_eq!(take(&mut queue, now), Some(vec![4, 1]));
    }

    proptest! {
        /// Each request leaves once, by a batch that is not too large or to make room, and those
        /// of a connection in their order.
        #[test]
        fn nothing_is_lost(requests in proptest::collection::vec((0..4_usize, 1..5_usize, 0..2_usize), 1..60), most in 4..9_usize) {
            let now = Instant::now();
            let clients: Vec<Client> = (0..4).map(|_| Client::new()).collect();
            let limits = BatchLimits { rows: most, timeout: Duration::ZERO, waiting: 3, running: usize::MAX };
            let mut queue: BatchQueue<usize, usize> = BatchQueue::new(limits);
            let mut seen = vec![0; requests.len()];
            let mut last = HashMap::new();
            let mut see = |batch: Vec<usize>, seen: &mut Vec<usize>| {
                let rows: usize = batch.iter().map(|id| requests[*id].1).sum();
                prop_assert!(rows <= most && !batch.is_empty());
                for id in batch {
                    seen[id] += 1;
                    let (client, _, key) = requests[id];
                    let before = last.insert((client, key), id);
                    prop_assert!(before.is_none_or(|before| before < id));
                }
                Ok::<(), TestCaseError>(())
            };
            for (id, (client, rows, key)) in requests.iter().enumerate() {
                match queue.add(0, *key, Waiting { client: clients[*client], priority: Priority::Normal, rows: *rows, arrived: now, request: id }, |_| true) {
                    None => seen[id] += 1,
                    Some(added) => added.displaced.into_iter().for_each(|gone| seen[gone] += 1),
                }
                prop_assert!(queue.has_room(0, &9, 0, 0));
                if id % 5 == 4 {
                    see(queue.take(now, |_| true).unwrap(), &mut seen)?;
                }
            }
            while let Some(batch) = queue.take(now, |_| true) {
                see(batch, &mut seen)?;
            }
            prop_assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
            prop_assert!(queue.groups.is_empty());
        }
    }
}
