//! Places, of which there is a stated number. When all are taken, one is displaced, so
//! that peers that hold places without use keep nobody out.

mod table;

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use self::table::Table;
use crate::{address::Address, signal::Signal};

/// All places are taken, and none is displaced now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// A number of places.
///
/// When all are taken, one more is taken from the address that has the most. There the
/// place is displaced that was used least recently, and one at work is displaced last. If the
/// newcomer's address would still have fewer, that happens at once. Otherwise only a place
/// is displaced that was idle for the time of grace, so that a crowd of equals does not end work
/// that has begun.
#[derive(Debug)]
pub struct Places {
    limit: usize,
    grace: Duration,
    table: Mutex<Table>,
}

impl Places {
    /// At most `limit` places.
    pub fn new(limit: usize, grace: Duration) -> Arc<Self> {
        Arc::new(Self { limit, grace, table: Mutex::default() })
    }

    /// A place for one more of this address. It is idle and was used at `now`.
    pub fn take(self: &Arc<Self>, address: Address, now: Instant) -> Result<Place, Full> {
        let mut table = self.lock();
        let displaced =
            if table.len() >= self.limit { Some(self.make_room(&mut table, address, now)?) } else { None };
        let signal = Arc::new(Signal::default());
        let id = table.insert(address, now, Arc::clone(&signal));
        drop(table);
        if let Some(displaced) = displaced {
            displaced.give();
        }
        Ok(Place { places: Arc::clone(self), id, address, signal })
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.lock().len()
    }

    fn make_room(&self, table: &mut Table, newcomer: Address, now: Instant) -> Result<Arc<Signal>, Full> {
        let nobody = Full { retry_after: self.grace };
        let Some(victim) = table.first_to_go() else { return Err(nobody) };
        let fewer = table.held_by(newcomer) + 1 < victim.held;
        let idle = now.saturating_duration_since(victim.used);
        if !fewer && (victim.at_work || idle < self.grace) {
            return Err(Full { retry_after: self.grace.saturating_sub(idle) });
        }
        table.remove(victim.id).ok_or(nobody)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements of its methods that can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place. It is given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    id: u64,
    address: Address,
    signal: Arc<Signal>,
}

impl Place {
    /// For whom it is counted.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Its holder made progress or asked for something.
    pub fn touch(&self, now: Instant) {
        self.places.lock().touch(self.id, now);
    }

    /// A piece of work begins. While there is any, the place is displaced last.
    pub fn begin_work(&self, now: Instant) {
        self.places.lock().begin_work(self.id, now);
    }

    /// A piece of work has ended.
    pub fn end_work(&self, now: Instant) {
        self.places.lock().end_work(self.id, now);
    }

    /// Since when it was not used; `None` while it is at work or when it was displaced.
    pub fn idle_since(&self) -> Option<Instant> {
        self.places.lock().idle_since(self.id)
    }

    /// Whether another has it now, so that its holder has to end.
    pub fn is_displaced(&self) -> bool {
        self.signal.is_given()
    }

    /// Ready once another has it. At most the last four tasks that asked are woken.
    pub fn poll_displaced(&self, context: &mut Context<'_>) -> Poll<()> {
        self.signal.poll(context)
    }

    /// Ends once another has it.
    pub async fn displaced(&self) {
        poll_fn(|context| self.poll_displaced(context)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing is there if it was displaced.
        drop(self.places.lock().remove(self.id));
    }
}

#[cfg(test)]
mod tests;
