//! The side that turns evidence into claims.

use std::sync::Arc;

use crate::{
    attester::AttesterError,
    claims::Claims,
    clock::Clock,
    collateral::{CollateralError, CollateralSource, QuoteCollateralV3},
    evidence::Evidence,
};

/// Verifies evidence against explicit roots, at the time its clock says.
pub struct Verifier {
    roots: Vec<TrustRoot>,
    collateral: Arc<dyn CollateralSource>,
    clock: Arc<dyn Clock>,
}

/// A root that evidence may chain to.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustRoot {
    _skeleton: (),
}

impl TrustRoot {
    /// Intel's SGX root CA (SGX and TDX).
    pub fn intel() -> Self {
        Self { _skeleton: () }
    }

    /// The root of a software platform, from its certificate in DER.
    #[cfg(feature = "simulation")]
    pub fn simulation(_root_certificate_der: &[u8]) -> Result<Self, VerificationError> {
        Ok(Self { _skeleton: () })
    }
}

impl Verifier {
    /// A verifier that trusts these roots and no other.
    pub fn new(roots: Vec<TrustRoot>, collateral: Arc<dyn CollateralSource>, clock: Arc<dyn Clock>) -> Self {
        Self { roots, collateral, clock }
    }

    /// Fetches the collateral that this evidence needs and verifies it.
    pub async fn verify(&self, _evidence: &Evidence) -> Result<Claims, VerificationError> {
        let _ = (&self.roots, &self.collateral, &self.clock);
        Err(VerificationError::Skeleton)
    }

    /// Verifies with collateral at hand; for synchronous callers.
    pub fn verify_with(
        &self,
        _evidence: &Evidence,
        _collateral: &QuoteCollateralV3,
    ) -> Result<Claims, VerificationError> {
        Err(VerificationError::Skeleton)
    }
}

/// Why evidence did not become claims.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// To be replaced.
    #[error("skeleton")]
    Skeleton,
    /// Collateral.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// Attester.
    #[error(transparent)]
    Attester(#[from] AttesterError),
}

impl VerificationError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        "skeleton"
    }

    /// May the same evidence pass later?
    pub fn retry(&self) -> bool {
        false
    }
}
