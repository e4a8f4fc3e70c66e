//! Operators that choose elements by their values or places.

pub(super) mod choose;
pub(super) mod order;
