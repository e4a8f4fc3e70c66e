//! Sealed bundles: what comes back, and what a host, or anybody who knows the
//! recipient, can try.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod archives;
mod bed;
mod ciphertexts;
mod packing;
mod properties;
