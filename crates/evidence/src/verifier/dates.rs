//! The time that evidence is verified at, and what signed documents say about it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    clock::{Clock, UnixSeconds},
    collateral::CollateralRef,
};

pub(super) struct Dates {
    clock: Arc<dyn Clock>,
    /// The signed document whose date the clock was given last.
    last: Mutex<Vec<u8>>,
}

impl Dates {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::default() }
    }

    pub(super) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// Gives the clock the date on which collateral was issued that has verified.
    pub(super) fn saw(&self, collateral: CollateralRef<'_>) {
        let document = collateral.dated_document();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == document {
            return;
        }
        if let Ok(date) = collateral.issued() {
            *last = document.to_vec();
            drop(last);
            self.clock.saw(date);
        }
    }
}
