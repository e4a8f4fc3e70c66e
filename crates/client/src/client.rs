//! Calls to a model server.

use std::{
    error::Error,
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adytum_api::tensorflow::{
    TensorProto,
    serving::{
        GetModelMetadataRequest, GetModelStatusRequest, ModelSpec, PredictRequest, PredictResponse,
        model_service_client::ModelServiceClient, model_spec::VersionChoice,
        prediction_service_client::PredictionServiceClient,
    },
};
use tokio::time::{sleep, timeout};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    connection::{Attestation, ClientIdentity, ConnectError, Connector, ServerAddress, TargetError},
    error::ClientError,
    input::ImageInput,
    signature::Signature,
    status::{VersionStatus, versions},
};

/// The longest message sent or taken, in bytes.
pub const MAXIMUM_MESSAGE_LENGTH: usize = 64 << 20;

/// HTTP/2 windows, in bytes: a batch of images must not wait for a round trip.
const WINDOW: u32 = 4 << 20;

/// How long a call that got no answer waits before each time it is sent again, if
/// its connection was lost or can't be opened again. A replica that ends takes
/// some connections with it, and for a moment new ones may still be led to it;
/// all repeats together must outlast that moment.
pub const REPEATS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// How to connect and how long to wait.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// PEM file with the server's certificate; `None`: no TLS.
    pub certificate: Option<PathBuf>,
    /// What the client shows of itself if the server asks for it; used with TLS only.
    pub identity: Option<ClientIdentity>,
    /// The name that the certificate must have, where it isn't the host.
    pub server_name: Option<String>,
    /// The time each call may take, a reconnection included.
    pub timeout: Duration,
    /// What the server must prove on each connection; then no other kind of connection is
    /// opened, whatever the other fields say.
    pub attestation: Option<Attestation>,
}

impl ClientOptions {
    /// Whether requests are encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.certificate.is_some() || self.attestation.is_some()
    }
}

impl Default for ClientOptions {
    /// No TLS, and ten seconds a call as the reference client has it.
    fn default() -> Self {
        Self {
            certificate: None,
            identity: None,
            server_name: None,
            timeout: Duration::from_secs(10),
            attestation: None,
        }
    }
}

/// Which model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSelector {
    pub name: String,
    /// Its version; `None`: the one the server chooses.
    pub version: Option<i64>,
    pub signature: String,
}

impl ModelSelector {
    /// The signature that TensorFlow's exporters call the usual one.
    pub const DEFAULT_SIGNATURE: &str = "serving_default";

    /// The usual signature of the server's choice of version.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), version: None, signature: Self::DEFAULT_SIGNATURE.to_owned() }
    }

    /// The request with this one tensor.
    pub fn request(&self, input: &ImageInput, tensor: TensorProto) -> PredictRequest {
        PredictRequest {
            model_spec: Some(self.specification(&self.signature)),
            inputs: [(input.name().to_owned(), tensor)].into(),
            output_filter: Vec::new(),
        }
    }

    fn specification(&self, signature: &str) -> ModelSpec {
        ModelSpec {
            name: self.name.clone(),
            version_choice: self.version.map(VersionChoice::Version),
            signature_name: signature.to_owned(),
        }
    }
}

/// One connection to a model server. Clones share it.
///
/// A connection that was lost is opened again, and a call that it took with it is
/// sent again, as [`REPEATS`] defines: predictions have no effects, so a second run
/// does no harm. A call that the server answered is never repeated.
/// [`Client::repeated`] counts how often a call was sent again.
#[derive(Clone)]
pub struct Client {
    service: PredictionServiceClient<Channel>,
    models: ModelServiceClient<Channel>,
    server: ServerAddress,
    is_tls: bool,
    timeout: Duration,
    repeated: Arc<AtomicU64>,
}

