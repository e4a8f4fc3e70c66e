//! X.509 certificates and revocation lists as evidence and collateral carry them:
//! their form, their names and their dates. No signature is verified here.

pub(crate) mod chain;
mod name;
pub(crate) mod validity;

use x509_parser::prelude::{FromDer, X509Certificate};

pub(crate) use self::name::printable;

/// A certificate and nothing after it.
pub(crate) fn x509(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(format!("{} bytes follow the certificate", rest.len())),
        Err(error) => Err(format!("not a certificate: {error}")),
    }
}
