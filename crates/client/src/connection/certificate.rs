//! Trust in exactly the certificates of one file, as gRPC's clients have it.
//!
//! The reference deployment's `server.crt` is a self-signed certificate for
//! `localhost`, often with the name in the subject only, and the client's
//! `--crt` is that very file. So a certificate is trusted when it is in the
//! file, or when a CA certificate of the file signed it; either way it must be
//! valid now and name the server.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{
        CertificateDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::ParsedCertificate,
};
use sha2::{Digest, Sha256};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate, time::ASN1Time,
};

use super::TargetError;

/// No chain of certificates is longer than this, in bytes.
const MAXIMUM_FILE_LENGTH: u64 = 1 << 20;

/// The reason why the server's certificate is not acceptable.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The server shows a certificate that is not the trusted one, nor signed by it.
    ///
    /// Do: get the server's current certificate from its owner; if it is the same, this is
    /// another server.
    #[error(
        "the server's certificate (SHA-256 {presented}) is not the trusted one; get the server's \
         current certificate from its owner, or this is another server"
    )]
    NotTrusted {
        /// Digest of the certificate shown, in hexadecimal.
        presented: String,
    },
    /// The server's certificate is for another name.
    ///
    /// Do: connect by a name in the certificate, or give that name with `--server-name`.
    #[error(
        "the server's certificate is for {presented}, not for {wanted}; connect by that name, or give \
         it with --server-name"
    )]
    WrongName {
        /// The name that was connected to.
        wanted: String,
        /// The names it is for.
        presented: String,
    },
    /// The server's certificate has expired.
    ///
    /// Do: have the certificate renewed, or correct this machine's clock.
    #[error("the server's certificate expired on {since}; have it renewed, or check this machine's clock")]
    Expired {
        /// The end of its validity.
        since: String,
    },
    /// The server's certificate is not valid yet.
    ///
    /// Do: correct this machine's clock, or wait until the certificate is valid.
    #[error("the server's certificate is not valid before {from}; check this machine's clock")]
    NotYetValid {
        /// The beginning of its validity.
        from: String,
    },
    /// The server's certificate can't be read.
    ///
    /// Do: replace the server's certificate; `adytum ssl-config new` makes one.
    #[error("the server's certificate can't be read: {problem}")]
    Malformed { problem: String },
}

impl TrustError {
    /// A stable name of the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotTrusted { .. } => "certificate-not-trusted",
            Self::WrongName { .. } => "certificate-wrong-name",
            Self::Expired { .. } => "certificate-expired",
            Self::NotYetValid { .. } => "certificate-not-yet-valid",
            Self::Malformed { .. } => "certificate-malformed",
        }
    }

    /// The reason in an error that came through rustls.
    pub(crate) fn find(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref()
            }
            _ => None,
        }
    }
}

impl From<TrustError> for rustls::Error {
    fn from(error: TrustError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

/// The certificates of a file, as rustls asks for them.
#[derive(Debug)]
pub(crate) struct TrustedCertificates {
    pinned: Vec<CertificateDer<'static>>,
    authorities: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl TrustedCertificates {
    /// Reads a PEM file.
    pub(crate) fn read(path: &Path, provider: &CryptoProvider) -> Result<Self, TargetError> {
        let error = |problem: String| TargetError::CertificateFile { path: path.to_owned(), problem };
        let mut pem = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAXIMUM_FILE_LENGTH + 1).read_to_end(&mut pem))
            .map_err(|problem| error(problem.to_string()))?;
        if pem.len() as u64 > MAXIMUM_FILE_LENGTH {
            return Err(error(format!(
                "expected certificates in at most {MAXIMUM_FILE_LENGTH} bytes, found more"
            )));
        }
        Self::parse(&pem, provider).map_err(error)
    }

    fn parse(pem: &[u8], provider: &CryptoProvider) -> Result<Self, String> {
        let pinned = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| format!("expected a certificate in PEM, found {}", damage(&problem)))?;
        if pinned.is_empty() {
            return Err(format!(
                "expected a certificate in PEM (BEGIN CERTIFICATE), found {}",
                contents(pem)
            ));
        }
        let mut authorities = RootCertStore::empty();
        for certificate in &pinned {
            let (_, parsed) = parse_x509_certificate(certificate).map_err(|problem| {
                format!("expected a certificate, found one that can't be read: {problem}")
            })?;
            // The key of a certificate that is no CA's must not vouch for others.
            if parsed.is_ca() {
                authorities.add(certificate.clone()).map_err(|problem| {
                    format!("expected a usable CA certificate, found one that is not: {problem}")
                })?;
            }
        }
        Ok(Self { pinned, authorities, algorithms: provider.signature_verification_algorithms })
    }

    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), TrustError> {
        let malformed = |problem: String| TrustError::Malformed { problem };
        let (_, parsed) =
            parse_x509_certificate(certificate).map_err(|error| malformed(error.to_string()))?;
        let for_webpki =
            ParsedCertificate::try_from(certificate).map_err(|error| malformed(error.to_string()))?;
        let pinned = self.pinned.iter().any(|trusted| trusted == certificate);
        if !pinned {
            verify_server_cert_signed_by_trust_anchor(
                &for_webpki,
                &self.authorities,
                intermediates,
                now,
                self.algorithms.all,
            )
            .map_err(|error| match error {
                rustls::Error::InvalidCertificate(
                    CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. },
                ) => validity(&parsed, now).err().unwrap_or_else(|| malformed(error.to_string())),
                _ => TrustError::NotTrusted { presented: hex::encode(Sha256::digest(certificate)) },
            })?;
        }
        validity(&parsed, now)?;
        if verify_server_name(&for_webpki, name).is_ok() || subject_names(&parsed, name) {
            Ok(())
        } else {
            Err(TrustError::WrongName { wanted: name.to_str().into_owned(), presented: names(&parsed) })
        }
    }
}

