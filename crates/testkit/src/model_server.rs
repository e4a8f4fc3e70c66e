//! A model server for tests, in this process: TensorFlow Serving's API in front
//! of answers that the test writes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use adytum_api::tensorflow::{
    DataType, SignatureDef, TensorInfo, TensorProto, TensorShapeProto,
    serving::{
        GetModelMetadataRequest, GetModelMetadataResponse, PredictRequest, PredictResponse, SignatureDefMap,
        prediction_service_server::{PredictionService, PredictionServiceServer},
    },
    tensor_shape_proto::Dim,
};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Connected},
};

/// What the server does with the nth request, from 0.
pub type Answer = Arc<dyn Fn(usize, PredictRequest) -> Result<PredictResponse, Status> + Send + Sync>;

/// How the server behaves.
#[derive(Clone)]
pub struct Behaviour {
    pub predict: Answer,
    /// The input's name and shape, -1 for any size; `None`: metadata are unimplemented.
    pub input: Option<(&'static str, Vec<i64>)>,
    /// Never answers a prediction.
    pub stalls: bool,
}

impl Default for Behaviour {
    /// 8x8 grey images are of the class that their first pixel says: `pixel * 10`.
    fn default() -> Self {
        Self {
            predict: Arc::new(|_, request| {
                let content = &request.inputs["image"].tensor_content;
                let first = f32::from_le_bytes(content[..4].try_into().unwrap());
                let class = (first * 10.0) as usize;
                let mut scores = vec![0.025_f32; 10];
                scores[class] = 0.75;
                scores[(class + 1) % 10] = 0.05;
                Ok(scored("probabilities", &scores))
            }),
            input: Some(("image", vec![-1, 8, 8, 1])),
            stalls: false,
        }
    }
}

/// An answer with one row of scores.
pub fn scored(output: &str, scores: &[f32]) -> PredictResponse {
    let tensor = TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(shape(&[1, scores.len() as i64])),
        float_val: scores.to_vec(),
        ..TensorProto::default()
    };
    PredictResponse { outputs: [(output.to_owned(), tensor)].into(), model_spec: None }
}

fn shape(sizes: &[i64]) -> TensorShapeProto {
    let dim = sizes.iter().map(|&size| Dim { size, name: String::new() }).collect();
    TensorShapeProto { dim, unknown_rank: false }
}

/// What the server has been asked so far.
#[derive(Default)]
pub struct Seen {
    predictions: AtomicUsize,
    connections: AtomicUsize,
    closed: AtomicUsize,
    last: Mutex<Option<PredictRequest>>,
}

impl Seen {
    /// The predictions that were asked for.
    pub fn predictions(&self) -> usize {
        self.predictions.load(Ordering::SeqCst)
    }

    /// The connections that were opened.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The last request for a prediction.
    pub fn last(&self) -> PredictRequest {
        self.last.lock().unwrap().clone().unwrap()
    }
}

struct Service {
    behaviour: Behaviour,
    seen: Arc<Seen>,
}

#[tonic::async_trait]
impl PredictionService for Service {
    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<PredictResponse>, Status> {
        let request = request.into_inner();
        let number = self.seen.predictions.fetch_add(1, Ordering::SeqCst);
        *self.seen.last.lock().unwrap() = Some(request.clone());
        if self.behaviour.stalls {
            std::future::pending::<()>().await;
        }
        (self.behaviour.predict)(number, request).map(Response::new)
    }

    async fn get_model_metadata(
        &self,
        request: Request<GetModelMetadataRequest>,
    ) -> Result<Response<GetModelMetadataResponse>, Status> {
        let model = request.into_inner().model_spec.unwrap_or_default().name;
        if model == "missing" {
            return Err(Status::not_found("Servable not found for request: Latest(missing)"));
        }
        let Some((name, sizes)) = &self.behaviour.input else {
            return Err(Status::unimplemented(""));
        };
        let input =
            TensorInfo { dtype: DataType::DtFloat.into(), tensor_shape: Some(shape(sizes)), encoding: None };
        let definition = SignatureDef {
            inputs: [((*name).to_owned(), input)].into(),
            outputs: BTreeMap::new(),
            method_name: String::new(),
        };
        let map = SignatureDefMap { signature_def: [("serving_default".to_owned(), definition)].into() };
        let any = prost_types::Any { type_url: String::new(), value: map.encode_to_vec() };
        let metadata = [("signature_def".to_owned(), any)].into();
        Ok(Response::new(GetModelMetadataResponse { model_spec: None, metadata }))
    }
}

/// A certificate for `names` in a file, and what a server needs of it.
pub struct Identity {
    directory: TempDir,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// A new key, and a certificate for these names.
    pub fn new(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("server.crt"), certificate.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { directory, config: Arc::new(config) }
    }

    /// The certificate's file.
    pub fn crt(&self) -> PathBuf {
        self.directory.path().join("server.crt")
    }
}

/// A running server; it ends with this.
pub struct ModelServer {
    address: SocketAddr,
    seen: Arc<Seen>,
    drop_connections: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ModelServer {
    /// Serves on loopback, over TLS if there is an identity.
    pub async fn start(behaviour: Behaviour, identity: Option<&Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let service = PredictionServiceServer::new(Service { behaviour, seen: Arc::clone(&seen) })
            .max_decoding_message_size(64 << 20);
        let (drop_connections, dropped) = watch::channel(());
        let acceptor = identity.map(|identity| TlsAcceptor::from(Arc::clone(&identity.config)));
        let counted = Arc::clone(&seen);
        let (connections, incoming) = tokio::sync::mpsc::channel(64);
        let accepting = async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let decremented = |left: usize| left.checked_sub(1);
                if counted.closed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, decremented).is_ok() {
                    continue;
                }
                let stream: Box<dyn Duplex> = match &acceptor {
                    None => Box::new(tcp),
                    Some(acceptor) => match acceptor.accept(tcp).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                };
                let mut dropped = dropped.clone();
                dropped.mark_unchanged();
                let cut = Box::pin(async move { dropped.changed().await.is_ok() });
                if connections.send(Ok::<_, std::io::Error>(Connection { stream, cut })).await.is_err() {
                    return;
                }
            }
        };
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(tokio_stream::wrappers::ReceiverStream::new(incoming));
        let task = tokio::spawn(async move {
            tokio::select! {
                () = accepting => {}
                result = serving => result.unwrap(),
            }
        });
        Self { address, seen, drop_connections, task }
    }

    /// `localhost:port`, the name that an [`Identity`] of this name certifies.
    pub fn address(&self) -> String {
        self.target("localhost")
    }

    /// `host:port`
    pub fn target(&self, host: &str) -> String {
        format!("{host}:{}", self.address.port())
    }

    /// What the server was asked so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Cuts every open connection, as a host that dies does.
    pub fn drop_connections(&self) {
        self.drop_connections.send_replace(());
    }

    /// Closes each of the next `count` connections at once.
    pub fn close_next(&self, count: usize) {
        self.seen.closed.store(count, Ordering::SeqCst);
    }

    /// Stops; the port is free afterwards.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection that can be cut.
struct Connection {
    stream: Box<dyn Duplex>,
    cut: Pin<Box<dyn Future<Output = bool> + Send>>,
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            self.cut = Box::pin(std::future::pending());
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
