use adytum_api::refusal::RefusalKind;
use proptest::prelude::*;

use super::*;

fn quote(length: usize) -> wire::Evidence {
    wire::Evidence {
        format: wire::EvidenceFormat::DcapQuote.into(),
        evidence: vec![1; length],
        endorsements: Vec::new(),
    }
}

fn why() -> wire::Refusal {
    wire::Refusal {
        code: "policy-refused".into(),
        message: "no".into(),
        retry: true,
        kind: wire::RefusalKind::Verdict.into(),
        retry_after_ms: 1500,
    }
}

fn server(change: impl FnOnce(&mut wire::ServerAttestation)) -> Result<ServerAnswer, MessageError> {
    let mut message = wire::ServerAttestation {
        nonce: vec![2; 32],
        evidence: Some(quote(100)),
        announcement: b"claims".to_vec(),
        refusal: None,
        collateral: None,
    };
    change(&mut message);
    parse_server_attestation(&message.encode_to_vec())
}

fn client(change: impl FnOnce(&mut wire::ClientAttestation)) -> Result<ClientAnswer, MessageError> {
    let mut message = wire::ClientAttestation {
        evidence: Some(quote(100)),
        announcement: b"claims".to_vec(),
        refusal: None,
    };
    change(&mut message);
    parse_client_attestation(&message.encode_to_vec())
}

fn is_malformed<T: std::fmt::Debug>(result: Result<T, MessageError>) {
    assert!(matches!(result, Err(MessageError::Malformed { .. })), "{result:?}");
}

#[test]
fn good_messages_pass() {
    assert!(matches!(server(|_| ()), Ok(ServerAnswer::Attestation { .. })));
    assert!(matches!(client(|_| ()), Ok(ClientAnswer::Attestation { .. })));
    assert_eq!(parse_client_attestation(&[]).unwrap(), ClientAnswer::Unattested);
    assert_eq!(parse_session_result(&[]).unwrap(), None);
    let refusal = wire::SessionResult { refusal: Some(why()) };
    assert!(parse_session_result(&refusal.encode_to_vec()).unwrap().unwrap().retry);
    let hello = wire::ClientHello { nonce: vec![1; 32] };
    assert_eq!(parse_client_hello(&hello.encode_to_vec()).unwrap(), Nonce([1; 32]));
}

#[test]
fn nonces_of_other_lengths_are_refused() {
    for length in [0, 1, 31, 33, 64] {
        is_malformed(parse_client_hello(&wire::ClientHello { nonce: vec![0; length] }.encode_to_vec()));
        is_malformed(server(|message| message.nonce = vec![0; length]));
    }
}

#[test]
fn oversize_and_empty_fields_are_refused() {
    is_malformed(server(|message| message.announcement = vec![0; MAXIMUM_ANNOUNCEMENT_LENGTH + 1]));
    is_malformed(client(|message| message.announcement = vec![0; MAXIMUM_ANNOUNCEMENT_LENGTH + 1]));
    is_malformed(server(|message| message.evidence = Some(quote(MAXIMUM_EVIDENCE_LENGTH + 1))));
    is_malformed(client(|message| message.evidence = Some(quote(MAXIMUM_EVIDENCE_LENGTH + 1))));
    is_malformed(server(|message| message.evidence = Some(quote(0))));
    is_malformed(client(|message| {
        message.evidence =
            Some(wire::Evidence { endorsements: vec![0; MAXIMUM_EVIDENCE_LENGTH + 1], ..quote(1) });
    }));
}

#[test]
fn unknown_evidence_formats_are_refused() {
    for format in [0, 4, -1, i32::MAX] {
        is_malformed(server(|message| message.evidence = Some(wire::Evidence { format, ..quote(1) })));
        is_malformed(client(|message| message.evidence = Some(wire::Evidence { format, ..quote(1) })));
    }
}

/// Defence: a client that gives no evidence announces nothing.
#[test]
fn claims_without_evidence_are_refused() {
    is_malformed(client(|message| message.evidence = None));
    is_malformed(client(|message| {
        message.evidence = None;
        message.refusal = Some(why());
    }));
    is_malformed(server(|message| message.evidence = None));
}

#[test]
fn evidence_and_a_refusal_at_once_are_refused() {
    is_malformed(server(|message| message.refusal = Some(why())));
    is_malformed(client(|message| message.refusal = Some(why())));
}

#[test]
fn refusals_are_bounded_and_cannot_write_to_a_terminal() {
    let parse = |refusal: wire::Refusal| {
        parse_session_result(&wire::SessionResult { refusal: Some(refusal) }.encode_to_vec())
    };
    for code in ["", "Upper", "a b", "é", "x\n", &"a".repeat(65)] {
        is_malformed(parse(wire::Refusal { code: code.into(), ..why() }));
    }
    for kind in [-1, 0, 4, i32::MAX] {
        is_malformed(parse(wire::Refusal { kind, ..why() }));
    }
    is_malformed(parse(wire::Refusal { message: "m".repeat(MAXIMUM_REFUSAL_TEXT + 1), ..why() }));
    let shown = parse(wire::Refusal { message: "a\u{1b}[2J\nb".into(), ..why() }).unwrap().unwrap();
    assert_eq!(shown.message, "a\u{fffd}[2J\u{fffd}b");
}

