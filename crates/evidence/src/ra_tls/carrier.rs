//! Which extension of a certificate carries its evidence.

use x509_parser::certificate::X509Certificate;

use super::{error::RaTlsError, form::CertificateForm};

/// The first byte of a SEQUENCE in DER. No quote begins with it.
const SEQUENCE: u8 = 0x30;

/// An extension with evidence.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    pub(super) form: CertificateForm,
    pub(super) value: &'a [u8],
}

/// The extension of a certificate that counts: that of the interoperable form where it is
/// present. Programs write both for peers that know only an older form.
pub(super) fn carrier<'a>(certificate: &X509Certificate<'a>) -> Result<Option<Carrier<'a>>, RaTlsError> {
    let mut carriers = Vec::new();
    for extension in certificate.extensions() {
        let found = CertificateForm::ALL.into_iter().find(|form| form.extension() == extension.oid);
        let Some(form) = found else { continue };
        let value = extension.value;
        let of_pck = form == CertificateForm::IntelSdk && value.first() == Some(&SEQUENCE);
        if !of_pck {
            carriers.push(Carrier { form, value });
        }
    }
    let (mut standard, mut others): (Vec<_>, Vec<_>) =
        carriers.into_iter().partition(|carrier| carrier.form == CertificateForm::Interoperable);
    let counted = if standard.is_empty() { &mut others } else { &mut standard };
    match counted.as_slice() {
        [first, second, ..] => Err(RaTlsError::Ambiguous { first: first.form, second: second.form }),
        _ => Ok(counted.pop()),
    }
}
