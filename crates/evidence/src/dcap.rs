//! Intel SGX and TDX: the DCAP quote, what Intel publishes so that it can be verified,
//! and its verification, which `dcap-qvl` does (Intel SGX ECDSA QuoteLibReference;
//! Intel TDX DCAP Quoting Library API).

mod cause;
mod collateral;
mod cryptography;
mod diagnosis;
mod pccs;
mod quote;
mod root;
mod verification;

pub use self::{
    collateral::{DcapRequest, PckCa, QuoteCollateralV3},
    pccs::PccsSource,
    quote::{DcapQuote, parse_dcap},
};
pub(crate) use self::{
    collateral::{issued, parts},
    root::intel,
    verification::{DcapVerifier, ReadQuote},
};
