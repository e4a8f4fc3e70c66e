//! Where collateral comes from: directories, PCCS, and the cache before them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

mod cache;
mod directory;
mod fixture;
mod pccs;
