//! Replicas that show a token of Azure Attestation in place of their own evidence. The service is
//! one of this test, which signs whatever it is asked to.

use std::sync::{Arc, Mutex};

use adytum_evidence::{
    attester::Attester,
    claims::{TcbStatus, report_data_of_token},
    clock::{Clock as _, SystemClock},
    evidence::Evidence,
    measurement::ReportData,
    policy::Policy,
    trust::Vendor,
};
use adytum_governance::manifest::document::{AzureTable, WorkloadTable};
use adytum_testkit::tee::ScriptedTee;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use serde_json::{Value, json};
use tonic::Code;

use crate::fixture::{Fixture, RunningBroker, apply, execute, fetch, put, stable};

const ISSUER: &str = "https://sharedweu.weu.attest.azure.net";
const KID: &str = "the service's key";
const ENCLAVE: u8 = 0x1e;

/// An attestation service.
struct Service(KeyPair);

impl Service {
    fn new() -> Arc<Self> {
        Arc::new(Self(KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap()))
    }

    /// Its JWK set: a certificate, as Azure's has it.
    fn keys(&self) -> String {
        let certificate = CertificateParams::default().self_signed(&self.0).unwrap();
        json!({ "keys": [{ "kty": "RSA", "kid": KID, "x5c": [STANDARD.encode(certificate.der())] }] })
            .to_string()
    }

    /// A token about an enclave.
    fn token(&self, claims: &Value) -> Evidence {
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let unsigned = format!("{}.{}", encode(&json!({ "alg": "RS256", "kid": KID })), encode(claims));
        let signature = self.0.sign(unsigned.as_bytes()).unwrap();
        Evidence::azure_token(format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// What the service says of the enclave whose runtime data are these.
fn claims(runtime_data: ReportData) -> Value {
    let now = SystemClock.now().0;
    json!({
        "iss": ISSUER, "iat": now, "nbf": now, "exp": now + 3600,
        "x-ms-attestation-type": "sgx",
        "x-ms-sgx-is-debuggable": false,
        "x-ms-sgx-mrenclave": hex::encode([ENCLAVE; 32]),
        "x-ms-sgx-mrsigner": hex::encode([7; 32]),
        "x-ms-sgx-product-id": 0,
        "x-ms-sgx-svn": 0,
        "x-ms-sgx-report-data": report_data_of_token(&runtime_data.0).to_string(),
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn attester(evidence: impl Fn(ReportData) -> Evidence + Send + Sync + 'static) -> Arc<dyn Attester> {
    Arc::new(ScriptedTee::new(move |report_data| {
        let evidence = evidence(report_data);
        async move { Ok(evidence) }
    }))
}

/// A broker whose owners trust this service, and that gives "ssl_config" to one enclave.
async fn provisioned(fixture: &Fixture, service: &Service) -> RunningBroker {
    let running = fixture.start().await;
    let mut document = fixture.document(1);
    document.trust.vendors.push(Vendor::Azure);
    document.trust.azure.push(AzureTable { issuer: ISSUER.to_owned(), keys: service.keys() });
    let every = TcbStatus::ALL.map(|status| format!("\"{status}\"")).join(", ");
    let policy: Policy = toml::from_str(&format!(
        "vendors = [\"azure\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{}\"]\ntcb_status = [{every}]\n",
        hex::encode([ENCLAVE; 32])
    ))
    .unwrap();
    document.workloads =
        vec![WorkloadTable { name: "serving".parse().unwrap(), models: Vec::new(), policy, tcb_grace: None }];
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    running
}

#[tokio::test]
async fn a_token_that_was_asked_for_in_the_session_shows_the_workload() {
    let (fixture, service) = (Fixture::new(1, 1), Service::new());
    let running = provisioned(&fixture, &service).await;
    let signing = Arc::clone(&service);
    let sound = attester(move |report_data| signing.token(&claims(report_data)));
    let replica = fixture.replica_with(sound, running.address).await.unwrap();
    let answer = fetch(&replica, &["ssl_config"]).await.unwrap();
    assert_eq!(answer.secrets[0].value, b"open sesame");

    // Another enclave, and one that a debugger reads.
    for (name, value, rule) in [
        ("x-ms-sgx-mrenclave", json!(hex::encode([0x1f; 32])), "mr_enclave"),
        ("x-ms-sgx-is-debuggable", json!(true), "allow_debug"),
    ] {
        let signing = Arc::clone(&service);
        let other =
            attester(move |report_data| signing.token(&with(claims(report_data), name, value.clone())));
        let session = fixture.replica_with(other, running.address).await.unwrap();
        let refused = fetch(&session, &["ssl_config"]).await.unwrap_err();
        assert_eq!(stable(&refused), (Code::PermissionDenied, "policy-refused".to_owned(), false));
        assert!(refused.message().contains(&format!("{rule} (wanted")), "{rule}: {}", refused.message());
    }
    running.stop().await;
}

#[tokio::test]
async fn tokens_of_other_sessions_services_and_keys_are_refused() {
    let (fixture, service, stranger) = (Fixture::new(1, 1), Service::new(), Service::new());
    let running = provisioned(&fixture, &service).await;
    let seen: Arc<Mutex<Option<Evidence>>> = Arc::default();
    let of = |make: fn(&Service, ReportData) -> Evidence| {
        let service = Arc::clone(&service);
        attester(move |report_data| make(&service, report_data))
    };
    // The token of a session before, of the same enclave.
    let (signing, keeping) = (Arc::clone(&service), Arc::clone(&seen));
    let kept = attester(move |report_data| {
        keeping.lock().unwrap().get_or_insert_with(|| signing.token(&claims(report_data))).clone()
    });
    fixture.replica_with(Arc::clone(&kept), running.address).await.unwrap();
    let forging = Arc::clone(&stranger);
    for (attester, code) in [
        (kept, "evidence-replayed"),
        (of(|service, _| service.token(&claims(ReportData([9; 64])))), "evidence-not-bound"),
        // The session's data as they are, and not by their digest.
        (
            of(|service, report_data| {
                let plain = json!(report_data.to_string());
                service.token(&with(claims(report_data), "x-ms-sgx-report-data", plain))
            }),
            "evidence-not-bound",
        ),
        (attester(move |report_data| forging.token(&claims(report_data))), "token-signature-invalid"),
        (
            of(|service, report_data| {
                service.token(&with(claims(report_data), "iss", json!("https://other.weu.attest.azure.net")))
            }),
            "maa-service-not-trusted",
        ),
        (
            of(|service, report_data| service.token(&with(claims(report_data), "exp", json!(1)))),
            "token-expired",
        ),
        (
            of(|service, report_data| {
                service.token(&with(claims(report_data), "x-ms-attestation-type", json!("azurevm")))
            }),
            "maa-kind",
        ),
        (of(|_, _| Evidence::azure_token("eyJhbGciOiJub25lIn0.e30.")), "token-algorithm"),
        (of(|_, _| Evidence::azure_token(vec![0xff; 100])), "token-malformed"),
    ] {
        let error = fixture.replica_with(attester, running.address).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    running.stop().await;
}

/// Owners that do not name the service accept none of its tokens.
#[tokio::test]
async fn without_the_owners_word_no_service_is_trusted() {
    let (fixture, service) = (Fixture::new(1, 1), Service::new());
    let running = fixture.start().await;
    fixture.provision(&running).await;
    let sound = attester(move |report_data| service.token(&claims(report_data)));
    let error = fixture.replica_with(sound, running.address).await.unwrap_err();
    assert_eq!(error.code(), "maa-service-not-trusted", "{error}");
    running.stop().await;
}
