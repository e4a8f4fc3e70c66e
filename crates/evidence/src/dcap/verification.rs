//! From a DCAP quote to claims. `dcap-qvl` decides; this adds what it leaves open: which
//! root is trusted, and that every byte accepted has a meaning.

use std::sync::Arc;

use dcap_qvl::{
    quote::{EnclaveReport, Quote, Report, TDReport10},
    verify::{QuoteVerifier, VerifiedReport},
};

use super::{
    collateral::{DcapRequest, QuoteCollateralV3},
    cryptography::{Cryptography, issued_by},
    dates::KnownDates,
    diagnosis,
    quote::{self, DcapQuote},
};
use crate::{
    certificate::chain,
    claims::{
        Claims, CollateralClaims, EnclaveConfiguration, Measured, Platform, TdConfiguration, UnknownTcbStatus,
    },
    clock::UnixSeconds,
    error::VerificationError,
    evidence::Evidence,
    measurement::{ConfigId, FeatureMask, MrEnclave, MrSigner, ReportData, TdxMeasurement},
    trust::{RootCertificate, TrustRoot, TrustedRoots},
};

/// Verifies DCAP quotes under the roots that one verifier trusts.
pub(crate) struct DcapVerifier {
    roots: Vec<DcapRoot>,
    dates: KnownDates,
}

/// What quotes that chain to a root are verified with.
struct DcapRoot {
    trusted: TrustRoot,
    verifier: QuoteVerifier<Cryptography>,
    certificate: Arc<[u8]>,
}

/// A quote that names a trusted root; nothing else of it is verified.
pub(crate) struct ReadQuote<'a> {
    bytes: &'a [u8],
    quote: DcapQuote,
    root: &'a DcapRoot,
    dates: &'a KnownDates,
}

impl DcapVerifier {
    /// For these roots. Those of AMD's have no certificate here, and sign no quotes.
    pub(crate) fn new(roots: &TrustedRoots) -> Self {
        let roots = roots.iter().filter_map(|trusted| {
            let certificate = trusted.certificate()?;
            Some(DcapRoot {
                trusted: trusted.clone(),
                // Debug is let through here so that the policy can judge it with every
                // other rule; `Policy` forbids it by default.
                verifier: QuoteVerifier::new_with_config(certificate.to_vec()).allow_debug(true),
                certificate: Arc::clone(certificate),
            })
        });
        Self { roots: roots.collect(), dates: KnownDates::default() }
    }

    /// Reads a quote and finds the root that it claims to chain to among those that
    /// `trusted` holds.
    pub(crate) fn read<'a>(
        &'a self,
        evidence: &'a Evidence,
        trusted: &TrustedRoots,
    ) -> Result<ReadQuote<'a>, VerificationError> {
        if !evidence.endorsements.is_empty() {
            return Err(quote::malformed(
                "endorsements",
                format!("expected none with a DCAP quote, found {} bytes", evidence.endorsements.len()),
            ));
        }
        let quote = quote::parse_dcap(&evidence.bytes)?;
        trusted.any()?;
        let [_, _, der] = &quote.pck_chain;
        let found =
            RootCertificate::parse(der).map_err(|reason| quote::malformed("root certificate", reason))?;
        let root = self
            .roots
            .iter()
            .find(|root| root.trusted.root_key_id() == found.key_id)
            .ok_or_else(|| trusted.untrusted(found.key_id, found.subject))?;
        same_root(der, &root.certificate)
            .map_err(|reason| VerificationError::Invalid { what: "root certificate", reason })?;
        Ok(ReadQuote { bytes: &evidence.bytes, quote, root, dates: &self.dates })
    }
}

impl ReadQuote<'_> {
    /// The collateral that is needed to verify it.
    pub(crate) fn request(&self) -> DcapRequest {
        self.quote.request.clone()
    }

    /// Do the signatures of the PCK chain hold, up to the root in it? Asked before
    /// anything is fetched on a stranger's behalf: a peer that has no genuine PCK certificate
    /// can't make this verifier ask for whatever they like.
    pub(crate) fn vouched(&self) -> Result<(), VerificationError> {
        let [pck, ca, root] = &self.quote.pck_chain;
        issued_by(pck, ca)
            .and_then(|()| issued_by(ca, root))
            .map_err(|reason| VerificationError::Invalid { what: "PCK certificate chain", reason })
    }

    /// The claims, if everything holds at this time.
    pub(crate) fn verify(
        &self,
        collateral: &QuoteCollateralV3,
        now: UnixSeconds,
    ) -> Result<Claims, VerificationError> {
        let (root, quote) = (self.root, &self.quote);
        // The quote's own PCK chain counts: collateral serves a whole platform
        // family, and one reader must not take what another does not see.
        let own;
        let collateral = if collateral.pck_certificate_chain.is_some() {
            own = QuoteCollateralV3 { pck_certificate_chain: None, ..collateral.clone() };
            &own
        } else {
            collateral
        };
        let report = root
            .verifier
            .verify(self.bytes, collateral, now.0)
            .map_err(|error| diagnosis::explain(&error, self.bytes, quote, collateral, now))?;
        check_issuer_chains(quote, collateral, &root.certificate)?;
        let dates = self
            .dates
            .of(collateral)
            .map_err(|(what, reason)| VerificationError::CollateralInvalid { what, reason })?;
        claims(&root.trusted, quote, report, dates)
    }
}

