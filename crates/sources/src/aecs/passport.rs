//! The report that this client shows: a quote over the digest of its key, with the
//! collateral that the server verifies it with. Servers take no report without
//! ("Passport", not "BackgroundCheck").

use adytum_api::kubetee::{UnifiedAttestationAuthReport, UnifiedAttestationReport};
use adytum_evidence::{
    attester::Attester,
    claims::TeeKind,
    collateral::{Collateral, CollateralSource},
    measurement::{ReportData, Sha256Digest},
    verifier::parse_dcap,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{AecsError, collateral, messages::DcapReport};

/// The form of reports.
pub(super) const VERSION: &str = "1.0";
/// A report with collateral.
pub(super) const PASSPORT: &str = "Passport";
/// SGX with DCAP.
pub(super) const SGX_DCAP: &str = "SGX_DCAP";
/// TDX.
const TDX: &str = "TDX";

/// The report data that name a key: 32 bytes for a nonce, which Occlum's client leaves at zero,
/// and the SHA-256 of the key's PEM text, newline at the end included.
pub(super) fn report_data(public_key_pem: &str) -> ReportData {
    let mut data = [0; 64];
    let (_, digest) = data.split_at_mut(32);
    digest.copy_from_slice(&Sha256Digest::of_bytes(public_key_pem.as_bytes()).0);
    ReportData(data)
}

/// Evidence of this program, for a key.
pub(super) async fn passport(
    attester: &dyn Attester,
    source: &dyn CollateralSource,
    public_key_pem: &str,
) -> Result<UnifiedAttestationAuthReport, AecsError> {
    let evidence = attester.evidence(report_data(public_key_pem)).await?;
    let unfit = |found: String| AecsError::Platform { found };
    let quote = parse_dcap(&evidence.bytes).map_err(|error| unfit(error.to_string()))?;
    let platform = match quote.tee {
        TeeKind::Sgx => SGX_DCAP,
        TeeKind::Tdx => TDX,
        other => return Err(unfit(other.to_string())),
    };
    let collateral = match source.collateral(&quote.request.into()).await? {
        Collateral::Dcap(collateral) => collateral,
        _ => return Err(unfit("collateral of another vendor".to_owned())),
    };
    let json = |error: serde_json::Error| unfit(error.to_string());
    let report = DcapReport {
        b64_quote: STANDARD.encode(&evidence.bytes),
        json_collateral: serde_json::to_string(&collateral::write(&collateral)).map_err(json)?,
    };
    let report = UnifiedAttestationReport {
        str_report_version: VERSION.to_owned(),
        str_report_type: PASSPORT.to_owned(),
        str_tee_platform: platform.to_owned(),
        json_report: serde_json::to_string(&report).map_err(json)?,
        json_nested_reports: String::new(),
    };
    Ok(UnifiedAttestationAuthReport { report: Some(report), pem_public_key: public_key_pem.to_owned() })
}
