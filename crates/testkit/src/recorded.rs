//! Evidence that real hardware made, as far as this machine has it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use adytum_evidence::{
    clock::{FixedClock, UnixSeconds},
    collateral::QuoteCollateralV3,
    evidence::Evidence,
    verifier::{TrustRoot, Verifier},
};
use cargo_metadata::{CargoOpt, MetadataCommand};

use crate::tee::Nothing;

/// A file of the recorded evidence that is kept next to the project: it is looked for in
/// `shared/vectors` of each folder above this crate. Without it the test says that it is
/// skipped.
pub fn vector(name: &str) -> Option<Vec<u8>> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/vectors").join(name))
        .find_map(|path| fs::read(path).ok());
    if found.is_none() {
        println!("SKIPPED: shared/vectors/{name} is not next to the project");
    }
    found
}

/// A file of the samples that the published `dcap-qvl` crate contains.
pub fn dcap_sample(name: &str) -> Vec<u8> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    fs::read(FOLDER.get_or_init(dcap_samples).join(name)).unwrap()
}

fn dcap_samples() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let metadata = |options: &[&str]| {
        MetadataCommand::new()
            .manifest_path(&manifest)
            .features(CargoOpt::SomeFeatures(Vec::new()))
            .other_options(options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
            .exec()
    };
    // The sources from which these tests were built are on this machine. Crates for other
    // platforms need not be.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let found = metadata(&["--offline", "--filter-platform", &host])
        .or_else(|_| metadata(&["--offline"]))
        .or_else(|_| metadata(&[]))
        .unwrap();
    let package = found.packages.iter().find(|package| package.name.as_str() == "dcap-qvl").unwrap();
    package.manifest_path.parent().unwrap().as_std_path().join("sample")
}

/// When the collateral of the SGX and TDX v4 samples was valid.
pub const JUNE_2025: UnixSeconds = UnixSeconds(1_750_464_000);

/// A quote and what belongs to it.
#[derive(Clone)]
pub struct Sample {
    pub quote: Vec<u8>,
    pub collateral: QuoteCollateralV3,
    pub time: UnixSeconds,
}

impl Sample {
    fn load(quote: &str, collateral: &str, time: u64) -> Self {
        Self {
            quote: dcap_sample(quote),
            collateral: serde_json::from_slice(&dcap_sample(collateral)).unwrap(),
            time: UnixSeconds(time),
        }
    }

    /// SGX, quote version 3, Processor CA.
    pub fn sgx() -> Self {
        Self::load("sgx_quote", "sgx_quote_collateral.json", JUNE_2025.0)
    }

    /// TDX, quote version 4, TD report 1.0.
    pub fn tdx_v4() -> Self {
        Self::load("tdx_quote", "tdx_quote_collateral.json", JUNE_2025.0)
    }

    /// TDX, quote version 5, TD report 1.5 extended.
    pub fn tdx_v5() -> Self {
        Self::load("tdx_quote_td15ex", "tdx_quote_td15ex_collateral.json", 1_791_590_400)
    }

    /// TDX, quote version 5, of a platform older than every TCB level.
    pub fn tdx_v5_outdated() -> Self {
        Self::load("tdx_quote_outdated", "tdx_quote_outdated_collateral.json", 1_771_545_600)
    }

    /// The quote as a verifier takes it.
    pub fn evidence(&self) -> Evidence {
        Evidence::dcap_quote(self.quote.clone())
    }

    /// A verifier at the time of the sample that trusts Intel.
    pub fn verifier(&self) -> Verifier {
        verifier_at(self.time)
    }
}

/// A verifier that trusts Intel, at this time, and has no collateral of its own.
pub fn verifier_at(time: UnixSeconds) -> Verifier {
    Verifier::new(vec![TrustRoot::intel()], Arc::new(Nothing), Arc::new(FixedClock::new(time)))
}
