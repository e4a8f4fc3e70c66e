//! A gRPC client that sends bytes as they are, over TLS 1.3: the same load for
//! the server under test and for the bare echo it is compared with.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

/// HTTP/2 windows that don't throttle a batch of images.
const WINDOW: u32 = 4 * 1024 * 1024;
/// Messages as large as the server allows.
const MESSAGE: usize = 64 * 1024 * 1024;

/// A codec that passes bytes through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Client {
    grpc: tonic::client::Grpc<Channel>,
    path: PathAndQuery,
}

impl Client {
    /// Connects to 127.0.0.1:`port` as `localhost`, trusting this certificate.
    pub(crate) async fn connect(port: u16, certificate_pem: &str, path: &'static str) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate_pem.as_bytes()).context("server.crt")?)?;
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(tls));
        let channel = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .connect_with_connector(tower::service_fn(move |_| {
                let connector = connector.clone();
                async move {
                    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                    stream.set_nodelay(true)?;
                    let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(TokioIo::new(stream))
                }
            }))
            .await
            .with_context(|| format!("connect to port {port}"))?;
        let grpc = tonic::client::Grpc::new(channel)
            .max_decoding_message_size(MESSAGE)
            .max_encoding_message_size(MESSAGE);
        Ok(Self { grpc, path: PathAndQuery::from_static(path) })
    }

    /// Connects to 127.0.0.1:`port` without TLS.
    pub(crate) async fn plain(port: u16, path: &'static str) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .connect()
            .await
            .with_context(|| format!("connect to port {port}"))?;
        let grpc = tonic::client::Grpc::new(channel)
            .max_decoding_message_size(MESSAGE)
            .max_encoding_message_size(MESSAGE);
        Ok(Self { grpc, path: PathAndQuery::from_static(path) })
    }

    /// One call.
    pub(crate) async fn call(&mut self, body: Bytes) -> Result<Bytes> {
        self.grpc.ready().await.map_err(|error| anyhow!("connection lost: {error}"))?;
        let response = self
            .grpc
            .unary(Request::new(body), self.path.clone(), Raw)
            .await
            .map_err(|status| anyhow!("{:?}: {}", status.code(), status.message()))?;
        Ok(response.into_inner())
    }
}

/// Calls a second, with `in_flight` calls open on each connection, for `duration`.
pub(crate) async fn saturate(
    clients: &[Client],
    in_flight: usize,
    body: &Bytes,
    duration: Duration,
) -> Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for client in clients {
        for _ in 0..in_flight {
            let (mut client, body, done) = (client.clone(), body.clone(), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                while start.elapsed() < duration {
                    client.call(body.clone()).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, anyhow::Error>(())
            }));
        }
    }
    for task in tasks {
        task.await??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}
