//! Evidence that does not count, each with its own reason; and secrets that change
//! while replicas hold them.

use std::sync::{Arc, Mutex};

use adytum_api::broker::{GetSecretsRequest, RotateSecret, command, key_broker_client::KeyBrokerClient};
use adytum_evidence::{attester::Attester, evidence::Evidence, measurement::ReportData};
use adytum_governance::{
    manifest::{
        certificate::CertificateUsage,
        document::{CertificateTable, SecretTable},
    },
    secrets::SecretKind,
};
use adytum_testkit::tee::ScriptedTee;
use tonic::{Code, Request};

use crate::fixture::{Fixture, apply, execute, fetch, stable};

/// A replica's TEE in an attacker's hands.
#[derive(Clone, Copy)]
enum Tampering {
    /// One bit of the quote's signature is another.
    Forged,
    /// Bound to nonces of its own choice.
    OtherNonce,
    /// The evidence of the first session, in every session.
    Replayed,
}

impl Tampering {
    fn with(self, genuine: Arc<dyn Attester>) -> Arc<ScriptedTee> {
        let first = Arc::new(Mutex::new(None));
        Arc::new(ScriptedTee::new(move |report_data| {
            let (genuine, first) = (Arc::clone(&genuine), Arc::clone(&first));
            async move {
                match self {
                    Self::Forged => {
                        let mut evidence = genuine.evidence(report_data).await?;
                        // In the report body, which the signature covers: the user data.
                        evidence.bytes[48 + 320 + 10] ^= 1;
                        Ok(evidence)
                    }
                    Self::OtherNonce => genuine.evidence(ReportData([7; 64])).await,
                    Self::Replayed => {
                        if let Some(evidence) = first.lock().unwrap().clone() {
                            return Ok(evidence);
                        }
                        let evidence: Evidence = genuine.evidence(report_data).await?;
                        *first.lock().unwrap() = Some(evidence.clone());
                        Ok(evidence)
                    }
                }
            }
        }))
    }
}

#[tokio::test]
async fn evidence_that_is_forged_made_for_another_nonce_or_replayed_is_told_apart() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let genuine = fixture.attester("serving");
    let tampering = |how: Tampering| how.with(genuine.clone());
    for (how, code) in
        [(Tampering::Forged, "evidence-invalid"), (Tampering::OtherNonce, "evidence-not-bound")]
    {
        let refused = fixture.replica_with(tampering(how), running.address).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    let replaying = tampering(Tampering::Replayed);
    let first = fixture.replica_with(replaying.clone(), running.address).await.unwrap();
    fetch(&first, &["ssl_config"]).await.unwrap();
    let refused = fixture.replica_with(replaying, running.address).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), "evidence-replayed", "{refused}");
    running.stop().await;
}

fn certificate_request() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

#[tokio::test]
async fn rotation_and_revocation_reach_a_session_that_is_open() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    let mut document = fixture.document(1);
    let workloads = || vec!["serving".parse().unwrap()];
    document.secrets = vec![
        SecretTable::new("seed".parse().unwrap(), SecretKind::Random, workloads()),
        SecretTable {
            certificate: Some(CertificateTable {
                dns_names: vec!["localhost".parse().unwrap()],
                ip_addresses: Vec::new(),
                usages: vec![CertificateUsage::Server],
                lifetime: "24h".parse().unwrap(),
                client_verify: false,
                custom_ca: None,
            }),
            lease: Some("10m".parse().unwrap()),
            ..SecretTable::new("tls".parse().unwrap(), SecretKind::TlsCertificate, workloads())
        },
    ];
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();

    let replica = fixture.replica("serving", running.address).await.unwrap();
    let first = fetch(&replica, &["seed", "tls"]).await.unwrap();
    assert_eq!((first.lease_seconds, first.grace_seconds), (600, 0));
    assert_eq!(first.head.as_ref(), Some(&(&running.broker.store().head()).into()));
    let rotate = |name: &str| command::Command::RotateSecret(RotateSecret { name: name.to_owned() });
    for name in ["seed", "tls"] {
        execute(&owner, fixture.command(&owner, 1, rotate(name))).await.unwrap();
    }
    let second = fetch(&replica, &["seed", "tls"]).await.unwrap();
    assert_ne!(first.secrets[0].value, second.secrets[0].value);
    assert!(second.secrets.iter().all(|secret| secret.version == 2));
    // The replica sees another version, and asks for a certificate.
    let mut client = KeyBrokerClient::new(replica.channel.clone());
    let request = GetSecretsRequest {
        names: vec!["tls".to_owned()],
        certificate_request: certificate_request(),
        seen: first.head,
    };
    let issued = client.get_secrets(Request::new(request)).await.unwrap().into_inner().secrets.remove(0);
    assert!(issued.value.starts_with(b"-----BEGIN CERTIFICATE-----") && issued.not_after > 0);

    // The owners take the workload out of both.
    document.version = 2;
    document.secrets.clear();
    execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&document)))).await.unwrap();
    for name in ["seed", "tls"] {
        let status = fetch(&replica, &[name]).await.unwrap_err();
        assert_eq!(stable(&status), (Code::NotFound, "secret-unknown".into(), false));
    }
    running.stop().await;
}
