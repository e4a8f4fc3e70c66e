//! Servers of attackers: TLS with a key of their own, and a record of what they can read.

pub(crate) mod http2;
pub(crate) mod impostor;
pub(crate) mod switch;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use adytum_evidence::measurement::Sha256Digest;
use adytum_testkit::any_certificate::AnyCertificate;
use anyhow::Result;
use rcgen::PublicKeyData as _;
use rustls::{
    ClientConfig, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, ServerName},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

const ALPN: &[u8] = b"adytum-ra/1";

/// What an attacker could read.
type Record = Arc<Mutex<Vec<u8>>>;

fn take(record: &Record) -> Vec<u8> {
    record.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn add(record: &Record, bytes: &[u8]) {
    record.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
}

/// TLS 1.3 with a new key, and the digest of that key. Without `alpn` none is chosen, whatever the
/// client offers.
fn server_config(alpn: Option<&[u8]>) -> Result<(Arc<ServerConfig>, Sha256Digest)> {
    let pair = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&pair)?;
    let key = PrivateKeyDer::try_from(pair.serialize_der()).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
    Ok((Arc::new(config), Sha256Digest::of_bytes(&pair.subject_public_key_info())))
}

/// A client that accepts every certificate.
fn connector() -> Result<TlsConnector> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(port: u16) -> Result<client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    Ok(connector()?.connect(ServerName::try_from("localhost")?, stream).await?)
}

/// One who speaks TLS, and has no part in attested sessions.
pub(crate) struct Attacker {
    port: u16,
    record: Record,
}

impl Attacker {
    /// Chooses no protocol: as if nobody had asked for an attested session.
    pub(crate) async fn stripping() -> Result<Self> {
        let acceptor = TlsAcceptor::from(server_config(None)?.0);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, record) = (listener.local_addr()?.port(), Record::default());
        let written = Arc::clone(&record);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    add(&written, &buffer[..read]);
                }
            }
        });
        Ok(Self { port, record })
    }

    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// All that was sent to it under TLS.
    pub(crate) fn plaintext(&self) -> Vec<u8> {
        take(&self.record)
    }
}

/// One in the middle: TLS with the client and TLS with a genuine replica, and each message is
/// handed on.
pub(crate) struct Relay {
    port: u16,
    attestation: Record,
    refusals: Record,
    after: Record,
}

impl Relay {
    /// With the replica at this port behind it.
    pub(crate) async fn to(replica: u16) -> Result<Self> {
        Self::start(Some(replica), Record::default()).await
    }

    /// One without a replica, which answers with the evidence that this one has recorded.
    pub(crate) async fn replaying(&self) -> Result<Self> {
        let recorded = Arc::new(Mutex::new(take(&self.attestation)));
        Self::start(None, recorded).await
    }

    async fn start(replica: Option<u16>, attestation: Record) -> Result<Self> {
        let acceptor = TlsAcceptor::from(server_config(Some(ALPN))?.0);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let relay = Self { port, attestation, refusals: Record::default(), after: Record::default() };
        let attestation = Arc::clone(&relay.attestation);
        let (refusals, after) = (Arc::clone(&relay.refusals), Arc::clone(&relay.after));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let _ = relayed(stream, replica, &attestation, &refusals, &after).await;
            }
        });
        Ok(relay)
    }

    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Whether it has recorded a genuine replica's evidence.
    pub(crate) fn saw_evidence(&self) -> bool {
        take(&self.attestation).len() > 4096
    }

    /// How clients refused that evidence: one message of the handshake each.
    pub(crate) fn refusals(&self) -> Vec<u8> {
        take(&self.refusals)
    }

    /// All that clients sent besides.
    pub(crate) fn plaintext_after_attestation(&self) -> Vec<u8> {
        take(&self.after)
    }
}

async fn relayed(
    mut client: server::TlsStream<TcpStream>,
    replica: Option<u16>,
    attestation: &Record,
    refusals: &Record,
    after: &Record,
) -> Result<()> {
    let hello = message(&mut client).await?;
    let evidence = match replica {
        Some(port) => {
            let mut replica = connect(port).await?;
            replica.write_all(&hello).await?;
            let evidence = message(&mut replica).await?;
            attestation.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&evidence);
            evidence
        }
        None => take(attestation),
    };
    client.write_all(&evidence).await?;
    add(refusals, &message(&mut client).await?);
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        add(after, &buffer[..read]);
    }
    Ok(())
}

/// One message of the handshake, with its length before it.
async fn message(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut bytes = length.to_be_bytes().to_vec();
    stream.take(length.into()).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Strangers who ask for this many quotes, many at once; how many they got, and how many were
/// refused.
pub(crate) async fn flood(port: u16, number: usize) -> Result<(u64, u64)> {
    let mut asking = JoinSet::new();
    let (mut attested, mut refused) = (0, 0);
    for _ in 0..number {
        if asking.len() >= 32
            && let Some(asked) = asking.join_next().await
        {
            count(asked?, &mut attested, &mut refused);
        }
        asking.spawn(ask(port));
    }
    while let Some(asked) = asking.join_next().await {
        count(asked?, &mut attested, &mut refused);
    }
    Ok((attested, refused))
}

fn count(answer: Result<Vec<u8>>, attested: &mut u64, refused: &mut u64) {
    match answer {
        Ok(answer) if answer.len() > 1024 => *attested += 1,
        _ => *refused += 1,
    }
}

/// One who asks for a quote, and says nothing more.
async fn ask(port: u16) -> Result<Vec<u8>> {
    tokio::time::timeout(Duration::from_secs(10), async {
        let mut stream = connect(port).await?;
        // A ClientHello: its length, then field 1 with 32 bytes.
        let mut hello = vec![0, 0, 0, 34, 0x0a, 32];
        hello.extend_from_slice(&[7; 32]);
        stream.write_all(&hello).await?;
        Ok(message(&mut stream).await?)
    })
    .await?
}
