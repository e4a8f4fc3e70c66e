//! The listener for the KBS protocol: clients of Confidential Containers, and attackers.

use std::{sync::Arc, time::Duration};

use adytum_broker::ServerLimits;
use adytum_crowd::bucket::Rate;
use adytum_emulators::{relay::Relay, tls_proxy::TlsProxy};
use adytum_evidence::{
    attester::Attester,
    measurement::{HostData, ReportData, SnpMeasurement},
    policy::Policy,
    snp::{Endorser, SnpProduct},
};
use adytum_governance::manifest::document::Document;
use adytum_sim::{
    SimAttester,
    snp::{SnpAttester, SnpGuest, SnpPlatform},
};
use adytum_sources::{
    azure::roots_from_pem,
    kbs::{self, KbsOptions},
};
use adytum_testkit::{
    broker::RunningBroker,
    kbs::{HttpAnswer, KbsClient, KbsPort, KeyKind},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kbs_types::Tee;
use serde_json::{Value, json};

use crate::{
    audit::grants,
    binary::BinaryFixture,
    fixture::{Fixture, apply, execute, put},
};

/// "ssl_config" of the program "serving" has a path, "spare" of "another" too, "own" has none.
fn document(fixture: &Fixture, version: u64) -> Document {
    let mut document = fixture.document(version);
    let mut another = document.workloads[0].clone();
    another.name = "another".parse().unwrap();
    another.policy = crate::fixture::policy(crate::fixture::identity("another"));
    document.workloads.push(another);
    let mut spare = document.secrets[1].clone();
    spare.name = "spare".parse().unwrap();
    spare.workloads = vec!["another".parse().unwrap()];
    spare.kbs_resource = Some("default/key/spare".parse().unwrap());
    let mut own = document.secrets[1].clone();
    own.name = "own".parse().unwrap();
    document.secrets[0].kbs_resource = Some("default/key/model".parse().unwrap());
    document.secrets[1].kbs_resource = Some("default/ssl/config".parse().unwrap());
    document.secrets[1].lease = Some("90s".parse().unwrap());
    document.secrets.extend([spare, own]);
    document
}

async fn provision(fixture: &Fixture, running: &RunningBroker, document: &Document) {
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(document)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("spare", b"spare"))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("own", b"own"))).await.unwrap();
}

struct Site {
    fixture: Fixture,
    running: RunningBroker,
    port: KbsPort,
}

impl Site {
    async fn new() -> Self {
        Self::limited(ServerLimits::default()).await
    }

    async fn limited(limits: ServerLimits) -> Self {
        let fixture = Fixture::new(1, 1);
        let running = fixture.start().await;
        provision(&fixture, &running, &document(&fixture, 1)).await;
        let port = KbsPort::open(&running.broker, limits).await;
        Self { fixture, running, port }
    }

    async fn client(&self) -> KbsClient {
        KbsClient::connect(self.port.address, KeyKind::P256).await
    }

    /// A client whose evidence was accepted, in this program.
    async fn attested(&self, program: &str) -> KbsClient {
        let mut client = self.client().await;
        client.handshake(Tee::Sgx, sgx(self.fixture.attester(program))).await.unwrap();
        client
    }

    async fn stop(self) {
        drop(self.port);
        self.running.stop().await;
    }
}

fn sgx(attester: Arc<dyn Attester>) -> impl AsyncFn([u8; 64]) -> Value {
    async move |report_data| {
        let evidence = attester.evidence(ReportData(report_data)).await.unwrap();
        json!({ "quote": STANDARD.encode(evidence.bytes) })
    }
}