/// The damage of a PEM file, in our words.
fn damage(error: &pem::Error) -> String {
    let text = |line: &[u8]| String::from_utf8_lossy(line).trim().to_owned();
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("a block without its last line, {:?}", text(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("the line {:?}, which starts no block", text(line))
        }
        pem::Error::Base64Decode(_) => "a block whose content is not base64".to_owned(),
        _ => "a block that can't be read".to_owned(),
    }
}

/// What a file without a certificate has instead.
fn contents(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let label = text.lines().find_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    match label {
        Some(label) => format!("a PEM block {label:?}"),
        None if bytes.is_empty() => "an empty file".to_owned(),
        None if bytes.starts_with(&[0x30]) => "DER; convert it with `openssl x509 -inform der`".to_owned(),
        None => "no PEM block".to_owned(),
    }
}

impl ServerCertVerifier for TrustedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn validity(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), TrustError> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let (from, until) = (certificate.validity().not_before, certificate.validity().not_after);
    if now < from.timestamp() {
        Err(TrustError::NotYetValid { from: date(from) })
    } else if now > until.timestamp() {
        Err(TrustError::Expired { since: date(until) })
    } else {
        Ok(())
    }
}

fn date(time: ASN1Time) -> String {
    time.to_rfc2822().unwrap_or_else(|_| time.to_string())
}

/// Alternative names, where there are any, rule out the subject (RFC 6125,
/// section 6.4.4). gRPC's own clients take the subject where there are none.
fn subject_names(certificate: &X509Certificate<'_>, name: &ServerName<'_>) -> bool {
    alternative_names(certificate).is_empty()
        && common_names(certificate).iter().any(|common| common.eq_ignore_ascii_case(&name.to_str()))
}

fn common_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    certificate
        .subject()
        .iter_common_name()
        .filter_map(|attribute| attribute.as_str().ok())
        .map(str::to_owned)
        .collect()
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(address) => std::net::Ipv4Addr::from(address).to_string(),
                Err(_) => <[u8; 16]>::try_from(*bytes).map_or_else(
                    |_| hex::encode(bytes),
                    |address| std::net::Ipv6Addr::from(address).to_string(),
                ),
            },
            other => format!("{other}"),
        })
        .collect()
}

/// The names for a message. They are the peer's, so at most a few are said.
fn names(certificate: &X509Certificate<'_>) -> String {
    let mut names = alternative_names(certificate);
    if names.is_empty() {
        names = common_names(certificate);
    }
    if names.is_empty() {
        return "no name at all".to_owned();
    }
    let more = names.len().saturating_sub(5);
    names.truncate(5);
    let said =
        names.iter().map(|name| name.escape_default().take(80).collect()).collect::<Vec<String>>().join(", ");
    if more > 0 { format!("{said} and {more} more") } else { said }
}

#[cfg(test)]
mod tests;
