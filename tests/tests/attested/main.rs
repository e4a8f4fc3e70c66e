//! The data owner: she verifies a replica before she sends anything, and attackers who would
//! like her data. All with the real binaries.

#![allow(clippy::indexing_slicing, reason = "tests")]

mod attackers;
mod attacks;
mod clients;
mod fixture;
mod proxied;
mod several;
mod verified;
