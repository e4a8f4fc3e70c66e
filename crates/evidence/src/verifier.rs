//! The side that turns evidence into claims: it gives each kind of evidence to the
//! module of its TEE.

mod dates;

use std::{fmt, sync::Arc};

use self::dates::Dates;
use crate::{
    claims::Claims,
    clock::Clock,
    collateral::{CollateralRef, CollateralRequest, CollateralSource},
    dcap::{DcapVerifier, ReadQuote},
    evidence::{Evidence, EvidenceFormat},
    maa,
    snp::SnpEvidence,
    trust::TrustedRoots,
};
pub use crate::{
    dcap::{DcapQuote, parse_dcap},
    error::VerificationError,
    trust::TrustRoot,
};

/// Verifies evidence against explicit roots, at the time its clock says. Made
/// once and used for every peer.
pub struct Verifier {
    roots: TrustedRoots,
    dcap: DcapVerifier,
    collateral: Arc<dyn CollateralSource>,
    dates: Dates,
    observer: Option<Arc<dyn EvidenceObserver>>,
}

/// Hears of evidence that verified.
pub trait EvidenceObserver: Send + Sync {
    /// This evidence verified with the collateral that counts. No policy has judged the
    /// claims yet.
    fn verified(&self, evidence: &Evidence, claims: &Claims);
}

/// Evidence that is read and that may chain to a trusted root.
enum ReadEvidence<'a> {
    Dcap(ReadQuote<'a>),
    Snp(Box<SnpEvidence<'a>>),
    /// Its service has verified the evidence already, with collateral of its own.
    AzureToken(&'a [u8]),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.roots()).finish()
    }
}

impl Verifier {
    /// A verifier that trusts these roots and no other.
    pub fn new(roots: Vec<TrustRoot>, collateral: Arc<dyn CollateralSource>, clock: Arc<dyn Clock>) -> Self {
        let roots = TrustedRoots::new(roots);
        let (dcap, dates) = (DcapVerifier::new(&roots), Dates::new(clock));
        Self { dcap, roots, collateral, dates, observer: None }
    }

    /// The same, and `observer` hears of all evidence that [`Self::verify`] finds good.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn EvidenceObserver>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// The roots trusted.
    pub fn roots(&self) -> impl Iterator<Item = &TrustRoot> {
        self.roots.iter()
    }

    /// Fetches the collateral that this evidence needs and verifies it.
    pub async fn verify(&self, evidence: &Evidence) -> Result<Claims, VerificationError> {
        let read = self.read(evidence)?;
        match &read {
            ReadEvidence::Dcap(quote) => quote.vouched()?,
            ReadEvidence::Snp(_) => {}
            ReadEvidence::AzureToken(token) => return self.check_token(evidence, token),
        }
        let request = read.request()?;
        let collateral = self.collateral.collateral(&request).await?;
        let verified = self.check(&read, collateral.borrowed());
        match &verified {
            Ok(claims) if self.roots.prove_dates(claims.vendor) => {
                self.collateral.verified(&request, &collateral);
            }
            Err(error) if error.blames_collateral() => self.collateral.refused(&request, &collateral),
            _ => {}
        }
        if let (Ok(claims), Some(observer)) = (&verified, &self.observer) {
            observer.verified(evidence, claims);
        }
        verified
    }

    /// The collateral that this evidence needs.
    pub fn request(&self, evidence: &Evidence) -> Result<CollateralRequest, VerificationError> {
        self.read(evidence)?.request()
    }

    /// Verifies evidence with collateral at hand; for synchronous callers.
    pub fn verify_with<'c>(
        &self,
        evidence: &Evidence,
        collateral: impl Into<CollateralRef<'c>>,
    ) -> Result<Claims, VerificationError> {
        let collateral = collateral.into();
        if collateral.format() != Some(evidence.format) {
            return Err(unfit(evidence.format, collateral));
        }
        self.check(&self.read(evidence)?, collateral)
    }

    fn read<'a>(&'a self, evidence: &'a Evidence) -> Result<ReadEvidence<'a>, VerificationError> {
        match evidence.format {
            EvidenceFormat::DcapQuote => self.dcap.read(evidence, &self.roots).map(ReadEvidence::Dcap),
            EvidenceFormat::SnpReport => {
                let read = SnpEvidence::read(evidence)?;
                read.may_chain_to(&self.roots)?;
                Ok(ReadEvidence::Snp(Box::new(read)))
            }
            EvidenceFormat::AzureToken => {
                self.roots.any()?;
                Ok(ReadEvidence::AzureToken(&evidence.bytes))
            }
        }
    }

    fn check_token(&self, evidence: &Evidence, token: &[u8]) -> Result<Claims, VerificationError> {
        let claims = maa::verify_evidence(token, &self.roots, self.dates.now()).map_err(Box::new)?;
        if let Some(observer) = &self.observer {
            observer.verified(evidence, &claims);
        }
        Ok(claims)
    }

    fn check(
        &self,
        read: &ReadEvidence<'_>,
        collateral: CollateralRef<'_>,
    ) -> Result<Claims, VerificationError> {
        let now = self.dates.now();
        let claims = match (read, collateral) {
            (ReadEvidence::Dcap(quote), CollateralRef::Dcap(collateral)) => quote.verify(collateral, now),
            (ReadEvidence::Snp(report), CollateralRef::Snp(collateral)) => {
                report.verify(&self.roots, collateral, now)
            }
            (ReadEvidence::Dcap(_), _) => Err(unfit(EvidenceFormat::DcapQuote, collateral)),
            (ReadEvidence::Snp(_), _) => Err(unfit(EvidenceFormat::SnpReport, collateral)),
            (ReadEvidence::AzureToken(_), _) => Err(unfit(EvidenceFormat::AzureToken, collateral)),
        }?;
        if self.roots.prove_dates(claims.vendor) {
            self.dates.saw(collateral);
        }
        Ok(claims)
    }
}

impl ReadEvidence<'_> {
    fn request(&self) -> Result<CollateralRequest, VerificationError> {
        match self {
            Self::Dcap(quote) => Ok(quote.request().into()),
            Self::Snp(report) => Ok(report.request().into()),
            Self::AzureToken(_) => Err(without_collateral()),
        }
    }
}

/// The collateral that evidence needs, whatever is trusted. Nothing is verified.
pub fn collateral_request(evidence: &Evidence) -> Result<CollateralRequest, VerificationError> {
    match evidence.format {
        EvidenceFormat::DcapQuote => Ok(parse_dcap(&evidence.bytes)?.request.into()),
        EvidenceFormat::SnpReport => Ok(SnpEvidence::read(evidence)?.request().into()),
        EvidenceFormat::AzureToken => Err(without_collateral()),
    }
}

fn without_collateral() -> VerificationError {
    VerificationError::Unsupported {
        found: "a token of Azure Attestation".to_owned(),
        supported: "quotes and reports, which need collateral",
    }
}

fn unfit(format: EvidenceFormat, collateral: CollateralRef<'_>) -> VerificationError {
    VerificationError::Unsupported { found: format!("a {format}"), supported: collateral.fits() }
}
