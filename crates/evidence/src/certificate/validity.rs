//! When certificates, revocation lists and signed documents are valid.

use x509_parser::prelude::{ASN1Time, CertificateRevocationList, FromDer, X509Certificate};

use crate::clock::UnixSeconds;

/// A dated part of collateral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) what: &'static str,
    pub(crate) kind: PartKind,
    pub(crate) from: UnixSeconds,
    pub(crate) until: UnixSeconds,
}

/// How a part comes to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Its issuer publishes it again and again, each time with a later date.
    Document,
    /// It is valid for years.
    Certificate,
}

/// A part that can't be read, and why.
pub(crate) type Unreadable = (&'static str, String);

/// A signed document with these dates, in RFC 3339's form.
pub(crate) fn dated(what: &'static str, issued: &str, next_update: &str) -> Result<Part, Unreadable> {
    let date = |text: &str| {
        UnixSeconds::parse_rfc3339(text).ok_or_else(|| (what, format!("{text:?} is no date in UTC")))
    };
    Ok(Part { what, kind: PartKind::Document, from: date(issued)?, until: date(next_update)? })
}

/// The validity of a revocation list in DER, with nothing after it.
pub(crate) fn crl(what: &'static str, der: &[u8]) -> Result<Part, Unreadable> {
    match CertificateRevocationList::from_der(der) {
        Ok(([], crl)) => {
            let until = crl.next_update().ok_or_else(|| (what, "it has no nextUpdate".to_owned()))?;
            Ok(Part {
                what,
                kind: PartKind::Document,
                from: seconds(crl.last_update()),
                until: seconds(until),
            })
        }
        Ok((rest, _)) => Err((what, format!("{} bytes follow it", rest.len()))),
        Err(error) => Err((what, format!("not a CRL in DER: {error}"))),
    }
}

/// The validity of a certificate in DER.
pub(crate) fn certificate(what: &'static str, der: &[u8]) -> Result<Part, Unreadable> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| (what, format!("not a certificate: {error}")))?;
    let validity = certificate.validity();
    Ok(Part {
        what,
        kind: PartKind::Certificate,
        from: seconds(validity.not_before),
        until: seconds(validity.not_after),
    })
}

/// Times before 1970 count as 1970.
fn seconds(time: ASN1Time) -> UnixSeconds {
    UnixSeconds(u64::try_from(time.timestamp()).unwrap_or(0))
}
