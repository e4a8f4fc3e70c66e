//! What the operator sees of a broker: probes ([`health`]), [`metrics`], and log lines that
//! strangers can't make too many (`noise`).

pub mod health;
pub mod metrics;
pub(crate) mod noise;
