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

use crate::world::{World, apply, execute, fetch, identity, put, stable};

#[tokio::test]
async fn a_workload_that_attests_gets_its_secret() {
    let world = World::new(1, 1);
    let running = world.start().await;
    world.provision(&running).await;
    let replica = world.replica("serving", running.address).await.unwrap();
    let answer = fetch(&replica, &["ssl_config"]).await.unwrap();
    assert_eq!(answer.secrets[0].value, b"open sesame");
    assert_eq!(answer.manifest_version, 1);
    running.stop().await;
}

/// Replicas may be started before the owners have come.
#[tokio::test]
async fn before_the_first_manifest_a_workload_is_told_to_come_again() {
    let world = World::new(1, 1);
    let running = world.start().await;
    let early = world.replica("serving", running.address).await.unwrap_err();
    assert_eq!((early.code(), early.retry()), ("nothing-trusted-yet", true), "{early}");
    world.provision(&running).await;
    let replica = world.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn one_changed_byte_of_the_program_is_refused_with_the_reason() {
    let world = World::new(1, 1);
    let running = world.start().await;
    world.provision(&running).await;
    let tampered = world.replica("servinG", running.address).await.unwrap();
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
    let world = World::new(1, 1);
    let running = world.start().await;
    world.provision(&running).await;
    let debug = SimAttester::new(world.platform.clone(), identity("serving")).debug(true);
    let replica = world.replica_with(Arc::new(debug), running.address).await.unwrap();
    let status = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&status).1, "policy-refused");
    assert!(status.message().contains("debug"), "{}", status.message());
    running.stop().await;
}

#[tokio::test]
async fn without_evidence_there_is_nothing_to_learn() {
    let world = World::new(1, 1);
    let running = world.start().await;
    world.provision(&running).await;
    let owner = world.owner(running.address).await;
    let known = fetch(&owner, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&known), (Code::Unauthenticated, "evidence-required".into(), false));
    let unknown = fetch(&owner, &["no-such-name"]).await.unwrap_err();
    assert_eq!((stable(&unknown), unknown.message()), (stable(&known), known.message()));
    running.stop().await;
}

#[tokio::test]
async fn a_secret_without_a_value_is_worth_another_try() {
    let world = World::new(1, 1);
    let running = world.start().await;
    world.provision(&running).await;
    let replica = world.replica("serving", running.address).await.unwrap();
    let status = fetch(&replica, &["ssl_config", "model_key"]).await.unwrap_err();
    assert_eq!(stable(&status), (Code::FailedPrecondition, "secret-has-no-value".into(), true));
    assert!(status.message().contains("model_key") && !status.message().contains("ssl_config"));
    running.stop().await;
}

