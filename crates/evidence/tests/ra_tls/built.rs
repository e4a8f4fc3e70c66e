//! A sound certificate of each form is accepted where its form is, and nowhere else.

use std::sync::Arc;

use adytum_evidence::{
    claims::TeeKind,
    clock::{Clock, SystemClock},
    measurement::{HostData, ReportData, Sha256Digest, SnpMeasurement},
    ra_tls::{AcceptedForms, CertificateForm, KeyDigest, NotCovered, RaTlsCertificate},
    snp::{Endorser, SnpProduct},
    trust::Vendor,
    verifier::Verifier,
};
use adytum_sim::snp::{SnpGuest, SnpPlatform};
use adytum_testkit::version_1::version_1_with_extensions;
use ciborium::Value;
use rcgen::{KeyPair, PublicKeyData as _};

use crate::fixture::{
    GRAMINE, IDENTITY, INTEL_SDK, INTEROPERABLE, OCCLUM, OPEN_ENCLAVE, Peer, RATS_TLS, SNP_REPORT, claims,
    key_claim, longer_digests, tagged, with_header,
};

#[tokio::test]
async fn the_interoperable_form_is_accepted_and_says_what_it_does_not_cover() {
    let peer = Peer::new();
    let verified = peer.verify(&peer.sound(), &AcceptedForms::default()).await.unwrap();
    assert_eq!(verified.form(), CertificateForm::Interoperable);
    assert_eq!(verified.claims().vendor, Vendor::Simulation);
    assert!(verified.claims().carries(IDENTITY));
    for missing in [NotCovered::Session, NotCovered::Freshness, NotCovered::Role] {
        assert!(verified.not_covered().contains(&missing));
    }
}

#[tokio::test]
async fn in_pem_it_is_the_same() {
    let peer = Peer::new();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", peer.sound()));
    peer.verify(pem.as_bytes(), &AcceptedForms::default()).await.unwrap();
}

