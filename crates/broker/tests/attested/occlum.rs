//! The listener for Occlum's own init, and a client that does what Occlum's does: its certificate is
//! byte for byte of that form, it looks at the broker's quote only, and it decodes answers in its own
//! way.

use std::{net::SocketAddr, sync::Arc};

use adytum_api::occlum::{SecretRequest, gr_secret_client::GrSecretClient};
use adytum_broker::{
    ServerLimits,
    occlum::{OcclumListenError, OcclumListener},
    telemetry::health::Health,
};
use adytum_crowd::bucket::Rate;
use adytum_emulators::relay::Relay;
use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    evidence::Evidence,
    measurement::{ReportData, Sha256Digest},
    ra_tls::{AcceptedForms, RaTlsCertificate},
};
use adytum_governance::manifest::document::Document;
use adytum_sim::{Platform, SimAttester};
use adytum_testkit::{broker::RunningBroker, version_1::occlums_certificate};
use async_trait::async_trait;
use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
    signature,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, CustomExtension, PublicKeyData as _};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs as provider, verify_tls13_signature_with_raw_key},
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Code, Request, Status, transport::Endpoint};
use x509_parser::x509::X509Version;

use crate::{
    audit::grants,
    binary::BinaryFixture,
    fixture::{Fixture, apply, execute, identity, put, stable},
};

const INTEROPERABLE: &[u64] = &[2, 23, 133, 5, 4, 9];

/// "ssl_config" and "image_key" go out here, "own" does not.
fn document(fixture: &Fixture) -> Document {
    let mut document = fixture.document(1);
    let secret = document.secrets[1].clone();
    let named = |name: &str, occlum| {
        let mut secret = secret.clone();
        secret.name = name.parse().unwrap();
        secret.occlum = occlum;
        secret
    };
    document.secrets =
        vec![named("ssl_config", true), named("image_key", true), named("long", true), named("own", false)];
    document.secrets[0].lease = Some("90s".parse().unwrap());
    document
}

async fn provision(fixture: &Fixture, running: &RunningBroker) {
    let owner = fixture.owner(running.address).await;
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document(fixture))))).await.unwrap();
    for (name, value) in [
        ("ssl_config", &b"open sesame!"[..]),
        ("image_key", b"c7-32-b3-ed-44-df-ec-7b-25-2d-9a-32-38-8d-58-61"),
        ("long", &[b'x'; 10_240]),
        ("own", b"own"),
    ] {
        execute(&owner, fixture.command(&owner, 1, put(name, value))).await.unwrap();
    }
}

struct Port {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn listen(running: &RunningBroker, limits: ServerLimits) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let others = OcclumListener::new(Arc::clone(&running.broker), limits).await.unwrap();
    Port { address, serving: tokio::spawn(others.serve(listener, std::future::pending())) }
}

struct Site {
    fixture: Fixture,
    running: RunningBroker,
    port: Port,
}

impl Site {
    async fn new() -> Self {
        Self::limited(ServerLimits::default()).await
    }

    async fn limited(limits: ServerLimits) -> Self {
        let fixture = Fixture::new(1, 1);
        let running = fixture.start().await;
        provision(&fixture, &running).await;
        let port = listen(&running, limits).await;
        Self { fixture, running, port }
    }

    /// As Occlum's `grpc_ratls_get_secret` of a program: a connection and a certificate for each secret.
    async fn get(&self, program: &str, name: &str) -> Result<Answer, Status> {
        let client = Client::new(&*self.fixture.attester(program)).await;
        client.get(self.port.address, name).await
    }

    async fn stop(self) {
        drop(self.port);
        self.running.stop().await;
    }
}

/// A client's key and certificate.
#[derive(Clone)]
struct Client {
    certified: Arc<CertifiedKey>,
}

struct Answer {
    /// As it came.
    secret: String,
    lease: Option<String>,
    /// What the client saw of the broker.
    certificate: Vec<u8>,
}

