//! Sources of other people's making: directories and web servers, of which not all do what they say.

#![allow(clippy::unwrap_used, reason = "tests")]

mod directory;
mod fixture;
mod publish;
mod web;
