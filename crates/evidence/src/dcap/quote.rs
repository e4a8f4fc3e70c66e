//! The outer form of a DCAP quote: where each structure lies, and that nothing
//! lies anywhere else. (Intel SGX ECDSA QuoteLibReference, A.4; Intel TDX DCAP
//! Quoting Library API, A.3.)
//!
//! `dcap-qvl` reads the contents. This reader is stricter about the form, so
//! that no byte of accepted evidence is without meaning: `dcap-qvl` ignores
//! bytes after each structure and the type of the outer certification data.

use std::ops::Range;

use super::{
    collateral::{DcapRequest, PckCa},
    cryptography::Cryptography,
};
use crate::{
    certificate::{chain, printable, x509},
    claims::{SgxPlatform, TeeKind},
    error::VerificationError,
    evidence::MAXIMUM_EVIDENCE_LENGTH,
    measurement::{Fmspc, ReportData, SgxType},
};

const HEADER: usize = 48;
const ENCLAVE_REPORT: usize = 384;
const TD_REPORT_10: usize = 584;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;
const ECDSA_P256: u16 = 2;
const PCK_CHAIN: u16 = 5;
const QE_REPORT_CERTIFICATION: u16 = 6;
const QE_AUTHENTICATION_DATA: usize = 32;
const SUPPORTED: &str = "DCAP quotes of SGX (version 3) and TDX (version 4, 5), ECDSA P-256, with the PCK certificate chain inside";

/// A DCAP quote taken apart; nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DcapQuote {
    pub tee: TeeKind,
    /// The quote's format version.
    pub version: u16,
    /// The PCK certificate, the CA's, the root's, each in DER.
    pub pck_chain: [Vec<u8>; 3],
    /// What collateral it needs.
    pub request: DcapRequest,
    /// What the PCK certificate says of the platform's configuration.
    pub platform: SgxPlatform,
    /// Where each structure lies, in order and without gaps.
    pub structures: Vec<(&'static str, Range<usize>)>,
}

impl DcapQuote {
    /// The report data in the body of `bytes`, the quote that this was taken from.
    pub fn report_data(&self, bytes: &[u8]) -> Option<ReportData> {
        let body = self.structures.iter().find(|(what, _)| *what == "body")?.1.start;
        // The end of the SGX report and of the TD report 1.0, which later TD
        // reports begin with.
        let offset = body + if self.tee == TeeKind::Sgx { ENCLAVE_REPORT - 64 } else { TD_REPORT_10 - 64 };
        ReportData::try_from(bytes.get(offset..offset + 64)?).ok()
    }

    /// TDX: may the TD in the body of `bytes`, the quote that this was taken from, be
    /// taken to another machine? Bit 29 of ATTRIBUTES, at byte 120 of a TD report (Intel
    /// TDX Module ABI Specification).
    pub(super) fn migratable(&self, bytes: &[u8]) -> bool {
        let body = self.structures.iter().find(|(what, _)| *what == "body");
        self.tee == TeeKind::Tdx
            && body
                .and_then(|(_, range)| bytes.get(range.start + 123))
                .is_some_and(|attributes| attributes & (1 << 5) != 0)
    }
}

/// Takes a DCAP quote apart.
pub fn parse_dcap(bytes: &[u8]) -> Result<DcapQuote, VerificationError> {
    if bytes.len() > MAXIMUM_EVIDENCE_LENGTH {
        return Err(malformed(
            "quote",
            format!("expected at most {MAXIMUM_EVIDENCE_LENGTH} bytes, found {}", bytes.len()),
        ));
    }
    if bytes.starts_with(b"-----BEGIN ") {
        return Err(malformed(
            "quote",
            "it is text in PEM (\"-----BEGIN ...\"), and a quote is binary".to_owned(),
        ));
    }
    let mut reader = Reader { bytes, position: 0, structures: Vec::with_capacity(16) };
    let header = reader.take("header", HEADER)?;
    let version = u16_at(header, 0);
    let key_type = u16_at(header, 2);
    let tee = match (version, u32_at(header, 4)) {
        (3, TEE_SGX) => TeeKind::Sgx,
        (4 | 5, TEE_TDX) => TeeKind::Tdx,
        (version, tee) => {
            return Err(unsupported(format!("quote version {version} of TEE type {tee:#x}")));
        }
    };
    if key_type != ECDSA_P256 {
        return Err(unsupported(format!("attestation key type {key_type}")));
    }
    if header.get(12..28) != Some(&dcap_qvl::INTEL_QE_VENDOR_ID[..]) {
        return Err(unsupported("a quoting enclave that is not Intel's".to_owned()));
    }
    match version {
        3 => reader.take("body", ENCLAVE_REPORT)?,
        4 => reader.take("body", TD_REPORT_10)?,
        _ => {
            let descriptor = reader.take("body descriptor", 6)?;
            let (kind, size) = (u16_at(descriptor, 0), u32_at(descriptor, 2));
            let expected = match kind {
                2 => TD_REPORT_10,
                3 => 648,
                4 => 885,
                _ => return Err(unsupported(format!("body type {kind}"))),
            };
            if usize::try_from(size) != Ok(expected) {
                return Err(malformed(
                    "body",
                    format!("expected {expected} bytes, its descriptor says {size}"),
                ));
            }
            reader.take("body", expected)?
        }
    };
    let authentication = reader.length_prefixed_32("authentication data length", "authentication data")?;
    let after = authentication.end;
    reader.take("signature", 64)?;
    reader.take("attestation key", 64)?;
    if version > 3 {
        let kind = u16_at(reader.take("outer certification data type", 2)?, 0);
        if kind != QE_REPORT_CERTIFICATION {
            return Err(unsupported(format!("certification data type {kind} around the QE report")));
        }
        let outer =
            reader.length_prefixed_32("outer certification data length", "outer certification data")?;
        reader.ends_at(outer.end, after, "outer certification data")?;
    }
    reader.take("QE report", ENCLAVE_REPORT)?;
    reader.take("QE report signature", 64)?;
    let length = usize::from(u16_at(reader.take("QE authentication data length", 2)?, 0));
    if length != QE_AUTHENTICATION_DATA {
        return Err(unsupported(format!("{length} bytes of QE authentication data")));
    }
    reader.take("QE authentication data", length)?;
    let kind = u16_at(reader.take("certification data type", 2)?, 0);
    if kind != PCK_CHAIN {
        return Err(unsupported(format!("certification data type {kind}")));
    }
    let text = reader.length_prefixed_32("PCK chain length", "PCK chain")?;
    reader.ends_at(text.end, after, "PCK chain")?;
    let pck_chain = chain::parse::<3>(reader.take("PCK chain", text.len())?)
        .map_err(|reason| malformed("PCK chain", reason))?;
    let padding = bytes.len() - after;
    if reader.take("padding", padding)?.iter().any(|&byte| byte != 0) {
        return Err(malformed("quote", format!("{padding} bytes follow it that are not zero")));
    }
    let (request, platform) = certified(tee, &pck_chain[0])?;
    Ok(DcapQuote { tee, version, pck_chain, request, platform, structures: reader.structures })
}

