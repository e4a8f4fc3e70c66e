//! TLS, over real connections.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{net::SocketAddr, sync::Arc};

use adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use adytum_serving::tls::ssl_config::SslConfig;
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
/// (RFC 5246, section 7.4.1.2), which this build's rustls can't send.
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