impl Client {
    /// Connects.
    pub async fn connect(server: &ServerAddress, options: &ClientOptions) -> Result<Self, ClientError> {
        let connector = match &options.attestation {
            Some(attestation) => Connector::attested(server.clone(), attestation.clone()),
            None => Connector::new(
                server.clone(),
                options.certificate.as_deref(),
                options.identity.as_ref(),
                options.server_name.as_deref(),
            )?,
        };
        // The scheme says nothing here: the connector decides on TLS.
        let endpoint = Endpoint::from_shared(format!("http://{server}"))
            .map_err(|_| TargetError::Address {
                text: server.to_string(),
                problem: "it is not a host and port",
            })?
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW);
        let channel =
            endpoint.connect_with_connector(connector).await.map_err(|error| match find(&error) {
                Some(reason) => ClientError::Connect(ConnectError::clone(reason)),
                None => ClientError::Broken {
                    server: server.to_string(),
                    problem: words(&error),
                    advice: transport_advice(options.is_tls()),
                },
            })?;
        Ok(Self {
            models: ModelServiceClient::new(channel.clone()),
            service: PredictionServiceClient::new(channel)
                .max_decoding_message_size(MAXIMUM_MESSAGE_LENGTH)
                .max_encoding_message_size(MAXIMUM_MESSAGE_LENGTH),
            server: server.clone(),
            is_tls: options.is_tls(),
            timeout: options.timeout,
            repeated: Arc::default(),
        })
    }

    /// What the model's signature takes and gives. Servers that don't tell are
    /// taken to serve the reference deployment's ResNet-50.
    pub async fn signature(&self, model: &ModelSelector) -> Result<Signature, ClientError> {
        let request = GetModelMetadataRequest {
            // Metadata are of all signatures: TensorFlow Serving refuses a choice here.
            model_spec: Some(model.specification("")),
            metadata_field: vec!["signature_def".to_owned()],
        };
        let answer = self
            .call(|timeout| {
                let request = limited(request.clone(), timeout);
                let mut service = self.service.clone();
                async move { service.get_model_metadata(request).await }
            })
            .await;
        match answer {
            Ok(response) => Signature::of(&response, &model.signature),
            Err(ClientError::Refused { status: Code::Unimplemented, .. }) => Ok(Signature::reference()),
            Err(error) => Err(error),
        }
    }

    /// The versions of a model that the server knows, the newest first.
    pub async fn versions(&self, model: &str) -> Result<Vec<VersionStatus>, ClientError> {
        let selector = ModelSelector::named(model);
        let request = GetModelStatusRequest { model_spec: Some(selector.specification("")) };
        let answer = self
            .call(|timeout| {
                let request = limited(request.clone(), timeout);
                let mut models = self.models.clone();
                async move { models.get_model_status(request).await }
            })
            .await;
        answer.map(versions)
    }

    /// One prediction.
    pub async fn predict(&self, request: PredictRequest) -> Result<PredictResponse, ClientError> {
        self.call(|timeout| {
            // The tensor's bytes are shared, not copied.
            let request = limited(request.clone(), timeout);
            let mut service = self.service.clone();
            async move { service.predict(request).await }
        })
        .await
    }

    /// How many calls were sent a second time because their connection broke.
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    async fn call<T, F>(&self, send: impl Fn(Duration) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let all = async {
            let mut pauses = REPEATS.iter();
            loop {
                match (send(self.timeout).await, pauses.next()) {
                    (Err(status), Some(pause)) if was_lost(&status) => {
                        sleep(*pause).await;
                        self.repeated.fetch_add(1, Ordering::Relaxed);
                    }
                    (last, _) => return last,
                }
            }
        };
        match timeout(self.timeout, all).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.error(&status)),
            Err(_) => Err(self.deadline()),
        }
    }

    fn deadline(&self) -> ClientError {
        ClientError::Deadline { server: self.server.to_string(), limit: self.timeout }
    }

    fn error(&self, status: &Status) -> ClientError {
        let server = self.server.to_string();
        if let Some(reason) = status.source().and_then(find::<ConnectError>) {
            return ClientError::Connect(reason.clone());
        }
        if status.code() == Code::DeadlineExceeded || is_local_timeout(status) {
            return self.deadline();
        }
        match status.source() {
            Some(source) => {
                ClientError::Broken { server, problem: words(source), advice: transport_advice(self.is_tls) }
            }
            None => {
                ClientError::Refused { server, status: status.code(), message: shortened(status.message()) }
            }
        }
    }
}

fn limited<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Did the connection break under the call, or could it not be opened again?
/// What the server answered has no source; what this side found out has one.
fn was_lost(status: &Status) -> bool {
    let lost = |source| find::<ConnectError>(source).is_none_or(ConnectError::may_pass);
    status.source().is_some_and(lost) && !is_local_timeout(status)
}

/// tonic's own clock, which runs in addition to ours.
fn is_local_timeout(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == "Timeout expired"
}

/// An error of this type among an error and its causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error and its causes, each said once.
fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

/// The server's words may be long; a message for a person need not be.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 2000;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} [...]", &text[..end]),
        None => text.to_owned(),
    }
}

fn transport_advice(is_tls: bool) -> &'static str {
    if is_tls {
        "has the server stopped?"
    } else {
        "has the server stopped, or does it use TLS? then give its certificate"
    }
}
