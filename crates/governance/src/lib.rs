//! What owners sign, what is decided by it, and what can be proved offline.
//!
//! There is no server and no network here: nothing waits for a peer. The files that
//! are written are the memories of heads and of services. So an auditor can read the rules by themselves, and
//! `adytum` explains a decision without a broker.
//!
//! - [`genesis`] creates a broker, [`roles`] says who may change what it does, and
//!   [`role_changes`] which manifests changed that. [`approval`] is how owners agree.
//! - [`manifest`] says which workloads exist and what each may have. [`rules`] admits one,
//!   [`trust`] says which platforms' evidence it accepts.
//! - [`command`] is what owners ask of a broker, [`authorisation`] their leave for another
//!   broker to take its root key over, [`confirmation`] their word for its state.
//! - [`decide`] is the decision: claims and rules in, secrets or a refusal out.
//!   [`secrets`] is what a value is. [`occlum`] reads the files of an Occlum deployment,
//!   [`measured`] is what a broker's evidence shows of them.
//! - [`forecast`] is what will be refused, as far as can be known.
//! - [`head`] is how far a broker's state has come, [`heads`] the memory of that,
//!   [`announcement`] what a broker says of itself in a session, [`pin`] what a replica or
//!   an owner holds against it.
//! - [`service`] is what owners sign for those who send data: what a replica must prove.
//! - [`audit`] is the log as records, as an export, and as a proof.
//! - [`recovery`] is the key to all that a broker keeps, and how it comes back.

#![forbid(unsafe_code)]

pub mod announcement;
pub mod approval;
pub mod audit;
pub mod authorisation;
pub mod command;
pub mod confirmation;
pub mod decide;
mod durable;
pub mod forecast;
pub mod genesis;
pub mod head;
pub mod heads;
pub mod manifest;
pub mod measured;
pub mod occlum;
pub mod pin;
pub mod recovery;
pub mod role_changes;
pub mod roles;
pub mod rules;
pub mod secrets;
pub mod service;
pub mod trust;
