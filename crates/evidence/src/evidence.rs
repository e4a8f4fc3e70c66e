//! Evidence as it travels: its format and its bytes, nothing verified.

use std::fmt;

/// The largest evidence accepted, in bytes. A DCAP quote has about 5 KiB, a
/// SEV-SNP report with its certificates less than 16 KiB.
pub const MAXIMUM_EVIDENCE_LENGTH: usize = 32 * 1024;

/// The length of a SEV-SNP report in bytes: every version of the report has it.
pub const SNP_REPORT_LENGTH: usize = 0x4a0;

/// How the bytes of evidence are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvidenceFormat {
    /// An Intel DCAP quote: SGX v3, TDX v4 or v5.
    DcapQuote,
    /// An AMD SEV-SNP attestation report.
    SnpReport,
    /// A token of Microsoft Azure Attestation, in its compact form.
    AzureToken,
}

impl fmt::Display for EvidenceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DcapQuote => "DCAP quote",
            Self::SnpReport => "SEV-SNP report",
            Self::AzureToken => "token of Azure Attestation",
        })
    }
}

/// Bytes that a TEE signed about itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    /// How to read `bytes`.
    pub format: EvidenceFormat,
    /// The quote or report.
    pub bytes: Vec<u8>,
    /// Endorsements that only the attester has (SEV-SNP: its certificate
    /// table); empty otherwise.
    pub endorsements: Vec<u8>,
}

impl Evidence {
    /// A DCAP quote.
    pub fn dcap_quote(bytes: Vec<u8>) -> Self {
        Self { format: EvidenceFormat::DcapQuote, bytes, endorsements: Vec::new() }
    }

    /// A SEV-SNP report and the certificate table that came with it.
    pub fn snp_report(bytes: Vec<u8>, endorsements: Vec<u8>) -> Self {
        Self { format: EvidenceFormat::SnpReport, bytes, endorsements }
    }

    /// A token of Azure Attestation.
    pub fn azure_token(token: impl Into<Vec<u8>>) -> Self {
        Self { format: EvidenceFormat::AzureToken, bytes: token.into(), endorsements: Vec::new() }
    }

    /// Evidence from the content of a file, as [`Self::to_file`] writes it: a DCAP
    /// quote, a SEV-SNP report with a certificate table or nothing after it, or a token.
    pub fn from_file(mut bytes: Vec<u8>) -> Self {
        // A token begins with base64 of a brace and a quotation mark.
        if bytes.starts_with(b"eyJ") {
            return Self::azure_token(bytes);
        }
        // Both begin with their version: a quote's has two bytes, and the two after it
        // are the kind of its key, which is never 0.
        let report = bytes.len() >= SNP_REPORT_LENGTH && bytes[0] != 0 && bytes[1..4] == [0; 3];
        if !report {
            return Self::dcap_quote(bytes);
        }
        let endorsements = bytes.split_off(SNP_REPORT_LENGTH);
        Self::snp_report(bytes, endorsements)
    }

    /// The content of a file that holds it.
    pub fn to_file(&self) -> Vec<u8> {
        [&self.bytes[..], &self.endorsements].concat()
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({:?}, {} bytes)", self.format, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_are_written() {
        let mut report = vec![0; SNP_REPORT_LENGTH];
        report[0] = 3;
        let quote = [&[3, 0, 2, 0][..], &[0; 5000]].concat();
        for evidence in [
            Evidence::dcap_quote(quote),
            Evidence::dcap_quote(b"no quote".to_vec()),
            Evidence::snp_report(report.clone(), Vec::new()),
            Evidence::snp_report(report, vec![7; 30]),
            Evidence::azure_token("eyJhbGciOiJSUzI1NiJ9.e30.AAAA"),
        ] {
            assert_eq!(Evidence::from_file(evidence.to_file()), evidence);
        }
    }
}
