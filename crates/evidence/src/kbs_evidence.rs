//! Evidence in the JSON that Confidential Containers' KBS protocol has for each TEE.

mod snp;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use self::snp::ReportFields;
use crate::{
    claims::TeeKind,
    dcap::parse_dcap,
    evidence::{Evidence, EvidenceFormat, MAXIMUM_EVIDENCE_LENGTH},
    snp::{CertificateTable, Endorser, certificate_table, parse_report},
};

/// The evidence in a message of the KBS protocol is not of the form that its TEE has there.
///
/// Do: send the evidence as the attestation agent of Confidential Containers does.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the evidence of the KBS protocol can't be read: {reason}; send it as the attestation agent of Confidential \
     Containers does"
)]
pub struct KbsEvidenceError {
    pub reason: String,
}

impl KbsEvidenceError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        "kbs-evidence-malformed"
    }
}

/// Of SGX and TDX. A TDX guest sends its event log too, which is not looked at: policies are
/// about the run-time measurements themselves.
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

/// Reads evidence: `{"quote": ..}` of SGX or TDX, `{"attestation_report": .., "cert_chain": ..}`
/// of SEV-SNP. The quote itself says of which TEE it is. Nothing is verified.
pub fn read(json: &Value) -> Result<Evidence, KbsEvidenceError> {
    let refused = |reason: String| KbsEvidenceError { reason };
    let malformed = |error: serde_json::Error| refused(error.to_string().chars().take(256).collect());
    let evidence = if json.get("attestation_report").is_some() {
        let read = SnpEvidence::deserialize(json).map_err(malformed)?;
        let report = read.attestation_report.to_bytes().map_err(refused)?;
        let chain = read.cert_chain.unwrap_or_default();
        Evidence::snp_report(report, endorsements(&chain).map_err(refused)?)
    } else {
        let QuoteEvidence { quote } = QuoteEvidence::deserialize(json).map_err(malformed)?;
        let quote = STANDARD.decode(quote);
        Evidence::dcap_quote(quote.map_err(|error| refused(format!("the quote is not base64: {error}")))?)
    };
    let found = evidence.bytes.len() + evidence.endorsements.len();
    if found > MAXIMUM_EVIDENCE_LENGTH {
        return Err(refused(format!("it has {found} bytes; at most {MAXIMUM_EVIDENCE_LENGTH} are allowed")));
    }
    Ok(evidence)
}

/// Writes evidence, and which TEE it is of. What [`read`] reads of it is the same evidence.
pub fn write(evidence: &Evidence) -> Result<(TeeKind, Value), KbsEvidenceError> {
    let refused = |reason: String| KbsEvidenceError { reason };
    let quote = STANDARD.encode(&evidence.bytes);
    let (tee, json) = match evidence.format {
        EvidenceFormat::DcapQuote => {
            match parse_dcap(&evidence.bytes).map_err(|error| refused(error.to_string()))?.tee {
                TeeKind::Tdx => (TeeKind::Tdx, json!({ "cc_eventlog": null, "quote": quote })),
                tee => (tee, json!({ "quote": quote })),
            }
        }
        EvidenceFormat::SnpReport => (TeeKind::Snp, snp_evidence(evidence).map_err(refused)?),
        other @ EvidenceFormat::AzureToken => return Err(refused(format!("a {other} has no form there"))),
    };
    // The report's form has no place for reserved bytes: a server would read another report.
    if read(&json)?.bytes != evidence.bytes {
        return Err(refused("the report has bytes that are not zero where AMD reserves them".to_owned()));
    }
    Ok((tee, json))
}

fn snp_evidence(evidence: &Evidence) -> Result<Value, String> {
    let report = parse_report(&evidence.bytes).map_err(|error| error.to_string())?;
    let table = CertificateTable::parse(&evidence.endorsements)?;
    let chain: Vec<Value> = table
        .endorser(report.endorser)
        .map(|certificate| json!({ "cert_type": report.endorser.to_string(), "data": certificate }))
        .into_iter()
        .collect();
    Ok(json!({ "attestation_report": snp::fields(&report, &evidence.bytes), "cert_chain": chain }))
}

/// The certificate of the key that signed, as a table. The certificates above it come from
/// AMD.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::evidence::EvidenceFormat;

    #[test]
    fn a_quote_is_read_from_its_base64() {
        let json = json!({ "cc_eventlog": null, "quote": STANDARD.encode(b"a quote") });
        assert_eq!(read(&json), Ok(Evidence::dcap_quote(b"a quote".to_vec())));
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = STANDARD.encode(vec![0; MAXIMUM_EVIDENCE_LENGTH + 1]);
        for json in [
            json!({}),
            json!([]),
            json!({ "quote": 1 }),
            json!({ "quote": "***" }),
            json!({ "quote": long }),
            json!({ "svn": "1", "report_data": "" }),
            json!({ "attestation_report": {} }),
        ] {
            assert_eq!(read(&json).unwrap_err().code(), "kbs-evidence-malformed", "{json}");
        }
    }

    #[test]
    fn a_chain_names_one_key_that_signs() {
        let entry = |kind: &str| ChainEntry { cert_type: kind.into(), data: vec![1, 2, 3] };
        let table = endorsements(&[entry("ARK"), entry("ASK"), entry("VLEK")]).unwrap();
        assert_eq!(table, certificate_table(Endorser::Vlek, &[1, 2, 3]));
        assert_eq!(endorsements(&[entry("ARK")]), Ok(Vec::new()));
        assert!(endorsements(&[entry("VCEK"), entry("VLEK")]).is_err());
        assert_eq!(Evidence::snp_report(Vec::new(), table).format, EvidenceFormat::SnpReport);
    }
}