#[tokio::test]
async fn longer_digests_a_nonce_and_claims_of_the_peers_own_are_read() {
    let peer = Peer::new();
    for (algorithm, digest) in longer_digests(&peer.public_key_info()) {
        let own = Value::Map(vec![("model".into(), Value::Array(vec![1.into(), Value::Null]))]);
        let claims = claims([
            ("nonce".into(), Value::Bytes(vec![5; 32])),
            key_claim(algorithm, digest),
            ("of-the-peer".into(), own),
        ]);
        let certificate = peer.certificate(&[(INTEROPERABLE, peer.interoperable(&claims))]);
        let read = RaTlsCertificate::parse(&certificate, &AcceptedForms::default()).unwrap();
        assert_eq!(read.nonce(), Some(&[5; 32][..]));
        peer.verify(&certificate, &AcceptedForms::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_report_of_sev_snp_is_read_too() {
    let peer = Peer::new();
    let chip = SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vcek).unwrap();
    let guest = SnpGuest::new(SnpMeasurement([1; 48]), HostData([2; 32]));
    let claims = claims([peer.key_claim()]);
    let mut report_data = ReportData([0; 64]);
    report_data.0[..32].copy_from_slice(&Sha256Digest::of_bytes(&claims).0);
    let evidence = chip.evidence(&guest, report_data).unwrap();
    let value = tagged(SNP_REPORT, &evidence.to_file(), &claims);
    let certificate = peer.certificate(&[(INTEROPERABLE, value)]);
    let bound = RaTlsCertificate::parse(&certificate, &AcceptedForms::default()).unwrap().bound().unwrap();
    let verifier =
        Verifier::new(vec![chip.trust_root().unwrap()], Arc::clone(&chip) as _, Arc::new(SystemClock));
    let verified = bound.verify(&verifier, SystemClock.now()).await.unwrap();
    assert_eq!(verified.claims().tee(), TeeKind::Snp);
}

/// The certificates of the older forms, each with the digest that it must be bound to.
fn older(peer: &Peer) -> Vec<(CertificateForm, KeyDigest, Vec<u8>)> {
    let (info, bits) = (peer.public_key_info(), peer.key.der_bytes().to_vec());
    let pem = format!("{}\n\0", peer.key.public_key_pem().replace("\r\n", "\n").trim_end());
    let of = |oid: &[u64], value| peer.certificate(&[(oid, value)]);
    vec![
        (CertificateForm::Gramine, KeyDigest::PublicKeyInfo, of(GRAMINE, peer.quote(&info))),
        (CertificateForm::RatsTls, KeyDigest::KeyBits, of(RATS_TLS, peer.quote(&bits))),
        (CertificateForm::IntelSdk, KeyDigest::PemText, of(INTEL_SDK, peer.quote(pem.as_bytes()))),
        (
            CertificateForm::OpenEnclave,
            KeyDigest::PublicKeyInfo,
            of(OPEN_ENCLAVE, with_header(&peer.quote(&info))),
        ),
        (
            CertificateForm::OpenEnclave,
            KeyDigest::PemText,
            of(OPEN_ENCLAVE, with_header(&peer.quote(pem.as_bytes()))),
        ),
        (
            CertificateForm::Occlum,
            KeyDigest::PublicKeyInfo,
            version_1_with_extensions(&of(OCCLUM, peer.quote(&info)), &peer.key),
        ),
    ]
}

#[tokio::test]
async fn older_forms_are_accepted_by_name_only() {
    let peer = Peer::new();
    for (form, digest, certificate) in older(&peer) {
        assert_eq!(RaTlsCertificate::recognise(&certificate).unwrap(), Some(form));
        let others = CertificateForm::ALL.into_iter().filter(|&other| other != form);
        for accepted in [AcceptedForms::default(), AcceptedForms::interoperable_and(others)] {
            let error = peer.verify(&certificate, &accepted).await.unwrap_err();
            assert_eq!(error.code(), "ra-tls-form-not-accepted", "{form}: {error}");
            assert!(error.to_string().contains(&form.to_string()), "{error}");
        }
        let verified = peer.verify(&certificate, &AcceptedForms::interoperable_and([form])).await.unwrap();
        assert_eq!((verified.form(), verified.key_digest()), (form, digest));
        assert!(!verified.not_covered().is_empty());
    }
}

#[tokio::test]
async fn occlums_certificates_have_rsa_keys() {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let peer = Peer { key, ..Peer::new() };
    let quote = peer.quote(&peer.public_key_info());
    let certificate = version_1_with_extensions(&peer.certificate(&[(OCCLUM, quote)]), &peer.key);
    peer.verify(&certificate, &AcceptedForms::interoperable_and([CertificateForm::Occlum])).await.unwrap();
}

#[tokio::test]
async fn an_older_extension_next_to_the_interoperable_one_does_not_matter() {
    let peer = Peer::new();
    let value = peer.interoperable(&claims([peer.key_claim()]));
    for accepted in [AcceptedForms::default(), AcceptedForms::all()] {
        for older in [peer.quote(&peer.public_key_info()), b"of somebody else".to_vec()] {
            let certificate = peer.certificate(&[
                (GRAMINE, older.clone()),
                (INTEROPERABLE, value.clone()),
                (INTEL_SDK, older),
            ]);
            let verified = peer.verify(&certificate, &accepted).await.unwrap();
            assert_eq!(verified.form(), CertificateForm::Interoperable);
        }
    }
}

#[test]
fn plain_certificates_and_intels_own_carry_no_evidence() {
    let peer = Peer::new();
    let plain = peer.certificate(&[]);
    // What Intel certifies of a platform begins as a SEQUENCE.
    let of_pck = peer.certificate(&[(INTEL_SDK, vec![0x30, 0])]);
    for certificate in [plain, of_pck] {
        assert_eq!(RaTlsCertificate::recognise(&certificate).unwrap(), None);
        let error = RaTlsCertificate::parse(&certificate, &AcceptedForms::all()).unwrap_err();
        assert_eq!(error.code(), "ra-tls-no-evidence");
    }
}
