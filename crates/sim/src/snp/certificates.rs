//! Certificates in the form of AMD's: signed with RSASSA-PSS, which `rcgen` does not
//! write. Its certificates are signed again here, with the name of the algorithm
//! changed.

use adytum_evidence::{
    clock::{Clock, SystemClock, UnixSeconds},
    snp::{Endorser, SnpProduct, SnpTcb},
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PSS_SHA384, RsaKeyPair},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA384,
    RevokedCertParams, RsaKeySize, SerialNumber,
};

use crate::{dates::date, error::SimError};

/// Whose chips the simulated VLEKs are in.
const CLOUD_PROVIDER: &str = "CN=cc.simulated-cloud.example";

/// AlgorithmIdentifier of RSA with SHA-384 (PKCS #1 v1.5), as `rcgen` writes it.
const RSA_SHA384: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c, 0x05, 0x00];

/// AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1 with the same, and 48 bytes of
/// salt (RFC 4055).
const RSASSA_PSS: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f,
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c,
    0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09,
    0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];

const DAY: u64 = 24 * 60 * 60;
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 3;

/// From when until when.
#[derive(Clone, Copy)]
pub(super) struct Validity {
    from: UnixSeconds,
    until: UnixSeconds,
}

impl Validity {
    /// As given, or for years around today.
    pub(super) fn of(given: Option<(UnixSeconds, UnixSeconds)>) -> Self {
        let (from, until) = given.unwrap_or_else(|| {
            let now = SystemClock.now().0;
            (UnixSeconds(now.saturating_sub(DAY)), UnixSeconds(now + 3650 * DAY))
        });
        Self { from, until }
    }
}

/// A CA's key and certificate.
pub(super) struct Authority {
    key: KeyPair,
    parameters: CertificateParams,
    /// The certificate in DER.
    pub(super) certificate: Vec<u8>,
    serial: SerialNumber,
}

/// A chip's key, in PKCS #8, and its certificate, in DER.
pub(super) struct EndorsementKey {
    pub(super) key: Vec<u8>,
    pub(super) certificate: Vec<u8>,
}

impl Authority {
    /// A root that signs itself.
    pub(super) fn root(product: SnpProduct) -> Result<Self, SimError> {
        let name = format!("ARK-{product} SIMULATION protects nothing");
        let (key, mut parameters) = authority(&name, true)?;
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = parameters.self_signed(&key).map_err(failed)?;
        let certificate = signed_anew(made.der(), &key)?;
        Ok(Self { key, serial: serial(&parameters), parameters, certificate })
    }

    /// The issuer of endorsement keys below this root.
    pub(super) fn issuer(
        &self,
        product: SnpProduct,
        endorser: Endorser,
        no_ca: bool,
    ) -> Result<Self, SimError> {
        let name = match endorser {
            Endorser::Vcek => format!("SEV-{product}"),
            Endorser::Vlek => format!("SEV-VLEK-{product}"),
        };
        let (key, parameters) = authority(&name, !no_ca)?;
        let made = parameters.signed_by(&key, &self.rcgen()).map_err(failed)?;
        let certificate = signed_anew(made.der(), &self.key)?;
        Ok(Self { key, serial: serial(&parameters), parameters, certificate })
    }

