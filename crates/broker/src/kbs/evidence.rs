//! Evidence in the JSON that each TEE has in the KBS protocol.

pub mod snp;

use adytum_evidence::{
    claims::TeeKind,
    evidence::{Evidence, MAXIMUM_EVIDENCE_LENGTH},
    snp::{Endorser, certificate_table},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

use self::snp::ReportFields;
use super::error::KbsError;

/// Of SGX and TDX. A TDX guest sends its event log too, which is not looked at: policies are about
/// the run-time measurements themselves.
#[derive(Deserialize)]
struct QuoteEvidence {
    quote: String,
}

/// Of SEV-SNP.
#[derive(Deserialize)]
struct SnpEvidence {
    attestation_report: ReportFields,
    #[serde(default)]
    cert_chain: Option<Vec<ChainEntry>>,
}

#[derive(Deserialize)]
struct ChainEntry {
    cert_type: Value,
    data: Vec<u8>,
}

/// Reads evidence of this TEE. Nothing is verified.
pub fn evidence(tee: TeeKind, json: &Value) -> Result<Evidence, KbsError> {
    let refused = |reason: String| KbsError::Evidence { reason };
    let malformed = |error: serde_json::Error| refused(error.to_string().chars().take(256).collect());
    let evidence = match tee {
        TeeKind::Sgx | TeeKind::Tdx => {
            let QuoteEvidence { quote } = QuoteEvidence::deserialize(json).map_err(malformed)?;
            let quote = STANDARD.decode(quote);
            Evidence::dcap_quote(quote.map_err(|error| refused(format!("the quote is not base64: {error}")))?)
        }
        TeeKind::Snp => {
            let read = SnpEvidence::deserialize(json).map_err(malformed)?;
            let report = read.attestation_report.to_bytes().map_err(refused)?;
            let chain = read.cert_chain.unwrap_or_default();
            Evidence::snp_report(report, endorsements(&chain).map_err(refused)?)
        }
        other => return Err(KbsError::Tee { found: other.to_string() }),
    };
    let found = evidence.bytes.len() + evidence.endorsements.len();
    if found > MAXIMUM_EVIDENCE_LENGTH {
        return Err(refused(format!("it has {found} bytes; at most {MAXIMUM_EVIDENCE_LENGTH} are allowed")));
    }
    Ok(evidence)
}

/// The certificate of the key that signed, as a table. The certificates above it come from AMD.
fn endorsements(chain: &[ChainEntry]) -> Result<Vec<u8>, String> {
    let of = |entry: &ChainEntry| match entry.cert_type.as_str() {
        Some("VCEK") => Some(Endorser::Vcek),
        Some("VLEK") => Some(Endorser::Vlek),
        _ => None,
    };
    let mut found = chain.iter().filter_map(|entry| Some((of(entry)?, &entry.data)));
    match (found.next(), found.next()) {
        (None, _) => Ok(Vec::new()),
        (Some((endorser, certificate)), None) => Ok(certificate_table(endorser, certificate)),
        (Some(_), Some(_)) => Err("the chain has two certificates of keys that sign reports".to_owned()),
    }
}
