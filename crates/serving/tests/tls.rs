//! TLS, over real connections.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use adytum_serving::tls::{TlsVersion, server_configuration, ssl_config::SslConfig};
use adytum_testkit::version_1::version_1;
use fixture::{
    onnx,
    server::{Running, client_tls, float_tensor, limits, request, start, tls_channel},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::Channel;

fn self_signed() -> (SslConfig, rcgen::Certificate) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ssl = SslConfig {
        server_key: certified.signing_key.serialize_pem().into(),
        server_cert: certified.cert.pem(),
        ..SslConfig::default()
    };
    (ssl, certified.cert)
}

async fn ask(channel: Result<Channel, tonic::transport::Error>) -> Result<Vec<f32>, String> {
    let mut client = PredictionServiceClient::new(channel.map_err(|error| format!("{error:?}"))?);
    let request = request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
    let answer = client.predict(request).await.map_err(|status| format!("{status:?}"))?;
    Ok(answer.into_inner().outputs["double"].float_val.clone())
}

fn serving(ssl: &SslConfig) -> Running {
    let running = start(limits(), Some(ssl));
    running.serve("m", 1, onnx::arithmetic());
    running
}

/// A fatal alert, protocol_version (RFC 8446, section 6).
const PROTOCOL_VERSION_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];

/// What the server answers to a ClientHello that offers TLS 1.2 only
/// (RFC 5246, section 7.4.1.2).
async fn answer_to_tls_1_2(address: SocketAddr) -> [u8; 7] {
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    // No session; ECDHE-ECDSA-AES128-GCM and ECDHE-RSA-AES128-GCM; no compression.
    hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    // Groups x25519 and secp256r1, signatures ecdsa_secp256r1_sha256.
    let extensions = [0, 10, 0, 6, 0, 4, 0, 29, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    hello.extend([0, extensions.len() as u8]);
    hello.extend(extensions);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn only_tls_1_3_is_served() {
    let (ssl, certificate) = self_signed();
    let running = serving(&ssl);
    let address = running.server.address();
    let modern = Arc::new(client_tls(std::slice::from_ref(&certificate)));
    assert_eq!(ask(tls_channel(address, modern).await).await.unwrap(), [2.0, 4.0, 6.0]);
    assert_eq!(answer_to_tls_1_2(address).await, PROTOCOL_VERSION_ALERT);
    let (_, stranger) = self_signed();
    let other = Arc::new(client_tls(&[stranger]));
    assert!(ask(tls_channel(address, other).await).await.is_err());
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    assert!(ask(plain.connect().await).await.is_err(), "no plaintext on a TLS port");
}

/// A client that speaks TLS 1.2 only.
fn old_client(server: &rcgen::Certificate, shown: Option<(Vec<u8>, &KeyPair)>) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.der().clone()).unwrap();
    let mut configuration = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    if let Some((certificate, key)) = shown {
        let key = provider.key_provider.load_private_key(key.serialize_der().try_into().unwrap()).unwrap();
        let pair = rustls::sign::CertifiedKey::new(vec![certificate.into()], key);
        configuration.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(pair));
    }
    Arc::new(configuration)
}

#[tokio::test]
async fn tls_1_2_is_served_only_where_it_is_asked_for() {
    let (mut ssl, server) = self_signed();
    let running = serving(&ssl);
    let address = running.server.address();
    assert!(ask(tls_channel(address, old_client(&server, None)).await).await.is_err());
    let lower = |ssl: &SslConfig| {
        let configuration = server_configuration(ssl, TlsVersion::Tls12).unwrap();
        running.tls.as_ref().unwrap().replace(Arc::new(configuration));
    };
    lower(&ssl);
    assert_eq!(ask(tls_channel(address, old_client(&server, None)).await).await.unwrap(), [2.0, 4.0, 6.0]);
    // Others speak TLS 1.3 as before.
    let modern = Arc::new(client_tls(std::slice::from_ref(&server)));
    assert!(ask(tls_channel(address, modern).await).await.is_ok());

    // Client certificates are required and verified as with TLS 1.3.
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let signed = params.signed_by(&key, &authority).unwrap().der().to_vec();
    ssl.client_verify = true;
    ssl.custom_ca = authority.pem();
    lower(&ssl);
    let answers = async |shown: Option<(Vec<u8>, &KeyPair)>| {
        ask(tls_channel(address, old_client(&server, shown)).await).await.is_ok()
    };
    let old = version_1(&signed, authority.key());
    assert!(answers(Some((signed.clone(), &key))).await);
    assert!(answers(Some((old.clone(), &key))).await, "of version 1");
    assert!(!answers(None).await);
    assert!(!answers(Some((signed, &other))).await, "shown without its key");
    assert!(!answers(Some((old.clone(), &other))).await, "of version 1, shown without its key");
    assert!(!answers(Some((version_1(&old, &other), &key))).await, "signed by another key");
}

