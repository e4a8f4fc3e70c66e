//! The broker over real attested sessions on loopback: its workloads, owners and
//! attackers run on a simulated platform.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod administration;
mod answers;
mod audit;
mod azure;
mod binary;
mod bodies;
mod clock;
mod fixture;
mod forecast;
mod health;
mod kbs;
mod large;
mod limits;
mod memory;
mod occlum;
mod overload;
mod persistence;
mod recovery;
mod release;
mod reload;
mod rollback;
mod snp;
mod standing_by;
mod succession;
