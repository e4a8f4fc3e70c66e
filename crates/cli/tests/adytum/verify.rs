//! `adytum verify`: evidence, certificates, tokens and servers.

use std::{fs, sync::Arc};

use adytum_evidence::{
    clock::{Clock as _, SystemClock},
    measurement::{ReportData, Sha256Digest, WorkloadIdentity},
};
use adytum_sim::{Platform, Program};
use adytum_testkit::{directory::Directory, manifest::simulated_policy, ports::free_port, recorded::vector};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData as _, SigningKey as _};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::ResolvesServerCert,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use crate::fixture::{Fixture, adytum, adytum_reading, fails, succeeds};

const IDENTITY: WorkloadIdentity = WorkloadIdentity([0x1f; 32]);
const INTEROPERABLE: &[u64] = &[2, 23, 133, 5, 4, 9];
const GRAMINE: &[u64] = &[0, 6, 9, 42, 840, 113_741, 1337, 6];

/// A TEE on a simulated platform, with a key.
struct Tee {
    directory: Directory,
    platform: Arc<Platform>,
    key: KeyPair,
}

impl Tee {
    fn new() -> Self {
        let directory = Directory::new();
        let platform = Platform::create(directory.path("platform")).unwrap();
        Self { directory, platform, key: KeyPair::generate().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A quote over the digest of these bytes.
    fn quote(&self, of: &[u8]) -> Vec<u8> {
        let mut report_data = ReportData([0; 64]);
        report_data.0[..32].copy_from_slice(&Sha256Digest::of_bytes(of).0);
        self.platform.quote(&Program::of(IDENTITY), report_data).unwrap()
    }

    fn certificate(&self, extension: Option<(&[u64], Vec<u8>)>) -> Vec<u8> {
        certificate(&self.key, extension)
    }

    /// Of the interoperable form.
    fn sound(&self) -> Vec<u8> {
        self.certificate(Some((INTEROPERABLE, self.interoperable())))
    }

    /// Of Gramine's older form.
    fn older(&self) -> Vec<u8> {
        self.certificate(Some((GRAMINE, self.quote(&self.key.subject_public_key_info()))))
    }

    fn interoperable(&self) -> Vec<u8> {
        let digest = Sha256Digest::of_bytes(&self.key.subject_public_key_info());
        let claims = [b"\xa1\x6bpubkey-hash\x58\x24\x82\x01\x58\x20", &digest.0[..]].concat();
        let quote = self.quote(&claims);
        let length = u16::try_from(quote.len()).unwrap().to_be_bytes();
        [&b"\xd9\xea\x60\x82\x59"[..], &length, &quote, &[0x58, 51], &claims].concat()
    }

    /// The command with this platform trusted.
    fn verify<'a>(&self, words: &[&'a str]) -> Vec<String> {
        let root = self.path("platform/root.pem");
        let words = [&["verify"], words, &["--trust-simulation"]].concat();
        words.into_iter().map(|word: &'a str| word.to_owned()).chain([root]).collect()
    }
}

fn certificate(key: &KeyPair, extension: Option<(&[u64], Vec<u8>)>) -> Vec<u8> {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let extensions = extension.map(|(oid, value)| CustomExtension::from_oid_content(oid, value));
    parameters.custom_extensions.extend(extensions);
    parameters.self_signed(key).unwrap().der().to_vec()
}

/// The code in an error for programs.
#[track_caller]
fn code(exit: i32, mut words: Vec<String>) -> String {
    words.push("--json".to_owned());
    let stderr = adytum(words).failed_with(exit);
    let error: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    error["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_quote_is_verified_in_every_encoding() {
    let tee = Tee::new();
    let quote = tee.quote(b"anything");
    let json = json!({ "quote": STANDARD.encode(&quote), "cc_eventlog": null });
    for (name, bytes) in [
        ("raw", quote.clone()),
        ("hex", hex::encode(&quote).into_bytes()),
        ("base64", STANDARD.encode(&quote).into_bytes()),
        ("json", json.to_string().into_bytes()),
        ("message", json!({ "tee-evidence": { "primary_evidence": json } }).to_string().into_bytes()),
        ("string", Value::String(STANDARD.encode(&quote)).to_string().into_bytes()),
    ] {
        let said = succeeds(tee.verify(&[&tee.write(name, bytes)]));
        for part in
            ["an SGX quote of version 3", "mr_enclave   1f1f", "genuine; no policy", "protects nothing"]
        {
            assert!(said.contains(part), "{name}: no {part} in {said}");
        }
    }
    let file = tee.write("evidence", &quote);
    // The same code is behind `evidence show`.
    let root = tee.path("platform/root.pem");
    assert_eq!(
        adytum(["evidence", "show", &file, "--trust-simulation", &root, "--json"]).succeeded().len(),
        succeeds(tee.verify(&[&file, "--json"])).len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_read() {
    let tee = Tee::new();
    let said = adytum_reading(&hex::encode(tee.quote(b"x")), tee.verify(&["-"])).succeeded();
    assert!(said.contains("an SGX quote"), "{said}");
    let outcome = adytum_reading("", tee.verify(&["-"]));
    assert!(outcome.failed_with(78).contains("standard input"), "{outcome:?}");
}

#[test]
fn a_policy_accepts_or_refuses_with_every_rule() {
    let tee = Tee::new();
    let file = tee.write("evidence", tee.quote(b"x"));
    let policy = tee.write("policy.toml", simulated_policy("1f".repeat(32)));
    let said = succeeds(tee.verify(&[&file, "--policy", &policy]));
    assert!(said.contains("verdict      accepted"), "{said}");
    let other = tee.write("other.toml", simulated_policy("2e".repeat(32)));
    let outcome = adytum(tee.verify(&[&file, "--policy", &other]));
    let said = outcome.stdout();
    assert!(said.contains("REFUSED      identity: wanted 2e2e"), "{said}");
    assert!(said.contains("verdict      REFUSED"), "{said}");
    assert!(outcome.failed_with(77).contains("identity: wanted"), "{outcome:?}");
    let outcome = adytum(tee.verify(&[&file, "--policy", &other, "--json"]));
    let printed: Value = serde_json::from_str(&outcome.stdout()).unwrap();
    assert_eq!(
        (&printed["verdict"], &printed["failures"][0]["rule"]),
        (&"refused".into(), &"identity".into())
    );
}

/// Without collateral, or under a root that nobody trusts.
#[test]
fn what_is_not_verified_is_printed_and_marked() {
    let tee = Tee::new();
    let empty = tee.path("nothing");
    fs::create_dir(&empty).unwrap();
    let quote = tee.write("evidence", tee.quote(b"x"));
    let certificate = tee.write("certificate", tee.sound());
    let enclave = format!("says         mr_enclave = {}", "1f".repeat(32));
    for (file, place, exit) in
        [(&quote, &empty, 78), (&certificate, &empty, 78), (&quote, &tee.path("platform/collateral"), 77)]
    {
        let mut words = vec!["verify", file, "--collateral", place];
        let root = tee.path("platform/root.pem");
        if exit == 78 {
            words.extend(["--trust-simulation", &root]);
        }
        let outcome = adytum(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(outcome.exit_code(), Some(exit), "{outcome:?}");
        let said = outcome.stdout();
        for part in [
            &enclave,
            "says         debug = false",
            "NOT VERIFIED: anybody can write this",
            "verdict      NOT VERIFIED",
        ] {
            assert!(said.contains(part), "{file}: no {part} in {said}");
        }
        assert!(!said.contains("\nmr_enclave") && !said.contains("\nroot "), "{said}");
        words.push("--json");
        let outcome = adytum(words.iter().map(|word| (*word).to_owned()));
        let printed: Value = serde_json::from_str(&outcome.stdout()).unwrap();
        assert_eq!(printed["unverified"]["mr_enclave"], "1f".repeat(32));
        assert_eq!((&printed["verdict"], printed.get("claims")), (&"not-verified".into(), None));
    }
    let said = succeeds(tee.verify(&[&quote]));
    assert!(!said.contains("says") && said.contains("\nmr_enclave   1f1f"), "{said}");
}

#[test]
fn refused_malformed_and_unreachable_have_their_exit_codes() {
    let tee = Tee::new();
    let quote = tee.quote(b"x");
    let file = tee.write("evidence", &quote);
    let collateral = tee.path("platform/collateral");
    let strange = ["verify", &file, "--collateral", &collateral].map(str::to_owned).to_vec();
    assert_eq!(code(77, strange), "untrusted-root");
    let mut forged = quote.clone();
    forged[150] ^= 1;
    assert_eq!(code(77, tee.verify(&[&tee.write("forged", forged)])), "evidence-invalid");
    assert_eq!(code(78, tee.verify(&[&tee.write("cut", &quote[..1000])])), "verify-malformed");
    assert_eq!(code(78, tee.verify(&[&tee.write("text", "hello, world")])), "verify-unknown-form");
    assert_eq!(code(78, tee.verify(&[&tee.write("empty", "")])), "verify-unknown-form");
    assert!(fails(78, tee.verify(&[&tee.path("nowhere")])).contains("nowhere"));
    assert!(fails(78, tee.verify(&["http://localhost:1"])).contains("https://"));
    let free = format!("127.0.0.1:{}", free_port());
    assert_eq!(code(69, tee.verify(&[&free])), "verify-unreachable");
    assert_eq!(code(69, tee.verify(&[&format!("https://{free}/path")])), "verify-unreachable");
}

#[test]
fn a_certificate_says_what_it_does_not_cover() {
    let tee = Tee::new();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", tee.sound()));
    for file in [tee.write("c.der", tee.sound()), tee.write("c.pem", pem)] {
        let said = succeeds(tee.verify(&[&file]));
        for part in [
            "of the form interoperable",
            "NOT COVERED  the TLS session",
            "NOT COVERED  the time",
            "mr_enclave",
        ] {
            assert!(said.contains(part), "no {part} in {said}");
        }
    }
    let file = tee.write("older", tee.older());
    let outcome = adytum(tee.verify(&[&file]));
    assert!(outcome.stdout().contains("of the form gramine"), "{outcome:?}");
    assert_eq!(code(77, tee.verify(&[&file])), "ra-tls-form-not-accepted");
    let said: Value =
        serde_json::from_str(&succeeds(tee.verify(&[&file, "--certificate-form", "gramine", "--json"])))
            .unwrap();
    assert_eq!((&said["verdict"], &said["certificate"]["form"]), (&"genuine".into(), &"gramine".into()));
    assert_eq!(said["certificate"]["not_covered"][0], "session");
    adytum(tee.verify(&[&file, "--certificate-form", "nobody's"])).failed_with(2);
    // A plain one, and evidence of another key.
    let plain = tee.write("plain", tee.certificate(None));
    assert_eq!(code(77, tee.verify(&[&plain])), "ra-tls-no-evidence");
    let theirs = certificate(&KeyPair::generate().unwrap(), Some((INTEROPERABLE, tee.interoperable())));
    assert_eq!(code(77, tee.verify(&[&tee.write("theirs", theirs)])), "ra-tls-key-not-bound");
}

/// Serves TLS with this certificate and this key, whether they belong together or not.
async fn serve(
    certificate: Vec<u8>,
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> String {
    let provider = aws_lc_rs::default_provider();
    let key =
        provider.key_provider.load_private_key(PrivatePkcs8KeyDer::from(key.serialize_der()).into()).unwrap();
    let certified = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
    let mut configuration = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    configuration.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(configuration));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1]).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_verified_by_its_certificate() {
    let tee = Tee::new();
    for (version, name) in [(&TLS13, "TLS 1.3"), (&TLS12, "TLS 1.2")] {
        let address = serve(tee.sound(), &tee.key, &[version], &[]).await;
        let said = succeeds(tee.verify(&[&address]));
        assert!(said.contains("of the form interoperable") && said.contains("NOT COVERED"), "{name}: {said}");
        let said = succeeds(tee.verify(&[&format!("https://{address}/"), "--json"]));
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["verdict"], "genuine");
    }
    // One that wants a protocol of its own.
    let address = serve(tee.sound(), &tee.key, &[&TLS13], &[b"of-its-own"]).await;
    assert!(succeeds(tee.verify(&[&address])).contains("which shows a certificate that carries evidence"));
    // One that does not prove that it has the key.
    for version in [&TLS13, &TLS12] {
        let other = KeyPair::generate().unwrap();
        let address = serve(tee.sound(), &other, &[version], &[]).await;
        assert_eq!(code(77, tee.verify(&[&address])), "verify-handshake-unsigned");
    }
    // One without evidence proves nothing about its code, and says that it is TLS.
    let address = serve(tee.certificate(None), &tee.key, &[&TLS13], &[b"h2"]).await;
    let outcome = adytum(tee.verify(&[&address]));
    assert!(outcome.stdout().contains("a server that speaks TLS 1.3, which shows an X.509"), "{outcome:?}");
    assert!(outcome.failed_with(77).contains("says nothing about code"), "{outcome:?}");
    // One that does not speak TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example.com ESMTP\r\n").await;
        }
    });
    assert_eq!(code(77, tee.verify(&[&address])), "verify-no-tls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_verified_in_an_attested_session() {
    let fixture = Fixture::new(1, 1).await;
    let root = fixture.path("platform/root.pem");
    let said = succeeds(["verify", &fixture.address(), "--trust-simulation", &root]);
    for part in ["a server of attested sessions", "bound to     this session", "a broker of the genesis"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    assert!(!said.contains("NOT COVERED"), "{said}");
}

/// A token of a service, signed with this key.
fn token(key: &KeyPair, issuer: &str, expires: u64) -> String {
    token_of(key, &json!({ "iss": issuer, "exp": expires, "name": "\u{1b}[2J" }))
}

fn token_of(key: &KeyPair, payload: &Value) -> String {
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let unsigned = format!("{}.{}", encode(&json!({ "alg": "RS256", "kid": "k" })), encode(payload));
    let signature = key.sign(unsigned.as_bytes()).unwrap();
    format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_token_counts_with_pinned_keys_only() {
    let tee = Tee::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let jwks =
        json!({ "keys": [{ "kty": "RSA", "kid": "k", "x5c": [STANDARD.encode(certificate(&key, None))] }] });
    let keys = tee.write("certs.json", jwks.to_string());
    let issuer = "https://attest.example.com";
    let now = SystemClock.now().0;
    let sound = token(&key, issuer, now + 3600);
    let file = tee.write("token", &sound);
    let pinned = ["--token-keys", &keys, "--issuer", issuer];
    let said = succeeds(tee.verify(&[&[file.as_str()], &pinned[..]].concat()));
    assert!(said.contains("verified with a pinned key") && !said.contains('\u{1b}'), "{said}");
    // As a service answers it, and as the demo of Occlum writes that.
    let answer = json!({ "token": sound }).to_string();
    for text in [answer.clone(), Value::String(answer).to_string()] {
        succeeds(tee.verify(&[&[tee.write("answer", text).as_str()], &pinned[..]].concat()));
    }
    // Without keys it is shown, and not believed.
    let outcome = adytum(tee.verify(&[&file]));
    assert!(outcome.stdout().contains("NOT VERIFIED"), "{outcome:?}");
    assert_eq!(code(78, tee.verify(&[&file])), "verify-no-token-keys");
    adytum(tee.verify(&[&file, "--token-keys", &keys])).failed_with(2);
    for (token, expected) in [
        (token(&key, issuer, now - 1), "token-expired"),
        (token(&key, "https://other.example.com", now + 3600), "token-issuer"),
        (
            token(&KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(), issuer, now + 3600),
            "token-signature-invalid",
        ),
    ] {
        let file = tee.write("bad", token);
        assert_eq!(code(77, tee.verify(&[&[file.as_str()], &pinned[..]].concat())), expected);
    }
    // A recorded one is judged as of its time.
    let old = tee.write("old", token(&key, issuer, 1_600_000_000));
    succeeds(tee.verify(&[&[old.as_str(), "--at", "2020-09-01"], &pinned[..]].concat()));
}

#[test]
fn a_token_of_azure_is_judged_by_a_policy_that_names_azure() {
    let tee = Tee::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let jwks =
        json!({ "keys": [{ "kty": "RSA", "kid": "k", "x5c": [STANDARD.encode(certificate(&key, None))] }] });
    let keys = tee.write("certs.json", jwks.to_string());
    let issuer = "https://sharedweu.weu.attest.azure.net";
    let payload = json!({
        "iss": issuer, "exp": SystemClock.now().0 + 3600, "x-ms-attestation-type": "sgx",
        "x-ms-sgx-is-debuggable": false, "x-ms-sgx-mrenclave": "1e".repeat(32),
        "x-ms-sgx-mrsigner": "2e".repeat(32), "x-ms-sgx-product-id": 7, "x-ms-sgx-svn": 3,
        "x-ms-sgx-report-data": "3e".repeat(64),
    });
    let file = tee.write("token", token_of(&key, &payload));
    let words = |policy: &str| {
        let policy = tee.write(
            "policy.toml",
            format!("tee = [\"sgx\"]\nmr_enclave = [\"{}\"]\n{policy}", "1e".repeat(32)),
        );
        tee.verify(&[&file, "--token-keys", &keys, "--issuer", issuer, "--policy", &policy])
    };
    let every = "tcb_status = [\"UpToDate\", \"SWHardeningNeeded\", \"ConfigurationNeeded\", \
                 \"ConfigurationAndSWHardeningNeeded\", \"OutOfDate\", \"OutOfDateConfigurationNeeded\", \
                 \"TDRelaunchAdvised\", \"TDRelaunchAdvisedConfigurationNeeded\"]\n";
    let said = succeeds(words(&format!("vendors = [\"azure\"]\n{every}")));
    for part in
        ["a token of Azure Attestation", "mr_enclave   1e1e", "root         azure", "verdict      accepted"]
    {
        assert!(said.contains(part), "no {part} in {said}");
    }
    assert_eq!(code(77, words("vendors = [\"azure\"]\n")), "policy-refused");
    assert_eq!(code(77, words(&format!("vendors = [\"intel\"]\n{every}"))), "policy-refused");
    // A service whose claims no policy judges.
    let other = tee.write("other", token(&key, issuer, SystemClock.now().0 + 3600));
    let mut words = words("vendors = [\"azure\"]\n");
    words[1] = other;
    assert_eq!(code(77, words), "verify-no-claims");
}

/// Recorded things of hardware, and collateral of their time.
#[test]
fn recorded_evidence_is_judged_as_of_its_time() {
    let (Some(quote), Some(collateral)) =
        (vector("sgx/dcapqvl_sgx_quote_v3.bin"), vector("sgx/dcapqvl_sgx_collateral.json"))
    else {
        return;
    };
    let directory = Directory::new();
    directory.write("sgx-00a067110000-processor.json", String::from_utf8(collateral).unwrap());
    let file = directory.path("quote");
    fs::write(&file, &quote).unwrap();
    let place = directory.path("");
    let at = ["verify", &file, "--collateral", &place, "--at", "2025-06-21T00:00:00Z"];
    let said = succeeds(at);
    assert!(said.contains("root         intel") && said.contains("genuine"), "{said}");
    assert!(said.contains("judged at    2025-06-21"), "{said}");
    let late = ["verify", &file, "--collateral", &place].map(str::to_owned).to_vec();
    assert_eq!(code(75, late), "collateral-expired");
    for (name, form) in [
        ("ratls/ccc_gramine-cert.pem", "of the form interoperable"),
        ("ratls/rats-tls-cert-sample.pem", "of the form rats-tls"),
        ("snp/coco_e2e_snp_evidence.json", "a SEV-SNP report"),
        ("maa/sev-snp-jwt.txt", "a token"),
        ("tdx/dcapqvl_tdx_quote_v4.bin", "a TDX quote of version 4"),
        ("tdx/coco_tdx_quote_v5.dat", "a TDX quote of version 5"),
        ("sgx/automata_quote_v3.hex", "an SGX quote of version 3"),
        ("snp/coco_report.bin", "a SEV-SNP report of version"),
        ("snp/virtee_report_milan.hex", "a SEV-SNP report of version"),
        ("maa/post.attest.body.json", "an SGX quote of version 3, in JSON"),
    ] {
        let Some(bytes) = vector(name) else { continue };
        fs::write(&file, bytes).unwrap();
        let outcome = adytum(["verify", &file, "--collateral", &place, "--at", "2025-06-21"]);
        assert!(outcome.stdout().contains(form), "{name}: {outcome:?}");
    }
}
