//! The clients of Azure's services against services that were written apart from them, and that
//! lie in every way that the protocols leave room for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use adytum_emulators::azure::{Lie, Options, Running, VAULT};
use adytum_evidence::{
    clock::{FixedClock, SystemClock, UnixSeconds},
    measurement::{MrEnclave, WorkloadIdentity},
};
use adytum_sim::{Platform, SimAttester};
use adytum_sources::azure::{
    ApiVersion, AttestationService, AzureError, Form, Identity, KeyName, KeyVaultClient, KeyVaultOptions,
    KeyWrapping, azure_roots, roots_from_pem,
};
use base64::{Engine, engine::general_purpose::STANDARD};

const CLIENT: WorkloadIdentity = WorkloadIdentity([0xc1; 32]);
const SYMMETRIC: [u8; 32] = [0x5a; 32];

struct Fixture {
    platform: Arc<Platform>,
    running: Running,
}

impl Fixture {
    async fn new(lie: Lie) -> Self {
        Self::with(lie, MrEnclave(CLIENT.0)).await
    }

    async fn with(lie: Lie, client: MrEnclave) -> Self {
        let platform = Platform::ephemeral().unwrap();
        let key = |kind: &str, bytes: &[u8]| (kind.to_owned(), bytes.to_vec());
        let options = Options {
            platform: platform.clone(),
            client,
            keys: BTreeMap::from([
                ("model".to_owned(), key("oct-HSM", &SYMMETRIC)),
                ("short".to_owned(), key("oct", b"seven..")),
                ("private".to_owned(), key("EC-HSM", &[0x30; 67])),
                ("odd".to_owned(), key("another", &SYMMETRIC)),
            ]),
            lie,
        };
        Self { platform, running: Running::start(options).await }
    }

    fn options(&self) -> KeyVaultOptions {
        KeyVaultOptions {
            vault: VAULT.parse().unwrap(),
            address: Some(self.running.vault()),
            attestation: self.running.services(),
            wrapping: KeyWrapping::default(),
            roots: roots_from_pem(self.running.root()).unwrap(),
            identity: Identity::Managed { metadata: self.running.services(), client: None },
        }
    }

    fn attester(&self) -> Arc<SimAttester> {
        Arc::new(SimAttester::new(self.platform.clone(), CLIENT))
    }

    fn client(&self, options: KeyVaultOptions) -> KeyVaultClient {
        let source = Arc::new(self.platform.collateral_source());
        KeyVaultClient::new(options, self.attester(), Some(source), Arc::new(SystemClock)).unwrap()
    }

    async fn key(&self, name: &str) -> Result<Vec<u8>, AzureError> {
        key(&self.client(self.options()), &name.parse().unwrap()).await
    }
}

async fn key(client: &KeyVaultClient, name: &KeyName) -> Result<Vec<u8>, AzureError> {
    let values = client.keys(&[name]).await?;
    let [value] = values.as_slice() else { panic!("one value") };
    Ok(value.to_vec())
}

#[tokio::test]
async fn a_vault_releases_keys_in_every_wrapping_and_form() {
    let fixture = Fixture::new(Lie::None).await;
    for wrapping in [KeyWrapping::Sha1, KeyWrapping::Sha256, KeyWrapping::Sha384] {
        let client = fixture.client(KeyVaultOptions { wrapping, ..fixture.options() });
        let name: KeyName = "model".parse().unwrap();
        assert_eq!(key(&client, &name).await.unwrap(), SYMMETRIC, "{wrapping:?}");
    }
    assert_eq!(fixture.key("short").await.unwrap(), b"seven..", "one block, padded");
    assert_eq!(fixture.key("model/0123456789abcdef0123456789abcdef").await.unwrap(), SYMMETRIC);
    let pem = fixture.key("private").await.unwrap();
    assert!(pem.starts_with(b"-----BEGIN PRIVATE KEY-----\n"), "PKCS #8");
    let client = fixture.client(fixture.options());
    let formed = |name: &str, form| name.parse::<KeyName>().unwrap().formed(form);
    let text = key(&client, &formed("model", Form::AgeIdentity)).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("AGE-SECRET-KEY-1") && text.len() == 74, "{text}");
    assert_eq!(key(&client, &formed("model", Form::Hexadecimal)).await.unwrap(), "5a".repeat(32).as_bytes());
    for name in [formed("short", Form::AgeIdentity), formed("private", Form::Hexadecimal)] {
        assert_eq!(key(&client, &name).await.unwrap_err().code(), "key-release-form");
    }
    assert_eq!(fixture.key("odd").await.unwrap_err().code(), "key-release-malformed");
}

