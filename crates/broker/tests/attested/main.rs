//! The broker over real attested sessions on loopback: its workloads, owners and
//! attackers run on a simulated platform.

mod administration;
mod binary;
mod limits;
mod persistence;
mod release;
mod world;
