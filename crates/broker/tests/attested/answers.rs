//! Evidence that does not count, each with its own reason; and secrets that change
//! while replicas hold them.

use std::sync::{Arc, Mutex};

use adytum_api::broker::{GetSecretsRequest, RotateSecret, command, key_broker_client::KeyBrokerClient};
use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    evidence::Evidence,
    measurement::ReportData,
};
use adytum_governance::{
    manifest::{
        certificate::CertificateUsage,
        document::{CertificateTable, SecretTable},
    },
    secrets::SecretKind,
};
use async_trait::async_trait;
use tonic::{Code, Request};

use crate::world::{World, apply, execute, fetch, stable};

/// A replica's TEE in an attacker's hands.
struct Tampering {
    genuine: Arc<dyn Attester>,
    how: How,
}

enum How {
    /// One bit of the quote's signature is another.
    Forged,
    /// Bound to nonces of its own choice.
    OtherNonce,
    /// The evidence of the first session, in every session.
    Replayed(Mutex<Option<Evidence>>),
}

#[async_trait]
impl Attester for Tampering {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        match &self.how {
            How::Forged => {
                let mut evidence = self.genuine.evidence(report_data).await?;
                // In the report body, which the signature covers: the user data.
                evidence.bytes[48 + 320 + 10] ^= 1;
                Ok(evidence)
            }
            How::OtherNonce => self.genuine.evidence(ReportData([7; 64])).await,
            How::Replayed(first) => {
                if let Some(evidence) = first.lock().unwrap().clone() {
                    return Ok(evidence);
                }
                let evidence = self.genuine.evidence(report_data).await?;
                *first.lock().unwrap() = Some(evidence.clone());
                Ok(evidence)
            }
        }
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(None)
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}

#[tokio::test]
async fn evidence_that_is_forged_made_for_another_nonce_or_replayed_is_told_apart() {
    let world = World::new(1, 1);
    let running = world.start().await;
    world.provision(&running).await;
    let genuine = world.attester("serving");
    let tampering = |how| Arc::new(Tampering { genuine: genuine.clone(), how });
    for (how, code) in [(How::Forged, "evidence-invalid"), (How::OtherNonce, "evidence-not-bound")] {
        let refused = world.replica_with(tampering(how), running.address).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    let replaying = tampering(How::Replayed(Mutex::new(None)));
    let first = world.replica_with(replaying.clone(), running.address).await.unwrap();
    fetch(&first, &["ssl_config"]).await.unwrap();
    let refused = world.replica_with(replaying, running.address).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), "evidence-replayed", "{refused}");
    running.stop().await;
}

fn certificate_request() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

#[tokio::test]
async fn rotation_and_revocation_reach_a_session_that_is_open() {
    let world = World::new(1, 1);
    let running = world.start().await;
    let mut document = world.document(1);
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
    let owner = world.owner(running.address).await;
    execute(&owner, world.command(&owner, 0, apply(&world.signed(&document)))).await.unwrap();

    let replica = world.replica("serving", running.address).await.unwrap();
    let first = fetch(&replica, &["seed", "tls"]).await.unwrap();
    assert_eq!((first.lease_seconds, first.grace_seconds), (600, 0));
    assert_eq!(first.head.as_ref(), Some(&(&running.broker.store().head()).into()));
    let rotate = |name: &str| command::Command::RotateSecret(RotateSecret { name: name.to_owned() });
    for name in ["seed", "tls"] {
        execute(&owner, world.command(&owner, 1, rotate(name))).await.unwrap();
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
    execute(&owner, world.command(&owner, 1, apply(&world.signed(&document)))).await.unwrap();
    for name in ["seed", "tls"] {
        let status = fetch(&replica, &[name]).await.unwrap_err();
        assert_eq!(stable(&status), (Code::NotFound, "secret-unknown".into(), false));
    }
    running.stop().await;
}