#[tokio::test]
async fn every_lie_has_its_code() {
    for (lie, code) in [
        (Lie::OtherNonce, "key-release-nonce"),
        (Lie::AlteredPayload, "key-release-signature"),
        (Lie::WrongSignature, "key-release-signature"),
        (Lie::AlgorithmNone, "key-release-algorithm"),
        (Lie::SharedSecret, "key-release-algorithm"),
        (Lie::OtherRoot, "key-release-chain"),
        (Lie::Expired, "key-release-chain"),
        (Lie::OtherVault, "key-release-other-vault"),
        (Lie::NoCertificates, "key-release-malformed"),
        (Lie::OtherKey, "key-release-other-key"),
        (Lie::OtherWrapping, "key-release-wrapping"),
        (Lie::OtherRecipient, "key-release-unwrap"),
        (Lie::AlteredKey, "key-release-unwrap"),
        (Lie::Huge, "azure-answer-too-large"),
        (Lie::NoJson, "azure-answer-malformed"),
        (Lie::NoToken, "azure-answer-malformed"),
    ] {
        let error = Fixture::new(lie).await.key("model").await.unwrap_err();
        assert_eq!(error.code(), code, "{lie:?}: {error}");
        assert!(!error.retry(), "{lie:?}");
        assert!(!error.to_string().contains("an-access-token"), "{error}");
    }
}

#[tokio::test]
async fn a_recorded_answer_is_worth_nothing() {
    let fixture = Fixture::new(Lie::Replay).await;
    assert!(fixture.key("model").await.is_ok());
    let error = fixture.key("model").await.unwrap_err();
    assert_eq!(error.code(), "key-release-nonce", "{error}");
}

#[tokio::test]
async fn a_vault_that_is_silent_is_given_up_and_may_be_tried_again() {
    let fixture = Fixture::new(Lie::Slow).await;
    let client = fixture.client(fixture.options()).with_deadline(Duration::from_millis(1500));
    let error = key(&client, &"model".parse().unwrap()).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("azure-slow", true), "{error}");
}

#[tokio::test]
async fn only_pinned_roots_and_valid_dates_count() {
    let fixture = Fixture::new(Lie::None).await;
    let client = fixture.client(KeyVaultOptions { roots: azure_roots(), ..fixture.options() });
    let error = key(&client, &"model".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.code(), "azure-unreachable", "its TLS is refused first: {error}");

    let clock = Arc::new(FixedClock::new(UnixSeconds(4_000_000_000)));
    let client = KeyVaultClient::new(fixture.options(), fixture.attester(), None, clock).unwrap();
    let error = key(&client, &"model".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.code(), "key-release-chain", "{error}");
}

#[tokio::test]
async fn the_vault_judges_us_as_well() {
    let fixture = Fixture::with(Lie::None, MrEnclave([1; 32])).await;
    let error = fixture.key("model").await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("azure-refused", false));
    assert!(
        error.to_string().contains("403") && error.to_string().contains("attestation statement"),
        "{error}"
    );
    let error = Fixture::new(Lie::None).await.key("unknown").await.unwrap_err();
    assert_eq!(error.code(), "azure-refused");
}

#[tokio::test]
async fn a_workload_identity_gets_its_access_token_from_entra() {
    let fixture = Fixture::new(Lie::None).await;
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    fs::write(&token_file, "a-federated-token\n").unwrap();
    let identity = |tenant: &str| Identity::Workload {
        authority: fixture.running.services(),
        tenant: tenant.to_owned(),
        client: "a-client".to_owned(),
        token_file: token_file.clone(),
    };
    let client = |identity| fixture.client(KeyVaultOptions { identity, ..fixture.options() });
    let name: KeyName = "model".parse().unwrap();
    assert!(key(&client(identity("a-tenant")), &name).await.is_ok());
    assert_eq!(key(&client(identity("other")), &name).await.unwrap_err().code(), "azure-refused");
    fs::remove_file(&token_file).unwrap();
    assert_eq!(key(&client(identity("a-tenant")), &name).await.unwrap_err().code(), "azure-identity");
}

/// What Occlum's demo sends and gets, and the same with today's interface.
#[tokio::test]
async fn an_attestation_service_gives_a_token_for_binary_data() {
    let fixture = Fixture::new(Lie::None).await;
    for version in [ApiVersion::V2020, ApiVersion::V2025] {
        let service = AttestationService::new(&fixture.running.services(), version, &azure_roots()).unwrap();
        let attested = service.attest(&*fixture.attester(), b"example").await.unwrap();
        assert_eq!(attested.answer["token"].as_str().unwrap().split('.').count(), 3);
        assert_eq!(attested.answer.as_object().unwrap().len(), 1);
        assert_eq!(STANDARD.decode(&attested.quote).is_ok(), version == ApiVersion::V2020);
    }
    let nowhere = AttestationService::new("http://127.0.0.1:1", ApiVersion::V2020, &azure_roots()).unwrap();
    let error = nowhere.attest(&*fixture.attester(), b"example").await.err().unwrap();
    assert_eq!((error.code(), error.retry()), ("azure-unreachable", true));
    for url in ["ftp://a", "a b", "/"] {
        let service = AttestationService::new(url, ApiVersion::V2020, &azure_roots()).unwrap();
        assert_eq!(service.attest(&*fixture.attester(), b"").await.err().unwrap().code(), "azure-url");
    }
}
