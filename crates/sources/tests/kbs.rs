//! The client of a KBS against a server that was written apart from it, and that lies in every
//! way that the protocol leaves room for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use adytum_emulators::kbs::{Lie, NAME, Options, Running};
use adytum_evidence::measurement::{MrEnclave, WorkloadIdentity};
use adytum_sim::{Platform, SimAttester};
use adytum_sources::{
    azure::roots_from_pem,
    kbs::{KbsClient, KbsError, KbsOptions},
};

const CLIENT: WorkloadIdentity = WorkloadIdentity([0xc1; 32]);

struct Fixture {
    platform: Arc<Platform>,
    running: Running,
}

impl Fixture {
    async fn new(lie: Lie, hash: Option<&'static str>) -> Self {
        let platform = Platform::ephemeral().unwrap();
        let options = Options {
            platform: platform.clone(),
            client: MrEnclave(CLIENT.0),
            resources: BTreeMap::from([("default/key/model".to_owned(), b"open sesame".to_vec())]),
            hash,
            lie,
        };
        Self { platform, running: Running::start(options).await }
    }

    fn options(&self) -> KbsOptions {
        KbsOptions {
            url: format!("https://{NAME}:8080"),
            address: Some(self.running.address()),
            roots: roots_from_pem(self.running.root()).unwrap(),
        }
    }

    fn client(&self, options: KbsOptions) -> Result<KbsClient, KbsError> {
        KbsClient::new(options, Arc::new(SimAttester::new(self.platform.clone(), CLIENT)))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, KbsError> {
        get(&self.client(self.options())?, path).await
    }
}

async fn get(client: &KbsClient, path: &str) -> Result<Vec<u8>, KbsError> {
    let resources = client.resources(&[&path.parse().unwrap()]).await?;
    assert_eq!(resources.lease, None);
    let [value] = resources.values.as_slice() else { panic!("one value") };
    Ok(value.to_vec())
}

#[tokio::test]
async fn a_server_gives_resources_under_every_hash() {
    for hash in [None, Some("sha256"), Some("sha384"), Some("SHA512"), Some("sha512")] {
        let emulated = hash.map(|hash| if hash == "SHA512" { "sha512" } else { hash });
        let fixture = Fixture::new(Lie::None, emulated).await;
        assert_eq!(fixture.get("default/key/model").await.unwrap(), b"open sesame", "{hash:?}");
        assert_eq!(fixture.get("key/model").await.unwrap(), b"open sesame");
    }
}

#[tokio::test]
async fn every_lie_has_its_code() {
    for (lie, code) in [
        (Lie::OtherRoot, "kbs-source-unreachable"),
        (Lie::OtherName, "kbs-source-unreachable"),
        (Lie::OtherRecipient, "kbs-source-resource-closed"),
        (Lie::AlteredContent, "kbs-source-resource-closed"),
        (Lie::AlteredHeader, "kbs-source-resource-closed"),
        (Lie::OtherAlgorithm, "kbs-source-algorithm"),
        (Lie::NoPoint, "kbs-source-resource-malformed"),
        (Lie::NotEncrypted, "kbs-source-resource-malformed"),
        (Lie::OtherHash, "kbs-source-hash"),
        (Lie::NoSession, "kbs-source-answer-malformed"),
        (Lie::OtherNonce, "kbs-source-answer-malformed"),
        (Lie::Huge, "kbs-source-answer-too-large"),
    ] {
        let error = Fixture::new(lie, None).await.get("key/model").await.unwrap_err();
        assert_eq!(error.code(), code, "{lie:?}: {error}");
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
}

#[tokio::test]
async fn a_recorded_resource_is_worth_nothing() {
    let fixture = Fixture::new(Lie::Replay, None).await;
    assert!(fixture.get("key/model").await.is_ok());
    assert_eq!(fixture.get("key/model").await.unwrap_err().code(), "kbs-source-resource-closed");
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_may_be_tried_again() {
    let fixture = Fixture::new(Lie::Slow, None).await;
    let client = fixture.client(fixture.options()).unwrap().with_deadline(Duration::from_millis(1000));
    let error = get(&client, "key/model").await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("kbs-source-slow", true), "{error}");
}

#[tokio::test]
async fn the_server_judges_us_as_well_and_says_why() {
    let fixture = Fixture::new(Lie::None, None).await;
    let error = fixture.get("key/other").await.unwrap_err();
    assert_eq!(error.code(), "kbs-source-refused");
    assert!(error.to_string().contains("401") && error.to_string().contains("the policy gives"), "{error}");
    fixture.running.release_to(MrEnclave([1; 32]));
    let error = fixture.get("key/model").await.unwrap_err();
    assert!(error.to_string().contains("attest") && error.to_string().contains("this enclave"), "{error}");
}

/// The protocol does not attest the server.
#[tokio::test]
async fn a_server_without_tls_is_not_asked() {
    let fixture = Fixture::new(Lie::None, None).await;
    let plain = KbsOptions { url: format!("http://{NAME}:8080"), ..fixture.options() };
    assert_eq!(fixture.client(plain).err().unwrap().code(), "kbs-source-url");
}
