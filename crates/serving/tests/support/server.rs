//! A server in this process, and clients of it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use adytum_api::tensorflow::{
    DataType, TensorProto, TensorShapeProto,
    serving::{
        ModelSpec, PredictRequest, model_spec::VersionChoice,
        prediction_service_client::PredictionServiceClient,
    },
    tensor_shape_proto::Dim,
};
use adytum_engine::engine::LoadedModel;
use adytum_serving::{
    limits::RequestMemory,
    models::{Models, Servable, VersionState},
    scheduler::{Scheduler, SchedulerGuard},
    server::{Server, ServerOptions},
    service::{Inference, Services},
    tls::{TlsSwitch, server_configuration, ssl_config::SslConfig},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Everything of a server that tests look at.
pub struct Running {
    pub server: Server,
    pub models: Models,
    pub scheduler: Scheduler,
    pub tls: Option<TlsSwitch>,
    _guard: SchedulerGuard,
}

/// What a test sets.
pub struct Limits {
    pub message_limit: usize,
    pub request_memory: usize,
    pub queue: usize,
}

/// More than most tests need.
pub fn limits() -> Limits {
    Limits { message_limit: 64 << 20, request_memory: 256 << 20, queue: 8 }
}

/// Starts a server on a free port of the loopback interface.
pub fn start(limits: Limits, ssl: Option<&SslConfig>) -> Running {
    start_with(limits, ssl, |_| {})
}

/// As [`start`], with other options.
pub fn start_with(
    limits: Limits,
    ssl: Option<&SslConfig>,
    change: impl FnOnce(&mut ServerOptions),
) -> Running {
    start_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), limits, ssl, change)
}

/// As [`start_with`], on a port that was opened before.
pub fn start_on(
    listener: TcpListener,
    limits: Limits,
    ssl: Option<&SslConfig>,
    change: impl FnOnce(&mut ServerOptions),
) -> Running {
    let mut options = ServerOptions::new(NonZeroUsize::new(2).unwrap());
    change(&mut options);
    let (scheduler, guard) = Scheduler::start(NonZeroUsize::new(2).unwrap(), limits.queue).unwrap();
    let models = Models::default();
    let services = Services::new(Inference {
        models: models.clone(),
        scheduler: scheduler.clone(),
        memory: RequestMemory::new(limits.request_memory, limits.message_limit),
    });
    let tls = ssl.map(|ssl| TlsSwitch::new(Arc::new(server_configuration(ssl).unwrap())));
    let server = Server::start(listener, tls.clone(), services, options).unwrap();
    Running { server, models, scheduler, tls, _guard: guard }
}

impl Running {
    /// Serves an ONNX file.
    pub fn serve(&self, name: &str, version: i64, file: Vec<u8>) {
        self.serve_loaded(name, version, super::load(file).unwrap());
    }

    /// Serves a model of any engine.
    pub fn serve_loaded(&self, name: &str, version: i64, model: Box<dyn LoadedModel>) {
        let servable = Servable::new(name.to_owned(), version, model, super::resources()).unwrap();
        self.models.set(name, version, VersionState::Available(servable.into()));
    }

    /// A client without TLS.
    pub async fn client(&self) -> PredictionServiceClient<Channel> {
        PredictionServiceClient::new(channel(self.server.address()).await)
            .max_decoding_message_size(usize::MAX)
    }
}

/// A connection without TLS.
pub async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A connection with TLS that trusts this certificate.
pub async fn tls_channel(
    address: SocketAddr,
    configuration: Arc<ClientConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let connector = tokio_rustls::TlsConnector::from(configuration);
    let connect = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://localhost")
        .connect_timeout(Duration::from_secs(5))
        .connect_with_connector(connect)
        .await
}

/// A client's TLS: trusts the certificates in `roots`, shows none.
pub fn client_tls(roots: &[rcgen::Certificate]) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.der().clone()).unwrap();
    }
    let mut configuration = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    configuration
}

/// A tensor of floats as clients send it.
pub fn float_tensor(shape: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(TensorShapeProto {
            dim: shape.iter().map(|size| Dim { size: *size, name: String::new() }).collect(),
            unknown_rank: false,
        }),
        tensor_content: values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into(),
        ..TensorProto::default()
    }
}

/// A model by name, and by version if that is given.
pub fn specification(name: &str, version: Option<i64>) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        signature_name: String::new(),
        version_choice: version.map(VersionChoice::Version),
    }
}

/// A request with one input.
pub fn request(model: &str, input: &str, tensor: TensorProto) -> PredictRequest {
    PredictRequest {
        model_spec: Some(specification(model, None)),
        inputs: [(input.to_owned(), tensor)].into(),
        output_filter: Vec::new(),
    }
}
