//! A man in the middle before each server: he has no key that anybody trusts, sees every byte, and
//! changes one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{collections::BTreeMap, sync::Arc};

use adytum_emulators::{aecs, azure, kbs, relay::Relay, tls_proxy::TlsProxy};
use adytum_evidence::{
    attester::Attester,
    claims::TeeKind,
    clock::SystemClock,
    measurement::{MrEnclave, WorkloadIdentity},
    policy::Policy,
    trust::Vendor,
    verifier::Verifier,
};
use adytum_sim::{Platform, Program, SimAttester};
use adytum_sources::{
    aecs::{AecsClient, AecsName, Server, ServerPolicy},
    azure::{Identity, KeyVaultClient, KeyVaultOptions, KeyWrapping, roots_from_pem},
    kbs::{KbsClient, KbsOptions},
};

const CLIENT: WorkloadIdentity = WorkloadIdentity([0xc1; 32]);
const SERVER: WorkloadIdentity = WorkloadIdentity([0xa1; 32]);
const SECRET: &[u8] = b"open sesame, and no one else";

/// Bytes of an answer that are changed: in its head, its middle and, of the longer ones, its end.
const CHANGES: [usize; 10] = [0, 12, 90, 200, 350, 700, 1_500, 2_500, 5_000, 9_000];

fn attester(platform: &Arc<Platform>) -> Arc<dyn Attester> {
    Arc::new(SimAttester::new(Arc::clone(platform), CLIENT))
}

/// With a byte changed there is the true secret, where that byte means nothing, or none.
async fn holds(target: &str, ask: impl AsyncFn(&Relay) -> Result<Vec<u8>, String>) {
    let relay = Relay::start(target, None).await;
    assert_eq!(ask(&relay).await.as_deref(), Ok(SECRET));
    assert!(!relay.saw(SECRET), "he reads the secret");
    let mut refused = 0;
    for at in CHANGES {
        let relay = Relay::start(target, Some(at)).await;
        match ask(&relay).await {
            Ok(value) => assert_eq!(value, SECRET, "byte {at} makes another secret"),
            Err(error) => {
                assert!(relay.has_changed(), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "no change was noticed");
}

#[tokio::test]
async fn before_aecs() {
    let platform = Platform::ephemeral().unwrap();
    let name = ("TrustedApplications".to_owned(), "key".to_owned());
    let running = aecs::Running::start(aecs::Options {
        platform: platform.clone(),
        clients: platform.clone(),
        client: Some(MrEnclave(CLIENT.0)),
        program: Program::of(SERVER),
        secrets: BTreeMap::from([(name, String::from_utf8(SECRET.to_vec()).unwrap())]),
        lie: aecs::Lie::None,
        collateral: true,
    })
    .await;
    let evidence = Policy {
        mr_enclave: [MrEnclave(SERVER.0)].into(),
        ..Policy::without_code(Vendor::Simulation, TeeKind::Sgx)
    };
    let policy = Arc::new(ServerPolicy { evidence, user_data: Vec::new(), public_key: None });
    let source = Arc::new(platform.collateral_source());
    let roots = vec![platform.trust_root().unwrap()];
    let verifier = Arc::new(Verifier::new(roots, source.clone(), Arc::new(SystemClock)));
    let name: AecsName = "key".parse().unwrap();
    holds(&running.address(), async |relay: &Relay| {
        let server = Server::Verified { verifier: verifier.clone(), policy: policy.clone() };
        let address = relay.address().to_owned();
        let client = AecsClient::new(address, server, attester(&platform), source.clone());
        let values = client.secrets(&[&name]).await.map_err(|error| error.to_string())?;
        Ok(values[0].to_vec())
    })
    .await;
}

#[tokio::test]
async fn before_a_kbs() {
    let platform = Platform::ephemeral().unwrap();
    let running = kbs::Running::start(kbs::Options {
        platform: platform.clone(),
        client: MrEnclave(CLIENT.0),
        resources: BTreeMap::from([("default/key/model".to_owned(), SECRET.to_vec())]),
        hash: None,
        lie: kbs::Lie::None,
    })
    .await;
    holds(&running.address(), async |relay: &Relay| {
        let options = KbsOptions {
            url: format!("https://{}:8080", kbs::NAME),
            address: Some(relay.address().to_owned()),
            roots: roots_from_pem(running.root()).unwrap(),
        };
        let client = KbsClient::new(options, attester(&platform)).unwrap();
        let resources = client.resources(&[&"key/model".parse().unwrap()]).await;
        Ok(resources.map_err(|error| error.to_string())?.values[0].to_vec())
    })
    .await;
}

struct Vault {
    platform: Arc<Platform>,
    running: azure::Running,
}

impl Vault {
    async fn new() -> Self {
        let platform = Platform::ephemeral().unwrap();
        let key = ("oct-HSM".to_owned(), SECRET.to_vec());
        let running = azure::Running::start(azure::Options {
            platform: platform.clone(),
            client: MrEnclave(CLIENT.0),
            keys: BTreeMap::from([("model".to_owned(), key)]),
            lie: azure::Lie::None,
        })
        .await;
        Self { platform, running }
    }

    async fn key(&self, vault: &str, attestation: &str) -> Result<Vec<u8>, String> {
        let options = KeyVaultOptions {
            vault: azure::VAULT.parse().unwrap(),
            address: Some(vault.to_owned()),
            attestation: attestation.to_owned(),
            wrapping: KeyWrapping::default(),
            roots: roots_from_pem(self.running.root()).unwrap(),
            identity: Identity::Managed { metadata: self.running.services(), client: None },
        };
        let client =
            KeyVaultClient::new(options, attester(&self.platform), None, Arc::new(SystemClock)).unwrap();
        let keys = client.keys(&[&"model".parse().unwrap()]).await;
        Ok(keys.map_err(|error| format!("{}: {error}", error.code()))?[0].to_vec())
    }
}

#[tokio::test]
async fn before_a_vault() {
    let vault = Vault::new().await;
    holds(&vault.running.vault(), async |relay: &Relay| {
        vault.key(relay.address(), &vault.running.services()).await
    })
    .await;
    // One who ends TLS himself, with a certificate of his own.
    let middle = TlsProxy::start(azure::VAULT).await;
    middle.forward_to(vault.running.vault().parse().unwrap());
    let error = vault.key(&middle.address(), &vault.running.services()).await.unwrap_err();
    assert!(error.starts_with("azure-unreachable"), "{error}");
}

/// Even without TLS: he can spoil a token and not make one.
#[tokio::test]
async fn before_the_attestation_service() {
    let vault = Vault::new().await;
    let plain = vault.running.services();
    let target = plain.strip_prefix("http://").unwrap();
    holds(target, async |relay: &Relay| {
        vault.key(&vault.running.vault(), &format!("http://{}", relay.address())).await
    })
    .await;
}