    /// A list that revokes this certificate, or none.
    pub(super) fn revocation_list(
        &self,
        validity: Validity,
        revoked: Option<&Self>,
    ) -> Result<Vec<u8>, SimError> {
        let revoked_certs = revoked
            .map(|revoked| RevokedCertParams {
                serial_number: revoked.serial.clone(),
                revocation_time: date(validity.from),
                reason_code: None,
                invalidity_date: None,
            })
            .into_iter()
            .collect();
        let list = CertificateRevocationListParams {
            this_update: date(validity.from),
            next_update: date(validity.until),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let mut parameters = self.parameters.clone();
        parameters.key_usages = vec![KeyUsagePurpose::CrlSign];
        let made = list.signed_by(&Issuer::from_params(&parameters, &self.key)).map_err(failed)?;
        signed_anew(made.der(), &self.key)
    }

    /// A new endorsement key, certified for this chip and this TCB.
    pub(super) fn endorse(
        &self,
        product: SnpProduct,
        endorser: Endorser,
        chip: [u8; 64],
        tcb: [u8; 8],
        validity: Validity,
    ) -> Result<EndorsementKey, SimError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(failed)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, format!("SEV-{endorser}"));
        (parameters.not_before, parameters.not_after) = (date(validity.from), date(validity.until));
        let SnpTcb { fmc, bootloader, tee, snp, microcode } = SnpTcb::read(product, tcb);
        let mut extension = |arc: &[u64], content: Vec<u8>| {
            let oid = [&[1, 3, 6, 1, 4, 1, 3704, 1], arc].concat();
            parameters.custom_extensions.push(CustomExtension::from_oid_content(&oid, content));
        };
        for (arc, level) in
            [(1, Some(bootloader)), (2, Some(tee)), (3, Some(snp)), (8, Some(microcode)), (9, fmc)]
        {
            if let Some(level) = level {
                extension(&[3, arc], if level < 128 { vec![2, 1, level] } else { vec![2, 2, 0, level] });
            }
        }
        if endorser == Endorser::Vcek {
            let length = if product == SnpProduct::Turin { 8 } else { 64 };
            extension(&[4], chip[..length].to_vec());
        } else if let Ok(length) = u8::try_from(CLOUD_PROVIDER.len()) {
            extension(&[5], [&[0x16, length], CLOUD_PROVIDER.as_bytes()].concat());
        }
        let made = parameters.signed_by(&key, &self.rcgen()).map_err(failed)?;
        Ok(EndorsementKey { certificate: signed_anew(made.der(), &self.key)?, key: key.serialize_der() })
    }

    fn rcgen(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.parameters, &self.key)
    }
}

fn authority(name: &str, ca: bool) -> Result<(KeyPair, CertificateParams), SimError> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA384, RsaKeySize::_2048).map_err(failed)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    parameters.serial_number = Some(SerialNumber::from(rcgen_serial()?));
    Ok((key, parameters))
}

fn rcgen_serial() -> Result<u64, SimError> {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).map_err(failed)?;
    Ok(u64::from(u32::from_be_bytes(bytes)) + 1)
}

fn serial(parameters: &CertificateParams) -> SerialNumber {
    parameters.serial_number.clone().unwrap_or_else(|| SerialNumber::from(0u64))
}

fn failed(error: impl std::fmt::Display) -> SimError {
    SimError::cryptography("make certificates in AMD's form", error)
}

/// The signed part of a certificate or a list, with the other algorithm named in it,
/// signed with that.
fn signed_anew(made: &[u8], key: &KeyPair) -> Result<Vec<u8>, SimError> {
    let broken = || failed("rcgen wrote something else than was expected");
    let (outer, _) = content(made).ok_or_else(broken)?;
    let (to_be_signed, _) = content(outer).ok_or_else(broken)?;
    let at =
        to_be_signed.windows(RSA_SHA384.len()).position(|window| window == RSA_SHA384).ok_or_else(broken)?;
    let (before, after) = (&to_be_signed[..at], &to_be_signed[at + RSA_SHA384.len()..]);
    let to_be_signed = element(SEQUENCE, &[before, RSASSA_PSS, after].concat());
    let signer = RsaKeyPair::from_pkcs8(&key.serialize_der()).map_err(failed)?;
    let mut signature = vec![0; signer.public_modulus_len()];
    signer.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &to_be_signed, &mut signature).map_err(failed)?;
    let signature = element(BIT_STRING, &[&[0], &signature[..]].concat());
    Ok(element(SEQUENCE, &[&to_be_signed, RSASSA_PSS, &signature].concat()))
}

/// The content of the DER element that bytes begin with, and what follows it.
fn content(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = der.get(1..)?.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    rest.split_at_checked(length)
}

/// A DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|digit| **digit == 0).count()..];
    let mut element = vec![tag];
    match digits {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        // No content here is longer than a few thousand bytes.
        _ => {
            element.push(0x80 | digits.len() as u8);
            element.extend_from_slice(digits);
        }
    }
    element.extend_from_slice(content);
    element
}
