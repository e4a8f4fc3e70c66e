//! Certificates, from a manifest to a replica.

use rcgen::{CertificateParams, KeyPair};

use super::super::*;
use crate::fixture::{
    Fixture, broker, broker_with, list, names, owner_session, put, remove, workload_session,
};

const RULE: &str =
    "[secret.certificate]\ndns_names = [\"localhost\"]\nusages = [\"server\"]\nlifetime = \"24h\"\n";

/// "tls" and "ssl" for the workload "serving".
fn body(rule: &str) -> String {
    format!(
        "[[secret]]\nname = \"tls\"\nkind = \"tls-certificate\"\nworkloads = [\"serving\"]\nlease = \"10m\"\n{rule}\n\
         [[secret]]\nname = \"ssl\"\nkind = \"ssl-config\"\nworkloads = [\"serving\"]\n{rule}client_verify = true\n"
    )
}

async fn with_certificates() -> Fixture {
    let fixture = broker(1, 1);
    fixture.install(1, &body(RULE)).await.unwrap();
    fixture
}

fn asking(asked: &[&str]) -> broker::GetSecretsRequest {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    broker::GetSecretsRequest { certificate_request: request.der().to_vec(), ..names(asked) }
}

async fn ask(
    fixture: &Fixture,
    request: &broker::GetSecretsRequest,
) -> Result<broker::GetSecretsResponse, &'static str> {
    fixture.broker.release(&workload_session(1), request).await.map_err(|error| error.code())
}

fn bundle(fixture: &Fixture) -> String {
    String::from_utf8(fixture.broker.status().certificate_authority).unwrap()
}

fn rotate_authority() -> adytum_api::broker::command::Command {
    let rotate = adytum_api::broker::RotateCertificateAuthority {};
    adytum_api::broker::command::Command::RotateCertificateAuthority(rotate)
}

fn rotate(name: &str) -> adytum_api::broker::command::Command {
    let rotate = adytum_api::broker::RotateSecret { name: name.to_owned() };
    adytum_api::broker::command::Command::RotateSecret(rotate)
}

#[tokio::test]
async fn a_workload_gets_certificates_for_its_key() {
    let fixture = with_certificates().await;
    let answer = ask(&fixture, &asking(&["tls", "ssl"])).await.unwrap();
    let [tls, ssl] = answer.secrets.as_slice() else { panic!("{answer:?}") };
    let chain = std::str::from_utf8(&tls.value).unwrap();
    assert!(chain.starts_with("-----BEGIN CERTIFICATE-----") && !chain.contains("PRIVATE"));
    assert_eq!((tls.version, ssl.version), (1, 1));
    let now = fixture.broker.now().0;
    assert!((now + 86_300..=now + 86_400).contains(&tls.not_after));
    assert_eq!((answer.lease_seconds, answer.grace_seconds), (600, 0));
    assert_eq!(tls.ssl_config, None);
    // Clients must show a certificate of this very authority.
    let config = ssl.ssl_config.as_ref().unwrap();
    assert!(config.client_verify);
    assert_eq!(config.custom_ca, bundle(&fixture).into_bytes());
    // The record names the certificate.
    let events = fixture.events.take();
    let granted: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Granted { rule, .. } => Some(rule.as_str()),
            _ => None,
        })
        .collect();
    assert!(granted.len() == 2 && granted.iter().all(|rule| rule.contains("; certificate ")), "{granted:?}");
}

#[tokio::test]
async fn without_a_request_the_version_says_whether_a_certificate_is_current() {
    let fixture = with_certificates().await;
    let answer = ask(&fixture, &names(&["tls"])).await.unwrap();
    assert_eq!(
        (answer.secrets[0].value.len(), answer.secrets[0].version, answer.secrets[0].not_after),
        (0, 1, 0)
    );
    let version = async || ask(&fixture, &names(&["tls"])).await.unwrap().secrets[0].version;
    fixture.install(2, &body(RULE)).await.unwrap();
    assert_eq!(version().await, 1, "nothing about it changed");
    fixture.install(3, &body(&RULE.replace("localhost", "elsewhere"))).await.unwrap();
    assert_eq!(version().await, 2);
    fixture.execute(&owner_session(3), rotate("tls")).await.unwrap();
    assert_eq!(version().await, 3);
    let before = bundle(&fixture);
    fixture.execute(&owner_session(4), rotate_authority()).await.unwrap();
    assert_eq!(version().await, 4);
    assert!(bundle(&fixture).ends_with(&before) && bundle(&fixture) != before);
    fixture.install(4, &body(RULE)).await.unwrap();
    assert_eq!(version().await, 5);
}

