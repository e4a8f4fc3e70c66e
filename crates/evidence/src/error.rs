//! Why evidence did not become claims. Every TEE and every source of collateral fails
//! with these, so they lie below all of them.

mod azure;
mod collateral;
mod verification;

pub use self::{azure::MaaError, collateral::CollateralError, verification::VerificationError};
