//! The audit log that a broker keeps: a hash chain of records in the store, with signed
//! checkpoints over it. See docs/audit.md. Records, exports and their proof are in
//! `adytum_governance::audit`.
//!
//! - [`log`] records events before they have an effect, within limits that keep
//!   space for grants; `counted` is what strangers get instead of records.
//! - [`sink`] is where events go besides.

mod counted;
pub mod log;
pub mod sink;

pub use log::{AuditLimits, AuditLog};

#[cfg(test)]
mod tests;