impl Client {
    async fn new(attester: &dyn Attester) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let key = Self::key(pair.as_der().unwrap().as_ref());
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(&Sha256Digest::of_bytes(&key.subject_public_key_info()).0);
        let quote = attester.evidence(ReportData(report_data)).await.unwrap().bytes;
        Self::with(pair.as_der().unwrap().as_ref(), quote)
    }

    fn key(pkcs8: &[u8]) -> rcgen::KeyPair {
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(pkcs8),
            &rcgen::PKCS_RSA_SHA256,
        )
        .unwrap()
    }

    /// With a certificate of the interoperable form.
    async fn interoperable(attester: &dyn Attester) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = pair.as_der().unwrap();
        let key = Self::key(pkcs8.as_ref());
        // CBOR: {"pubkey-hash": bytes of [1, SHA-256 of the key]}, then 60000([evidence, claims]).
        let hash =
            [&[0x82, 1, 0x58, 32][..], &Sha256Digest::of_bytes(&key.subject_public_key_info()).0].concat();
        let claims = [&[0xa1, 0x6b][..], b"pubkey-hash", &[0x58, 36], &hash].concat();
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(&Sha256Digest::of_bytes(&claims).0);
        let quote = attester.evidence(ReportData(report_data)).await.unwrap().bytes;
        let length = u16::try_from(quote.len()).unwrap().to_be_bytes();
        let value = [
            &[0xd9, 0xea, 0x60, 0x82, 0x59][..],
            &length,
            &quote,
            &[0x58, u8::try_from(claims.len()).unwrap()],
            &claims,
        ]
        .concat();
        let mut parameters = CertificateParams::default();
        parameters.custom_extensions.push(CustomExtension::from_oid_content(INTEROPERABLE, value));
        let certificate = parameters.self_signed(&key).unwrap().der().to_vec();
        RaTlsCertificate::parse(&certificate, &AcceptedForms::default()).unwrap().bound().unwrap();
        Self::certified(pkcs8.as_ref(), certificate)
    }

    fn with(pkcs8: &[u8], quote: Vec<u8>) -> Self {
        let info = Self::key(pkcs8).subject_public_key_info();
        let certificate = occlums_certificate(pkcs8, &info, &quote, OffsetDateTime::now_utc());
        Self::certified(pkcs8, certificate)
    }

    fn certified(pkcs8: &[u8], certificate: Vec<u8>) -> Self {
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
        let signing = provider::sign::any_supported_type(&private).unwrap();
        Self { certified: Arc::new(CertifiedKey::new(vec![certificate.into()], signing)) }
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(LooksLater))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified))));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn get(&self, address: SocketAddr, name: &str) -> Result<Answer, Status> {
        let unavailable = |error: &dyn std::error::Error| Status::unavailable(error.to_string());
        let stream = self.connect(address).await.map_err(|error| unavailable(&error))?;
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let mut stream = Some(stream);
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().map(TokioIo::new);
            async move { stream.ok_or_else(|| std::io::Error::other("one connection")) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
        let mut client = GrSecretClient::new(channel.map_err(|error| unavailable(&error))?);
        let answer = client.get_secret(Request::new(SecretRequest { name: name.to_owned() })).await?;
        let lease =
            answer.metadata().get("adytum-lease-seconds").map(|value| value.to_str().unwrap().to_owned());
        Ok(Answer { secret: answer.into_inner().secret, lease, certificate })
    }
}

/// Takes any certificate; its evidence is looked at later, as Occlum's client does.
#[derive(Debug)]
struct LooksLater;

impl ServerCertVerifier for LooksLater {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).unwrap();
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// As Occlum's client does it: letters that are none of base64 are left out, the length follows from
/// the text's length, and the last byte is cut off.
fn decoded_as_occlum_does(text: &str) -> Vec<u8> {
    let padding = text.bytes().rev().take(2).take_while(|letter| *letter == b'=').count();
    let length = text.len() * 3 / 4 - padding;
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'"').collect();
    // `=` counts as zero there.
    let zeros: String =
        letters.iter().map(|letter| if *letter == b'=' { 'A' } else { char::from(*letter) }).collect();
    let mut decoded = STANDARD.decode(zeros).unwrap();
    decoded.truncate(length - 1);
    decoded
}

