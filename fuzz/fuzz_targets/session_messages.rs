//! The four messages of an attested session: an accepted one has one encoding.

#![no_main]

use adytum_api::session as wire;
use adytum_ratls::{
    error::Refusal,
    handshake::message::{
        ClientAnswer, ServerAnswer, parse_client_attestation, parse_client_hello, parse_server_attestation,
        parse_session_result, wire_evidence,
    },
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// As it came; `None` where control characters of its text were replaced, or its time was cut.
fn wire_refusal(refusal: Refusal) -> Option<wire::Refusal> {
    assert!(!refusal.code.is_empty());
    assert!(!refusal.message.chars().any(char::is_control));
    let Refusal { code, message, retry, kind, retry_after_ms } = refusal;
    let retry_after_ms = retry_after_ms.map_or(0, std::num::NonZeroU32::get);
    assert!(retry_after_ms <= 60_000);
    let kind = kind.to_wire().into();
    let unchanged = !message.contains('\u{fffd}') && retry_after_ms < 60_000;
    unchanged.then_some(wire::Refusal { code, message, retry, kind, retry_after_ms })
}

fn same(message: &impl Message, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes);
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(nonce) = parse_client_hello(bytes) {
        same(&wire::ClientHello { nonce: nonce.0.to_vec() }, bytes);
    }
    match parse_server_attestation(bytes) {
        // Collateral is the vendor's JSON, which has many forms.
        Ok(ServerAnswer::Attestation { collateral: Some(_), .. }) => {}
        Ok(ServerAnswer::Attestation { nonce, evidence, announcement, collateral: None }) => {
            let evidence = wire_evidence(evidence).expect("it came in this form");
            let message = wire::ServerAttestation {
                nonce: nonce.0.to_vec(),
                evidence: Some(evidence),
                announcement: announcement.to_vec(),
                refusal: None,
                collateral: None,
            };
            same(&message, bytes);
        }
        Ok(ServerAnswer::Refusal(refusal)) => {
            if let Some(refusal) = wire_refusal(refusal) {
                same(&wire::ServerAttestation { refusal: Some(refusal), ..Default::default() }, bytes);
            }
        }
        Err(_) => {}
    }
    match parse_client_attestation(bytes) {
        Ok(ClientAnswer::Attestation { evidence, announcement }) => {
            let evidence = wire_evidence(evidence).expect("it came in this form");
            let message = wire::ClientAttestation {
                evidence: Some(evidence),
                announcement: announcement.to_vec(),
                refusal: None,
            };
            same(&message, bytes);
        }
        Ok(ClientAnswer::Unattested) => assert!(bytes.is_empty()),
        Ok(ClientAnswer::Refusal(refusal)) => {
            if let Some(refusal) = wire_refusal(refusal) {
                same(&wire::ClientAttestation { refusal: Some(refusal), ..Default::default() }, bytes);
            }
        }
        Err(_) => {}
    }
    match parse_session_result(bytes) {
        Ok(None) => assert!(bytes.is_empty()),
        Ok(Some(refusal)) => {
            if let Some(refusal) = wire_refusal(refusal) {
                same(&wire::SessionResult { refusal: Some(refusal) }, bytes);
            }
        }
        Err(_) => {}
    }
});
