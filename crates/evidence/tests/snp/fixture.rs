//! What the tests have in common: a guest on a chip, and who verifies it.

use std::sync::Arc;

use adytum_evidence::{
    clock::SystemClock,
    evidence::Evidence,
    measurement::{HostData, ReportData, SnpMeasurement},
    snp::{Endorser, SnpProduct},
    verifier::{TrustRoot, Verifier},
};
use adytum_sim::snp::{SnpFaults, SnpGuest, SnpPlatform};

pub(crate) const MEASUREMENT: SnpMeasurement = SnpMeasurement([1; 48]);
pub(crate) const HOST_DATA: HostData = HostData([2; 32]);
pub(crate) const REPORT_DATA: ReportData = ReportData([3; 64]);

pub(crate) fn guest() -> SnpGuest {
    SnpGuest::new(MEASUREMENT, HOST_DATA)
}

pub(crate) fn milan() -> Arc<SnpPlatform> {
    SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vcek).unwrap()
}

pub(crate) fn faulty(faults: SnpFaults) -> Arc<SnpPlatform> {
    SnpPlatform::with_faults(SnpProduct::Milan, Endorser::Vcek, &faults).unwrap()
}

pub(crate) fn evidence(platform: &SnpPlatform) -> Evidence {
    platform.evidence(&guest(), REPORT_DATA).unwrap()
}

/// Trusts this platform, and gets its collateral.
pub(crate) fn verifier(platform: &Arc<SnpPlatform>) -> Verifier {
    trusting(vec![platform.trust_root().unwrap()], platform)
}

pub(crate) fn trusting(roots: Vec<TrustRoot>, platform: &Arc<SnpPlatform>) -> Verifier {
    Verifier::new(roots, Arc::clone(platform) as _, Arc::new(SystemClock))
}
