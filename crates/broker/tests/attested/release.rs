//! Workloads, and programs that are none.

use std::sync::Arc;

use adytum_evidence::{measurement::Sha256Digest, verifier::TrustRoot};
use adytum_governance::{
    announcement::WorkloadAnnouncement,
    occlum::{Accepted, OcclumConfiguration},
};
use adytum_sim::{Platform, SimAttester};
use bytes::Bytes;
use tonic::Code;

use crate::fixture::{Fixture, apply, execute, fetch, identity, put, stable};

#[tokio::test]
async fn a_workload_that_attests_gets_its_secret() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let answer = fetch(&replica, &["ssl_config"]).await.unwrap();
    assert_eq!(answer.secrets[0].value, b"open sesame");
    assert_eq!(answer.manifest_version, 1);
    running.stop().await;
}

/// Replicas may be started before the owners have come.
#[tokio::test]
async fn before_the_first_manifest_a_workload_is_told_to_come_again() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    let early = fixture.replica("serving", running.address).await.unwrap_err();
    assert_eq!((early.code(), early.retry()), ("nothing-trusted-yet", true), "{early}");
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn one_changed_byte_of_the_program_is_refused_with_the_reason() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let tampered = fixture.replica("servinG", running.address).await.unwrap();
    let status = fetch(&tampered, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&status), (Code::PermissionDenied, "policy-refused".into(), false));
    for value in [identity("serving"), identity("servinG")] {
        assert!(status.message().contains(&value.to_string()), "{}", status.message());
    }
    // It can't find out which names exist.
    let other = fetch(&tampered, &["no-such-name"]).await.unwrap_err();
    assert_eq!((stable(&other), other.message()), (stable(&status), status.message()));
    running.stop().await;
}

#[tokio::test]
async fn a_debuggable_program_is_refused() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let debug = SimAttester::new(fixture.platform.clone(), identity("serving")).debug(true);
    let replica = fixture.replica_with(Arc::new(debug), running.address).await.unwrap();
    let status = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&status).1, "policy-refused");
    assert!(status.message().contains("debug"), "{}", status.message());
    running.stop().await;
}

#[tokio::test]
async fn without_evidence_there_is_nothing_to_learn() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let owner = fixture.owner(running.address).await;
    let known = fetch(&owner, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&known), (Code::Unauthenticated, "evidence-required".into(), false));
    let unknown = fetch(&owner, &["no-such-name"]).await.unwrap_err();
    assert_eq!((stable(&unknown), unknown.message()), (stable(&known), known.message()));
    running.stop().await;
}

#[tokio::test]
async fn a_secret_without_a_value_is_worth_another_try() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    let status = fetch(&replica, &["ssl_config", "model_key"]).await.unwrap_err();
    assert_eq!(stable(&status), (Code::FailedPrecondition, "secret-has-no-value".into(), true));
    assert!(status.message().contains("model_key") && !status.message().contains("ssl_config"));
    running.stop().await;
}

#[tokio::test]
async fn nobody_attests_before_the_first_manifest_says_whom_to_trust() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    assert!(fixture.replica("serving", running.address).await.is_err());
    fixture.provision(&running).await;
    // The very next connection is judged by it.
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_platform_that_the_manifest_does_not_name_is_not_trusted() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let foreign = Platform::ephemeral().unwrap();
    let replica = SimAttester::new(foreign, identity("serving"));
    assert!(fixture.replica_with(Arc::new(replica), running.address).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn a_session_does_not_outlive_the_trust_it_began_under() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let replica = fixture.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    // The owners stop trusting the platform's root and trust another's.
    let owner = fixture.owner(running.address).await;
    let mut document = fixture.document(2);
    let other = Platform::ephemeral().unwrap();
    document.trust.simulation_roots = vec![other.root_certificate_pem().to_owned()];
    execute(&owner, fixture.command(&owner, 1, apply(&fixture.signed(&document)))).await.unwrap();
    let status = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&status), (Code::Unauthenticated, "evidence-not-trusted".into(), false));
    assert!(fixture.replica("serving", running.address).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn an_occlum_configuration_serves_its_workload_and_never_the_manifests_secrets() {
    let mut fixture = Fixture::new(1, 1);
    let configuration = serde_json::json!({
        "verify_mr_enclave": "on", "verify_mr_signer": "off", "verify_isv_prod_id": "off",
        "verify_isv_svn": "off", "verify_config_svn": "off", "verify_enclave_debuggable": "on",
        "sgx_mrs": [{ "mr_enclave": identity("occlum").to_string(), "debuggable": false }]
    });
    let roots: Vec<TrustRoot> = vec![fixture.platform.trust_root().unwrap()];
    let secrets = r#"{"ssl_config": "Zm9yZ2Vk", "image_key": "MTItMzQ="}"#;
    let occlum =
        OcclumConfiguration::parse(&configuration.to_string(), secrets, &Accepted::default(), roots).unwrap();
    let digest = occlum.digest();
    fixture.occlum = Some(occlum);
    let running = fixture.start().await;
    // Neither replicas nor owners take a broker with a configuration that they don't name.
    for pinned in [None, Some(Sha256Digest([1; 32]))] {
        fixture.pinned_occlum = pinned;
        let refused = fixture.replica("occlum", running.address).await.unwrap_err();
        assert_eq!((refused.code(), refused.retry()), ("occlum-configuration-not-pinned", false));
        assert!(refused.to_string().contains(&digest.to_string()), "{refused}");
        let owner = fixture.connector(None, identity("broker")).session(&running.address.to_string()).await;
        assert_eq!(owner.unwrap_err().code(), "occlum-configuration-not-pinned");
    }
    fixture.pinned_occlum = Some(digest);
    let occlum = fixture.replica("occlum", running.address).await.unwrap();
    let answer = fetch(&occlum, &["ssl_config", "image_key"]).await.unwrap();
    assert_eq!(answer.secrets[0].value, b"forged");

    fixture.provision(&running).await;
    let status = fetch(&occlum, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&status).1, "secret-refused");
    assert_eq!(fetch(&occlum, &["image_key"]).await.unwrap().secrets[0].value, b"12-34");
    let serving = fixture.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&serving, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}

/// As on SGX hardware with a LibOS: MRENCLAVE is that of the image, and the configuration
/// is what the enclave has read. The host had it read another one.
#[tokio::test]
async fn a_genuine_enclave_with_another_configuration_gets_no_secret() {
    let fixture = Fixture::new(1, 1);
    let running = fixture.start().await;
    let (enclave, configured, hosts) = (identity("serving"), identity("as signed"), identity("the host's"));
    let mut document = fixture.document(1);
    let policy = format!(
        "vendors = [\"simulation\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{enclave}\"]\nidentity = [\"{configured}\"]\n"
    );
    document.workloads[0].policy = toml::from_str(&policy).unwrap();
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();

    let announced = |identity| WorkloadAnnouncement { identity }.encode();
    for (program, announcement) in [
        ("serving", announced(hosts)),
        // Its MRENCLAVE is not its configuration.
        ("serving", announced(enclave)),
        ("serving", Bytes::new()),
        // An enclave announces anything that its builder wants.
        ("of the host", announced(configured)),
    ] {
        let replica = fixture.announcing(program, announcement, running.address).await;
        let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
        assert_eq!(stable(&refused).1, "policy-refused", "{refused}");
    }
    let garbage = fixture.announcing("serving", Bytes::from_static(b"garbage"), running.address).await;
    let refused = fetch(&garbage, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&refused).1, "announcement-malformed");
    let genuine = fixture.announcing("serving", announced(configured), running.address).await;
    assert_eq!(fetch(&genuine, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}
