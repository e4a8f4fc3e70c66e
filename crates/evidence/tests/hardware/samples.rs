//! Quotes made by real hardware, with their collateral: the `sample/` folder
//! of the published `dcap-qvl` crate, found through `cargo metadata`, and the
//! vectors next to the project where they are present.

use std::{fs, path::Path, sync::Arc};

use adytum_evidence::{
    clock::{FixedClock, UnixSeconds},
    collateral::{Collateral, CollateralError, CollateralRequest, CollateralSource, QuoteCollateralV3},
    evidence::Evidence,
    verifier::{TrustRoot, Verifier},
};
use async_trait::async_trait;

#[path = "folder.rs"]
mod folder;

use folder::dcap_samples;

/// When the collateral of the SGX and TDX v4 samples was valid.
pub(crate) const JUNE_2025: UnixSeconds = UnixSeconds(1_750_464_000);

/// A quote and what belongs to it.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: QuoteCollateralV3,
    pub(crate) time: UnixSeconds,
}

impl Sample {
    fn load(quote: &str, collateral: &str, time: u64) -> Self {
        let folder = dcap_samples();
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        Self {
            quote: read(quote),
            collateral: serde_json::from_slice(&read(collateral)).unwrap(),
            time: UnixSeconds(time),
        }
    }

    /// SGX, quote version 3, Processor CA.
    pub(crate) fn sgx() -> Self {
        Self::load("sgx_quote", "sgx_quote_collateral.json", JUNE_2025.0)
    }

    /// TDX, quote version 4, TD report 1.0.
    pub(crate) fn tdx_v4() -> Self {
        Self::load("tdx_quote", "tdx_quote_collateral.json", JUNE_2025.0)
    }

    /// TDX, quote version 5, TD report 1.5 extended.
    pub(crate) fn tdx_v5() -> Self {
        Self::load("tdx_quote_td15ex", "tdx_quote_td15ex_collateral.json", 1_791_590_400)
    }

    /// TDX, quote version 5, of a platform older than every TCB level.
    pub(crate) fn tdx_v5_outdated() -> Self {
        Self::load("tdx_quote_outdated", "tdx_quote_outdated_collateral.json", 1_771_545_600)
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::dcap_quote(self.quote.clone())
    }

    /// A verifier at the time of the sample that trusts Intel.
    pub(crate) fn verifier(&self) -> Verifier {
        verifier_at(self.time)
    }
}

/// A verifier that trusts Intel, at this time, and has no collateral of its own.
pub(crate) fn verifier_at(time: UnixSeconds) -> Verifier {
    Verifier::new(vec![TrustRoot::intel()], Arc::new(NoCollateral), Arc::new(FixedClock::new(time)))
}

/// For calls that bring their collateral.
pub(crate) struct NoCollateral;

#[async_trait]
impl CollateralSource for NoCollateral {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        Err(CollateralError::Missing { origin: "nowhere".to_owned(), what: request.to_string() })
    }
}

/// A file of the vectors next to the project, looked for upwards from this crate.
pub(crate) fn vector(name: &str) -> Option<Vec<u8>> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/vectors").join(name))
        .find_map(|path| fs::read(path).ok());
    if found.is_none() {
        println!("SKIPPED: shared/vectors/{name} is not beside the project");
    }
    found
}
