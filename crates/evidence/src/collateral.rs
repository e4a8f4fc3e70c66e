//! Endorsements: what vendors publish so that evidence can be verified. What it is, and
//! how its vendor serves it, is in the module of each TEE; here is one trait for all of
//! it, with the sources that know every kind.

mod by_vendor;
#[cfg(feature = "collect")]
mod cached;
#[cfg(feature = "collect")]
mod directory;
mod early;
mod kinds;
#[cfg(feature = "collect")]
mod places;
#[cfg(feature = "collect")]
mod services;
mod source;

pub use self::{
    by_vendor::ByVendor,
    early::{NewerEvaluation, evaluation_number, newer_evaluation},
    kinds::{Collateral, CollateralRef, CollateralRequest},
    source::CollateralSource,
};
#[cfg(feature = "collect")]
pub use self::{
    cached::CachedSource,
    directory::{DirectorySource, MAXIMUM_COLLATERAL_LENGTH},
    places::{from_places, from_url, from_url_with_clock},
};
#[cfg(feature = "collect")]
pub use crate::{
    dcap::PccsSource,
    snp::{AMD_KDS, KdsSource},
};
pub use crate::{
    dcap::{DcapRequest, PckCa, QuoteCollateralV3},
    error::CollateralError,
    snp::{SnpCollateral, SnpRequest, VcekRequest},
};
