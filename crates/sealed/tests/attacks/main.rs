//! What a host can do to sealed models, and what comes of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod ciphertexts;
mod fixture;
mod selection;
