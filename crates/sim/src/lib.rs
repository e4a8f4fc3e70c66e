//! A software SGX platform. **It protects nothing**: every key is in a
//! directory or in this process, and the platform attests to any program without
//! a proof.
//!
//! Its quotes go through exactly the code that real quotes go through
//! (ARCHITECTURE.md, invariant 1): a development root takes the place of Intel's,
//! and below it is the same chain of certificates, revocation lists, TCB
//! information, QE identity and quotes. A verifier that was not given this root
//! by name refuses all of it.
//!
//! * [`Platform`] is the machine, in memory or in a directory.
//! * [`SimAttester`] and [`RemoteSimAttester`] produce evidence on it;
//!   [`open_attester`] makes either from the text of a flag.
//! * `service`, a feature, serves its collateral as a PCCS does, and quotes.
//! * [`Faults`] are what may be wrong with it, for tests.
//! * [`snp`] is a chip of the other vendor, for tests.

#![forbid(unsafe_code)]

mod attester;
mod certificates;
mod collateral_source;
mod crafted;
mod dates;
mod directory;
mod documents;
mod endorsements;
mod error;
mod faults;
mod hardware;
mod keys;
mod location;
mod messages;
mod platform;
mod quoting;
mod remote;
#[cfg(feature = "service")]
pub mod service;
pub mod snp;

pub use attester::{SimAttester, default_mr_signer, identity_of_this_program};
pub use certificates::ROOT_COMMON_NAME;
pub use collateral_source::SimCollateralSource;
pub use directory::{COLLATERAL_DIRECTORY, ROOT_CERTIFICATE_FILE};
pub use endorsements::{COLLATERAL_LIFETIME, RENEWAL_MARGIN};
pub use error::SimError;
pub use faults::{EarlyEvaluation, Faults, PublishedTcbStatus};
pub use location::{Location, open_attester, parse_quote_latency, parse_tee, when_there};
pub use platform::{Platform, PlatformBuilder};
pub use quoting::Program;
pub use remote::RemoteSimAttester;
