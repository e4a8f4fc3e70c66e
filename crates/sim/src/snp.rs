//! SEV-SNP hardware in software: a chip whose reports chain to a root of its own, in
//! the form of AMD's. **It protects nothing**; it is for tests, and no program asks for
//! it by a flag.

mod certificates;
mod guest;

use std::sync::{Arc, Mutex, PoisonError};

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    clock::UnixSeconds,
    collateral::{Collateral, CollateralError, CollateralRequest, CollateralSource, SnpCollateral},
    evidence::Evidence,
    measurement::ReportData,
    snp::{Endorser, SnpProduct, certificate_table},
    trust::TrustRoot,
};
use async_trait::async_trait;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};

use self::certificates::{Authority, EndorsementKey, Validity};
pub use self::guest::SnpGuest;
use crate::error::SimError;

/// Faults of a chip and its certificates, for tests.
#[derive(Clone, Debug, Default)]
pub struct SnpFaults {
    /// The certificate is of another chip.
    pub certified_chip: Option<[u8; 64]>,
    /// The certificate is for another TCB.
    pub certified_tcb: Option<[u8; 8]>,
    /// When the endorsement key's certificate is valid.
    pub endorsement_validity: Option<(UnixSeconds, UnixSeconds)>,
    /// When the CRL is.
    pub crl_validity: Option<(UnixSeconds, UnixSeconds)>,
    /// The CRL names the issuer of endorsement keys.
    pub issuer_revoked: bool,
    /// The CRL is signed by the issuer of endorsement keys instead of the root.
    pub crl_of_issuer: bool,
    /// The issuer's certificate says that it is no CA.
    pub issuer_is_no_ca: bool,
    /// The issuer's certificate is another root's.
    pub issuer_of_other_root: bool,
}

/// A chip with its endorsement key and the certificates above it.
pub struct SnpPlatform {
    product: SnpProduct,
    endorser: Endorser,
    chip_id: [u8; 64],
    tcb: [u8; 8],
    key: EcdsaKeyPair,
    endorsement: Vec<u8>,
    root: Authority,
    issuer: Authority,
    collateral: Mutex<Arc<SnpCollateral>>,
}

impl SnpPlatform {
    /// A sound one, in memory.
    pub fn ephemeral(product: SnpProduct, endorser: Endorser) -> Result<Arc<Self>, SimError> {
        Self::with_faults(product, endorser, &SnpFaults::default())
    }

