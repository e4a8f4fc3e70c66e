//! Certificates of others that carry evidence: only one of an accepted form is read, and
//! what is bound has a key.

#![no_main]

use adytum_evidence::ra_tls::{AcceptedForms, CertificateForm, RaTlsCertificate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let form = RaTlsCertificate::recognise(bytes).ok().flatten();
    let Ok(certificate) = RaTlsCertificate::parse(bytes, &AcceptedForms::all()) else { return };
    assert_eq!(Some(certificate.form()), form);
    let standard = RaTlsCertificate::parse(bytes, &AcceptedForms::default());
    assert_eq!(standard.is_ok(), certificate.form() == CertificateForm::Interoperable);
    if let Ok(bound) = certificate.bound() {
        assert!(!bound.public_key_info().is_empty());
    }
});
