//! The side that turns evidence into claims.

mod chain;
mod diagnosis;
mod error;
mod quote;
mod signature;
mod snp;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use dcap_qvl::{
    quote::{EnclaveReport, Report, TDReport10},
    verify::{QuoteVerifier, VerifiedReport},
};

pub use self::{
    error::VerificationError,
    quote::{DcapQuote, parse_dcap},
};
use self::{signature::Cryptography, snp::SnpEvidence};
pub use crate::trust::TrustRoot;
use crate::{
    claims::{Claims, Measured, Platform, UnknownTcbStatus},
    clock::{Clock, UnixSeconds},
    collateral::{CollateralSource, QuoteCollateralV3, SnpCollateral, validity},
    evidence::{Evidence, EvidenceFormat},
    measurement::{MrEnclave, MrSigner, ReportData, RootKeyId, TdxMeasurement},
    trust::{RootCertificate, Vendor, is_simulation},
};

/// Verifies evidence against explicit roots, at the time its clock says. Made
/// once and used for every peer.
pub struct Verifier {
    roots: Vec<Root>,
    collateral: Arc<dyn CollateralSource>,
    clock: Arc<dyn Clock>,
    /// The signed document whose date the clock was told last.
    dated: Mutex<Vec<u8>>,
}

struct Root {
    trusted: TrustRoot,
    /// None of AMD's, which sign no such quotes.
    dcap: Option<DcapRoot>,
}

/// What DCAP quotes that chain to a root are verified with.
struct DcapRoot {
    verifier: QuoteVerifier<Cryptography>,
    /// In DER.
    certificate: Arc<[u8]>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.roots()).finish()
    }
}

impl Verifier {
    /// A verifier that trusts these roots and no other.
    pub fn new(roots: Vec<TrustRoot>, collateral: Arc<dyn CollateralSource>, clock: Arc<dyn Clock>) -> Self {
        let roots = roots
            .into_iter()
            .map(|trusted| Root {
                dcap: trusted.certificate().map(|certificate| DcapRoot {
                    // Debug is let through here so that the policy can judge it
                    // with every other rule; `Policy` forbids it unless told.
                    verifier: QuoteVerifier::new_with_config(certificate.to_vec()).allow_debug(true),
                    certificate: Arc::clone(certificate),
                }),
                trusted,
            })
            .collect();
        Self { roots, collateral, clock, dated: Mutex::default() }
    }

    /// The roots trusted.
    pub fn roots(&self) -> impl Iterator<Item = &TrustRoot> {
        self.roots.iter().map(|root| &root.trusted)
    }

    /// Fetches the collateral that this evidence needs and verifies it.
    pub async fn verify(&self, evidence: &Evidence) -> Result<Claims, VerificationError> {
        match evidence.format {
            EvidenceFormat::DcapQuote => self.verify_dcap(evidence).await,
            EvidenceFormat::SnpReport => self.verify_snp(evidence).await,
        }
    }

    async fn verify_dcap(&self, evidence: &Evidence) -> Result<Claims, VerificationError> {
        let quote = read_dcap(evidence)?;
        let root = self.root_of(&quote)?;
        // Before anything is fetched on a stranger's behalf: who has no genuine
        // PCK certificate can't make this verifier ask for whatever they like.
        vouched(&quote)?;
        let collateral = self.collateral.collateral(&quote.request).await?;
        let verified = self.verify_quote(root, evidence, &quote, &collateral);
        match &verified {
            Ok(_) if self.proves(root.0) => self.collateral.verified(&quote.request, &collateral),
            Err(error) if blames_collateral(error) => self.collateral.refused(&quote.request, &collateral),
            _ => {}
        }
        verified
    }

    async fn verify_snp(&self, evidence: &Evidence) -> Result<Claims, VerificationError> {
        let read = SnpEvidence::read(evidence)?;
        let request = read.request();
        self.check_product(&read)?;
        // There is one answer for each kind of processor, whatever a stranger sends.
        let collateral = self.collateral.snp(&request).await?;
        let verified = self.verify_report(&read, &collateral);
        match &verified {
            Ok((root, _)) if self.proves(root) => self.collateral.snp_verified(&request, &collateral),
            Err(error) if blames_collateral(error) => self.collateral.snp_refused(&request, &collateral),
            _ => {}
        }
        verified.map(|(_, claims)| claims)
    }

    /// Verifies a SEV-SNP report with collateral at hand; for synchronous callers.
    pub fn verify_snp_with(
        &self,
        evidence: &Evidence,
        collateral: &SnpCollateral,
    ) -> Result<Claims, VerificationError> {
        let read = SnpEvidence::read(evidence)?;
        self.check_product(&read)?;
        self.verify_report(&read, collateral).map(|(_, claims)| claims)
    }