fn stable(answer: &HttpAnswer) -> (u16, String) {
    let (status, code, _) = answer.error();
    (status, code)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_client_with_each_kind_of_key_gets_its_secret_and_the_log_says_how() {
    let site = Site::new().await;
    for kind in [KeyKind::P256, KeyKind::P521, KeyKind::Rsa] {
        let mut client = KbsClient::connect(site.port.address, kind).await;
        client.handshake(Tee::Sgx, sgx(site.fixture.attester("serving"))).await.unwrap();
        assert_eq!(client.resource("default/ssl/config").await.unwrap(), b"open sesame", "{kind:?}");
        // The repository may be left out, and what a plugin might be asked besides.
        assert_eq!(client.resource("ssl/config?x=1").await.unwrap(), b"open sesame");
    }
    let grants = grants(&site.fixture, &site.running).await;
    assert_eq!(grants.len(), 6);
    for grant in grants {
        assert_eq!(
            (&grant["secret"], &grant["protocol"]),
            (&json!("ssl_config"), &json!("kbs-0.4.0")),
            "{grant}"
        );
        assert!(grant["binding"].is_null() && grant["rule"] == json!("workload serving"), "{grant}");
    }
    site.stop().await;
}

#[tokio::test]
async fn the_answer_says_how_long_and_a_token_does_as_well_as_a_cookie() {
    let site = Site::new().await;
    let mut client = site.attested("serving").await;
    let answer = client.send("GET", "/kbs/v0/resource/default/ssl/config", "", b"").await;
    assert_eq!(
        (answer.field("adytum-lease-seconds"), answer.field("adytum-grace-seconds")),
        (Some("90"), Some("0"))
    );
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let field = format!("Authorization: Bearer {}\r\n", client.token.as_ref().unwrap());
    let mut other = site.client().await;
    let answer = other.send("GET", "/kbs/v0/resource/default/ssl/config", &field, b"").await;
    assert_eq!(answer.status, 200);
    // It is for the key that was attested, with whatever connection.
    let response = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(other.key.decrypt(&response), None);
    assert_eq!(client.key.decrypt(&response).unwrap(), b"open sesame");
    site.stop().await;
}

#[tokio::test]
async fn the_manifest_decides_and_a_refusal_explains_itself() {
    let site = Site::new().await;
    let mut serving = site.attested("serving").await;
    for (path, code) in [
        ("default/key/spare", "secret-refused"),
        ("default/key/model", "secret-has-no-value"),
        ("default/key/nothing", "secret-unknown-to-others"),
        // The name that it has in our own protocol is none here.
        ("default/secret/own", "secret-unknown-to-others"),
    ] {
        assert_eq!(stable(&serving.resource(path).await.unwrap_err()), refused(401, code), "{path}");
    }
    let mut tampered = site.attested("servinG").await;
    let answer = tampered.resource("default/ssl/config").await.unwrap_err();
    let (status, code, detail) = answer.error();
    assert_eq!((status, code.as_str()), (401, "policy-refused"));
    for value in ["serving", "servinG"].map(crate::fixture::identity) {
        assert!(detail.contains(&value.to_string()), "{detail}");
    }
    // It can't find out which paths exist.
    let other = tampered.resource("default/key/nothing").await.unwrap_err();
    assert_eq!(other.error(), answer.error());
    let debug =
        SimAttester::new(site.fixture.platform.clone(), crate::fixture::identity("serving")).debug(true);
    let mut client = site.client().await;
    client.handshake(Tee::Sgx, sgx(Arc::new(debug))).await.unwrap();
    let (_, code, detail) = client.resource("default/ssl/config").await.unwrap_err().error();
    assert!(code == "policy-refused" && detail.contains("debug"), "{detail}");
    site.stop().await;
}

#[tokio::test]
async fn a_session_does_not_outlive_the_trust_it_began_under() {
    let site = Site::new().await;
    let mut client = site.attested("serving").await;
    client.resource("default/ssl/config").await.unwrap();
    let mut other = document(&site.fixture, 2);
    other.trust.simulation_roots =
        vec![adytum_sim::Platform::ephemeral().unwrap().root_certificate_pem().to_owned()];
    let owner = site.fixture.owner(site.running.address).await;
    execute(&owner, site.fixture.command(&owner, 1, apply(&site.fixture.signed(&other)))).await.unwrap();
    let answer = client.resource("default/ssl/config").await.unwrap_err();
    assert_eq!(stable(&answer), refused(401, "evidence-not-trusted"));
    let mut late = site.client().await;
    let answer = late.handshake(Tee::Sgx, sgx(site.fixture.attester("serving"))).await.unwrap_err();
    assert_eq!(stable(&answer), refused(401, "untrusted-root"));
    site.stop().await;
}

#[tokio::test]
async fn evidence_of_another_key_nonce_or_kind_opens_nothing() {
    let site = Site::new().await;
    let quote = sgx(site.fixture.attester("serving"));
    let padded = |digest: &[u8]| std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default());

    // A man in the middle puts his own key in.
    let (mut client, mut thief) = (site.client().await, site.client().await);
    let challenge = client.auth(Tee::Sgx).await.unwrap();
    let (runtime_data, digest) = client.runtime_data(&challenge);
    let evidence = quote(padded(&digest)).await;
    thief.cookie = client.cookie.clone();
    let (stolen, _) = thief.runtime_data(&challenge);
    let answer = thief.attest(stolen, evidence.clone()).await.unwrap_err();
    assert_eq!(stable(&answer), refused(401, "kbs-binding"));
    assert_eq!(
        stable(&thief.resource("default/ssl/config").await.unwrap_err()),
        refused(401, "kbs-session-unknown")
    );

    // He records the message and sends it in a session of his own.
    let mut replay = site.client().await;
    replay.auth(Tee::Sgx).await.unwrap();
    let answer = replay.attest(runtime_data.clone(), evidence.clone()).await.unwrap_err();
    assert_eq!(stable(&answer), refused(401, "kbs-nonce"));
    // With his nonce in it, it is bound to another one.
    let challenge = replay.auth(Tee::Sgx).await.unwrap();
    let mut altered = runtime_data.clone();
    altered.nonce = challenge.nonce;
    let answer = replay.attest(altered, evidence.clone()).await.unwrap_err();
    assert_eq!(stable(&answer), refused(401, "kbs-binding"));

    // Evidence of another TEE than the one named.
    let mut liar = site.client().await;
    let answer = liar.handshake(Tee::Tdx, &quote).await.unwrap_err();
    assert_eq!(stable(&answer), refused(401, "kbs-other-tee"));
    // Without a challenge, with a cookie of another broker, and with an altered one.
    for cookie in
        [None, Some("kbs-session-id=00".to_owned()), client.cookie.clone().map(|cookie| cookie + "0")]
    {
        let mut stranger = site.client().await;
        stranger.cookie = cookie;
        let answer = stranger.attest(runtime_data.clone(), evidence.clone()).await.unwrap_err();
        assert_eq!(stable(&answer), refused(401, "kbs-session-unknown"));
    }

    // After all that, the client's own message counts; sent again, it opens the same session.
    let token = client.attest(runtime_data.clone(), evidence.clone()).await.unwrap();
    assert_eq!(client.attest(runtime_data, evidence).await.unwrap(), token);
    assert_eq!(client.resource("default/ssl/config").await.unwrap(), b"open sesame");
    // The thief has the cookie, and what he gets with it is for the client's key.
    let answer = thief.send("GET", "/kbs/v0/resource/default/ssl/config", "", b"").await;
    let response = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, thief.key.decrypt(&response)), (200, None));
    site.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_evidence_are_refused_with_the_reason() {
    let site = Site::new().await;
    let mut client = site.client().await;
    let challenge = client.auth(Tee::Sgx).await.unwrap();
    let (runtime_data, _) = client.runtime_data(&challenge);
    for (evidence, code) in [
        (json!({}), "kbs-evidence-malformed"),
        (json!({ "quote": "!" }), "kbs-evidence-malformed"),
        (json!({ "quote": STANDARD.encode(vec![0; 40_000]) }), "kbs-evidence-malformed"),
        (json!({ "quote": "" }), "evidence-malformed"),
        (json!({ "quote": STANDARD.encode([3; 100]) }), "evidence-unsupported"),
        (json!({ "svn": "1", "report_data": "" }), "kbs-evidence-malformed"),
    ] {
        let answer = client.attest(runtime_data.clone(), evidence.clone()).await.unwrap_err();
        assert_eq!(stable(&answer), refused(401, code), "{evidence}");
    }
    let attest = |key: Value| {
        json!({
            "runtime-data": { "nonce": challenge.nonce, "tee-pubkey": key },
            "tee-evidence": { "primary_evidence": {}, "additional_evidence": "" },
        })
    };
    for (message, code) in [
        (json!({}), "kbs-message-malformed"),
        (attest(json!({ "kty": "RSA", "alg": "RSA1_5", "n": "AQAB", "e": "AQAB" })), "kbs-key-unsupported"),
        (attest(json!({ "kty": "AKP", "alg": "ML-KEM-768+A192KW", "pub": "AA" })), "kbs-key-unsupported"),
        (attest(json!({ "kty": "EC", "alg": 1 })), "kbs-message-malformed"),
    ] {
        let answer = client.send("POST", "/kbs/v0/attest", "", message.to_string().as_bytes()).await;
        assert_eq!(stable(&answer), refused(401, code), "{message}");
    }
    site.stop().await;
}

