//! Attacks with certificates.

use std::sync::Arc;

use adytum_ratls::error::SessionError;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    sign::{Signer, SigningKey},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    fixture::{Fixture, address},
    raw::{self, RawKey, client_config, raw_client, raw_server, server_config},
};

async fn server_shows(key: &RawKey) -> Result<(), SessionError> {
    let tool = Fixture::new().tool();
    let (ours, theirs) = raw::pipe();
    let attacker = async {
        if let Ok(mut raw) = raw_server(theirs, key, server_config(key)).await {
            // A peer that passes TLS gets an answer that does not pass.
            let _ = raw.stream.write_all(&[0, 0, 0, 1, 0]).await;
            let _ = raw.stream.flush().await;
            let _ = raw.stream.read_to_end(&mut Vec::new()).await;
        }
    };
    let connect = async { tool.connect_over(ours, "broker", address()).await.map(drop) };
    tokio::join!(connect, attacker).0
}

async fn client_shows(key: &RawKey) -> Result<(), SessionError> {
    let acceptor = Fixture::new().acceptor();
    let (ours, theirs) = raw::pipe();
    let attacker = async {
        if let Ok(mut raw) = raw_client(theirs, Some(key), client_config(Some(key))).await {
            let _ = raw.stream.write_all(&[0, 0, 0, 1, 0]).await;
            let _ = raw.stream.flush().await;
            let _ = raw.stream.read_to_end(&mut Vec::new()).await;
            let _ = raw.stream.shutdown().await;
        }
    };
    let accept = async { acceptor.accept_over(ours, address()).await.map(drop) };
    tokio::join!(accept, attacker).0
}

#[track_caller]
fn failed_in_tls(result: Result<(), SessionError>) {
    match result {
        Err(SessionError::Tls { .. }) => {}
        other => panic!("expected a failed TLS handshake, found {other:?}"),
    }
}

#[track_caller]
fn passed_tls(result: Result<(), SessionError>) {
    match result {
        Err(SessionError::Refused { refusal, .. }) => assert_eq!(refusal.code, "message-malformed"),
        other => panic!("expected to get as far as the messages, found {other:?}"),
    }
}

/// The controls of all that follow.
#[tokio::test]
async fn p256_and_ed25519_keys_pass() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
        let key = RawKey::of(algorithm, 2000);
        passed_tls(server_shows(&key).await);
        passed_tls(client_shows(&key).await);
    }
}

/// Defence: the TLS 1.3 CertificateVerify signature is verified. The attacker
/// shows somebody else's certificate without having its key; with evidence for
/// that key it would otherwise pass.
#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let key = RawKey { chain: RawKey::new().chain, ..RawKey::new() };
    failed_in_tls(server_shows(&key).await);
    failed_in_tls(client_shows(&key).await);
}

/// Defence: one certificate, so that there is one key that can be meant.
#[tokio::test]
async fn a_chain_of_certificates_is_refused() {
    let mut key = RawKey::new();
    key.chain.extend(RawKey::new().chain);
    failed_in_tls(server_shows(&key).await);
    failed_in_tls(client_shows(&key).await);
}

/// Defence: the limit on a certificate's size.
#[tokio::test]
async fn a_huge_certificate_is_refused() {
    let key = RawKey::of(&rcgen::PKCS_ECDSA_P256_SHA256, 5000);
    failed_in_tls(server_shows(&key).await);
    failed_in_tls(client_shows(&key).await);
}

/// Signs with its kind of key whatever the other side accepts.
#[derive(Debug)]
struct Stubborn(Arc<dyn SigningKey>);

impl SigningKey for Stubborn {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(&[SignatureScheme::ECDSA_NISTP384_SHA384])
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

/// Defence: the list of signature schemes, offered and enforced.
#[tokio::test]
async fn a_key_of_another_kind_is_refused() {
    let key = RawKey::of(&rcgen::PKCS_ECDSA_P384_SHA384, 0);
    let key = RawKey { signer: Arc::new(Stubborn(key.signer.clone())), ..key };
    failed_in_tls(server_shows(&key).await);
    failed_in_tls(client_shows(&key).await);
}

/// Defence: certificates are parsed before they are believed.
#[tokio::test]
async fn garbage_for_a_certificate_is_refused() {
    for garbage in [&b""[..], b"x", &[0x30, 0x82, 0xff, 0xff], &[0x30; 1000]] {
        let mut key = RawKey::new();
        key.chain = vec![garbage.to_vec().into()];
        failed_in_tls(server_shows(&key).await);
        failed_in_tls(client_shows(&key).await);
    }
}
