//! Brokers that owners have given no manifest.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use adytum_api::broker::{
    GetSecretsRequest, GetSecretsResponse, Secret, SecretKind,
    key_broker_server::{KeyBroker, KeyBrokerServer},
};
use adytum_evidence::clock::UnixSeconds;
use adytum_governance::{
    announcement::BrokerAnnouncement,
    head::StateHead,
    occlum::{Accepted, OcclumConfiguration},
};
use adytum_ratls::{
    acceptor::AttestedAcceptor, configuration::AcceptorConfiguration, judge::AnyEvidence, limits::Limits,
    session::LocalAttestation,
};
use adytum_sim::SimAttester;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::fixture::{Fixture, Workload, memory_directory};

/// Gives every secret that is asked for, chosen by the host.
struct Generous;

#[tonic::async_trait]
impl KeyBroker for Generous {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Status> {
        let secret = |name: String| Secret {
            name,
            kind: SecretKind::Opaque.into(),
            value: b"the attacker's".to_vec(),
            version: 1,
            ..Secret::default()
        };
        let secrets = request.into_inner().names.into_iter().map(secret).collect();
        Ok(Response::new(GetSecretsResponse { secrets, lease_seconds: 60, ..Default::default() }))
    }
}

/// Code that the replica pins, of the genesis that it pins, without a manifest.
async fn without_manifest(fixture: &Fixture) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let head = StateHead { epoch: 1, manifest_version: 0, audit_size: 0, audit_hash: None };
    let announcement = BrokerAnnouncement {
        genesis: fixture.genesis().digest(),
        head,
        occlum: None,
        clock_floor: UnixSeconds(0),
    }
    .encode();
    let acceptor = AttestedAcceptor::new(AcceptorConfiguration {
        verifier: Arc::new(fixture.verifier()),
        judge: Arc::new(AnyEvidence),
        local: LocalAttestation {
            attester: Arc::new(SimAttester::new(fixture.platform().clone(), Fixture::broker_identity())),
            announcement: Arc::new(move || announcement.clone()),
        },
        limits: Limits::default(),
    });
    tokio::spawn(async move {
        let server = tonic::transport::Server::builder().add_service(KeyBrokerServer::new(Generous));
        server.serve_with_incoming(acceptor.incoming(listener)).await.unwrap();
    });
    address
}

/// An Occlum configuration that lets this program pass and has a secret for it.
fn foreign_configuration(fixture: &Fixture, mr_enclave: &str) -> OcclumConfiguration {
    let configuration = serde_json::json!({
        "verify_mr_enclave": "on", "verify_mr_signer": "off", "verify_isv_prod_id": "off",
        "verify_isv_svn": "off", "verify_config_svn": "off", "verify_enclave_debuggable": "on",
        "sgx_mrs": [{ "mr_enclave": mr_enclave, "debuggable": false }]
    });
    let secrets = BTreeMap::from([("model_key", "dGhlIGF0dGFja2VyJ3M=")]);
    OcclumConfiguration::parse(
        &configuration.to_string(),
        &serde_json::to_string(&secrets).unwrap(),
        &Accepted::default(),
        vec![fixture.platform().trust_root().unwrap()],
    )
    .unwrap()
}

fn with_key(memory: &std::path::Path) -> Workload {
    let path = memory.join("model_key");
    let secrets = format!("[[secret]]\nname = \"model_key\"\npath = \"{}\"\n", path.display());
    Workload { secrets, ..Workload::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_from_before_the_first_manifest_are_not_taken() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let configuration = fixture.configuration("victim", &with_key(memory.path()));
    let address = without_manifest(&fixture).await;
    let ended = fixture.init(&configuration, address, "echo started").run().await;
    ended.assert_refused(77, "broker-without-manifest");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    assert!(std::fs::read_dir(memory.path()).unwrap().next().is_none(), "nothing was delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_genuine_broker_with_a_foreign_occlum_configuration_is_refused() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let configuration = fixture.configuration("victim", &with_key(memory.path()));
    let measured = adytum_init::configuration::measure(
        &configuration,
        crate::fixture::init_binary(),
        std::path::Path::new(crate::fixture::Shell::PATH),
    )
    .unwrap();
    let occlum = foreign_configuration(&fixture, &measured.identity.to_string());
    let digest = occlum.digest();
    let broker = fixture.broker_with_occlum(occlum).await;
    let ended = fixture.init(&configuration, broker.address, "echo started").run().await;
    ended.assert_refused(77, "occlum-configuration-not-pinned");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    assert!(std::fs::read_dir(memory.path()).unwrap().next().is_none(), "nothing was delivered");

    // Those who name its digest have chosen it: what it gives at version 0 is taken. The
    // configuration is another one then, so the entry of the broker's is too.
    let text = std::fs::read_to_string(&configuration).unwrap();
    let named = fixture.directory.path().join("named.toml");
    let pin = format!("[broker]\nocclum_configuration = [\"{digest}\"]\n");
    std::fs::write(&named, text.replace("[broker]\n", &pin)).unwrap();
    let ended = fixture.init(&named, broker.address, "echo started").run().await;
    assert_eq!(ended.code(), 77, "{ended:?}");
    assert!(!ended.stderr.contains("occlum-configuration-not-pinned"), "past the pin: {ended:?}");
}
