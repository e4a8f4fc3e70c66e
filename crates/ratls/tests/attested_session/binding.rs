//! Evidence that is genuine, of the right program, and not made for this
//! session. Each field of the report data is attacked alone.
//!
//! Defence: `accept_evidence` compares the report data, and each field of
//! `Binding::report_data` is in it.

use std::sync::Arc;

use adytum_api::session as wire;
use adytum_evidence::measurement::Sha256Digest;
use adytum_ratls::{
    acceptor::AttestedAcceptor,
    configuration::ConnectorConfiguration,
    connector::AttestedConnector,
    error::SessionError,
    handshake::{
        binding::{Binding, Nonce, Role},
        message::{
            ClientAnswer, ServerAnswer, parse_client_attestation, parse_client_hello,
            parse_server_attestation, parse_session_result, wire_evidence,
        },
    },
    judge::AnyEvidence,
};
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use crate::{
    fixture::{BROKER, Fixture, GENESIS, OTHER_GENESIS, REPLICA, address, broker_announcement, refusal},
    raw::{self, RawKey},
};

/// The fault of the data that an attacker's TEE signs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    ClientNonce,
    ServerNonce,
    Exporter,
    OwnKey,
    PeerKey,
    NoPeerKey,
    Role,
    Claims,
    Zeros,
}

const ALL_WRONG: [Wrong; 9] = [
    Wrong::ClientNonce,
    Wrong::ServerNonce,
    Wrong::Exporter,
    Wrong::OwnKey,
    Wrong::PeerKey,
    Wrong::NoPeerKey,
    Wrong::Role,
    Wrong::Claims,
    Wrong::Zeros,
];

const ELSEWHERE: Sha256Digest = Sha256Digest([0xee; 32]);

fn report_data(
    wrong: Wrong,
    mut binding: Binding,
    mut role: Role,
    announcement: &[u8],
) -> adytum_evidence::measurement::ReportData {
    let mut signed = announcement.to_vec();
    match (wrong, role) {
        (Wrong::Nothing | Wrong::Zeros, _) => {}
        (Wrong::ClientNonce, _) => binding.client_nonce = Nonce([0xee; 32]),
        (Wrong::ServerNonce, _) => binding.server_nonce = Nonce([0xee; 32]),
        (Wrong::Exporter, _) => binding.exporter = Zeroizing::new([0xee; 32]),
        (Wrong::OwnKey, Role::Client) => binding.client_key = Some(ELSEWHERE),
        (Wrong::OwnKey, Role::Server) => binding.server_key = ELSEWHERE,
        (Wrong::PeerKey, Role::Client) => binding.server_key = ELSEWHERE,
        (Wrong::PeerKey | Wrong::NoPeerKey, Role::Server) => {
            binding.client_key = (wrong == Wrong::PeerKey).then_some(ELSEWHERE);
        }
        (Wrong::NoPeerKey, Role::Client) => binding.client_key = None,
        // Roles swapped: all else as it must be for the swapped one.
        (Wrong::Role, Role::Client) => {
            let client_key = binding.client_key.unwrap();
            binding = Binding { client_key: Some(binding.server_key), server_key: client_key, ..binding };
            role = Role::Server;
        }
        (Wrong::Role, Role::Server) => {
            let client_key = binding.client_key.unwrap();
            binding = Binding { client_key: Some(binding.server_key), server_key: client_key, ..binding };
            role = Role::Client;
        }
        // Claims altered in flight.
        (Wrong::Claims, _) => signed.push(0),
    }
    if wrong == Wrong::Zeros {
        return adytum_evidence::measurement::ReportData([0; 64]);
    }
    binding.report_data(role, &signed)
}

/// A server that signs something wrong, against the real client.
async fn server_signs(wrong: Wrong) -> (Result<(), SessionError>, ClientAnswer) {
    let fixture = Fixture::new();
    let key = RawKey::new();
    let (ours, theirs) = raw::pipe();
    let replica = fixture.replica();
    let attacker = async {
        let mut raw = raw::server(theirs, &key).await;
        let client_nonce = parse_client_hello(&raw.receive().await).unwrap();
        let server_nonce = Nonce::generate().unwrap();
        let announcement = broker_announcement(GENESIS);
        let binding = raw.as_server(client_nonce, server_nonce);
        let evidence = fixture.quote(BROKER, report_data(wrong, binding, Role::Server, &announcement));
        raw.send(&wire::ServerAttestation {
            nonce: server_nonce.0.to_vec(),
            evidence: Some(wire_evidence(evidence).unwrap()),
            announcement: announcement.to_vec(),
            refusal: None,
            collateral: None,
        })
        .await;
        let answer = parse_client_attestation(&raw.receive().await).unwrap();
        let _ =
            adytum_ratls::handshake::message::write_message(&mut raw.stream, &wire::SessionResult::default())
                .await;
        answer
    };
    let (result, answer) = tokio::join!(replica.connect_over(ours, "broker", address()), attacker);
    (result.map(drop), answer)
}

