//! The certificate authorities that servers of the sources are trusted by. That trust only
//! hides which model is fetched: sealed models need no trusted source.

use object_store::{Certificate, ClientOptions};

use crate::error::{PullError, printable};

/// Adds Mozilla's authorities where the system has none, as in an image from scratch.
/// Elsewhere the system's count, or those in `SSL_CERT_FILE`.
pub(crate) fn add_to(options: ClientOptions) -> Result<ClientOptions, PullError> {
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return Ok(options);
    }
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().try_fold(options, |options, der| {
        let certificate =
            Certificate::from_der(der).map_err(|error| PullError::Settings { reason: printable(error) })?;
        Ok(options.with_root_certificate(certificate))
    })
}