    /// Can a report of this processor chain to a root that is trusted? AMD's roots
    /// are known by their keys; what a simulated one signs, only its certificate tells.
    fn check_product(&self, read: &SnpEvidence<'_>) -> Result<(), VerificationError> {
        if self.roots.is_empty() {
            return Err(VerificationError::NothingTrusted);
        }
        let product = read.request().product;
        let found = product.root_key_id();
        let may_be = |root: &TrustRoot| match root.vendor() {
            Vendor::Intel => false,
            Vendor::Amd => root.root_key_id() == found,
            Vendor::Simulation => true,
        };
        if self.roots().any(may_be) {
            return Ok(());
        }
        Err(self.untrusted(found, format!("AMD's root of {product} processors")))
    }

    fn verify_report(
        &self,
        read: &SnpEvidence<'_>,
        collateral: &SnpCollateral,
    ) -> Result<(&Root, Claims), VerificationError> {
        let found = snp::root_of(collateral)?;
        let root = self
            .roots
            .iter()
            .find(|root| root.trusted.vendor() != Vendor::Intel && root.trusted.root_key_id() == found.key_id)
            .ok_or_else(|| self.untrusted(found.key_id, found.subject))?;
        let claims = read.verify(&root.trusted, collateral, self.clock.now())?;
        self.tell_date(root, &collateral.crl, || validity::crl_issued(&collateral.crl));
        Ok((root, claims))
    }

    fn untrusted(&self, found: RootKeyId, subject: String) -> VerificationError {
        VerificationError::UntrustedRoot {
            found,
            simulated: is_simulation(&subject),
            subject,
            trusted: self.roots().map(TrustRoot::to_string).collect(),
        }
    }

    /// Verifies a DCAP quote with collateral at hand; for synchronous callers.
    pub fn verify_with(
        &self,
        evidence: &Evidence,
        collateral: &QuoteCollateralV3,
    ) -> Result<Claims, VerificationError> {
        let quote = read_dcap(evidence)?;
        let root = self.root_of(&quote)?;
        self.verify_quote(root, evidence, &quote, collateral)
    }

    /// The trusted root that this quote claims to chain to.
    fn root_of(&self, quote: &DcapQuote) -> Result<(&Root, &DcapRoot), VerificationError> {
        if self.roots.is_empty() {
            return Err(VerificationError::NothingTrusted);
        }
        let [_, _, der] = &quote.pck_chain;
        let found =
            RootCertificate::parse(der).map_err(|reason| quote::malformed("root certificate", reason))?;
        let mut roots = self.roots.iter().filter_map(|root| Some((root, root.dcap.as_ref()?)));
        let (root, dcap) = roots
            .find(|(root, _)| root.trusted.root_key_id() == found.key_id)
            .ok_or_else(|| self.untrusted(found.key_id, found.subject))?;
        same_root(der, &dcap.certificate)
            .map_err(|reason| VerificationError::Invalid { what: "root certificate", reason })?;
        Ok((root, dcap))
    }

    fn verify_quote(
        &self,
        (root, dcap): (&Root, &DcapRoot),
        evidence: &Evidence,
        quote: &DcapQuote,
        collateral: &QuoteCollateralV3,
    ) -> Result<Claims, VerificationError> {
        let now = self.clock.now();
        // The quote's own PCK chain counts: collateral serves a whole platform
        // family, and one reader must not take what another does not see.
        let own;
        let collateral = if collateral.pck_certificate_chain.is_some() {
            own = QuoteCollateralV3 { pck_certificate_chain: None, ..collateral.clone() };
            &own
        } else {
            collateral
        };
        let report = dcap
            .verifier
            .verify(&evidence.bytes, collateral, now.0)
            .map_err(|error| diagnosis::explain(&format!("{error:#}"), quote, collateral, now))?;
        check_issuer_chains(quote, collateral, &dcap.certificate)?;
        self.tell_date(root, &collateral.tcb_info_signature, || validity::issued(collateral));
        claims(&root.trusted, quote, report)
    }

    /// Does what verified under this root say something about dates? Whoever has a
    /// software platform could sign any: that must not move the clock, or stand in
    /// the way of newer collateral, for those who trust hardware too.
    fn proves(&self, root: &Root) -> bool {
        let simulated = |root: &Root| root.trusted.vendor() == Vendor::Simulation;
        !simulated(root) || self.roots.iter().all(simulated)
    }

    /// Tells the clock when collateral that verified, and has this document in it,
    /// was issued.
    fn tell_date(
        &self,
        root: &Root,
        document: &[u8],
        issued: impl FnOnce() -> Result<UnixSeconds, validity::Unreadable>,
    ) {
        if !self.proves(root) {
            return;
        }
        let mut dated = self.dated.lock().unwrap_or_else(PoisonError::into_inner);
        if *dated == document {
            return;
        }
        if let Ok(date) = issued() {
            *dated = document.to_vec();
            drop(dated);
            self.clock.saw(date);
        }
    }
}

