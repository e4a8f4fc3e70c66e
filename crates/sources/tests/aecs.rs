//! The AECS client against a server that was written apart from it, and that lies in every
//! way that the protocol leaves room for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use adytum_emulators::aecs::{Lie, Options, Running};
use adytum_evidence::{
    claims::TeeKind,
    clock::SystemClock,
    collateral::{Collateral, CollateralError, CollateralRequest, CollateralSource},
    measurement::{MrEnclave, Sha256Digest, WorkloadIdentity},
    policy::Policy,
    trust::Vendor,
    verifier::Verifier,
};
use adytum_sim::{Platform, Program, SimAttester};
use adytum_sources::aecs::{AecsClient, AecsError, AecsName, Encoding, Server, ServerPolicy};

const SERVER: WorkloadIdentity = WorkloadIdentity([0xa1; 32]);
const CLIENT: WorkloadIdentity = WorkloadIdentity([0xc1; 32]);

struct Fixture {
    platform: Arc<Platform>,
    options: Options,
}

impl Fixture {
    fn new(lie: Lie) -> Self {
        let platform = Platform::ephemeral().unwrap();
        let secret = |service: &str, name: &str, value: &str| {
            ((service.to_owned(), name.to_owned()), value.to_owned())
        };
        let options = Options {
            platform: platform.clone(),
            clients: platform.clone(),
            client: Some(MrEnclave(CLIENT.0)),
            program: Program::of(SERVER),
            secrets: BTreeMap::from([
                secret("service1", "image_key", &"5a".repeat(32)),
                secret("TrustedApplications", "certificate", "c2VzYW1l"),
                secret("TrustedApplications", "empty", ""),
            ]),
            lie,
            collateral: true,
        };
        Self { platform, options }
    }

    fn policy(&self) -> ServerPolicy {
        let evidence = Policy {
            mr_enclave: [MrEnclave(SERVER.0)].into(),
            ..Policy::without_code(Vendor::Simulation, TeeKind::Sgx)
        };
        ServerPolicy { evidence, user_data: Vec::new(), public_key: None }
    }

    fn verified(&self, policy: ServerPolicy) -> Server {
        self.verified_with(policy, Arc::new(self.platform.collateral_source()))
    }

    fn verified_with(&self, policy: ServerPolicy, source: Arc<dyn CollateralSource>) -> Server {
        let roots = vec![self.platform.trust_root().unwrap()];
        let verifier = Arc::new(Verifier::new(roots, source, Arc::new(SystemClock)));
        Server::Verified { verifier, policy: Arc::new(policy) }
    }

    fn client(&self, running: &Running, server: Server) -> AecsClient {
        let attester = Arc::new(SimAttester::new(self.platform.clone(), CLIENT));
        let source = Arc::new(self.platform.collateral_source());
        AecsClient::new(running.address(), server, attester, source)
    }

    /// Asks for the image's key.
    async fn ask(&self) -> Result<Vec<u8>, AecsError> {
        let running = Running::start(self.options.clone()).await;
        let client = self.client(&running, self.verified(self.policy()));
        key_of(&client).await
    }
}

async fn key_of(client: &AecsClient) -> Result<Vec<u8>, AecsError> {
    let values = client.secrets(&[&AecsName::image_key("image_key").unwrap()]).await?;
    let [value] = values.as_slice() else { panic!("one value") };
    Ok(value.to_vec())
}

#[tokio::test]
async fn a_genuine_server_gives_what_it_has() {
    let fixture = Fixture::new(Lie::None);
    let running = Running::start(fixture.options.clone()).await;
    let client = fixture.client(&running, fixture.verified(fixture.policy()));
    let names = [
        AecsName::image_key("image_key").unwrap(),
        "certificate".parse().unwrap(),
        AecsName::new(None, "certificate", Encoding::Base64).unwrap(),
    ];
    let values = client.secrets(&names.each_ref()).await.unwrap();
    let texts: Vec<&[u8]> = values.iter().map(|value| value.as_slice()).collect();
    assert_eq!(texts, ["5a".repeat(32).as_bytes(), b"c2VzYW1l", b"sesame"]);
    assert_eq!(key_of(&client).await.unwrap(), "5a".repeat(32).as_bytes(), "and again");
}

#[tokio::test]
async fn every_lie_has_its_code() {
    for (lie, code) in [
        (Lie::OtherNonce, "aecs-nonce"),
        (Lie::NoNonce, "aecs-nonce"),
        (Lie::OtherKey, "aecs-key-not-bound"),
        (Lie::AlteredJson, "aecs-signature"),
        (Lie::WrongSignature, "aecs-signature"),
        (Lie::Huge, "aecs-answer-too-large"),
        (Lie::WrongChain, "untrusted-root"),
        (Lie::Debug, "aecs-server-refused"),
        (Lie::OtherEnclave, "aecs-server-refused"),
        (Lie::NoReport, "aecs-report-malformed"),
        (Lie::OtherPlatform, "aecs-report-malformed"),
        (Lie::OtherKeyForm, "aecs-server-key"),
        (Lie::AlteredEnvelope, "aecs-envelope"),
        (Lie::OtherEnvelopeName, "aecs-envelope"),
        (Lie::WrongHash, "aecs-hash"),
        (Lie::WrongHashSignature, "aecs-hash-signature"),
        (Lie::OtherSecret, "aecs-other-secret"),
        (Lie::NoSecret, "aecs-content"),
        (Lie::NoJson, "aecs-answer-malformed"),
    ] {
        let error = Fixture::new(lie).ask().await.unwrap_err();
        assert_eq!(error.code(), code, "{lie:?}: {error}");
        assert!(!error.retry(), "{lie:?}");
        assert!(!error.to_string().contains("5a5a"), "{error}");
    }
}

