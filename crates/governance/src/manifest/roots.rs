//! Roots of simulated platforms, as `[trust]` has them: certificates in PEM.

#[cfg(feature = "simulation")]
use adytum_evidence::verifier::TrustRoot;

const PEM_LABEL: &str = "CERTIFICATE";

/// Reads one certificate in PEM.
pub(crate) fn root_from_pem(text: &str) -> Result<Vec<u8>, String> {
    let document = pem::parse(text).map_err(|error| format!("not a certificate in PEM: {error}"))?;
    if document.tag() != PEM_LABEL {
        return Err(format!("not a certificate but PEM with the label {:?}", document.tag()));
    }
    let der = document.into_contents();
    #[cfg(feature = "simulation")]
    TrustRoot::simulation(&der).map_err(|error| error.to_string())?;
    Ok(der)
}
