//! The audit log as it is proved: a hash chain of records, signed checkpoints over it,
//! and what an export of it shows. See docs/audit.md. A broker keeps the log.
//!
//! - [`events`] are what happened, [`record`] is their one encoding.
//! - [`checkpoint`] is the broker's word for the log up to a record.
//! - [`export`] is the log as a file, [`verify`] finds what was done to one.

pub mod checkpoint;
pub mod events;
pub mod export;
pub mod record;
pub mod verify;