#[tokio::test]
async fn a_recorded_answer_is_worth_nothing() {
    let fixture = Fixture::new(Lie::Replay);
    let running = Running::start(fixture.options.clone()).await;
    let client = fixture.client(&running, fixture.verified(fixture.policy()));
    key_of(&client).await.unwrap();
    let error = key_of(&client).await.unwrap_err();
    assert_eq!(error.code(), "aecs-nonce", "{error}");
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up_and_may_be_tried_again() {
    let fixture = Fixture::new(Lie::Slow);
    let running = Running::start(fixture.options.clone()).await;
    let client = fixture
        .client(&running, fixture.verified(fixture.policy()))
        .with_deadline(Duration::from_millis(1500));
    let error = key_of(&client).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("aecs-slow", true), "{error}");
    let address = running.address();
    drop(running);
    let attester = Arc::new(SimAttester::new(fixture.platform.clone(), CLIENT));
    let source = Arc::new(fixture.platform.collateral_source());
    let client = AecsClient::new(address, Server::Anyone, attester, source);
    let error = key_of(&client).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("aecs-unreachable", true), "{error}");
}

#[tokio::test]
async fn the_server_judges_us_as_well() {
    let mut fixture = Fixture::new(Lie::None);
    fixture.options.client = Some(MrEnclave([1; 32]));
    let error = fixture.ask().await.unwrap_err();
    assert_eq!(error.code(), "aecs-refused");
    assert!(error.to_string().contains("TA_MEASUREMENT"), "{error}");

    let fixture = Fixture::new(Lie::None);
    let running = Running::start(fixture.options.clone()).await;
    let client = fixture.client(&running, fixture.verified(fixture.policy()));
    for (name, code) in [("unknown", "aecs-refused"), ("empty", "aecs-value")] {
        let error = client.secrets(&[&name.parse().unwrap()]).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let base64 = AecsName::new(Some("service1"), "image_key", Encoding::Base64).unwrap();
    assert_eq!(client.secrets(&[&base64]).await.unwrap().len(), 1, "hexadecimal is base64, too");
}

#[tokio::test]
async fn a_policy_may_name_the_key_and_the_user_data() {
    let fixture = Fixture::new(Lie::None);
    let running = Running::start(fixture.options.clone()).await;
    let key = Sha256Digest::of_bytes(running.public_key().as_bytes());
    let with = |user_data: &[u8], public_key| ServerPolicy {
        user_data: user_data.to_vec(),
        public_key: Some(public_key),
        ..fixture.policy()
    };
    for (policy, code) in [
        (with(&[0, 0], key), None),
        (with(&[1], key), Some("aecs-user-data")),
        (with(&[], Sha256Digest([9; 32])), Some("aecs-other-server-key")),
    ] {
        let client = fixture.client(&running, fixture.verified(policy));
        assert_eq!(key_of(&client).await.err().map(|error| error.code()), code);
    }
}

/// A source without collateral.
struct NoSource;

#[tonic::async_trait]
impl CollateralSource for NoSource {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        Err(CollateralError::NoSource { what: request.to_string() })
    }
}

#[tokio::test]
async fn the_collateral_in_the_report_serves_where_ours_is_missing() {
    for (carried, code) in [(true, None), (false, Some("collateral-no-source"))] {
        let mut fixture = Fixture::new(Lie::None);
        fixture.options.collateral = carried;
        let running = Running::start(fixture.options.clone()).await;
        let server = fixture.verified_with(fixture.policy(), Arc::new(NoSource));
        let client = fixture.client(&running, server);
        assert_eq!(key_of(&client).await.err().map(|error| error.code()), code, "{carried}");
    }
}

/// It is what the original client does, and it has to be asked for by name.
#[tokio::test]
async fn where_anyone_is_believed_an_impostor_is() {
    for lie in [Lie::None, Lie::OtherEnclave, Lie::WrongChain, Lie::OtherKey] {
        let fixture = Fixture::new(lie);
        let running = Running::start(fixture.options.clone()).await;
        assert!(key_of(&fixture.client(&running, Server::Anyone)).await.is_ok(), "{lie:?}");
    }
    // The checks that need no report are made all the same.
    for (lie, code) in [(Lie::OtherNonce, "aecs-nonce"), (Lie::AlteredJson, "aecs-signature")] {
        let fixture = Fixture::new(lie);
        let running = Running::start(fixture.options.clone()).await;
        let error = key_of(&fixture.client(&running, Server::Anyone)).await.unwrap_err();
        assert_eq!(error.code(), code);
    }
}

#[tokio::test]
async fn what_is_no_address_is_refused() {
    let fixture = Fixture::new(Lie::None);
    let attester = Arc::new(SimAttester::new(fixture.platform.clone(), CLIENT));
    let source = Arc::new(fixture.platform.collateral_source());
    let client = AecsClient::new("a b".to_owned(), Server::Anyone, attester, source);
    assert_eq!(key_of(&client).await.unwrap_err().code(), "aecs-address");
}