/// What a PCK certificate says.
fn certified(tee: TeeKind, pck: &[u8]) -> Result<(DcapRequest, SgxPlatform), VerificationError> {
    let bad = |reason: String| malformed("PCK certificate", reason);
    let extension = dcap_qvl::intel::parse_pck_extension_with::<Cryptography>(pck)
        .map_err(|error| bad(format!("{error:#}")))?;
    let certificate = x509(pck).map_err(bad)?;
    // "Intel SGX PCK Processor CA" and "Intel SGX PCK Platform CA".
    let issuer = certificate.issuer().as_raw();
    let named = |name: &[u8]| issuer.windows(name.len()).any(|window| window == name);
    let ca = match (named(b"PCK Processor CA"), named(b"PCK Platform CA")) {
        (true, false) => PckCa::Processor,
        (false, true) => PckCa::Platform,
        _ => return Err(bad(format!("issued by {}, which is no PCK CA", printable(certificate.issuer())))),
    };
    let by_nature = (ca == PckCa::Processor).then_some(false);
    let platform = SgxPlatform {
        sgx_type: SgxType::read(extension.sgx_type),
        dynamic_platform: extension.dynamic_platform.or(by_nature),
        cached_keys: extension.cached_keys.or(by_nature),
        smt: extension.smt_enabled,
    };
    Ok((DcapRequest { tee, fmspc: Fmspc(extension.fmspc), ca }, platform))
}

pub(super) fn malformed(what: &'static str, reason: String) -> VerificationError {
    VerificationError::Malformed { what, reason }
}

fn unsupported(found: String) -> VerificationError {
    VerificationError::Unsupported { found, supported: SUPPORTED }
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    structures: Vec<(&'static str, Range<usize>)>,
}

impl<'a> Reader<'a> {
    fn range(&self, what: &'static str, length: usize) -> Result<Range<usize>, VerificationError> {
        let left = self.bytes.len() - self.position;
        if length > left {
            return Err(malformed(what, format!("expected {length} bytes, {left} are left")));
        }
        Ok(self.position..self.position + length)
    }

    fn take(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], VerificationError> {
        let range = self.range(what, length)?;
        self.position = range.end;
        if !range.is_empty() {
            self.structures.push((what, range.clone()));
        }
        Ok(self.bytes.get(range).unwrap_or_default())
    }

    /// Takes a length and gives where what it counts lies.
    fn length_prefixed_32(
        &mut self,
        length: &'static str,
        what: &'static str,
    ) -> Result<Range<usize>, VerificationError> {
        let bytes = u32_at(self.take(length, 4)?, 0);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.range(what, bytes)
    }

    fn ends_at(&self, found: usize, expected: usize, what: &'static str) -> Result<(), VerificationError> {
        if found == expected {
            return Ok(());
        }
        Err(malformed(what, format!("ends at byte {found}, what contains it at byte {expected}")))
    }
}

// The callers have taken as many bytes as these read.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_pem_is_named_as_what_it_is() {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", "MIIB".repeat(400));
        let error = parse_dcap(pem.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "evidence-malformed");
        let text = error.to_string();
        assert!(text.contains("PEM") && !text.contains("version"), "{text}");
        assert!(text.contains("adytum evidence collect"), "{text}");
    }
}