#[tokio::test]
async fn what_is_not_of_the_protocol_is_answered_as_clients_expect() {
    let site = Site::new().await;
    let mut client = site.client().await;
    let auth =
        |version: &str, tee: &str| json!({ "version": version, "tee": tee, "extra-params": "" }).to_string();
    for (method, path, body, status, code) in [
        ("POST", "/kbs/v0/auth", auth("0.1.1", "sgx"), 401, "kbs-version"),
        ("POST", "/kbs/v0/auth", auth("0.4.0", "sample"), 401, "kbs-tee-unsupported"),
        ("POST", "/kbs/v0/auth", "{".to_owned(), 401, "kbs-message-malformed"),
        ("POST", "/kbs/v0/auth", "[".repeat(10_000), 401, "kbs-message-malformed"),
        ("GET", "/kbs/v0/auth", String::new(), 404, "kbs-path-unknown"),
        ("GET", "/", String::new(), 404, "kbs-path-unknown"),
        ("GET", "/kbs/v1/resource/a/b/c", String::new(), 404, "kbs-path-unknown"),
        ("GET", "/kbs/v0/nebula-ca/credential", String::new(), 404, "kbs-plugin-unknown"),
        ("GET", "/kbs/v0/resource/default/ssl/config", String::new(), 401, "kbs-session-unknown"),
        ("POST", "/kbs/v0/resource/default/ssl/config", "evil".to_owned(), 403, "kbs-administration"),
        ("DELETE", "/kbs/v0/resource/default/ssl/config", String::new(), 403, "kbs-administration"),
        ("POST", "/kbs/v0/resource-policy", "{}".to_owned(), 403, "kbs-administration"),
        ("POST", "/kbs/v0/attestation-policy", "{}".to_owned(), 403, "kbs-administration"),
        ("POST", "/kbs/v0/reference-value", "{}".to_owned(), 403, "kbs-administration"),
    ] {
        let answer = client.send(method, path, "", body.as_bytes()).await;
        assert_eq!(stable(&answer), refused(status, code), "{method} {path} {body:.40}");
    }
    let (_, _, detail) = client.send("POST", "/kbs/v0/resource/a/b/c", "", b"").await.error();
    assert!(detail.contains("adytum manifest apply"), "{detail}");

    let mut attested = site.attested("serving").await;
    for path in ["a", "a/b/c/d", "a/../c", "..%2f..%2fc/b/c", "default/ssl/config%00"] {
        let answer = attested.resource(path).await.unwrap_err();
        assert_eq!(stable(&answer), refused(404, "resource-path-malformed"), "{path}");
    }
    let huge = vec![b' '; adytum_broker::kbs::MAXIMUM_BODY_LENGTH + 1];
    let mut client = site.client().await;
    let answer = client.send("POST", "/kbs/v0/attest", "", &huge).await;
    assert_eq!(stable(&answer), refused(413, "kbs-message-too-long"));
    site.stop().await;
}

