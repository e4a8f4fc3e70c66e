//! Intel SGX and TDX: the DCAP quote, what Intel publishes so that it can be verified,
//! and its verification, which `dcap-qvl` does (Intel SGX ECDSA QuoteLibReference;
//! Intel TDX DCAP Quoting Library API).

mod cause;
mod collateral;
mod cryptography;
mod dates;
mod diagnosis;
#[cfg(feature = "collect")]
mod pccs;
mod quote;
mod root;
mod verification;

#[cfg(feature = "collect")]
pub(crate) use self::collateral::parts;
#[cfg(feature = "collect")]
pub use self::pccs::PccsSource;
pub use self::{
    collateral::{DcapRequest, PckCa, QuoteCollateralV3},
    quote::{DcapQuote, parse_dcap},
};
pub(crate) use self::{
    collateral::{early_differs, evaluation_number, issued, newest_evaluation},
    root::intel,
    verification::{DcapVerifier, ReadQuote, unverified},
};
