//! Attacks under the attestation: older TLS, resumption, other protocols.

use std::sync::Arc;

use adytum_ratls::error::SessionError;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::{
    fixture::{Fixture, address, refusal},
    raw::{self, RawKey, client_config, raw_client, raw_server, server_config},
};

/// A ClientHello of TLS 1.2 (RFC 5246 section 7.4.1.2) that offers sound suites.
fn tls12_client_hello() -> Vec<u8> {
    let extensions = [
        // supported_groups: x25519, secp256r1
        &[0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x1d, 0x00, 0x17][..],
        // ec_point_formats: uncompressed
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],
        // signature_algorithms: ecdsa_secp256r1_sha256, ed25519
        &[0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x07],
        // extended_master_secret
        &[0x00, 0x17, 0x00, 0x00],
        // application_layer_protocol_negotiation: adytum-ra/1
        &[0x00, 0x10, 0x00, 0x0e, 0x00, 0x0c, 0x0b],
        b"adytum-ra/1",
    ]
    .concat();
    let body = [
        &[0x03, 0x03][..],
        &[0x42; 32],
        &[0x00],
        // ECDHE-ECDSA with AES-128-GCM and AES-256-GCM
        &[0x00, 0x04, 0xc0, 0x2b, 0xc0, 0x2c],
        &[0x01, 0x00],
        &u16::try_from(extensions.len()).unwrap().to_be_bytes(),
        &extensions,
    ]
    .concat();
    record(&handshake(0x01, &body))
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

fn record(handshake: &[u8]) -> Vec<u8> {
    let length = u16::try_from(handshake.len()).unwrap().to_be_bytes();
    [&[0x16, 0x03, 0x03], &length[..], handshake].concat()
}

