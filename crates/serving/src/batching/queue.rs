//! Which requests wait for which batch, and which batch runs next. It knows no clock and no
//! thread: the time is given to it.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

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

/// Requests that are run together.
#[derive(Debug)]
pub(super) struct Batch<K, T> {
    key: K,
    owner: usize,
    /// The requests, in the order in which they came.
    pub(super) requests: Vec<T>,
    rows: usize,
    due: Instant,
    /// Whether it takes no more requests.
    closed: bool,
}

/// All batches that wait.
#[derive(Debug)]
pub(super) struct BatchQueue<K, T> {
    limits: BatchLimits,
    waiting: VecDeque<Batch<K, T>>,
    running: usize,
}

impl<K: PartialEq, T> BatchQueue<K, T> {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self { limits, waiting: VecDeque::new(), running: 0 }
    }

    /// Puts a request of `rows` rows into a batch of its key, and says when that is due;
    /// `None` if too many batches of its owner wait. `is_wanted` is asked about the
    /// requests that wait before one is refused.
    pub(super) fn add(
        &mut self,
        owner: usize,
        key: K,
        rows: usize,
        request: T,
        now: Instant,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Option<Instant> {
        let open = self.waiting.iter_mut().find(|batch| !batch.closed && batch.key == key);
        if let Some(batch) = open {
            let together = batch.rows.saturating_add(rows);
            if together <= self.limits.rows {
                batch.rows = together;
                batch.requests.push(request);
                batch.closed = together == self.limits.rows;
                return Some(batch.due);
            }
        }
        if self.count(owner) >= self.limits.waiting {
            // What nobody waits for any more must not keep others out.
            self.waiting.retain(|batch| batch.requests.iter().any(&is_wanted));
            if self.count(owner) >= self.limits.waiting {
                return None;
            }
        }
        if let Some(batch) = self.waiting.iter_mut().find(|batch| !batch.closed && batch.key == key) {
            batch.closed = true;
        }
        let due = now + self.limits.timeout;
        let closed = rows >= self.limits.rows;
        self.waiting.push_back(Batch { key, owner, requests: vec![request], rows, due, closed });
        Some(due)
    }

    fn count(&self, owner: usize) -> usize {
        self.waiting.iter().filter(|batch| batch.owner == owner).count()
    }

    /// The batch to run now: the oldest that is full or due, if one more may run.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch<K, T>> {
        if self.running >= self.limits.running {
            return None;
        }
        let at = self.waiting.iter().position(|batch| batch.closed || batch.due <= now)?;
        self.running += 1;
        self.waiting.remove(at)
    }

    /// A batch that was taken has ended.
    pub(super) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(rows: usize, running: usize) -> BatchQueue<&'static str, u32> {
        let timeout = Duration::from_millis(5);
        BatchQueue::new(BatchLimits { rows, timeout, waiting: 2, running })
    }

    fn add(queue: &mut BatchQueue<&'static str, u32>, key: &'static str, rows: usize, id: u32, now: Instant) {
        assert!(queue.add(0, key, rows, id, now, |_| true).is_some());
    }

    fn take(queue: &mut BatchQueue<&'static str, u32>, now: Instant) -> Option<Vec<u32>> {
        queue.take(now).map(|batch| batch.requests)
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
    fn what_does_not_fit_closes_the_batch() {
        let now = Instant::now();
        let mut queue = queue(3, 4);
        add(&mut queue, "a", 2, 1, now);
        add(&mut queue, "a", 2, 2, now);
        assert_eq!(take(&mut queue, now), Some(vec![1]));
        assert_eq!(take(&mut queue, now), None);
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
    fn too_many_batches_are_refused_by_owner_and_the_unwanted_make_room() {
        let now = Instant::now();
        let mut queue = queue(1, 1);
        add(&mut queue, "a", 1, 1, now);
        add(&mut queue, "a", 1, 2, now);
        assert_eq!(queue.add(0, "a", 1, 3, now, |_| true), None);
        assert!(queue.add(1, "other", 1, 4, now, |_| true).is_some());
        assert!(queue.add(0, "a", 1, 5, now, |id| *id != 1).is_some());
        assert_eq!(take(&mut queue, now), Some(vec![2]));
    }
}
