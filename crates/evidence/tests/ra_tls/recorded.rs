//! Certificates that programs of others made on hardware.

use std::sync::Arc;

use adytum_evidence::{
    clock::{FixedClock, UnixSeconds},
    ra_tls::{AcceptedForms, CertificateForm, KeyDigest, RaTlsCertificate},
    verifier::{TrustRoot, Verifier},
};
use adytum_testkit::{recorded::vector, tee::Nothing};

/// When all of these were valid.
const IN_2024: UnixSeconds = UnixSeconds(1_720_000_000);

/// The two of the interoperable form.
fn interoperable() -> impl Iterator<Item = Vec<u8>> {
    ["ratls/ccc_gramine-cert.pem", "ratls/ccc_intel-sgxsdk-cert.pem"].into_iter().filter_map(vector)
}

fn der(pem: &[u8]) -> Vec<u8> {
    pem::parse(pem).unwrap().into_contents()
}

fn position(bytes: &[u8], of: &[u8]) -> usize {
    bytes.windows(of.len()).position(|window| window == of).unwrap()
}

/// DER of the interoperable form's object identifier.
const TAGGED_EVIDENCE: [u8; 8] = [6, 6, 0x67, 0x81, 5, 5, 4, 9];

/// The certificate as if it had never had the interoperable form's extension.
fn without_tagged_evidence(mut der: Vec<u8>) -> Vec<u8> {
    let at = position(&der, &TAGGED_EVIDENCE);
    der[at + 7] += 1;
    der
}

#[tokio::test]
async fn gramines_and_intels_are_bound_to_their_keys() {
    for certificate in interoperable() {
        for bytes in [certificate.clone(), der(&certificate)] {
            let read = RaTlsCertificate::parse(&bytes, &AcceptedForms::default()).unwrap();
            assert_eq!((read.form(), read.nonce()), (CertificateForm::Interoperable, None));
            let bound = read.bound().unwrap();
            // P-384, as the certificates have it.
            assert_eq!(bound.public_key_info().len(), 120);
            // Genuine up to Intel's root; collateral of its time was not recorded.
            let clock = Arc::new(FixedClock::new(IN_2024));
            let verifier = Verifier::new(vec![TrustRoot::intel()], Arc::new(Nothing), clock);
            let error = bound.verify(&verifier, IN_2024).await.unwrap_err();
            assert_eq!(error.code(), "collateral-missing", "{error}");
        }
    }
}

#[test]
fn the_older_extension_of_gramines_is_read_where_there_is_no_other() {
    let Some(certificate) = vector("ratls/ccc_gramine-cert.pem") else { return };
    let older = without_tagged_evidence(der(&certificate));
    assert_eq!(RaTlsCertificate::recognise(&older).unwrap(), Some(CertificateForm::Gramine));
    let accepted = AcceptedForms::interoperable_and([CertificateForm::Gramine]);
    let bound = RaTlsCertificate::parse(&older, &accepted).unwrap().bound();
    assert!(bound.is_ok(), "{bound:?}");
}

/// Intel's SDK writes the same quote twice, and it is of the claims. Without them nothing
/// binds it to the key.
#[test]
fn the_older_extension_of_intels_is_not_bound_without_the_claims() {
    let Some(certificate) = vector("ratls/ccc_intel-sgxsdk-cert.pem") else { return };
    let older = without_tagged_evidence(der(&certificate));
    assert_eq!(RaTlsCertificate::recognise(&older).unwrap(), Some(CertificateForm::IntelSdk));
    let error = RaTlsCertificate::parse(&older, &AcceptedForms::all()).unwrap().bound().unwrap_err();
    assert_eq!(error.code(), "ra-tls-key-not-bound");
}

#[test]
fn rats_tlss_samples_are_bound_to_the_bits_of_their_keys() {
    for name in ["ratls/rats-tls-cert-sample.pem", "ratls/rats-tls-cert-openssl-sample.pem"] {
        let Some(certificate) = vector(name) else { return };
        let error = RaTlsCertificate::parse(&certificate, &AcceptedForms::default()).unwrap_err();
        assert_eq!(error.code(), "ra-tls-form-not-accepted", "{name}");
        let accepted = AcceptedForms::interoperable_and([CertificateForm::RatsTls]);
        let read = RaTlsCertificate::parse(&certificate, &accepted).unwrap();
        assert_eq!(read.form(), CertificateForm::RatsTls);
        read.bound().unwrap();
    }
    assert_ne!(KeyDigest::KeyBits, KeyDigest::PublicKeyInfo);
}

#[test]
fn another_key_other_claims_and_another_tag_are_refused() {
    for certificate in interoperable() {
        let der = der(&certificate);
        let code = |der: &[u8]| {
            let read = RaTlsCertificate::parse(der, &AcceptedForms::all());
            read.and_then(RaTlsCertificate::bound).unwrap_err().code()
        };
        // The last byte of the key: before the extensions, [3].
        let mut other_key = der.clone();
        let at = position(&der, &[0xa3, 0x82]);
        other_key[at - 1] ^= 1;
        assert_eq!(code(&other_key), "ra-tls-key-not-bound");
        let mut other_claims = der.clone();
        let at = position(&der, b"pubkey-hash");
        other_claims[at + 30] ^= 1;
        assert_eq!(code(&other_claims), "ra-tls-claims-not-bound");
        // Although an older extension with the same evidence is there.
        let mut other_tag = der.clone();
        let at = position(&der, &[0xd9, 0xea, 0x60]);
        other_tag[at + 2] ^= 1;
        assert_eq!(code(&other_tag), "ra-tls-extension-malformed");
    }
}