/// Defence: TLS 1.3 only on the accepting side.
#[tokio::test]
async fn a_tls12_client_gets_a_protocol_version_alert() {
    let acceptor = Fixture::new().acceptor();
    let (ours, mut theirs) = raw::pipe();
    let attacker = async {
        theirs.write_all(&tls12_client_hello()).await.unwrap();
        let mut answer = Vec::new();
        theirs.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (result, answer) = tokio::join!(
        async {
            let result = acceptor.accept_over(ours, address()).await;
            assert!(matches!(result, Err(SessionError::Tls { .. })));
        },
        attacker
    );
    let () = result;
    // One alert record: fatal (2), protocol_version (70), RFC 8446 section 6.
    assert_eq!(answer.first(), Some(&0x15), "{answer:02x?}");
    assert_eq!(&answer[3..], [0, 2, 2, 70], "{answer:02x?}");
}

/// Defence: TLS 1.3 only on the connecting side.
#[tokio::test]
async fn a_tls12_server_is_refused() {
    let fixture = Fixture::new();
    let (ours, mut theirs) = raw::pipe();
    let attacker = async {
        let mut hello = [0; 2048];
        assert!(theirs.read(&mut hello).await.unwrap() > 0);
        // The client's session id is echoed, as a middle box would have it.
        let session_id_length = usize::from(hello[43]);
        let session_id = &hello[43..44 + session_id_length];
        let body = [&[0x03, 0x03][..], &[0x42; 32], session_id, &[0xc0, 0x2b], &[0x00]].concat();
        theirs.write_all(&record(&handshake(0x02, &body))).await.unwrap();
        let mut answer = Vec::new();
        theirs.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let tool = fixture.tool();
    let (error, answer) = tokio::join!(
        async { tool.connect_over(ours, "broker", address()).await.map(drop).unwrap_err() },
        attacker
    );
    assert!(matches!(error, SessionError::Tls { .. }), "{error:?}");
    assert_eq!((error.code(), error.retry()), ("attested-tls-failed", false));
    assert_eq!(answer.first(), Some(&0x15), "{answer:02x?}");
}

/// Reads until the other side has closed; returns the tickets that came.
async fn drain(mut raw: raw::Raw) -> (Option<HandshakeKind>, u32) {
    let mut rest = Vec::new();
    let _ = raw.stream.read_to_end(&mut rest).await;
    let connection = raw.stream.get_ref().1;
    let kind = connection.handshake_kind();
    let tickets = match &raw.stream {
        tokio_rustls::TlsStream::Client(stream) => stream.get_ref().1.tls13_tickets_received(),
        tokio_rustls::TlsStream::Server(_) => 0,
    };
    (kind, tickets)
}

/// The control of the next two: these raw peers do resume with each other, so a
/// client and a server that would resume exist.
#[tokio::test]
async fn raw_peers_resume_with_each_other() {
    let key = RawKey::new();
    let (client_tls, server_tls) = (client_config(None), Arc::new(server_config(&key)));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (ours, theirs) = raw::pipe();
        let (client, ()) = tokio::join!(raw_client(ours, None, client_tls.clone()), async {
            let mut server = raw_server(theirs, &key, (*server_tls).clone()).await.unwrap();
            server.stream.write_all(b"x").await.unwrap();
            server.stream.shutdown().await.unwrap();
        });
        kinds.push(drain(client.unwrap()).await.0.unwrap());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

/// Defence: no tickets, no session storage, no early data on the accepting side.
#[tokio::test]
async fn a_client_that_wants_to_resume_gets_no_ticket_and_a_full_handshake() {
    let acceptor = Fixture::new().acceptor();
    let config = client_config(None);
    for _ in 0..2 {
        let (ours, theirs) = raw::pipe();
        let (result, (kind, tickets, early)) = tokio::join!(acceptor.accept_over(ours, address()), async {
            let mut raw = raw_client(theirs, None, config.clone()).await.unwrap();
            let early = match &raw.stream {
                tokio_rustls::TlsStream::Client(stream) => stream.get_ref().1.is_early_data_accepted(),
                tokio_rustls::TlsStream::Server(_) => true,
            };
            // Answers, and so tickets if there were any, come before this.
            raw.send_bytes(b"not a hello").await;
            let answer = raw.receive().await;
            assert!(!answer.is_empty());
            let (kind, tickets) = drain(raw).await;
            (kind, tickets, early)
        });
        assert_eq!(refusal(result).code, "message-malformed");
        assert_eq!((kind, tickets, early), (Some(HandshakeKind::Full), 0, false));
    }
}

/// Defence: resumption disabled on the connecting side. The server hands out
/// tickets and would take them back.
#[tokio::test]
async fn a_server_that_gives_tickets_sees_full_handshakes_only() {
    let fixture = Fixture::new();
    let tool = fixture.tool();
    let key = RawKey::new();
    let config = server_config(&key);
    for _ in 0..2 {
        let (ours, theirs) = raw::pipe();
        let (result, kind) = tokio::join!(tool.connect_over(ours, "broker", address()), async {
            let mut raw = raw_server(theirs, &key, config.clone()).await.unwrap();
            raw.receive().await;
            // Tickets go out with this.
            raw.send_bytes(b"nonsense").await;
            raw.stream.get_ref().1.handshake_kind()
        });
        assert_eq!(refusal(result).code, "message-malformed");
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
}

async fn client_with_protocols(protocols: &[&[u8]]) -> (Result<(), SessionError>, std::io::Result<Vec<u8>>) {
    let acceptor = Fixture::new().acceptor();
    let (ours, theirs) = raw::pipe();
    let mut config = client_config(None);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let attacker = async {
        let mut raw: raw::Raw<DuplexStream> = raw_client(theirs, None, config).await?;
        let _ = raw.stream.write_all(&[0, 0, 0, 34, 10, 32]).await;
        let _ = raw.stream.write_all(&[1; 32]).await;
        let _ = raw.stream.flush().await;
        let mut answer = Vec::new();
        let _ = raw.stream.read_to_end(&mut answer).await;
        Ok(answer)
    };
    let accept = async { acceptor.accept_over(ours, address()).await.map(drop) };
    tokio::join!(accept, attacker)
}

/// Defence: the ALPN check after the TLS handshake; TLS lets a client through
/// that names no protocol. No evidence is made for it.
#[tokio::test]
async fn a_client_without_alpn_gets_nothing() {
    let (result, answer) = client_with_protocols(&[]).await;
    assert_eq!(refusal(result).code, "protocol-mismatch");
    assert!(answer.unwrap().is_empty());
}

/// Defence: the ALPN list of the accepting side.
#[tokio::test]
async fn a_client_of_another_protocol_gets_an_alert() {
    let (result, answer) = client_with_protocols(&[b"h2", b"adytum-ra/2"]).await;
    assert!(matches!(result, Err(SessionError::Tls { .. })), "{result:?}");
    assert!(answer.is_err());
}

/// Defence: the ALPN check on the connecting side.
#[tokio::test]
async fn a_server_that_chooses_no_protocol_is_refused() {
    let fixture = Fixture::new();
    let tool = fixture.tool();
    let key = RawKey::new();
    let mut config = server_config(&key);
    config.alpn_protocols.clear();
    let (ours, theirs) = raw::pipe();
    let (result, received) = tokio::join!(tool.connect_over(ours, "broker", address()), async {
        let mut received = Vec::new();
        // The client may be gone before the server's TLS handshake is over.
        if let Ok(mut raw) = raw_server(theirs, &key, config).await {
            let _ = raw.stream.read_to_end(&mut received).await;
        }
        received
    });
    assert_eq!(refusal(result).code, "protocol-mismatch");
    assert!(received.is_empty(), "the client spoke to it");
}