/// The quote of a certificate, if it is over the digest of its key. Occlum's client cuts four bytes off
/// the extension with its header: a tag, and a length of three bytes.
fn quote_of(certificate: &[u8]) -> Vec<u8> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    assert_eq!(parsed.version, X509Version::V1);
    let extension =
        parsed.extensions().iter().find(|one| one.oid.to_id_string() == "1.2.840.113741.1").unwrap();
    let header =
        certificate.windows(extension.value.len()).position(|window| window == extension.value).unwrap();
    assert_eq!(certificate[header - 4..header - 2], [4, 0x82]);
    let quote = extension.value.to_vec();
    // sgx_quote3_t: the report body begins at 48, and the report data at 320 of that.
    assert_eq!(quote[368..400], Sha256Digest::of_bytes(parsed.public_key().raw).0);
    quote
}

/// As Occlum's client holds its `ra_config` against a quote.
fn is_accepted(ra_config: &Value, quote: &[u8]) -> bool {
    let is_on = |name: &str| ra_config[name] == json!("on");
    let same = |entry: &Value, name: &str, at: usize| entry[name] == json!(hex::encode(&quote[at..at + 32]));
    let number = |at: usize| json!(u16::from_le_bytes([quote[at], quote[at + 1]]));
    let debuggable = json!(quote[96] & 2 != 0);
    ra_config["sgx_mrs"].as_array().unwrap().iter().any(|entry| {
        (!is_on("verify_mr_enclave") || same(entry, "mr_enclave", 112))
            && (!is_on("verify_mr_signer") || same(entry, "mr_signer", 176))
            && (!is_on("verify_isv_prod_id") || entry["isv_prod_id"] == number(304))
            && (!is_on("verify_isv_svn") || entry["isv_svn"] == number(306))
            && (!is_on("verify_config_svn") || entry["config_svn"] == number(308))
            && (!is_on("verify_enclave_debuggable") || entry["debuggable"] == debuggable)
    })
}

/// With the form of the reference's init_ra_conf.json: its fields and no more.
#[tokio::test]
async fn an_unmodified_init_of_occlums_gets_its_secrets() {
    let site = Site::new().await;
    let configuration = json!({
        "kms_server": site.port.address.to_string(),
        "kms_keys": [
            { "key": "ssl_config", "path": "/etc/tf_ssl.cfg" },
            { "key": "image_key", "path": "/etc/image_key" },
        ],
        "ra_config": {
            "verify_mr_enclave": "off", "verify_mr_signer": "on", "verify_isv_prod_id": "off",
            "verify_isv_svn": "off", "verify_config_svn": "off", "verify_enclave_debuggable": "on",
            "sgx_mrs": [{
                "mr_enclave": "", "mr_signer": adytum_sim::default_mr_signer().to_string(),
                "isv_prod_id": 0, "isv_svn": 0, "debuggable": false,
            }],
        },
    });
    let values = [&b"open sesame!"[..], b"c7-32-b3-ed-44-df-ec-7b-25-2d-9a-32-38-8d-58-61\0"];
    for (key, value) in configuration["kms_keys"].as_array().unwrap().iter().zip(values) {
        let answer = site.get("serving", key["key"].as_str().unwrap()).await.unwrap();
        assert!(answer.secret.starts_with('"') && answer.secret.ends_with('"'), "{}", answer.secret);
        // A value whose length is no multiple of three has zeros at its end there, as with Occlum's own server.
        assert_eq!(decoded_as_occlum_does(&answer.secret), value);
        let quote = quote_of(&answer.certificate);
        assert!(is_accepted(&configuration["ra_config"], &quote));
        let mut another = configuration["ra_config"].clone();
        another["sgx_mrs"][0]["mr_signer"] = json!("ab".repeat(32));
        assert!(!is_accepted(&another, &quote));
    }
    assert_eq!(site.get("serving", "SSL_Config").await.unwrap().lease.as_deref(), Some("90"));
    let grants = grants(&site.fixture, &site.running).await;
    assert_eq!(grants.len(), 3);
    for grant in grants {
        assert_eq!(
            (&grant["protocol"], &grant["binding"], &grant["rule"]),
            (&json!("occlum-ratls"), &json!("weak-binding"), &json!("workload serving")),
            "{grant}"
        );
    }
    site.stop().await;
}