#[tokio::test]
async fn an_honest_raw_server_is_accepted() {
    let (result, answer) = server_signs(Wrong::Nothing).await;
    result.unwrap();
    assert!(matches!(answer, ClientAnswer::Attestation { .. }));
}

/// Also: the client's evidence is not sent before the server's is accepted.
#[tokio::test]
async fn a_servers_evidence_for_anything_else_is_refused_and_gets_no_evidence() {
    for wrong in ALL_WRONG {
        let (result, answer) = server_signs(wrong).await;
        assert_eq!(refusal(result).code, "evidence-not-bound", "{wrong:?}");
        let ClientAnswer::Refusal(received) = answer else { panic!("{wrong:?}: the client sent {answer:?}") };
        assert_eq!(received.code, "evidence-not-bound", "{wrong:?}");
    }
}

/// A client that signs something wrong, against the real server.
async fn client_signs(wrong: Wrong) -> (Result<(), SessionError>, Option<adytum_ratls::error::Refusal>) {
    let fixture = Fixture::new();
    let key = RawKey::new();
    let (ours, theirs) = raw::pipe();
    let acceptor = fixture.acceptor();
    let attacker = async {
        let mut raw = raw::client(theirs, Some(&key)).await;
        let client_nonce = Nonce::generate().unwrap();
        raw.send(&raw::hello(client_nonce)).await;
        let answer = parse_server_attestation(&raw.receive().await).unwrap();
        let ServerAnswer::Attestation { nonce, .. } = answer else { panic!("{answer:?}") };
        let binding = raw.as_client(client_nonce, nonce);
        let evidence = fixture.quote(REPLICA, report_data(wrong, binding, Role::Client, b"claims"));
        raw.send(&wire::ClientAttestation {
            evidence: Some(wire_evidence(evidence).unwrap()),
            announcement: b"claims".to_vec(),
            refusal: None,
        })
        .await;
        let result = parse_session_result(&raw.receive().await).unwrap();
        let _ = raw.stream.shutdown().await;
        result
    };
    let (result, received) = tokio::join!(acceptor.accept_over(ours, address()), attacker);
    (result.map(drop), received)
}

#[tokio::test]
async fn an_honest_raw_client_is_accepted() {
    let (result, received) = client_signs(Wrong::Nothing).await;
    result.unwrap();
    assert_eq!(received, None);
}

#[tokio::test]
async fn a_clients_evidence_for_anything_else_is_refused() {
    for wrong in ALL_WRONG {
        let (result, received) = client_signs(wrong).await;
        assert_eq!(refusal(result).code, "evidence-not-bound", "{wrong:?}");
        assert_eq!(received.unwrap().code, "evidence-not-bound", "{wrong:?}");
    }
}

/// Defence: the server's nonce and the exporter. The server's evidence of one
/// accepted session, sent again in the next under the same TLS key.
#[tokio::test]
async fn a_servers_evidence_of_an_earlier_session_is_refused() {
    let fixture = Fixture::new();
    let key = RawKey::new();
    let tool = fixture.tool();
    let mut recorded = None;
    for round in 0..2 {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut raw = raw::server(theirs, &key).await;
            let client_nonce = parse_client_hello(&raw.receive().await).unwrap();
            let message = recorded.take().unwrap_or_else(|| {
                let announcement = broker_announcement(GENESIS);
                let server_nonce = Nonce::generate().unwrap();
                let binding = raw.as_server(client_nonce, server_nonce);
                let evidence = fixture.quote(BROKER, binding.report_data(Role::Server, &announcement));
                wire::ServerAttestation {
                    nonce: server_nonce.0.to_vec(),
                    evidence: Some(wire_evidence(evidence).unwrap()),
                    announcement: announcement.to_vec(),
                    refusal: None,
                    collateral: None,
                }
            });
            raw.send(&message).await;
            raw.receive().await;
            let _ = raw.stream.write_all(&[0; 4]).await;
            let _ = raw.stream.flush().await;
            message
        };
        let (result, message) = tokio::join!(tool.connect_over(ours, "broker", address()), attacker);
        recorded = Some(message);
        match round {
            0 => drop(result.unwrap()),
            _ => assert_eq!(refusal(result).code, "evidence-not-bound"),
        }
    }
}

