//! The audit log: a hash chain of records in the store, signed checkpoints over
//! it, and what an export of it proves. See docs/audit.md.
//!
//! - [`log`] records events before they have an effect, within limits that keep
//!   space for grants; [`counted`] is what strangers get instead of records.
//! - [`record`] is a record's one encoding, [`checkpoint`] the broker's word for
//!   the log up to a record.
//! - [`export`] is the log as a file, [`verify`] finds what was done to one.

pub mod checkpoint;
mod counted;
pub mod export;
pub mod log;
pub mod record;
pub mod sink;
pub mod verify;

pub use log::{AuditLimits, AuditLog};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod verify_tests;
