//! Certificates that an attacker made of sound parts.

use adytum_evidence::{
    clock::UnixSeconds,
    measurement::{ReportData, Sha256Digest},
    ra_tls::{AcceptedForms, MAXIMUM_CERTIFICATE_LENGTH, RaTlsCertificate},
};
use ciborium::Value;
use proptest::prelude::*;
use rcgen::KeyPair;

use crate::fixture::{
    GRAMINE, INTEL_QUOTE, INTEL_SDK, INTEROPERABLE, OCCLUM, OPEN_ENCLAVE, Peer, RATS_TLS, SNP_REPORT, cbor,
    claims, key_claim, tagged, with_header,
};

/// The attacker has a key, and sees everything that the peer sends.
fn attacker(peer: &Peer) -> Peer {
    Peer { key: KeyPair::generate().unwrap(), platform: peer.platform.clone() }
}

#[tokio::test]
async fn evidence_of_another_key_is_refused() {
    let peer = Peer::new();
    let attacker = attacker(&peer);
    let info = peer.public_key_info();
    // The peer's extensions in the attacker's certificate.
    let interoperable = peer.interoperable(&claims([peer.key_claim()]));
    for (oid, value) in [
        (INTEROPERABLE, interoperable),
        (OCCLUM, peer.quote(&info)),
        (GRAMINE, peer.quote(&info)),
        (RATS_TLS, peer.quote(&info)),
        (INTEL_SDK, peer.quote(&info)),
        (OPEN_ENCLAVE, with_header(&peer.quote(&info))),
    ] {
        let certificate = attacker.certificate(&[(oid, value)]);
        assert_eq!(peer.refused(&certificate).await, "ra-tls-key-not-bound", "{oid:?}");
    }
}

#[tokio::test]
async fn claims_that_the_evidence_is_not_of_are_refused() {
    let peer = Peer::new();
    let attacker = attacker(&peer);
    // The peer's quote, the attacker's claims.
    let theirs = claims([attacker.key_claim()]);
    let quote = peer.quote(&claims([peer.key_claim()]));
    let certificate = attacker.certificate(&[(INTEROPERABLE, tagged(INTEL_QUOTE, &quote, &theirs))]);
    assert_eq!(peer.refused(&certificate).await, "ra-tls-claims-not-bound");
    // A claim more.
    let more = claims([peer.key_claim(), ("admin".into(), Value::Bool(true))]);
    let certificate = peer.certificate(&[(INTEROPERABLE, tagged(INTEL_QUOTE, &quote, &more))]);
    assert_eq!(peer.refused(&certificate).await, "ra-tls-claims-not-bound");
    // Report data that only begin with the digest.
    let claims = claims([peer.key_claim()]);
    let mut report_data = ReportData([1; 64]);
    report_data.0[..32].copy_from_slice(&Sha256Digest::of_bytes(&claims).0);
    let value = tagged(INTEL_QUOTE, &peer.quote_of(report_data), &claims);
    let certificate = peer.certificate(&[(INTEROPERABLE, value)]);
    assert_eq!(peer.refused(&certificate).await, "ra-tls-claims-not-bound");
}

#[tokio::test]
async fn a_bad_interoperable_extension_is_not_replaced_by_an_older_one() {
    let peer = Peer::new();
    let sound = peer.interoperable(&claims([peer.key_claim()]));
    let older = peer.quote(&peer.public_key_info());
    let cut = sound[..sound.len() - 1].to_vec();
    for bad in [Vec::new(), b"\0".to_vec(), cut, older.clone()] {
        let certificate = peer.certificate(&[(GRAMINE, older.clone()), (INTEROPERABLE, bad)]);
        assert_eq!(peer.refused(&certificate).await, "ra-tls-extension-malformed");
    }
}

#[tokio::test]
async fn two_extensions_that_could_count_are_refused() {
    let peer = Peer::new();
    let sound = peer.interoperable(&claims([peer.key_claim()]));
    let older = peer.quote(&peer.public_key_info());
    for extensions in [
        [(INTEROPERABLE, sound.clone()), (INTEROPERABLE, sound)],
        [(GRAMINE, older.clone()), (OCCLUM, older.clone())],
        [(GRAMINE, older.clone()), (GRAMINE, older)],
    ] {
        assert_eq!(peer.refused(&peer.certificate(&extensions)).await, "ra-tls-ambiguous");
    }
}

#[tokio::test]
async fn the_tagged_evidence_has_one_form() {
    let peer = Peer::new();
    let good = claims([peer.key_claim()]);
    let quote = peer.quote(&good);
    let three = Value::Array(vec![Value::Bytes(quote.clone()), Value::Bytes(good.clone()), Value::Null]);
    let text = Value::Array(vec![Value::Text("quote".to_owned()), Value::Bytes(good.clone())]);
    let pair = Value::Array(vec![Value::Bytes(quote.clone()), Value::Bytes(good.clone())]);
    for bad in [
        // Other tags, none, and one too many.
        tagged(60_001, &quote, &good),
        tagged(SNP_REPORT, &quote, &good),
        cbor(&pair),
        cbor(&Value::Tag(INTEL_QUOTE, Box::new(Value::Tag(INTEL_QUOTE, Box::new(pair.clone()))))),
        cbor(&Value::Tag(INTEL_QUOTE, Box::new(three))),
        cbor(&Value::Tag(INTEL_QUOTE, Box::new(text))),
        cbor(&Value::Tag(INTEL_QUOTE, Box::new(Value::Null))),
        [peer.interoperable(&good), vec![0]].concat(),
    ] {
        let certificate = peer.certificate(&[(INTEROPERABLE, bad)]);
        assert_eq!(peer.refused(&certificate).await, "ra-tls-extension-malformed");
    }
}

