//! Certificates of others that carry evidence: recorded ones, built ones of every form, and
//! those of attackers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that panics fails")]

mod attacks;
mod built;
mod fixture;
mod recorded;
