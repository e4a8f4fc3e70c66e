//! Evidence as it travels: its format and its bytes, nothing verified.

use std::fmt;

/// The largest evidence accepted, in bytes. A DCAP quote has about 5 KiB, a
/// SEV-SNP report with its certificates less than 16 KiB.
pub const MAXIMUM_EVIDENCE_LENGTH: usize = 32 * 1024;

/// How the bytes of evidence are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvidenceFormat {
    /// An Intel DCAP quote: SGX v3, TDX v4 or v5.
    DcapQuote,
    /// An AMD SEV-SNP attestation report.
    SnpReport,
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
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({:?}, {} bytes)", self.format, self.bytes.len())
    }
}
