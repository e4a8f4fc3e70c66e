//! An attacker in the middle ends TLS on both sides and forwards the messages.

use std::sync::Arc;

use adytum_api::session as wire;
use adytum_ratls::{
    configuration::ConnectorConfiguration,
    connector::AttestedConnector,
    handshake::{
        binding::{Nonce, Role},
        message::{
            ClientAnswer, ServerAnswer, parse_client_attestation, parse_client_hello,
            parse_server_attestation, parse_session_result, wire_evidence,
        },
    },
    judge::AnyEvidence,
};
use tokio::io::AsyncWriteExt;

use crate::{
    fixture::{BROKER, Fixture, GENESIS, address, broker_announcement, refusal},
    raw::{self, RawKey},
};

/// Defence: keys and exporter in the report data. The real broker's evidence,
/// forwarded to a replica whose TLS ends at the attacker.
#[tokio::test]
async fn a_brokers_evidence_relayed_to_a_replica_is_refused() {
    let fixture = Fixture::new();
    let (replica_end, attacker_front) = raw::pipe();
    let (attacker_back, broker_end) = raw::pipe();
    let (front_key, back_key) = (RawKey::new(), RawKey::new());
    let (replica, acceptor) = (fixture.replica(), fixture.acceptor());
    let attacker = async {
        let mut front = raw::server(attacker_front, &front_key).await;
        let mut back = raw::client(attacker_back, Some(&back_key)).await;
        let hello = front.receive().await;
        back.send_bytes(&hello).await;
        let attestation = back.receive().await;
        // The broker's genuine, fresh evidence reaches the replica unchanged.
        assert!(matches!(parse_server_attestation(&attestation), Ok(ServerAnswer::Attestation { .. })));
        front.send_bytes(&attestation).await;
        let answer = front.receive().await;
        assert!(matches!(parse_client_attestation(&answer), Ok(ClientAnswer::Refusal(_))));
        drop(back);
    };
    let (result, broker, ()) = tokio::join!(
        replica.connect_over(replica_end, "broker", address()),
        acceptor.accept_over(broker_end, address()),
        attacker
    );
    assert_eq!(refusal(result).code, "evidence-not-bound");
    assert!(broker.is_err());
}

/// Defence: the exporter alone (CVE-2026-33697). The attacker has stolen the
/// broker's TLS key, forwards both nonces unchanged and shows no client key, so
/// all but the exporter is as the evidence says.
#[tokio::test]
async fn evidence_relayed_under_the_brokers_own_stolen_tls_key_is_refused() {
    let fixture = Fixture::new();
    let stolen = RawKey::new();
    let (tool_end, attacker_front) = raw::pipe();
    let (attacker_back, broker_end) = raw::pipe();
    let tool = fixture.tool();
    let broker = async {
        let mut raw = raw::server(broker_end, &stolen).await;
        let client_nonce = parse_client_hello(&raw.receive().await).unwrap();
        let server_nonce = Nonce::generate().unwrap();
        let announcement = broker_announcement(GENESIS);
        let binding = raw.as_server(client_nonce, server_nonce);
        let evidence = fixture.quote(BROKER, binding.report_data(Role::Server, &announcement));
        raw.send(&wire::ServerAttestation {
            nonce: server_nonce.0.to_vec(),
            evidence: Some(wire_evidence(evidence).unwrap()),
            announcement: announcement.to_vec(),
            refusal: None,
            collateral: None,
        })
        .await;
        binding
    };
    let attacker = async {
        let mut front = raw::server(attacker_front, &stolen).await;
        let mut back = raw::client(attacker_back, None).await;
        let hello = front.receive().await;
        back.send_bytes(&hello).await;
        let attestation = back.receive().await;
        front.send_bytes(&attestation).await;
        let client_nonce = parse_client_hello(&hello).unwrap();
        let Ok(ServerAnswer::Attestation { nonce, .. }) = parse_server_attestation(&attestation) else {
            panic!("the broker did not attest");
        };
        let answer = front.receive().await;
        assert!(matches!(parse_client_attestation(&answer), Ok(ClientAnswer::Refusal(_))));
        front.as_server(client_nonce, nonce)
    };
    let (result, genuine, relayed) =
        tokio::join!(tool.connect_over(tool_end, "broker", address()), broker, attacker);
    assert_eq!(refusal(result).code, "evidence-not-bound");
    // Nothing but the exporter was in the attacker's way.
    assert_ne!(genuine.exporter, relayed.exporter);
    let relayed = adytum_ratls::handshake::binding::Binding { exporter: genuine.exporter.clone(), ..relayed };
    assert_eq!(genuine.report_data(Role::Server, b""), relayed.report_data(Role::Server, b""));
}

/// Defence: keys, nonces and exporter in the report data. A service that is
/// itself a genuine TEE takes a replica's evidence and shows it to the broker.
#[tokio::test]
async fn a_replicas_evidence_relayed_to_the_broker_is_refused() {
    let fixture = Fixture::new();
    let (replica_end, attacker_front) = raw::pipe();
    let (attacker_back, broker_end) = raw::pipe();
    let (front_key, back_key) = (RawKey::new(), RawKey::new());
    let replica = AttestedConnector::new(ConnectorConfiguration {
        judge: Arc::new(AnyEvidence),
        ..fixture.connecting()
    });
    let acceptor = fixture.acceptor();
    let attacker = async {
        let mut front = raw::server(attacker_front, &front_key).await;
        let mut back = raw::client(attacker_back, Some(&back_key)).await;
        let hello = front.receive().await;
        back.send_bytes(&hello).await;
        let answer = parse_server_attestation(&back.receive().await).unwrap();
        let ServerAnswer::Attestation { nonce, .. } = answer else { panic!("{answer:?}") };
        // Its own evidence for the replica, under the broker's nonce.
        let binding = front.as_server(parse_client_hello(&hello).unwrap(), nonce);
        let evidence = fixture.quote(BROKER, binding.report_data(Role::Server, b""));
        front
            .send(&wire::ServerAttestation {
                nonce: nonce.0.to_vec(),
                evidence: Some(wire_evidence(evidence).unwrap()),
                announcement: Vec::new(),
                refusal: None,
                collateral: None,
            })
            .await;
        let answer = front.receive().await;
        assert!(matches!(parse_client_attestation(&answer), Ok(ClientAnswer::Attestation { .. })));
        back.send_bytes(&answer).await;
        let received = parse_session_result(&back.receive().await).unwrap();
        let _ = back.stream.shutdown().await;
        received
    };
    let (_, broker, received) = tokio::join!(
        replica.connect_over(replica_end, "attacker", address()),
        acceptor.accept_over(broker_end, address()),
        attacker
    );
    assert_eq!(refusal(broker).code, "evidence-not-bound");
    assert_eq!(received.unwrap().code, "evidence-not-bound");
}
