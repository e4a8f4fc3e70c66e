//! The cryptography that evidence is verified with.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::prelude::{FromDer, X509Certificate};

/// `dcap-qvl`'s configuration.
pub(crate) type Cryptography = dcap_qvl::configs::RingConfig;

/// Has the key in `issuer` signed `certificate` (both in DER, ECDSA P-256)?
pub(super) fn issued_by(certificate: &[u8], issuer: &[u8]) -> Result<(), String> {
    let certificate = x509(certificate)?;
    let issuer = x509(issuer)?;
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(format!("{} is issued by {}", certificate.subject(), certificate.issuer()));
    }
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return Err(format!("{} names two signature algorithms", certificate.subject()));
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &issuer.public_key().subject_public_key.data)
        .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .map_err(|_| format!("{} is not signed by {}", certificate.subject(), issuer.subject()))
}

/// A certificate and nothing after it.
pub(super) fn x509(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(format!("{} bytes follow the certificate", rest.len())),
        Err(error) => Err(format!("not a certificate: {error}")),
    }
}