#[tokio::test]
async fn only_what_the_manifest_opens_to_this_protocol_goes_out() {
    let site = Site::new().await;
    for name in ["own", "nothing", "", "../ssl_config"] {
        let status = site.get("serving", name).await.map(drop).unwrap_err();
        assert_eq!(
            stable(&status),
            (Code::Cancelled, "secret-unknown-to-others".to_owned(), false),
            "{name}"
        );
    }
    let status = site.get("serving", "long").await.map(drop).unwrap_err();
    assert_eq!(stable(&status).1, "secret-too-long-for-others");
    assert!(status.message().contains("10240 bytes") && status.message().contains("10239"), "{status}");
    let status = site.get("serving", &"x".repeat(5000)).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);

    // A program that is no workload learns nothing of names.
    let known = site.get("servinG", "ssl_config").await.map(drop).unwrap_err();
    assert_eq!(stable(&known), (Code::PermissionDenied, "policy-refused".to_owned(), false));
    let unknown = site.get("servinG", "nothing").await.map(drop).unwrap_err();
    assert_eq!((stable(&unknown), unknown.message()), (stable(&known), known.message()));
    site.stop().await;
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_opens_nothing() {
    let site = Site::new().await;
    let address = site.port.address;
    let (own, stolen) =
        (KeyPair::generate(KeySize::Rsa2048).unwrap(), KeyPair::generate(KeySize::Rsa2048).unwrap());
    let (own, stolen) = (own.as_der().unwrap(), stolen.as_der().unwrap());
    let genuine = Client::new(&*site.fixture.attester("serving")).await;
    let certificate = genuine.certified.cert[0].to_vec();
    let quote = quote_of(&certificate);

    let mut without =
        CertificateParams::default().self_signed(&Client::key(own.as_ref())).unwrap().der().to_vec();
    let mut altered = quote.clone();
    altered[112] ^= 1;
    let foreign = SimAttester::new(Platform::ephemeral().unwrap(), identity("serving"));
    for (client, what) in [
        // Copied from a client, without its key.
        (Client::certified(own.as_ref(), certificate.clone()), "another's certificate"),
        // The quote of a client, in a certificate of one's own.
        (Client::with(own.as_ref(), quote.clone()), "another's quote"),
        (Client::with(stolen.as_ref(), altered), "an altered quote"),
        (Client::with(own.as_ref(), Vec::new()), "no quote"),
        (Client::with(own.as_ref(), vec![7; 60_000]), "something else"),
        (Client::certified(own.as_ref(), std::mem::take(&mut without)), "no evidence"),
        // Genuine and bound, and of a form that no client of Occlum's has.
        (Client::interoperable(&*site.fixture.attester("serving")).await, "another form"),
        (Client::certified(own.as_ref(), vec![7; 100]), "no certificate"),
        (Client::new(&foreign).await, "another platform"),
    ] {
        let status = client.get(address, "ssl_config").await.map(drop).unwrap_err();
        assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{what}: {status}");
    }
    // In clear text, nothing comes back at all.
    let plain = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await;
    if let Ok(channel) = plain {
        let request = Request::new(SecretRequest { name: "ssl_config".to_owned() });
        GrSecretClient::new(channel).get_secret(request).await.unwrap_err();
    }
    assert_eq!(
        decoded_as_occlum_does(&genuine.get(address, "ssl_config").await.unwrap().secret),
        b"open sesame!"
    );
    site.stop().await;
}

/// He sees every byte of the handshake, both certificates among them.
#[tokio::test]
async fn a_man_in_the_middle_reads_nothing_and_puts_nothing_in() {
    let site = Site::new().await;
    let target = site.port.address.to_string();
    for at in [None, Some(60), Some(400), Some(1_500), Some(4_000), Some(7_000)] {
        let relay = Relay::start(&target, at).await;
        let client = Client::new(&*site.fixture.attester("serving")).await;
        match client.get(relay.address().parse().unwrap(), "ssl_config").await {
            Ok(answer) => assert_eq!(decoded_as_occlum_does(&answer.secret), b"open sesame!"),
            Err(status) => assert!(relay.has_changed(), "{status}"),
        }
        assert!(!relay.saw(b"open sesame!"));
    }
    // With a key of his own and the broker's quote, the client's own look at it fails.
    let client = Client::new(&*site.fixture.attester("serving")).await;
    let answer = client.get(site.port.address, "ssl_config").await.unwrap();
    let quote = quote_of(&answer.certificate);
    let own = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let middle = Client::with(own.as_der().unwrap().as_ref(), quote.clone());
    let shown = middle.certified.cert[0].to_vec();
    let (_, parsed) = x509_parser::parse_x509_certificate(&shown).unwrap();
    assert_ne!(quote[368..400], Sha256Digest::of_bytes(parsed.public_key().raw).0);
    site.stop().await;
}

