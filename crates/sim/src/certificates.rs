//! The certificates of a simulated platform, in the shape of Intel's:
//! root CA -> PCK CA -> PCK certificate, and a TCB signer issued by the root.

use adytum_evidence::clock::UnixSeconds;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    dates::date,
    error::SimError,
    hardware::{CaKind, Hardware, SGX_EXTENSION},
    keys::SigningKey,
};

/// The subject common name of every simulated root.
pub const ROOT_COMMON_NAME: &str = "Adytum SIMULATION root CA - protects nothing";

/// A key with its certificate.
pub(crate) struct CertifiedKey {
    pub(crate) key: SigningKey,
    pub(crate) certificate: Certificate,
}

/// A certificate in the forms that are needed of it.
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    serial: Vec<u8>,
}

/// All keys and certificates of a platform but the attestation key.
pub(crate) struct Chain {
    pub(crate) root: CertifiedKey,
    pub(crate) pck_ca: CertifiedKey,
    pub(crate) tcb_signer: CertifiedKey,
    pub(crate) pck: CertifiedKey,
}

impl Chain {
    /// Makes the keys and issues the certificates.
    pub(crate) fn issue(hardware: &Hardware) -> Result<Self, SimError> {
        let root_key = SigningKey::generate()?;
        let root_parameters = root_parameters()?;
        let root = root_parameters
            .self_signed(root_key.pair())
            .map_err(|error| SimError::cryptography("issue the root certificate", error))?;
        let root = CertifiedKey::new(root_key, root.pem())?;

        let pck_ca = root.certify(&root_parameters, &pck_ca_parameters(hardware.ca)?)?;
        let tcb_signer = root.certify(&root_parameters, &tcb_signer_parameters()?)?;
        let pck = pck_ca.certify(&pck_ca_parameters(hardware.ca)?, &pck_parameters(hardware)?)?;
        Ok(Self { root, pck_ca, tcb_signer, pck })
    }

    /// The chain of another machine under the same root and CAs.
    pub(crate) fn of_another(&self, hardware: &Hardware) -> Result<Self, SimError> {
        let pck_ca = self.pck_ca.copy()?;
        let pck = pck_ca.certify(&pck_ca_parameters(hardware.ca)?, &pck_parameters(hardware)?)?;
        Ok(Self { root: self.root.copy()?, pck_ca, tcb_signer: self.tcb_signer.copy()?, pck })
    }

    /// The PCK certificate chain as quotes carry it: leaf first, root last.
    pub(crate) fn pck_chain_pem(&self) -> String {
        [&self.pck, &self.pck_ca, &self.root].map(|link| link.certificate.pem.as_str()).concat()
    }

    /// The chain of the signer of TCB information and QE identity.
    pub(crate) fn tcb_signer_chain_pem(&self) -> String {
        [&self.tcb_signer, &self.root].map(|link| link.certificate.pem.as_str()).concat()
    }

    /// The chain of the issuer of the PCK revocation list.
    pub(crate) fn pck_crl_issuer_chain_pem(&self) -> String {
        [&self.pck_ca, &self.root].map(|link| link.certificate.pem.as_str()).concat()
    }

    /// The root's revocation list, in DER.
    pub(crate) fn root_crl(&self, validity: Validity, pck_ca_revoked: bool) -> Result<Vec<u8>, SimError> {
        let revoked = pck_ca_revoked.then_some(&self.pck_ca.certificate);
        revocation_list(&root_parameters()?, &self.root.key, validity, revoked)
    }

    /// The PCK CA's revocation list, in DER.
    pub(crate) fn pck_crl(
        &self,
        hardware: &Hardware,
        validity: Validity,
        pck_revoked: bool,
    ) -> Result<Vec<u8>, SimError> {
        let revoked = pck_revoked.then_some(&self.pck.certificate);
        revocation_list(&pck_ca_parameters(hardware.ca)?, &self.pck_ca.key, validity, revoked)
    }
}

/// When a signed document was issued and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) issued: UnixSeconds,
    pub(crate) next_update: UnixSeconds,
}

