//! What the operator sees of a broker: probes ([`health`]), [`metrics`], and log lines that
//! strangers can't make too many (`log_limiter`).

pub mod health;
pub(crate) mod log_limiter;
pub mod metrics;
