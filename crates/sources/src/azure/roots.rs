//! The certificate authorities above Azure's services.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Those that Azure's services chain to (Microsoft's page "Azure Certificate Authority
/// details"), by their common names.
const AZURE: [&str; 4] = [
    "DigiCert Global Root G2",
    "DigiCert Global Root G3",
    "Microsoft RSA Root Certificate Authority 2017",
    "Microsoft ECC Root Certificate Authority 2017",
];
/// The most certificates that a configuration may give.
const MAXIMUM_ROOTS: usize = 16;

/// Azure's roots, out of Mozilla's, which this program has in itself.
pub fn azure_roots() -> Vec<CertificateDer<'static>> {
    let is_azures = |der: &&CertificateDer<'static>| {
        X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
            let mut names = certificate.subject().iter_common_name();
            names.any(|name| name.as_str().is_ok_and(|name| AZURE.contains(&name)))
        })
    };
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter(is_azures).cloned().collect()
}

/// Reads certificates in PEM: one to 16.
pub fn roots_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let blocks = pem::parse_many(text).map_err(|_| "it is not PEM".to_owned())?;
    if blocks.is_empty() || blocks.len() > MAXIMUM_ROOTS {
        return Err(format!("expected 1 to {MAXIMUM_ROOTS} certificates in PEM, found {}", blocks.len()));
    }
    blocks
        .into_iter()
        .map(|block| match block.tag() {
            "CERTIFICATE" => Ok(CertificateDer::from(block.into_contents())),
            other => Err(format!("expected certificates, found a PEM block {other:?}")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_azures_roots_are_known() {
        assert_eq!(azure_roots().len(), AZURE.len());
    }
}
