//! SEV-SNP reports, from a chip in software whose certificates have AMD's form.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

mod attacks;
mod fixture;
mod genuine;
mod kbs;
mod sources;
mod unverified;