#[tokio::test]
async fn an_address_that_shows_false_evidence_again_and_again_is_slowed_down() {
    let strangers = Rate { per_second: 1, burst: 3 };
    let site = Site::limited(ServerLimits { strangers, ..ServerLimits::default() }).await;
    let foreign =
        SimAttester::new(adytum_sim::Platform::ephemeral().unwrap(), crate::fixture::identity("serving"));
    let foreign = sgx(Arc::new(foreign));
    let mut codes = Vec::new();
    for _ in 0..6 {
        let mut client = site.client().await;
        codes.push(stable(&client.handshake(Tee::Sgx, &foreign).await.unwrap_err()));
    }
    assert_eq!(codes[..3], vec![refused(401, "untrusted-root"); 3]);
    assert!(codes[3..].contains(&refused(503, "overloaded")), "{codes:?}");
    site.stop().await;
}

/// As the crate `sev` writes a report, field by field.
fn sev_json(report: &[u8], old: bool) -> Value {
    let bytes = |at: usize, length: usize| json!(report[at..at + length]);
    let u32 = |at: usize| u32::from_le_bytes(report[at..at + 4].try_into().unwrap());
    let u64 = |at: usize| u64::from_le_bytes(report[at..at + 8].try_into().unwrap());
    let tcb = |at: usize| {
        let mut tcb = json!({
            "bootloader": report[at], "tee": report[at + 1], "snp": report[at + 6], "microcode": report[at + 7],
        });
        let more = if old { ("_reserved", json!([0, 0, 0, 0])) } else { ("fmc", json!(null)) };
        tcb[more.0] = more.1;
        tcb
    };
    let mut fields = json!({
        "version": u32(0), "guest_svn": u32(4), "policy": u64(8), "family_id": bytes(0x10, 16),
        "image_id": bytes(0x20, 16), "vmpl": u32(0x30), "sig_algo": u32(0x34), "current_tcb": tcb(0x38),
        "plat_info": u64(0x40), "report_data": bytes(0x50, 64), "measurement": bytes(0x90, 48),
        "host_data": bytes(0xc0, 32), "id_key_digest": bytes(0xe0, 48), "author_key_digest": bytes(0x110, 48),
        "report_id": bytes(0x140, 32), "report_id_ma": bytes(0x160, 32), "reported_tcb": tcb(0x180),
        "chip_id": bytes(0x1a0, 64), "committed_tcb": tcb(0x1e0), "launch_tcb": tcb(0x1f0),
        "signature": { "r": bytes(0x2a0, 72), "s": bytes(0x2e8, 72) },
    });
    let more = if old {
        json!({
            "_author_key_en": u32(0x48), "_reserved_0": u32(0x4c), "_reserved_1": bytes(0x188, 24),
            "current_build": report[0x1e8], "current_minor": report[0x1e9], "current_major": report[0x1ea],
            "_reserved_2": 0, "committed_build": report[0x1ec], "committed_minor": report[0x1ed],
            "committed_major": report[0x1ee], "_reserved_3": 0, "_reserved_4": bytes(0x1f8, 168),
        })
    } else {
        json!({
            "key_info": u32(0x48), "cpuid_fam_id": report[0x188], "cpuid_mod_id": report[0x189],
            "cpuid_step": report[0x18a], "launch_mit_vector": null, "current_mit_vector": null,
            "current": { "build": report[0x1e8], "minor": report[0x1e9], "major": report[0x1ea] },
            "committed": { "build": report[0x1ec], "minor": report[0x1ed], "major": report[0x1ee] },
        })
    };
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

#[tokio::test]
async fn a_guest_with_sev_snp_gets_its_secret_by_fields_of_both_versions() {
    let mut fixture = Fixture::new(1, 1);
    let platform = SnpPlatform::ephemeral(SnpProduct::Genoa, Endorser::Vcek).unwrap();
    fixture.snp = Some(Arc::clone(&platform));
    let running = fixture.start().await;
    let mut document = document(&fixture, 1);
    let root = platform.trust_root().unwrap();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", root.certificate_der().unwrap()));
    document.trust.simulation_roots.push(pem);
    let (measurement, host_data) = (SnpMeasurement([0xa1; 48]), HostData([0xb2; 32]));
    let policy = format!(
        "vendors = [\"simulation\"]\ntee = [\"snp\"]\nsnp_measurement = [\"{measurement}\"]\nhost_data = [\"{host_data}\"]\n\
         minimum_snp_tcb = {{ bootloader = 3, tee = 0, snp = 8, microcode = 210 }}\n"
    );
    document.workloads[0].policy = toml::from_str::<Policy>(&policy).unwrap();
    provision(&fixture, &running, &document).await;
    let port = KbsPort::open(&running.broker, ServerLimits::default()).await;

    let attester = SnpAttester::new(Arc::clone(&platform), SnpGuest::new(measurement, host_data));
    let report = async |report_data| attester.evidence(ReportData(report_data)).await.unwrap().bytes;
    let chain = json!([
        { "cert_type": "ARK", "data": [1, 2, 3] },
        { "cert_type": "VCEK", "data": platform.endorsement() },
        { "cert_type": { "OTHER": "00000000-0000-0000-0000-000000000000" }, "data": [] },
    ]);
    for old in [false, true] {
        let evidence = async |report_data| json!({ "attestation_report": sev_json(&report(report_data).await, old), "cert_chain": chain });
        let mut client = KbsClient::connect(port.address, KeyKind::P256).await;
        client.handshake(Tee::Snp, evidence).await.unwrap();
        assert_eq!(client.resource("default/ssl/config").await.unwrap(), b"open sesame", "{old}");
        // Of another guest, one field is enough.
        let altered = async |report_data| {
            let mut evidence = evidence(report_data).await;
            evidence["attestation_report"]["guest_svn"] = json!(9);
            evidence
        };
        let mut thief = KbsClient::connect(port.address, KeyKind::P256).await;
        let answer = thief.handshake(Tee::Snp, altered).await.unwrap_err();
        assert_eq!(stable(&answer), refused(401, "evidence-invalid"));
    }
    for (fault, says) in [
        (json!({ "attestation_report": {}, "cert_chain": null }), "missing field"),
        (
            json!({ "attestation_report": sev_json(&[0; 0x4a0], false), "cert_chain": [chain[1], chain[1]] }),
            "two certificates",
        ),
    ] {
        let mut client = KbsClient::connect(port.address, KeyKind::P256).await;
        let answer = client.handshake(Tee::Snp, async |_| fault.clone()).await.unwrap_err();
        let (_, code, detail) = answer.error();
        assert!(code == "kbs-evidence-malformed" && detail.contains(says), "{detail}");
    }
    drop(port);
    running.stop().await;
}

/// The client that `adytum-init` has for a KBS of others, behind a proxy that ends TLS.
#[tokio::test]
async fn our_own_client_of_the_protocol_is_understood_on_sgx_and_on_sev_snp() {
    let mut fixture = Fixture::new(1, 1);
    let platform = SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vcek).unwrap();
    fixture.snp = Some(Arc::clone(&platform));
    let running = fixture.start().await;
    let mut document = document(&fixture, 1);
    let root = platform.trust_root().unwrap();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", root.certificate_der().unwrap()));
    document.trust.simulation_roots.push(pem);
    let (measurement, host_data) = (SnpMeasurement([0xa1; 48]), HostData([0xb2; 32]));
    let policy = format!(
        "vendors = [\"simulation\"]\ntee = [\"snp\"]\nsnp_measurement = [\"{measurement}\"]\nhost_data = [\"{host_data}\"]\n\
         minimum_snp_tcb = {{ bootloader = 3, tee = 0, snp = 8, microcode = 210 }}\n"
    );
    document.workloads[1].policy = toml::from_str::<Policy>(&policy).unwrap();
    provision(&fixture, &running, &document).await;
    let port = KbsPort::open(&running.broker, ServerLimits::default()).await;
    let proxy = TlsProxy::start("kbs.example").await;
    proxy.forward_to(port.address);
    let options = KbsOptions {
        url: "https://kbs.example".to_owned(),
        address: Some(proxy.address()),
        roots: roots_from_pem(proxy.root()).unwrap(),
    };
    let guest = |guest| Arc::new(SnpAttester::new(Arc::clone(&platform), guest));
    let snp = SnpGuest::new(measurement, host_data);
    for (attester, path, value, seconds) in [
        (fixture.attester("serving"), "default/ssl/config", b"open sesame".as_slice(), 90),
        (guest(snp.clone()), "default/key/spare", b"spare", 3600),
    ] {
        let client = kbs::KbsClient::new(options.clone(), attester).unwrap();
        let answer = client.resources(&[&path.parse().unwrap()]).await.unwrap();
        assert_eq!(*answer.values[0], value, "{path}");
        assert_eq!(answer.lease, Some((Duration::from_secs(seconds), Duration::ZERO)), "{path}");
    }
    // Another guest, and a resource of another workload.
    let other = SnpGuest { host_data: HostData([0xb3; 32]), ..snp.clone() };
    for (attester, path, says) in [
        (guest(other), "default/key/spare", "policy-refused"),
        (guest(snp), "default/ssl/config", "secret-refused"),
    ] {
        let client = kbs::KbsClient::new(options.clone(), attester).unwrap();
        let error = client.resources(&[&path.parse().unwrap()]).await.err().unwrap();
        assert!(error.code() == "kbs-source-refused" && error.to_string().contains(says), "{error}");
    }
    // A man in the middle between proxy and broker reads no secret, and makes none.
    let options = |proxy: &TlsProxy| KbsOptions {
        address: Some(proxy.address()),
        roots: roots_from_pem(proxy.root()).unwrap(),
        ..options.clone()
    };
    for at in [None, Some(20), Some(150), Some(300), Some(450), Some(600), Some(750), Some(900)] {
        let relay = Relay::start(&port.address.to_string(), at).await;
        let proxy = TlsProxy::start("kbs.example").await;
        proxy.forward_to(relay.address().parse().unwrap());
        let client = kbs::KbsClient::new(options(&proxy), fixture.attester("serving")).unwrap();
        match client.resources(&[&"default/ssl/config".parse().unwrap()]).await {
            Ok(answer) => assert_eq!(*answer.values[0], b"open sesame"),
            Err(error) => assert!(relay.has_changed(), "{error}"),
        }
        assert!(!relay.saw(b"open sesame"));
    }
    drop(port);
    running.stop().await;
}