/// Intel has published its root more than once with the same key: another
/// certificate is the same root if that key has signed it.
fn same_root(der: &[u8], trusted: &[u8]) -> Result<(), String> {
    if der == trusted {
        return Ok(());
    }
    issued_by(der, trusted)
}

/// Checks what `dcap-qvl` does not read of the issuers' chains in collateral:
/// the roots, and the chain of the PCK CRL (whose signature it checks against
/// the quote's own PCK CA).
fn check_issuer_chains(
    quote: &DcapQuote,
    collateral: &QuoteCollateralV3,
    trusted: &[u8],
) -> Result<(), VerificationError> {
    let invalid = |what| move |reason| VerificationError::CollateralInvalid { what, reason };
    for (what, text) in [
        ("TCB info issuer chain", &collateral.tcb_info_issuer_chain),
        ("QE identity issuer chain", &collateral.qe_identity_issuer_chain),
        ("PCK CRL issuer chain", &collateral.pck_crl_issuer_chain),
    ] {
        let [issuer, root] = chain::parse_issuer_chain(text).map_err(invalid(what))?;
        same_root(&root, trusted).map_err(invalid(what))?;
        // `dcap-qvl` has verified the issuers of TCB info and QE identity, and
        // the PCK CA as it lies in the quote.
        if what == "PCK CRL issuer chain" && issuer != quote.pck_chain[1] {
            issued_by(&issuer, trusted).map_err(invalid(what))?;
        }
    }
    Ok(())
}

/// What a quote says, with nothing verified: measurements, whether a debugger reads everything, and
/// the report data.
pub(crate) fn unverified(bytes: &[u8]) -> Result<(Measured, bool, ReportData), VerificationError> {
    quote::parse_dcap(bytes)?;
    let quote = Quote::parse(bytes).map_err(|error| quote::malformed("quote", error.to_string()))?;
    let (measured, debug, report_data) = said(&quote.report);
    Ok((measured, debug, ReportData(report_data)))
}

fn said(report: &Report) -> (Measured, bool, [u8; 64]) {
    match report {
        Report::SgxEnclave(report) => (sgx(report), report.attributes[0] & 2 != 0, report.report_data),
        Report::TD10(report) => tdx(report),
        Report::TD15(report) => tdx(&report.base),
        Report::TD15Ex(report) => tdx(&report.base.base),
    }
}

fn claims(
    root: &TrustRoot,
    quote: &DcapQuote,
    report: VerifiedReport,
    collateral: CollateralClaims,
) -> Result<Claims, VerificationError> {
    let (measured, debug, report_data) = said(&report.report);
    let tcb_status = report.status.parse().map_err(|error: UnknownTcbStatus| {
        VerificationError::CollateralInvalid { what: "TCB info", reason: error.to_string() }
    })?;
    Ok(Claims {
        collateral: Some(collateral),
        announced: None,
        vendor: root.vendor(),
        root_key_id: root.root_key_id(),
        debug,
        tcb_status: Some(tcb_status),
        advisory_ids: report.advisory_ids.into_iter().collect(),
        platform: Platform {
            id: hex::encode(report.ppid),
            fmspc: Some(quote.request.fmspc),
            sgx: Some(quote.platform),
        },
        report_data: ReportData(report_data),
        measured,
    })
}

fn sgx(report: &EnclaveReport) -> Measured {
    // CONFIGSVN, bytes 260 and 261 of the report (Intel SDM volume 3D, REPORT),
    // begins what dcap-qvl calls reserved.
    let [low, high, ..] = report.reserved4;
    // CONFIGID, bytes 192 to 255, ends what it calls reserved before; XFRM is the second
    // half of ATTRIBUTES.
    let mut config_id = [0; ConfigId::LENGTH];
    config_id.copy_from_slice(&report.reserved3[32..]);
    let [_, _, _, _, _, _, _, _, xfrm @ ..] = report.attributes;
    Measured::Sgx {
        mr_enclave: MrEnclave(report.mr_enclave),
        mr_signer: MrSigner(report.mr_signer),
        isv_prod_id: report.isv_prod_id,
        isv_svn: report.isv_svn,
        config_svn: u16::from_le_bytes([low, high]),
        enclave: EnclaveConfiguration {
            config_id: ConfigId(config_id),
            xfrm: FeatureMask(u64::from_le_bytes(xfrm)),
        },
    }
}

fn tdx(report: &TDReport10) -> (Measured, bool, [u8; 64]) {
    let measured = Measured::Tdx {
        mr_td: TdxMeasurement(report.mr_td),
        mr_config_id: TdxMeasurement(report.mr_config_id),
        rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3].map(TdxMeasurement),
        td: TdConfiguration {
            attributes: FeatureMask(u64::from_le_bytes(report.td_attributes)),
            xfam: FeatureMask(u64::from_le_bytes(report.xfam)),
        },
    };
    // Byte 0 of TDATTRIBUTES is the group "TD under debug": any bit in it lets
    // the host read the guest (Intel TDX Module ABI specification, TD_ATTRIBUTES).
    (measured, report.td_attributes[0] != 0, report.report_data)
}