    /// One with these faults, in memory.
    pub fn with_faults(
        product: SnpProduct,
        endorser: Endorser,
        faults: &SnpFaults,
    ) -> Result<Arc<Self>, SimError> {
        let mut chip_id = [0; 64];
        let length = if product == SnpProduct::Turin { 8 } else { 64 };
        aws_lc_rs::rand::fill(&mut chip_id[..length])
            .map_err(|error| SimError::cryptography("choose a chip id", error))?;
        let tcb = match product {
            SnpProduct::Turin => [3, 0, 8, 4, 0, 0, 0, 210],
            _ => [3, 0, 0, 0, 0, 0, 8, 210],
        };
        let root = Authority::root(product)?;
        let issuer = match faults.issuer_of_other_root {
            true => Authority::root(product)?.issuer(product, endorser, faults.issuer_is_no_ca)?,
            false => root.issuer(product, endorser, faults.issuer_is_no_ca)?,
        };
        let signer = if faults.crl_of_issuer { &issuer } else { &root };
        let revoked = faults.issuer_revoked.then_some(&issuer);
        let crl = signer.revocation_list(Validity::of(faults.crl_validity), revoked)?;
        let EndorsementKey { key, certificate } = issuer.endorse(
            product,
            endorser,
            faults.certified_chip.unwrap_or(chip_id),
            faults.certified_tcb.unwrap_or(tcb),
            Validity::of(faults.endorsement_validity),
        )?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &key)
            .map_err(|error| SimError::cryptography("read the endorsement key", error))?;
        let collateral =
            SnpCollateral { issuer: issuer.certificate.clone(), root: root.certificate.clone(), crl };
        Ok(Arc::new(Self {
            product,
            endorser,
            chip_id,
            tcb,
            key,
            endorsement: certificate,
            root,
            issuer,
            collateral: Mutex::new(Arc::new(collateral)),
        }))
    }

    /// The root, for those who trust it by name.
    pub fn trust_root(&self) -> Result<TrustRoot, SimError> {
        TrustRoot::simulation(&self.root.certificate)
            .map_err(|error| SimError::cryptography("read the root certificate", error))
    }

    /// The certificates and CRL above the endorsement key.
    pub fn published(&self) -> Arc<SnpCollateral> {
        Arc::clone(&self.collateral.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From here on this is published.
    pub fn publish(&self, collateral: Arc<SnpCollateral>) {
        *self.collateral.lock().unwrap_or_else(PoisonError::into_inner) = collateral;
    }

    /// From here on a CRL of these dates is published, in which the issuer is revoked or
    /// is not.
    pub fn publish_crl(
        &self,
        validity: (UnixSeconds, UnixSeconds),
        issuer_revoked: bool,
    ) -> Result<(), SimError> {
        let revoked = issuer_revoked.then_some(&self.issuer);
        let crl = self.root.revocation_list(Validity::of(Some(validity)), revoked)?;
        self.publish(Arc::new(SnpCollateral { crl, ..(*self.published()).clone() }));
        Ok(())
    }

    /// The endorsement key's certificate, in DER.
    pub fn endorsement(&self) -> &[u8] {
        &self.endorsement
    }

    /// The chip.
    pub fn chip_id(&self) -> &[u8; 64] {
        &self.chip_id
    }

    /// A report of this guest over `report_data`, with the certificate table of a host
    /// that gives one.
    pub fn evidence(&self, guest: &SnpGuest, report_data: ReportData) -> Result<Evidence, SimError> {
        let mut report = guest.unsigned_report(self, report_data);
        self.sign(&mut report)?;
        Ok(Evidence::snp_report(report, certificate_table(self.endorser, &self.endorsement)))
    }

    /// Signs what lies in a report, as the chip would not: for reports that were
    /// tampered with before.
    pub fn sign(&self, report: &mut [u8]) -> Result<(), SimError> {
        let refused = |reason: &str| SimError::cryptography("sign a report", reason);
        let signed = report.get(..guest::SIGNED).ok_or_else(|| refused("it is too short"))?;
        let signature =
            self.key.sign(&SystemRandom::new(), signed).map_err(|_| refused("the ECDSA implementation"))?;
        let (r, s) = signature.as_ref().split_at(48);
        for (number, at) in [(r, guest::SIGNED), (s, guest::SIGNED + 72)] {
            let place = report.get_mut(at..at + 48).ok_or_else(|| refused("it is too short"))?;
            place.iter_mut().zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }
}

#[async_trait]
impl CollateralSource for SnpPlatform {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        match request {
            CollateralRequest::Snp(asked)
                if (asked.product, asked.endorser) == (self.product, self.endorser) =>
            {
                Ok(Collateral::Snp(self.published()))
            }
            CollateralRequest::Vcek(asked)
                if (asked.product, asked.chip_id, asked.reported_tcb)
                    == (self.product, self.chip_id, self.tcb) =>
            {
                Ok(Collateral::Vcek(self.endorsement.clone().into()))
            }
            _ => Err(missing(request.to_string())),
        }
    }
}

fn missing(what: String) -> CollateralError {
    CollateralError::Missing { origin: "of the simulated SEV-SNP chip".to_owned(), what }
}

/// Evidence of a guest on a simulated chip.
pub struct SnpAttester {
    platform: Arc<SnpPlatform>,
    guest: SnpGuest,
}

impl SnpAttester {
    /// Attests that `guest` runs on `platform`.
    pub fn new(platform: Arc<SnpPlatform>, guest: SnpGuest) -> Self {
        Self { platform, guest }
    }
}

#[async_trait]
impl Attester for SnpAttester {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        Ok(self.platform.evidence(&self.guest, report_data)?)
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(None)
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}