#[tokio::test]
async fn bad_requests_are_refused_and_recorded_and_nothing_is_released() {
    let fixture = with_certificates().await;
    fixture.events.take();
    let mut forged = asking(&["tls"]);
    let last = forged.certificate_request.len() - 1;
    forged.certificate_request[last] ^= 1;
    let long = broker::GetSecretsRequest { certificate_request: vec![0x30; 4097], ..names(&["tls"]) };
    let noise = broker::GetSecretsRequest { certificate_request: b"noise".to_vec(), ..names(&["tls"]) };
    for (request, code) in [
        (forged, "certificate-request-signature"),
        (long, "certificate-request-too-long"),
        (noise, "certificate-request-malformed"),
    ] {
        let error = fixture.broker.release(&workload_session(1), &request).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (code, false));
        let events = fixture.events.take();
        assert!(
            matches!(events.as_slice(), [Event::Refused { code: found, .. }] if *found == code),
            "{events:?}"
        );
        let status = tonic::Status::from(error);
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        // To who may not have the certificate it says nothing about requests.
        let error = fixture.broker.release(&workload_session(9), &request).await.unwrap_err();
        assert_eq!(error.code(), "policy-refused");
        fixture.events.take();
    }
}

#[tokio::test]
async fn the_authority_is_made_once_kept_and_shown() {
    let disk = crate::store::Disk::default();
    let fixture = broker_with(1, 1, |genesis| disk.open(genesis), None);
    fixture.install(1, "").await.unwrap();
    assert_eq!(bundle(&fixture), "");
    let error = fixture.execute(&owner_session(3), rotate_authority()).await.unwrap_err();
    assert_eq!(error.code(), "no-certificate-authority");
    disk.fill(true);
    assert_eq!(fixture.install(2, &body(RULE)).await.unwrap_err().code(), "store-full");
    assert_eq!(bundle(&fixture), "", "nothing was made that is not kept");
    disk.fill(false);
    fixture.install(2, &body(RULE)).await.unwrap();
    let made = bundle(&fixture);
    assert!(made.contains("BEGIN CERTIFICATE") && !made.contains("PRIVATE"));
    fixture.install(3, "").await.unwrap();
    fixture.install(4, &body(RULE)).await.unwrap();
    assert_eq!(bundle(&fixture), made);
    let fixture = fixture.restarted(|genesis| disk.open(genesis));
    fixture.confirm().await;
    assert_eq!(bundle(&fixture), made);
    ask(&fixture, &asking(&["tls"])).await.unwrap();
}

#[tokio::test]
async fn certificates_are_not_uploaded_and_a_removed_one_is_not_issued() {
    let fixture = with_certificates().await;
    let error = fixture.execute(&owner_session(3), put("tls", b"x")).await.unwrap_err();
    assert_eq!(error.code(), "secret-value-not-uploaded");
    fixture.execute(&owner_session(4), remove("tls")).await.unwrap();
    assert_eq!(ask(&fixture, &asking(&["tls"])).await.unwrap_err(), "secret-removed");
    assert!(ask(&fixture, &asking(&["ssl"])).await.is_ok());
    fixture.install(2, &body(&RULE.replace("localhost", "elsewhere"))).await.unwrap();
    assert_eq!(ask(&fixture, &asking(&["tls"])).await.unwrap_err(), "secret-removed");
    let rotated = fixture.execute(&owner_session(5), rotate("tls")).await.unwrap();
    assert_eq!(rotated.secret_version, 2);
    assert!(ask(&fixture, &asking(&["tls"])).await.is_ok());
    let listed = fixture.execute(&owner_session(6), list()).await.unwrap();
    assert_eq!(listed.secrets.iter().map(|secret| secret.version).collect::<Vec<_>>(), [2, 2]);
}

#[tokio::test]
async fn a_request_beside_other_secrets_changes_nothing_about_them() {
    let fixture = broker(1, 1).with_manifest().await;
    fixture.execute(&owner_session(2), put("ssl_config", b"sesame")).await.unwrap();
    let request =
        broker::GetSecretsRequest { certificate_request: b"noise".to_vec(), ..names(&["ssl_config"]) };
    assert_eq!(ask(&fixture, &request).await.unwrap().secrets[0].value, b"sesame");
}