struct Client {
    authority: String,
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn client_of_an_authority() -> Client {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    Client { authority: authority.pem(), certificate, key }
}

#[tokio::test]
async fn client_certificates_are_required_where_the_configuration_says_so() {
    let (mut ssl, certificate) = self_signed();
    let (client, stranger) = (client_of_an_authority(), client_of_an_authority());
    ssl.client_verify = true;
    ssl.custom_ca = client.authority.clone();
    let running = serving(&ssl);
    let address = running.server.address();
    let tls = |shown: Option<&Client>| {
        let configuration = client_tls(std::slice::from_ref(&certificate));
        Arc::new(match shown {
            None => configuration,
            Some(client) => {
                let mut with_certificate = rustls::ClientConfig::builder_with_provider(Arc::new(
                    rustls::crypto::aws_lc_rs::default_provider(),
                ))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates({
                    let mut roots = rustls::RootCertStore::empty();
                    roots.add(certificate.der().clone()).unwrap();
                    roots
                })
                .with_client_auth_cert(
                    vec![client.certificate.der().clone()],
                    client.key.serialize_der().try_into().unwrap(),
                )
                .unwrap();
                with_certificate.alpn_protocols = vec![b"h2".to_vec()];
                with_certificate
            }
        })
    };
    assert_eq!(ask(tls_channel(address, tls(Some(&client))).await).await.unwrap(), [2.0, 4.0, 6.0]);
    assert!(ask(tls_channel(address, tls(None)).await).await.is_err());
    assert!(ask(tls_channel(address, tls(Some(&stranger))).await).await.is_err());
}

/// The TLS of a client that shows this certificate, whatever version it has.
fn showing(server: &rcgen::Certificate, shown: Vec<u8>, key: &KeyPair) -> Arc<rustls::ClientConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key.serialize_der().try_into().unwrap()).unwrap();
    let pair = rustls::sign::CertifiedKey::new(vec![shown.into()], key);
    let mut configuration = client_tls(std::slice::from_ref(server));
    configuration.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(pair));
    Arc::new(configuration)
}

fn pem(der: &[u8]) -> String {
    let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn client_certificates_of_every_make_are_taken_or_refused() {
    let (mut ssl, server) = self_signed();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let lone = rcgen::generate_simple_self_signed(["lone".to_owned()]).unwrap();
    ssl.client_verify = true;
    ssl.custom_ca = format!("{}{}", authority.pem(), lone.cert.pem());
    let running = serving(&ssl);
    let address = running.server.address();
    let answers = async |shown: Vec<u8>, key: &KeyPair| {
        ask(tls_channel(address, showing(&server, shown, key)).await).await.is_ok()
    };

    // Of version 1, signed by an authority.
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let signed = params.signed_by(&key, &authority).unwrap();
    let old = version_1(signed.der(), authority.key());
    assert!(answers(old.clone(), &key).await);
    // Signed by another key in the authority's name, or shown without its own key.
    let other = KeyPair::generate().unwrap();
    assert!(!answers(version_1(signed.der(), &other), &key).await);
    assert!(!answers(old, &other).await);

    // Self-signed and in custom_ca itself: taken, but nothing that it signs.
    assert!(answers(lone.cert.der().to_vec(), &lone.signing_key).await);
    let lone_params = CertificateParams::new(vec!["lone".to_owned()]).unwrap();
    let issuer = rcgen::Issuer::from_params(&lone_params, &lone.signing_key);
    let params = CertificateParams::new(vec!["guest".to_owned()]).unwrap();
    let guest = params.signed_by(&key, &issuer).unwrap();
    assert!(!answers(guest.der().to_vec(), &key).await);
    assert!(!answers(version_1(guest.der(), &lone.signing_key), &key).await);

    // Self-signed of version 1.
    let old = version_1(lone.cert.der(), &lone.signing_key);
    assert!(!answers(old.clone(), &lone.signing_key).await, "another certificate of the same key");
    ssl.custom_ca = pem(&old);
    running.tls.as_ref().unwrap().replace(Arc::new(server_configuration(&ssl, TlsVersion::Tls13).unwrap()));
    assert!(answers(old, &lone.signing_key).await);
    let stranger = rcgen::generate_simple_self_signed(["lone".to_owned()]).unwrap();
    assert!(!answers(stranger.cert.der().to_vec(), &stranger.signing_key).await);
    assert!(!answers(version_1(stranger.cert.der(), &stranger.signing_key), &stranger.signing_key).await);
}

#[test]
fn a_server_certificate_may_be_of_version_1() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let old = pem(&version_1(certified.cert.der(), &certified.signing_key));
    let ssl = SslConfig {
        server_key: certified.signing_key.serialize_pem().into(),
        server_cert: old.clone(),
        ..SslConfig::default()
    };
    server_configuration(&ssl, TlsVersion::Tls13).unwrap();
    let other = SslConfig { server_key: KeyPair::generate().unwrap().serialize_pem().into(), ..ssl };
    assert!(
        server_configuration(&other, TlsVersion::Tls13).unwrap_err().to_string().contains("of another key")
    );
}