/// Both sides' certificates are of the form that OpenSSL reads as one of version 1, signed by its own key.
#[tokio::test]
async fn certificates_are_of_occlums_form() {
    let site = Site::new().await;
    let client = Client::new(&*site.fixture.attester("serving")).await;
    let answer = client.get(site.port.address, "ssl_config").await.unwrap();
    let (own, brokers) = (client.certified.cert[0].to_vec(), answer.certificate);
    for (der, algorithm) in [(&own, "1.2.840.113549.1.1.5"), (&brokers, "1.2.840.113549.1.1.11")] {
        let (rest, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
        assert!(rest.is_empty());
        assert_eq!(parsed.version, X509Version::V1);
        assert_eq!(parsed.signature_algorithm.algorithm.to_id_string(), algorithm);
        assert_eq!((parsed.raw_serial(), parsed.extensions().len()), (&[1][..], 1));
        assert!(!parsed.extensions()[0].critical);
        let parameters = match algorithm {
            "1.2.840.113549.1.1.5" => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            _ => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        let key = &parsed.public_key().subject_public_key.data;
        let signed = signature::UnparsedPublicKey::new(parameters, key);
        signed.verify(parsed.tbs_certificate.as_ref(), &parsed.signature_value.data).unwrap();
    }
    let (_, parsed) = x509_parser::parse_x509_certificate(&own).unwrap();
    assert_eq!(parsed.subject().to_string(), "C=CN, O=Intel Inc., CN=localhost");
    assert_eq!(parsed.issuer(), parsed.subject());
    let validity = parsed.validity();
    assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), 630_720_000);
    site.stop().await;
}

#[tokio::test]
async fn an_address_that_shows_false_evidence_again_and_again_is_slowed_down() {
    let strangers = Rate { per_second: 1, burst: 2 };
    let site = Site::limited(ServerLimits { strangers, ..ServerLimits::default() }).await;
    let foreign = Client::new(&SimAttester::new(Platform::ephemeral().unwrap(), identity("serving"))).await;
    for _ in 0..4 {
        foreign.get(site.port.address, "ssl_config").await.map(drop).unwrap_err();
    }
    let health = Health::default();
    health.of(Arc::clone(&site.running.broker));
    let counted = health.metrics_text();
    for code in ["untrusted-root", "overloaded"] {
        let series = format!("handshakes_total{{code=\"{code}\"}}");
        assert!(counted.contains(&series), "{counted}");
    }
    site.stop().await;
}

/// A confidential guest.
struct Guest;

#[async_trait]
impl Attester for Guest {
    async fn evidence(&self, _: ReportData) -> Result<Evidence, AttesterError> {
        panic!("it is not asked")
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(None)
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Tdx
    }
}

#[tokio::test]
async fn a_broker_that_occlums_clients_could_not_verify_does_not_listen() {
    let mut fixture = Fixture::new(1, 1);
    fixture.attester = Some(Arc::new(Guest));
    let running = fixture.start().await;
    let error =
        OcclumListener::new(Arc::clone(&running.broker), ServerLimits::default()).await.err().unwrap();
    assert!(matches!(error, OcclumListenError::NotSgx { .. }) && error.code() == "occlum-listen-not-sgx");
    running.stop().await;
}

#[tokio::test]
async fn the_broker_listens_for_it_if_a_flag_asks_for_it_and_else_not() {
    let binary = BinaryFixture::new();
    let process = binary.start(&["--occlum-listen=127.0.0.1:0"]).await;
    let fixture = &binary.fixture;
    let connector = fixture.connector(None, binary.identity(None));
    let owner = connector.session(&process.address.to_string()).await.unwrap();
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&document(fixture))))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", b"open sesame!"))).await.unwrap();
    let client = Client::new(&*fixture.attester("serving")).await;
    let answer = client.get(process.occlum.unwrap(), "ssl_config").await.unwrap();
    assert_eq!(decoded_as_occlum_does(&answer.secret), b"open sesame!");
    let logs = String::from_utf8(process.terminate().await.stderr).unwrap();
    assert!(logs.contains("weak-binding") && !logs.contains("open sesame"), "{logs}");
}
