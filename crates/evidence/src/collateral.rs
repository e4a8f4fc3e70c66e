//! Endorsements: what vendors publish so that evidence can be verified.

use std::sync::Arc;

use async_trait::async_trait;
pub use dcap_qvl::QuoteCollateralV3;

use crate::{claims::TeeKind, measurement::Fmspc};

/// Which collateral a quote needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CollateralRequest {
    /// SGX or TDX.
    pub tee: TeeKind,
    /// The platform family.
    pub fmspc: Fmspc,
    /// Which CA issued the PCK certificate.
    pub ca: PckCa,
}

/// The two CAs that issue PCK certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// Single-package machines.
    Processor,
    /// Multi-package machines.
    Platform,
}

/// Where collateral comes from. It is signed, so the source is not trusted.
#[async_trait]
pub trait CollateralSource: Send + Sync {
    /// The collateral for quotes of this kind.
    async fn collateral(
        &self,
        request: &CollateralRequest,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError>;
}

/// Why there is no collateral.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// The source can't be reached; trying again may help.
    #[error(
        "collateral source {origin} is unreachable: {reason}; check PCCS_URL and the network, then retry"
    )]
    Unreachable {
        /// The URL or directory.
        origin: String,
        /// What went wrong.
        reason: String,
    },
    /// The source answered, but has nothing for this platform.
    #[error("collateral source {origin} has no {what}")]
    Missing {
        /// The URL or directory.
        origin: String,
        /// What was asked for.
        what: String,
    },
    /// The source answered with something that is not collateral.
    #[error("collateral source {origin}: {what} is malformed: {reason}")]
    Malformed {
        /// The URL or directory.
        origin: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}