/// Defence: the server's nonce and the exporter. A client's evidence of one
/// accepted session, sent again with the same nonce and TLS key.
#[tokio::test]
async fn a_clients_evidence_of_an_earlier_session_is_refused() {
    let fixture = Fixture::new();
    let key = RawKey::new();
    let acceptor = fixture.acceptor();
    let client_nonce = Nonce::generate().unwrap();
    let mut recorded = None;
    for round in 0..2 {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut raw = raw::client(theirs, Some(&key)).await;
            raw.send(&raw::hello(client_nonce)).await;
            let answer = parse_server_attestation(&raw.receive().await).unwrap();
            let ServerAnswer::Attestation { nonce, .. } = answer else { panic!("{answer:?}") };
            let message = recorded.take().unwrap_or_else(|| {
                let binding = raw.as_client(client_nonce, nonce);
                let evidence = fixture.quote(REPLICA, binding.report_data(Role::Client, b""));
                wire::ClientAttestation {
                    evidence: Some(wire_evidence(evidence).unwrap()),
                    announcement: Vec::new(),
                    refusal: None,
                }
            });
            raw.send(&message).await;
            let received = parse_session_result(&raw.receive().await).unwrap();
            let _ = raw.stream.shutdown().await;
            (message, received)
        };
        let (result, (message, received)) = tokio::join!(acceptor.accept_over(ours, address()), attacker);
        recorded = Some(message);
        match round {
            0 => assert!(result.is_ok() && received.is_none()),
            _ => {
                assert_eq!(refusal(result).code, "evidence-replayed");
                assert_eq!(received.unwrap().code, "evidence-replayed");
            }
        }
    }
}

/// Defence: the role and the order of the keys. A client shows the server the
/// server's own evidence.
#[tokio::test]
async fn a_servers_own_evidence_sent_back_is_refused() {
    let fixture = Fixture::new();
    let key = RawKey::new();
    let acceptor: AttestedAcceptor = fixture.acceptor();
    let (ours, theirs) = raw::pipe();
    let attacker = async {
        let mut raw = raw::client(theirs, Some(&key)).await;
        raw.send(&raw::hello(Nonce::generate().unwrap())).await;
        let answer = parse_server_attestation(&raw.receive().await).unwrap();
        let ServerAnswer::Attestation { evidence, announcement, .. } = answer else { panic!("{answer:?}") };
        raw.send(&wire::ClientAttestation {
            evidence: Some(wire_evidence(evidence).unwrap()),
            announcement: announcement.into(),
            refusal: None,
        })
        .await;
        let received = parse_session_result(&raw.receive().await).unwrap();
        let _ = raw.stream.shutdown().await;
        received
    };
    let (result, received) = tokio::join!(acceptor.accept_over(ours, address()), attacker);
    assert_eq!(refusal(result).code, "evidence-not-bound");
    assert_eq!(received.unwrap().code, "evidence-not-bound");
}

/// Defence: fresh nonces, exporter, role. A server collects a client's evidence
/// in one session and shows it to the same client in the next.
#[tokio::test]
async fn a_clients_own_evidence_sent_back_is_refused() {
    let fixture = Fixture::new();
    let key = RawKey::new();
    // This client would take any program's evidence.
    let connector = AttestedConnector::new(ConnectorConfiguration {
        judge: Arc::new(AnyEvidence),
        ..fixture.connecting()
    });
    let mut collected: Option<wire::ServerAttestation> = None;
    for round in 0..2 {
        let (ours, theirs) = raw::pipe();
        let attacker = async {
            let mut raw = raw::server(theirs, &key).await;
            let client_nonce = parse_client_hello(&raw.receive().await).unwrap();
            let server_nonce = Nonce::generate().unwrap();
            let message = collected.take().unwrap_or_else(|| {
                let announcement = broker_announcement(OTHER_GENESIS);
                let binding = raw.as_server(client_nonce, server_nonce);
                let evidence = fixture.quote(BROKER, binding.report_data(Role::Server, &announcement));
                wire::ServerAttestation {
                    nonce: server_nonce.0.to_vec(),
                    evidence: Some(wire_evidence(evidence).unwrap()),
                    announcement: announcement.to_vec(),
                    refusal: None,
                    collateral: None,
                }
            });
            raw.send(&message).await;
            let answer = parse_client_attestation(&raw.receive().await).unwrap();
            let _ = raw.stream.write_all(&[0; 4]).await;
            let _ = raw.stream.flush().await;
            match answer {
                ClientAnswer::Attestation { evidence, announcement } => Some(wire::ServerAttestation {
                    nonce: server_nonce.0.to_vec(),
                    evidence: Some(wire_evidence(evidence).unwrap()),
                    announcement: announcement.into(),
                    refusal: None,
                    collateral: None,
                }),
                _ => None,
            }
        };
        let (result, evidence) = tokio::join!(connector.connect_over(ours, "broker", address()), attacker);
        collected = evidence;
        match round {
            0 => assert!(result.is_ok() && collected.is_some()),
            _ => assert_eq!(refusal(result).code, "evidence-not-bound"),
        }
    }
}
