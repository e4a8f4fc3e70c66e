//! Sealed bundles: the round trip, and the attacks of a host, or of anybody who knows the
//! recipient.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod archives;
mod ciphertexts;
mod fixture;
mod packing;
mod properties;
