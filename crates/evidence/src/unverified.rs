//! What evidence says of itself before anybody has verified it: texts for people, which no policy
//! takes. Anybody can write such bytes.

use crate::{
    claims::Measured,
    dcap::{parse_dcap, unverified},
    error::VerificationError,
    evidence::{Evidence, EvidenceFormat},
    snp::{SnpProduct, SnpTcb, parse_report},
};

/// A name, and what the evidence says under it.
pub type Statement = (&'static str, String);

/// The statements of a quote or a report. A token's are its own claims, which
/// [`crate::jwt::Token::unverified`] gives.
pub fn says(evidence: &Evidence) -> Result<Vec<Statement>, VerificationError> {
    match evidence.format {
        EvidenceFormat::DcapQuote => of_quote(&evidence.bytes),
        EvidenceFormat::SnpReport => of_report(&evidence.bytes),
        EvidenceFormat::AzureToken => Ok(Vec::new()),
    }
}

fn of_quote(bytes: &[u8]) -> Result<Vec<Statement>, VerificationError> {
    let request = parse_dcap(bytes)?.request;
    let (measured, debug, report_data) = unverified(bytes)?;
    let mut said = match measured {
        Measured::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, .. } => vec![
            ("mr_enclave", mr_enclave.to_string()),
            ("mr_signer", mr_signer.to_string()),
            ("isv_prod_id", isv_prod_id.to_string()),
            ("isv_svn", isv_svn.to_string()),
        ],
        Measured::Tdx { mr_td, mr_config_id, rtmr, .. } => {
            let names = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"];
            let mut said = vec![("mr_td", mr_td.to_string()), ("mr_config_id", mr_config_id.to_string())];
            said.extend(names.into_iter().zip(rtmr.map(|value| value.to_string())));
            said
        }
        Measured::Snp { .. } => Vec::new(),
    };
    said.extend([
        ("debug", debug.to_string()),
        ("fmspc", request.fmspc.to_string()),
        ("report_data", report_data.to_string()),
    ]);
    Ok(said)
}

fn of_report(bytes: &[u8]) -> Result<Vec<Statement>, VerificationError> {
    let report = parse_report(bytes)?;
    let mut said = vec![
        ("measurement", report.measurement.to_string()),
        ("host_data", report.host_data.to_string()),
        ("vmpl", report.vmpl.to_string()),
        ("guest_svn", report.guest_svn.to_string()),
        ("debug", report.debug().to_string()),
        ("migration", report.migration().to_string()),
        ("signing_key", report.endorser.to_string()),
        ("chip_id", hex::encode(report.chip_id)),
    ];
    // Older reports do not tell the processor; all of those have their levels in the same places.
    let product = report.product.unwrap_or(SnpProduct::Milan);
    said.push(("reported_tcb", SnpTcb::read(product, report.reported_tcb).to_string()));
    said.push(("report_data", report.report_data.to_string()));
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_evidence_says_nothing() {
        for evidence in [
            Evidence::dcap_quote(vec![3; 100]),
            Evidence::dcap_quote(Vec::new()),
            Evidence::snp_report(vec![2; 100], Vec::new()),
        ] {
            assert!(says(&evidence).is_err());
        }
        assert_eq!(says(&Evidence::azure_token("a.b.c")).unwrap(), []);
    }
}