/// Defence: exact parsing. Protobuf itself skips unknown fields and lets the
/// last of several values win.
#[test]
fn anything_behind_or_inside_a_message_is_refused() {
    let hello = wire::ClientHello { nonce: vec![1; 32] }.encode_to_vec();
    let second = wire::ClientHello { nonce: vec![2; 32] }.encode_to_vec();
    for tail in [&[0u8][..], &[0x78, 1], &second, &hello] {
        is_malformed(parse_client_hello(&[&hello, tail].concat()));
    }
    // The same nonce with its length in two bytes.
    let long = [&[0x0a, 0xa0, 0x00][..], &[1; 32]].concat();
    is_malformed(parse_client_hello(&long));
    // An empty field that is spelt out.
    is_malformed(parse_client_attestation(&[0x12, 0x00]));
}

/// Defence: a refusal to a stranger has a code and a fixed sentence, nothing of
/// what was wanted or found.
#[test]
fn a_peer_is_not_told_what_was_wanted() {
    let refusal = Refusal::verdict("policy-refused", "mr_enclave: wanted ab12, got cd34");
    let received = wire_refusal(&refusal);
    assert_eq!(received.code, "policy-refused");
    assert!(!received.message.contains("ab12") && !received.message.contains("cd34"));
    assert_eq!(wire_refusal(&Refusal::verdict("Not A Code", "")).code, "refused");
    for code in ["policy-refused", "x", "evidence-not-bound"] {
        let message = wire::SessionResult { refusal: Some(wire_refusal(&Refusal::outage(code, "m"))) };
        let back = parse_session_result(&message.encode_to_vec()).unwrap().unwrap();
        assert!(back.code == code && back.retry && back.kind == RefusalKind::Outage);
    }
}

#[tokio::test]
async fn a_promise_of_too_much_is_refused_before_anything_is_read() {
    for length in [65u32, 1 << 20, u32::MAX] {
        let mut stream = &length.to_be_bytes()[..];
        let result = read_message(&mut stream, "ClientHello", 64).await;
        assert!(matches!(result, Err(MessageError::TooLong { maximum: 64, .. })), "{result:?}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_is_told_apart() {
    for bytes in [&[][..], &[0, 0], &[0, 0, 0, 5, 1, 2]] {
        let mut stream = bytes;
        let result = read_message(&mut stream, "ClientHello", 64).await;
        assert!(
            matches!(&result, Err(MessageError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn what_is_written_is_read_and_no_more() {
    let mut written = Vec::new();
    write_message(&mut written, &wire::ClientHello { nonce: vec![7; 32] }).await.unwrap();
    written.extend_from_slice(b"PRI * HTTP/2.0");
    let mut stream = &written[..];
    let bytes = read_message(&mut stream, "ClientHello", 64).await.unwrap();
    assert_eq!(parse_client_hello(&bytes).unwrap(), Nonce([7; 32]));
    assert_eq!(stream, b"PRI * HTTP/2.0");
}

proptest! {
    /// No bytes make a parser panic, and whatever passes has one encoding only.
    #[test]
    fn parsers_survive_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(nonce) = parse_client_hello(&bytes) {
            prop_assert_eq!(wire::ClientHello { nonce: nonce.0.to_vec() }.encode_to_vec(), bytes.clone());
        }
        let _ = parse_server_attestation(&bytes);
        let _ = parse_session_result(&bytes);
        match parse_client_attestation(&bytes) {
            Ok(ClientAnswer::Unattested) => prop_assert!(bytes.is_empty()),
            Ok(ClientAnswer::Attestation { evidence, announcement }) => {
                let back = wire::ClientAttestation {
                    evidence: Some(wire_evidence(evidence).unwrap()),
                    announcement: announcement.to_vec(),
                    refusal: None,
                };
                prop_assert_eq!(back.encode_to_vec(), bytes);
            }
            _ => {}
        }
    }

    /// A good message with any one byte changed is refused or is another message.
    #[test]
    fn one_changed_byte_is_never_the_same_message(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let message = wire::ServerAttestation {
            nonce: vec![2; 32],
            evidence: Some(quote(100)),
            announcement: b"claims".to_vec(),
            refusal: None,
            collateral: None,
        };
        let good = message.encode_to_vec();
        let mut changed = good.clone();
        let at = at.index(good.len());
        changed[at] ^= flip;
        if let Ok(parsed) = parse_server_attestation(&changed) {
            prop_assert_ne!(parsed, parse_server_attestation(&good).unwrap());
        }
    }

    /// Every message cut short, and every message with something after it.
    #[test]
    fn cut_or_extended_messages_are_refused(cut in 1usize..100, tail in proptest::collection::vec(any::<u8>(), 1..20)) {
        let message = wire::ClientAttestation {
            evidence: Some(quote(90)),
            announcement: b"some claims".to_vec(),
            refusal: None,
        };
        let good = message.encode_to_vec();
        let extended = [&good[..], &tail].concat();
        if let Ok(ClientAnswer::Attestation { announcement, .. }) = parse_client_attestation(&good[..good.len() - cut]) {
            // Cut exactly before the announcement, the rest is a message of its own.
            prop_assert!(announcement.is_empty());
        }
        prop_assert!(parse_client_attestation(&extended).is_err());
    }
}
