//! Endorsements: what vendors publish so that evidence can be verified. What it is, and
//! how its vendor serves it, is in the module of each TEE; here is one trait for all of
//! it, with the sources that know every kind.

mod by_vendor;
mod cached;
mod directory;
mod kinds;
mod places;
mod services;
mod source;

pub use self::{
    by_vendor::ByVendor,
    cached::CachedSource,
    directory::{DirectorySource, MAXIMUM_COLLATERAL_LENGTH},
    kinds::{Collateral, CollateralRef, CollateralRequest},
    places::{from_places, from_url, from_url_with_clock},
    source::CollateralSource,
};
pub use crate::{
    dcap::{DcapRequest, PccsSource, PckCa, QuoteCollateralV3},
    error::CollateralError,
    snp::{AMD_KDS, KdsSource, SnpCollateral, SnpRequest, VcekRequest},
};
