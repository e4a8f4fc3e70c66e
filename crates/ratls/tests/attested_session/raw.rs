//! Peers that attackers write: TLS and the message layer without the rules of
//! the real ones.

use std::{io, sync::Arc};

use adytum_api::session as wire;
use adytum_evidence::measurement::Sha256Digest;
use adytum_ratls::{
    handshake::{
        binding::{Binding, Nonce},
        message::{read_message, write_message},
    },
    protocol::{ALPN, SESSION_LABEL},
};
use adytum_testkit::any_certificate::AnyCertificate;
use prost::Message;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData};
use rustls::{
    ClientConfig, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::ParsedCertificate,
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
    version::TLS13,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroizing;

pub fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 * 1024)
}

/// A TLS key in an attacker's (or anybody's) hands.
#[derive(Clone)]
pub struct RawKey {
    pub chain: Vec<CertificateDer<'static>>,
    pub signer: Arc<dyn SigningKey>,
    pub digest: Sha256Digest,
}

impl RawKey {
    pub fn new() -> Self {
        Self::of(&rcgen::PKCS_ECDSA_P256_SHA256, 0)
    }

    /// With `padding` bytes in an extension.
    pub fn of(algorithm: &'static rcgen::SignatureAlgorithm, padding: usize) -> Self {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let mut parameters = CertificateParams::default();
        if padding > 0 {
            // An octet string under a private number.
            let length = u16::try_from(padding).unwrap().to_be_bytes();
            let content = [&[0x04, 0x82], &length[..], &vec![0; padding]].concat();
            let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], content);
            parameters.custom_extensions.push(extension);
        }
        let certificate = parameters.self_signed(&pair).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
        let signer = aws_lc_rs::default_provider().key_provider.load_private_key(key).unwrap();
        let digest = Sha256Digest::of_bytes(&pair.subject_public_key_info());
        Self { chain: vec![certificate], signer, digest }
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(self.chain.clone(), self.signer.clone())))
    }
}

/// A raw client's TLS; resumption and early data are on, as rustls has them.
pub fn client_config(key: Option<&RawKey>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate));
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(key.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = true;
    config
}

/// A raw server's TLS; it gives tickets, as rustls does.
pub fn server_config(key: &RawKey) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyCertificate))
        .with_cert_resolver(key.resolver());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 16384;
    config
}

pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("broker").unwrap()
}

/// A finished TLS handshake in an attacker's hands.
pub struct Raw<S = DuplexStream> {
    pub stream: TlsStream<S>,
    own_key: Option<Sha256Digest>,
    peer_key: Option<Sha256Digest>,
    exporter: [u8; 32],
}

fn digest_of_peer(chain: Option<&[CertificateDer<'_>]>) -> Option<Sha256Digest> {
    let certificate = ParsedCertificate::try_from(chain?.first()?).unwrap();
    Some(Sha256Digest::of_bytes(&certificate.subject_public_key_info()))
}

pub async fn raw_client<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    key: Option<&RawKey>,
    config: ClientConfig,
) -> io::Result<Raw<S>> {
    let stream = TlsConnector::from(Arc::new(config)).connect(server_name(), stream).await?;
    let connection = stream.get_ref().1;
    let exporter = connection.export_keying_material([0; 32], SESSION_LABEL, None).unwrap();
    let peer_key = digest_of_peer(connection.peer_certificates());
    Ok(Raw { stream: stream.into(), own_key: key.map(|key| key.digest), peer_key, exporter })
}

pub async fn raw_server<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    key: &RawKey,
    config: ServerConfig,
) -> io::Result<Raw<S>> {
    let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    let connection = stream.get_ref().1;
    let exporter = connection.export_keying_material([0; 32], SESSION_LABEL, None).unwrap();
    let peer_key = digest_of_peer(connection.peer_certificates());
    Ok(Raw { stream: stream.into(), own_key: Some(key.digest), peer_key, exporter })
}

/// A raw client on the usual terms.
pub async fn client(stream: DuplexStream, key: Option<&RawKey>) -> Raw {
    raw_client(stream, key, client_config(key)).await.unwrap()
}

/// A raw server on the usual terms.
pub async fn server(stream: DuplexStream, key: &RawKey) -> Raw {
    raw_server(stream, key, server_config(key)).await.unwrap()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub async fn send(&mut self, message: &impl Message) {
        write_message(&mut self.stream, message).await.unwrap();
    }

    /// Sends a message as it is.
    pub async fn send_bytes(&mut self, message: &[u8]) {
        let bytes = [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub async fn receive(&mut self) -> Vec<u8> {
        read_message(&mut self.stream, "message", 1 << 20).await.unwrap()
    }

    /// The binding of this session where this side is the client.
    pub fn as_client(&self, client_nonce: Nonce, server_nonce: Nonce) -> Binding {
        Binding {
            client_nonce,
            server_nonce,
            exporter: Zeroizing::new(self.exporter),
            client_key: self.own_key,
            server_key: self.peer_key.unwrap(),
        }
    }

    /// The binding of this session where this side is the server.
    pub fn as_server(&self, client_nonce: Nonce, server_nonce: Nonce) -> Binding {
        Binding {
            client_nonce,
            server_nonce,
            exporter: Zeroizing::new(self.exporter),
            client_key: self.peer_key,
            server_key: self.own_key.unwrap(),
        }
    }
}

pub fn hello(nonce: Nonce) -> wire::ClientHello {
    wire::ClientHello { nonce: nonce.0.to_vec() }
}