#[tokio::test]
async fn the_broker_listens_for_it_if_a_flag_asks_for_it_and_else_not() {
    let binary = BinaryFixture::new();
    let process = binary.start(&["--kbs-listen=127.0.0.1:0"]).await;
    let fixture = &binary.fixture;
    let connector = fixture.connector(None, binary.identity(None));
    let owner = connector.session(&process.address.to_string()).await.unwrap();
    let document = document(fixture, 1);
    // Before the first manifest, a client is asked to come again.
    let mut early = KbsClient::connect(process.kbs.unwrap(), KeyKind::P256).await;
    let answer = early.handshake(Tee::Sgx, sgx(fixture.attester("serving"))).await.unwrap_err();
    assert_eq!(stable(&answer), refused(503, "nothing-trusted-yet"));
    assert_eq!(answer.field("retry-after"), Some("1"));
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document)))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame"))).await.unwrap();
    let mut client = KbsClient::connect(process.kbs.unwrap(), KeyKind::P256).await;
    client.handshake(Tee::Sgx, sgx(fixture.attester("serving"))).await.unwrap();
    assert_eq!(client.resource("default/ssl/config").await.unwrap(), b"open sesame");
    let logs = process.terminate().await;
    let logs = String::from_utf8(logs.stderr).unwrap();
    assert!(logs.contains("kbs-0.4.0") && !logs.contains("open sesame"), "{logs}");

    let without = binary.start(&[]).await;
    assert_eq!(without.kbs, None);
    without.terminate().await;
}