fn read_dcap(evidence: &Evidence) -> Result<DcapQuote, VerificationError> {
    if evidence.format != EvidenceFormat::DcapQuote {
        return Err(VerificationError::Unsupported {
            found: "a SEV-SNP report".to_owned(),
            supported: "DCAP quotes, with collateral for them",
        });
    }
    if !evidence.endorsements.is_empty() {
        return Err(quote::malformed(
            "endorsements",
            format!("expected none with a DCAP quote, found {} bytes", evidence.endorsements.len()),
        ));
    }
    parse_dcap(&evidence.bytes)
}

/// May other collateral make the difference?
fn blames_collateral(error: &VerificationError) -> bool {
    matches!(
        error,
        VerificationError::CollateralExpired { .. }
            | VerificationError::CollateralNotYetValid { .. }
            | VerificationError::CollateralInvalid { .. }
            | VerificationError::Collateral(_)
    )
}

/// Do the signatures of the PCK chain hold, up to the root in it?
fn vouched(quote: &DcapQuote) -> Result<(), VerificationError> {
    let [pck, ca, root] = &quote.pck_chain;
    signature::issued_by(pck, ca)
        .and_then(|()| signature::issued_by(ca, root))
        .map_err(|reason| VerificationError::Invalid { what: "PCK certificate chain", reason })
}

/// The issuer's certificate and the root's, from an issuer chain of collateral.
pub(crate) fn parse_issuer_chain(text: &str) -> Result<[Vec<u8>; 2], String> {
    chain::parse::<2>(text.as_bytes())
}

/// Intel has published its root more than once with the same key: another
/// certificate is the same root if that key has signed it.
fn same_root(der: &[u8], trusted: &[u8]) -> Result<(), String> {
    if der == trusted {
        return Ok(());
    }
    signature::issued_by(der, trusted)
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
        let [issuer, root] = parse_issuer_chain(text).map_err(invalid(what))?;
        same_root(&root, trusted).map_err(invalid(what))?;
        // `dcap-qvl` has verified the issuers of TCB info and QE identity, and
        // the PCK CA as it lies in the quote.
        if what == "PCK CRL issuer chain" && issuer != quote.pck_chain[1] {
            signature::issued_by(&issuer, trusted).map_err(invalid(what))?;
        }
    }
    Ok(())
}

fn claims(root: &TrustRoot, quote: &DcapQuote, report: VerifiedReport) -> Result<Claims, VerificationError> {
    let (measured, debug, report_data) = match &report.report {
        Report::SgxEnclave(report) => (sgx(report), report.attributes[0] & 2 != 0, report.report_data),
        Report::TD10(report) => tdx(report),
        Report::TD15(report) => tdx(&report.base),
        Report::TD15Ex(report) => tdx(&report.base.base),
    };
    let tcb_status = report.status.parse().map_err(|error: UnknownTcbStatus| {
        VerificationError::CollateralInvalid { what: "TCB info", reason: error.to_string() }
    })?;
    Ok(Claims {
        vendor: root.vendor(),
        root_key_id: root.root_key_id(),
        debug,
        tcb_status: Some(tcb_status),
        advisory_ids: report.advisory_ids.into_iter().collect(),
        platform: Platform { id: hex::encode(report.ppid), fmspc: Some(quote.request.fmspc) },
        report_data: ReportData(report_data),
        measured,
    })
}

fn sgx(report: &EnclaveReport) -> Measured {
    // CONFIGSVN, bytes 260 and 261 of the report (Intel SDM volume 3D, REPORT),
    // begins what dcap-qvl calls reserved.
    let [low, high, ..] = report.reserved4;
    Measured::Sgx {
        mr_enclave: MrEnclave(report.mr_enclave),
        mr_signer: MrSigner(report.mr_signer),
        isv_prod_id: report.isv_prod_id,
        isv_svn: report.isv_svn,
        config_svn: u16::from_le_bytes([low, high]),
    }
}

fn tdx(report: &TDReport10) -> (Measured, bool, [u8; 64]) {
    let measured = Measured::Tdx {
        mr_td: TdxMeasurement(report.mr_td),
        mr_config_id: TdxMeasurement(report.mr_config_id),
        rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3].map(TdxMeasurement),
    };
    // Byte 0 of TDATTRIBUTES is the group "TD under debug": any bit in it lets
    // the host read the guest (Intel TDX Module ABI specification, TD_ATTRIBUTES).
    (measured, report.td_attributes[0] != 0, report.report_data)
}
