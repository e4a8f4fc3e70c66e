//! Tokens of attestation services: those that a test signs, recorded ones, and those of
//! attackers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that panics fails")]

mod azure;
mod fixture;
mod signatures;