#[tokio::test]
async fn claims_name_one_key_by_one_digest() {
    let peer = Peer::new();
    let key = peer.key_claim();
    let (name, value) = key.clone();
    let deep = (0..100).fold(Value::Null, |value, _| Value::Array(vec![value]));
    for bad in [
        claims([]),
        claims([key.clone(), attacker(&peer).key_claim()]),
        claims([key.clone(), key.clone()]),
        claims([key.clone(), (1.into(), Value::Null)]),
        claims([key.clone(), ("a".into(), Value::Null), ("a".into(), Value::Null)]),
        claims([key.clone(), ("nonce".into(), Value::Text("x".to_owned()))]),
        claims([key.clone(), ("deep".into(), deep)]),
        claims([(name.clone(), Value::Null)]),
        claims([("pubkey-has".into(), value)]),
        claims([key_claim(1, vec![0; 31])]),
        claims([key_claim(7, vec![0; 32])]),
        claims([key_claim(2, vec![0; 16])]),
        claims([key_claim(0, vec![0; 32])]),
        claims([(name, Value::Bytes(vec![0x80]))]),
        [claims([key]), vec![0]].concat(),
        cbor(&Value::Null),
    ] {
        let certificate = peer.certificate(&[(INTEROPERABLE, peer.interoperable(&bad))]);
        assert_eq!(peer.refused(&certificate).await, "ra-tls-extension-malformed", "{bad:?}");
    }
}

#[tokio::test]
async fn what_cbor_announces_is_not_reserved() {
    let peer = Peer::new();
    // A byte string of 4 GiB, an array and a map of 2^60 elements.
    for bomb in
        [&b"\xd9\xea\x60\x82\x5a\xff\xff\xff\xff"[..], b"\x9b\x10\0\0\0\0\0\0\0", b"\xbb\x10\0\0\0\0\0\0\0"]
    {
        let certificate = peer.certificate(&[(INTEROPERABLE, bomb.to_vec())]);
        assert_eq!(peer.refused(&certificate).await, "ra-tls-extension-malformed");
    }
}

#[tokio::test]
async fn a_sound_certificate_on_another_platform_or_altered_is_refused_by_the_verifier() {
    let (peer, stranger) = (Peer::new(), Peer::new());
    assert_eq!(stranger.refused(&peer.sound()).await, "untrusted-root");
    // The quote's signature no longer fits once its report data do.
    let claims = claims([peer.key_claim()]);
    let mut quote = peer.quote(b"something else");
    let report = peer.quote(&claims);
    quote[48..432].copy_from_slice(&report[48..432]);
    let certificate = peer.certificate(&[(INTEROPERABLE, tagged(INTEL_QUOTE, &quote, &claims))]);
    assert_eq!(peer.refused(&certificate).await, "evidence-invalid");
}

#[tokio::test]
async fn dates_count() {
    let peer = Peer::new();
    let bound =
        || RaTlsCertificate::parse(&peer.sound(), &AcceptedForms::default()).unwrap().bound().unwrap();
    let (from, until) = bound().certificate().validity();
    for now in [UnixSeconds(from.0 - 1), UnixSeconds(until.0 + 1)] {
        let error = bound().verify(&peer.verifier(), now).await.unwrap_err();
        assert_eq!(error.code(), "ra-tls-outside-validity", "{error}");
    }
}

#[test]
fn what_is_no_certificate_is_an_error() {
    let peer = Peer::new();
    let sound = peer.sound();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", sound.as_slice()));
    let key = pem::encode(&pem::Pem::new("PRIVATE KEY", sound.as_slice()));
    for bad in [
        Vec::new(),
        b"nothing".to_vec(),
        [&sound[..], &[0]].concat(),
        sound[..sound.len() - 1].to_vec(),
        vec![0x30; MAXIMUM_CERTIFICATE_LENGTH + 1],
        [pem.as_bytes(), pem.as_bytes()].concat(),
        key.into_bytes(),
        b"-----BEGIN CERTIFICATE-----\n".to_vec(),
    ] {
        let error = RaTlsCertificate::parse(&bad, &AcceptedForms::all()).unwrap_err();
        assert_eq!(error.code(), "ra-tls-certificate-malformed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No byte around the quote can be changed: of the numbers before it (7), and of the
    /// claims and their length after it (53).
    #[test]
    fn a_changed_extension_is_never_bound(at in 0usize..60, to in any::<u8>()) {
        thread_local! {
            static SOUND: (Peer, Vec<u8>) = {
                let peer = Peer::new();
                let value = peer.interoperable(&claims([peer.key_claim()]));
                (peer, value)
            };
        }
        SOUND.with(|(peer, value)| {
            let mut value = value.clone();
            let place = if at < 7 { at } else { value.len() - 60 + at };
            if value[place] != to {
                value[place] = to;
                let certificate = peer.certificate(&[(INTEROPERABLE, value)]);
                let read = RaTlsCertificate::parse(&certificate, &AcceptedForms::all());
                prop_assert!(read.and_then(RaTlsCertificate::bound).is_err(), "byte {place}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = RaTlsCertificate::parse(&bytes, &AcceptedForms::all());
        let certificate = Peer::certificate_with(INTEROPERABLE, bytes.clone());
        let _ = RaTlsCertificate::parse(&certificate, &AcceptedForms::all());
        let certificate = Peer::certificate_with(OPEN_ENCLAVE, bytes);
        let _ = RaTlsCertificate::parse(&certificate, &AcceptedForms::all());
    }
}
