//! Verification of evidence from real hardware, at the time it was made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

mod attacks;
mod collateral;
mod genuine;
mod vectors;
