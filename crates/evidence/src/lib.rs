//! Collect, verify and judge what a TEE says about itself.
//!
//! The words are RFC 9334's: an [`attester::Attester`] produces
//! [`evidence::Evidence`]; a [`verifier::Verifier`] turns it into
//! [`claims::Claims`] with the help of collateral; a [`policy::Policy`] says
//! which claims are acceptable.

// One module calls Occlum's device: attester/occlum_ioctl.rs.
#![deny(unsafe_code)]

pub mod attester;
pub mod claims;
pub mod clock;
pub mod collateral;
pub mod evidence;
pub mod identity;
pub mod measurement;
pub mod policy;
pub mod trust;
pub mod verifier;
