//! The places that are taken, in the order in which they would be displaced.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use crate::{address::Address, signal::Signal};

/// Idle before at work, then the least recently used.
type Rank = (bool, Instant, u64);

#[derive(Debug)]
struct Slot {
    address: Address,
    used: Instant,
    /// Pieces of work in progress.
    work: usize,
    signal: Arc<Signal>,
}

impl Slot {
    fn rank(&self, id: u64) -> Rank {
        (self.work > 0, self.used, id)
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    next: u64,
    slots: HashMap<u64, Slot>,
    by_address: HashMap<Address, BTreeSet<Rank>>,
    /// For each address with places: their number, and the first of them that goes.
    order: BTreeSet<(Reverse<usize>, Rank, Address)>,
}

/// The place that is displaced first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub(super) id: u64,
    /// The number that its address has.
    pub(super) held: usize,
    pub(super) at_work: bool,
    pub(super) used: Instant,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn held_by(&self, address: Address) -> usize {
        self.by_address.get(&address).map_or(0, BTreeSet::len)
    }

    pub(super) fn first_to_go(&self) -> Option<Victim> {
        let (Reverse(held), (at_work, used, id), _) = *self.order.first()?;
        Some(Victim { id, held, at_work, used })
    }

    pub(super) fn insert(&mut self, address: Address, now: Instant, signal: Arc<Signal>) -> u64 {
        let id = self.next;
        self.next += 1;
        let slot = Slot { address, used: now, work: 0, signal };
        let rank = slot.rank(id);
        self.slots.insert(id, slot);
        self.with_address(address, |ranks| {
            ranks.insert(rank);
        });
        id
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Arc<Signal>> {
        let slot = self.slots.remove(&id)?;
        let rank = slot.rank(id);
        self.with_address(slot.address, |ranks| {
            ranks.remove(&rank);
        });
        Some(slot.signal)
    }

    pub(super) fn touch(&mut self, id: u64, now: Instant) {
        self.change(id, |slot| slot.used = slot.used.max(now));
    }

    pub(super) fn begin_work(&mut self, id: u64, now: Instant) {
        self.change(id, |slot| {
            slot.used = slot.used.max(now);
            slot.work += 1;
        });
    }

    pub(super) fn end_work(&mut self, id: u64, now: Instant) {
        self.change(id, |slot| {
            slot.used = slot.used.max(now);
            slot.work = slot.work.saturating_sub(1);
        });
    }

    pub(super) fn idle_since(&self, id: u64) -> Option<Instant> {
        self.slots.get(&id).filter(|slot| slot.work == 0).map(|slot| slot.used)
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let (address, before) = (slot.address, slot.rank(id));
        change(slot);
        let after = slot.rank(id);
        self.with_address(address, |ranks| {
            ranks.remove(&before);
            ranks.insert(after);
        });
    }

    /// Changes the places of an address and keeps the order right.
    fn with_address(&mut self, address: Address, change: impl FnOnce(&mut BTreeSet<Rank>)) {
        let ranks = self.by_address.entry(address).or_default();
        if let Some(first) = ranks.first() {
            self.order.remove(&(Reverse(ranks.len()), *first, address));
        }
        change(ranks);
        match ranks.first() {
            Some(first) => {
                self.order.insert((Reverse(ranks.len()), *first, address));
            }
            None => {
                self.by_address.remove(&address);
            }
        }
    }
}
