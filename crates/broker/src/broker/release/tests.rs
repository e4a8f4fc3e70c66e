//! Secrets that are released, and requests that are refused.

mod answers;
mod certificates;

use adytum_governance::occlum::{Accepted, OcclumConfiguration};
use tonic::{Code, Status};

use super::*;
use crate::fixture::{Fixture, broker, broker_with, in_memory, names, owner_session, put, workload_session};

async fn provisioned() -> Fixture {
    let fixture = broker(1, 1).with_manifest().await;
    fixture.execute(&owner_session(2), put("ssl_config", b"sesame")).await.unwrap();
    fixture.execute(&owner_session(2), put("spare", b"spare")).await.unwrap();
    fixture.events.take();
    fixture
}

async fn refuse(fixture: &Fixture, session: &SessionInfo, asked: &[&str]) -> Status {
    fixture.broker.release(session, &names(asked)).await.unwrap_err().into()
}

fn stable(status: &Status) -> (Code, &str, bool) {
    let text = |key| status.metadata().get(key).unwrap().to_str().unwrap();
    (status.code(), text("adytum-code"), text("adytum-retry") == "true")
}

#[tokio::test]
async fn a_workload_gets_its_secret_and_the_grant_is_recorded_without_it() {
    let fixture = provisioned().await;
    let answer = fixture.broker.release(&workload_session(1), &names(&["ssl_config"])).await.unwrap();
    assert_eq!(answer.manifest_version, 1);
    assert_eq!((answer.secrets[0].value.as_slice(), answer.secrets[0].version), (&b"sesame"[..], 1));
    let events = fixture.events.take();
    let [Event::Granted { who, secret: Some(secret), rule, manifest_version: 1, .. }] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!((secret.as_str(), rule.as_str()), ("ssl_config", "workload serving"));
    assert_eq!(who.attested.as_ref().unwrap().mr_enclave.unwrap().0, [1; 32]);
    let printed = format!("{events:?} {answer:?}");
    assert!(!printed.contains("sesame") && !printed.contains("115, 101, 115"));
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let fixture = provisioned().await;
    for (enclave, asked, wanted) in [
        (1, &["spare"][..], (Code::PermissionDenied, "secret-refused", false)),
        (1, &["nothing"], (Code::NotFound, "secret-unknown", false)),
        (1, &["ssl_config", "model_key"], (Code::FailedPrecondition, "secret-has-no-value", true)),
        (9, &["ssl_config"], (Code::PermissionDenied, "policy-refused", false)),
        (9, &["nothing"], (Code::PermissionDenied, "policy-refused", false)),
    ] {
        let status = refuse(&fixture, &workload_session(enclave), asked).await;
        assert_eq!(stable(&status), wanted, "{asked:?}");
        let events = fixture.events.take();
        assert_eq!(events.len(), asked.len(), "one event a name");
        assert!(events.iter().all(|event| matches!(event, Event::Refused { .. })));
    }
}

#[tokio::test]
async fn without_evidence_unknown_and_refused_names_look_alike() {
    let fixture = provisioned().await;
    let session = owner_session(5);
    let known = refuse(&fixture, &session, &["ssl_config"]).await;
    assert_eq!(stable(&known), (Code::Unauthenticated, "evidence-required", false));
    for asked in [&["nothing"][..], &["../x"], &["a"; 100], &[]] {
        let status = refuse(&fixture, &session, asked).await;
        assert_eq!((stable(&status), status.message()), (stable(&known), known.message()));
    }
    // A stranger can't fill the audit.
    assert!(fixture.events.take().is_empty());
}

#[tokio::test]
async fn an_attested_peer_that_is_no_workload_can_not_probe_for_names() {
    let fixture = provisioned().await;
    let known = refuse(&fixture, &workload_session(9), &["ssl_config", "spare"]).await;
    let unknown = refuse(&fixture, &workload_session(9), &["no", "none"]).await;
    assert_eq!((stable(&known), known.message()), (stable(&unknown), unknown.message()));
    for workload in ["not workload serving: mr_enclave", "not workload other: mr_enclave"] {
        assert!(known.message().contains(workload), "{}", known.message());
    }
}

#[tokio::test]
async fn what_can_not_be_recorded_is_not_released() {
    let fixture = provisioned().await;
    *fixture.events.full.lock().unwrap() = true;
    let status = refuse(&fixture, &workload_session(1), &["ssl_config"]).await;
    assert_eq!(stable(&status), (Code::Unavailable, "audit-unavailable", true));
}

#[tokio::test]
async fn requests_have_limits() {
    let fixture = provisioned().await;
    let many: Vec<String> = (0..33).map(|n| format!("secret-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (asked, code) in [
        (many.as_slice(), "too-many-names"),
        (&["ssl_config", "ssl_config"], "name-duplicate"),
        (&["../etc/passwd"], "name-malformed"),
    ] {
        let status = refuse(&fixture, &workload_session(1), asked).await;
        assert_eq!(stable(&status), (Code::InvalidArgument, code, false));
    }
}

#[tokio::test]
async fn model_rules_alone_can_be_asked_for_by_workloads_only() {
    let fixture = provisioned().await;
    assert!(fixture.broker.release(&workload_session(1), &names(&[])).await.is_ok());
    let status = refuse(&fixture, &workload_session(9), &[]).await;
    assert_eq!(stable(&status).1, "policy-refused");
}

#[tokio::test]
async fn an_occlum_configuration_serves_before_and_beside_a_manifest() {
    let configuration = serde_json::json!({
        "verify_mr_enclave": "on", "verify_mr_signer": "off", "verify_isv_prod_id": "off",
        "verify_isv_svn": "off", "verify_config_svn": "off", "verify_enclave_debuggable": "on",
        "sgx_mrs": [{ "mr_enclave": hex::encode([5; 32]), "debuggable": false }]
    });
    let secrets = r#"{"ssl_config": "Zm9yZ2Vk", "own": "b3du"}"#;
    let roots = vec![adytum_evidence::verifier::TrustRoot::intel()];
    let occlum =
        OcclumConfiguration::parse(&configuration.to_string(), secrets, &Accepted::default(), roots).unwrap();
    let fixture = broker_with(1, 1, in_memory, Some(occlum));
    let ask = async |enclave, name: &str| {
        let asked = fixture.broker.release(&workload_session(enclave), &names(&[name])).await;
        asked.map(|answer| answer.secrets[0].value.clone()).map_err(|error| error.code())
    };
    assert_eq!(ask(5, "ssl_config").await, Ok(b"forged".to_vec()));
    let fixture = fixture.with_manifest().await;
    let ask = async |enclave, name: &str| {
        let asked = fixture.broker.release(&workload_session(enclave), &names(&[name])).await;
        asked.map(|answer| answer.secrets[0].value.clone()).map_err(|error| error.code())
    };
    // The name is the manifest's now.
    assert_eq!(ask(5, "ssl_config").await, Err("secret-refused"));
    assert_eq!(ask(1, "ssl_config").await, Err("secret-has-no-value"));
    assert_eq!(ask(5, "own").await, Ok(b"own".to_vec()));
    assert_eq!(ask(1, "own").await, Err("secret-refused"));
}