#[tokio::test]
async fn nobody_attests_before_the_first_manifest_says_whom_to_trust() {
    let world = World::new(1, 1);
    let running = world.start().await;
    assert!(world.replica("serving", running.address).await.is_err());
    world.provision(&running).await;
    // The very next connection is judged by it.
    let replica = world.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_platform_that_the_manifest_does_not_name_is_not_trusted() {
    let world = World::new(1, 1);
    let running = world.start().await;
    world.provision(&running).await;
    let foreign = Platform::ephemeral().unwrap();
    let replica = SimAttester::new(foreign, identity("serving"));
    assert!(world.replica_with(Arc::new(replica), running.address).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn a_session_does_not_outlive_the_trust_it_began_under() {
    let world = World::new(1, 1);
    let running = world.start().await;
    world.provision(&running).await;
    let replica = world.replica("serving", running.address).await.unwrap();
    fetch(&replica, &["ssl_config"]).await.unwrap();
    // The owners stop trusting the platform's root and trust another's.
    let owner = world.owner(running.address).await;
    let mut document = world.document(2);
    let other = Platform::ephemeral().unwrap();
    document.trust.simulation_roots = vec![other.root_certificate_pem().to_owned()];
    execute(&owner, world.command(&owner, 1, apply(&world.signed(&document)))).await.unwrap();
    let status = fetch(&replica, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&status), (Code::Unauthenticated, "evidence-not-trusted".into(), false));
    assert!(world.replica("serving", running.address).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn an_occlum_configuration_serves_its_workload_and_never_the_manifests_secrets() {
    let mut world = World::new(1, 1);
    let configuration = serde_json::json!({
        "verify_mr_enclave": "on", "verify_mr_signer": "off", "verify_isv_prod_id": "off",
        "verify_isv_svn": "off", "verify_config_svn": "off", "verify_enclave_debuggable": "on",
        "sgx_mrs": [{ "mr_enclave": identity("occlum").to_string(), "debuggable": false }]
    });
    let roots: Vec<TrustRoot> = vec![world.platform.trust_root().unwrap()];
    let secrets = r#"{"ssl_config": "Zm9yZ2Vk", "image_key": "MTItMzQ="}"#;
    let occlum =
        OcclumConfiguration::parse(&configuration.to_string(), secrets, &Accepted::default(), roots).unwrap();
    let digest = occlum.digest();
    world.occlum = Some(occlum);
    let running = world.start().await;
    // Neither replicas nor owners take a broker with a configuration that they don't name.
    for pinned in [None, Some(Sha256Digest([1; 32]))] {
        world.pinned_occlum = pinned;
        let refused = world.replica("occlum", running.address).await.unwrap_err();
        assert_eq!((refused.code(), refused.retry()), ("occlum-configuration-not-pinned", false));
        assert!(refused.to_string().contains(&digest.to_string()), "{refused}");
        let owner = world.connector(None, identity("broker")).session(&running.address.to_string()).await;
        assert_eq!(owner.unwrap_err().code(), "occlum-configuration-not-pinned");
    }
    world.pinned_occlum = Some(digest);
    let occlum = world.replica("occlum", running.address).await.unwrap();
    let answer = fetch(&occlum, &["ssl_config", "image_key"]).await.unwrap();
    assert_eq!(answer.secrets[0].value, b"forged");

    world.provision(&running).await;
    let status = fetch(&occlum, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&status).1, "secret-refused");
    assert_eq!(fetch(&occlum, &["image_key"]).await.unwrap().secrets[0].value, b"12-34");
    let serving = world.replica("serving", running.address).await.unwrap();
    assert_eq!(fetch(&serving, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}

/// As on SGX hardware with a LibOS: MRENCLAVE is that of the image, and the configuration
/// is what the enclave has read. The host had it read another one.
#[tokio::test]
async fn a_genuine_enclave_with_another_configuration_gets_no_secret() {
    let world = World::new(1, 1);
    let running = world.start().await;
    let (enclave, configured, hosts) = (identity("serving"), identity("as signed"), identity("the host's"));
    let mut document = world.document(1);
    let policy = format!(
        "vendors = [\"simulation\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{enclave}\"]\nidentity = [\"{configured}\"]\n"
    );
    document.workloads[0].policy = toml::from_str(&policy).unwrap();
    let owner = world.owner(running.address).await;
    execute(&owner, world.command(&owner, 0, apply(&world.signed(&document)))).await.unwrap();
    execute(&owner, world.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();

    let announced = |identity| WorkloadAnnouncement { identity }.encode();
    for (program, announcement) in [
        ("serving", announced(hosts)),
        // Its MRENCLAVE is not its configuration.
        ("serving", announced(enclave)),
        ("serving", Bytes::new()),
        // An enclave announces anything that its builder wants.
        ("of the host", announced(configured)),
    ] {
        let replica = world.announcing(program, announcement, running.address).await;
        let refused = fetch(&replica, &["ssl_config"]).await.unwrap_err();
        assert_eq!(stable(&refused).1, "policy-refused", "{refused}");
    }
    let garbage = world.announcing("serving", Bytes::from_static(b"garbage"), running.address).await;
    let refused = fetch(&garbage, &["ssl_config"]).await.unwrap_err();
    assert_eq!(stable(&refused).1, "announcement-malformed");
    let genuine = world.announcing("serving", announced(configured), running.address).await;
    assert_eq!(fetch(&genuine, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
    running.stop().await;
}