impl CertifiedKey {
    /// Pairs a key with a certificate in PEM that must be for it.
    pub(crate) fn new(key: SigningKey, pem: String) -> Result<Self, SimError> {
        let certificate = Certificate::from_pem(pem, &key)
            .map_err(|reason| SimError::cryptography("read its own certificate", reason))?;
        Ok(Self { key, certificate })
    }

    fn copy(&self) -> Result<Self, SimError> {
        let key = SigningKey::from_pem(&self.key.to_pem())
            .map_err(|reason| SimError::cryptography("read its own key", reason))?;
        Self::new(key, self.certificate.pem.clone())
    }

    fn certify(
        &self,
        own_parameters: &CertificateParams,
        subject: &CertificateParams,
    ) -> Result<Self, SimError> {
        let key = SigningKey::generate()?;
        let issuer = Issuer::from_params(own_parameters, self.key.pair());
        let certificate = subject
            .signed_by(key.pair(), &issuer)
            .map_err(|error| SimError::cryptography("issue a certificate", error))?;
        Self::new(key, certificate.pem())
    }
}

impl Certificate {
    /// Reads a certificate and checks that it is for this key. The error says
    /// what was found instead.
    pub(crate) fn from_pem(pem: String, key: &SigningKey) -> Result<Self, String> {
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
            .map_err(|error| format!("no certificate in PEM ({error})"))?;
        let der = block.contents;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|error| format!("no certificate ({error})"))?;
        if parsed.public_key().subject_public_key.data != key.public_point() {
            return Err("a certificate for another key".to_owned());
        }
        let serial = parsed.raw_serial().to_vec();
        Ok(Self { der, pem, serial })
    }
}

fn parameters(common_name: &str) -> Result<CertificateParams, SimError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.distinguished_name.push(DnType::OrganizationName, "Adytum SIMULATION");
    // A development root has nothing to lose by a long life; only the
    // collateral must stay fresh.
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2049, 12, 31);
    parameters.use_authority_key_identifier_extension = true;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial)
        .map_err(|error| SimError::cryptography("draw a serial number", error))?;
    // Positive and of full length (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x3f | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(parameters)
}

fn authority(common_name: &str, intermediates_below: u8) -> Result<CertificateParams, SimError> {
    let mut parameters = parameters(common_name)?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(intermediates_below));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn root_parameters() -> Result<CertificateParams, SimError> {
    authority(ROOT_COMMON_NAME, 1)
}

fn pck_ca_parameters(ca: CaKind) -> Result<CertificateParams, SimError> {
    // Verifiers tell the two CAs apart by the words "Processor" and "Platform".
    authority(
        match ca {
            CaKind::Processor => "Adytum SIMULATION PCK Processor CA - protects nothing",
            CaKind::Platform => "Adytum SIMULATION PCK Platform CA - protects nothing",
        },
        0,
    )
}

fn tcb_signer_parameters() -> Result<CertificateParams, SimError> {
    let mut parameters = parameters("Adytum SIMULATION TCB signing - protects nothing")?;
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    Ok(parameters)
}

fn pck_parameters(hardware: &Hardware) -> Result<CertificateParams, SimError> {
    let mut parameters = parameters("Adytum SIMULATION PCK certificate - protects nothing")?;
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    parameters.custom_extensions =
        vec![CustomExtension::from_oid_content(&SGX_EXTENSION, hardware.sgx_extension())];
    Ok(parameters)
}

fn revocation_list(
    issuer: &CertificateParams,
    key: &SigningKey,
    validity: Validity,
    revoked: Option<&Certificate>,
) -> Result<Vec<u8>, SimError> {
    // Rising with every issue, and never above four bytes, which is what
    // verifiers take.
    let number = u32::try_from(validity.issued.0).unwrap_or(u32::MAX);
    let list = CertificateRevocationListParams {
        this_update: date(validity.issued),
        next_update: date(validity.next_update),
        crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .map(|certificate| RevokedCertParams {
                serial_number: SerialNumber::from_slice(&certificate.serial),
                revocation_time: date(validity.issued),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .into_iter()
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&Issuer::from_params(issuer, key.pair()))
        .map(|list| list.der().to_vec())
        .map_err(|error| SimError::cryptography("issue a revocation list", error))
}
