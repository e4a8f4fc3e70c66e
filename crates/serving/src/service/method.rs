//! The services of TensorFlow Serving and of the Open Inference Protocol, from HTTP/2 to HTTP/2.
//!
//! Requests are read and answered here and not by generated code, since that would hold and
//! decode a request before anything about it was checked, and copy it on the way. The framing is
//! gRPC's ("gRPC over HTTP2", Length-Prefixed Message).

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    task::{Context, Poll},
};

use adytum_api::{inference as v2, tensorflow::serving as tensorflow};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE, request::Parts};
use http_body::{Body as HttpBody, Frame};
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Status, body::Body};
use tower::Service;

use super::{
    SMALL_MESSAGE, Services,
    classify::{self, ExamplesCall, TasksCall},
    management::ManagementError,
    metadata, model_status, predict,
    target::target,
};
use crate::{
    error::RequestError,
    examples::Batch,
    inference,
    limits::{self, Received},
    metrics::{Api, Entrypoint},
    observation::note_call,
    unpack::{ACCEPTED, Encoding},
    v2::{EXTENSIONS, Infer, SERVER, VERSION, index, metadata as model_metadata, version},
};

/// The services that are answered here.
pub const NAMES: [&str; 3] = [
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "inference.GRPCInferenceService",
];

/// A method of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Predict,
    Classify,
    Regress,
    MultiInference,
    GetModelMetadata,
    GetModelStatus,
    HandleReloadConfigRequest,
    ServerLive,
    ServerReady,
    ModelReady,
    ServerMetadata,
    ModelMetadata,
    ModelInfer,
    RepositoryIndex,
}

impl Method {
    /// The method of a path.
    fn of(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        Some(match (service, method) {
            ("tensorflow.serving.PredictionService", method) => match method {
                "Predict" => Self::Predict,
                "Classify" => Self::Classify,
                "Regress" => Self::Regress,
                "MultiInference" => Self::MultiInference,
                "GetModelMetadata" => Self::GetModelMetadata,
                _ => return None,
            },
            ("tensorflow.serving.ModelService", method) => match method {
                "GetModelStatus" => Self::GetModelStatus,
                "HandleReloadConfigRequest" => Self::HandleReloadConfigRequest,
                _ => return None,
            },
            ("inference.GRPCInferenceService", method) => match method {
                "ServerLive" => Self::ServerLive,
                "ServerReady" => Self::ServerReady,
                "ModelReady" => Self::ModelReady,
                "ServerMetadata" => Self::ServerMetadata,
                "ModelMetadata" => Self::ModelMetadata,
                "ModelInfer" => Self::ModelInfer,
                "RepositoryIndex" => Self::RepositoryIndex,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Its name, as the access log and traces have it.
    fn name(self) -> &'static str {
        match self {
            Self::Predict => "tensorflow.serving.PredictionService/Predict",
            Self::Classify => "tensorflow.serving.PredictionService/Classify",
            Self::Regress => "tensorflow.serving.PredictionService/Regress",
            Self::MultiInference => "tensorflow.serving.PredictionService/MultiInference",
            Self::GetModelMetadata => "tensorflow.serving.PredictionService/GetModelMetadata",
            Self::GetModelStatus => "tensorflow.serving.ModelService/GetModelStatus",
            Self::HandleReloadConfigRequest => "tensorflow.serving.ModelService/HandleReloadConfigRequest",
            Self::ServerLive => "inference.GRPCInferenceService/ServerLive",
            Self::ServerReady => "inference.GRPCInferenceService/ServerReady",
            Self::ModelReady => "inference.GRPCInferenceService/ModelReady",
            Self::ServerMetadata => "inference.GRPCInferenceService/ServerMetadata",
            Self::ModelMetadata => "inference.GRPCInferenceService/ModelMetadata",
            Self::ModelInfer => "inference.GRPCInferenceService/ModelInfer",
            Self::RepositoryIndex => "inference.GRPCInferenceService/RepositoryIndex",
        }
    }

    /// Whether its requests carry tensors or examples.
    fn is_inference(self) -> bool {
        matches!(
            self,
            Self::Predict | Self::Classify | Self::Regress | Self::MultiInference | Self::ModelInfer
        )
    }
}

/// The services.
#[derive(Clone)]
pub struct InferenceServer {
    services: Services,
}

impl InferenceServer {
    /// Answers from these services.
    pub fn new(services: Services) -> Self {
        Self { services }
    }

    /// Whether a path belongs to a service that is answered here.
    pub fn answers(path: &str) -> bool {
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        service.is_some_and(|(name, _)| NAMES.contains(&name))
    }
}

impl Service<http::Request<Body>> for InferenceServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let services = self.services.clone();
        let Some(method) = Method::of(request.uri().path()) else {
            return Box::pin(ready(Ok(Status::unimplemented("the service has no such method").into_http())));
        };
        Box::pin(async move {
            note_call(method.name());
            let (parts, body) = request.into_parts();
            Ok(answer(&services, method, &parts, body).await.unwrap_or_else(|status| {
                let mut response = status.into_http();
                response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static(ACCEPTED));
                response
            }))
        })
    }
}

async fn answer(
    services: &Services,
    method: Method,
    parts: &Parts,
    body: Body,
) -> Result<http::Response<Body>, Status> {
    // The memory is held until the answer is ready.
    let (message, held) = receive(services, method, &parts.headers, body).await?;
    let inference = &services.inference;
    let bytes = match method {
        Method::Predict => encode(&predict::predict(inference, message).await?)?,
        Method::Classify => {
            let call = ExamplesCall::parse(&message)?;
            let batch =
                Batch::of_input(call.input, inference.memory.message_limit()).map_err(RequestError::from)?;
            let target = target(call.model_spec)?;
            let name = target.name.clone();
            let answer = classify::classify(inference, target, &batch);
            encode(&inference.counted(&name, Api::Classify, Entrypoint::Grpc, answer).await?)?
        }
        Method::Regress => {
            let call = ExamplesCall::parse(&message)?;
            let batch =
                Batch::of_input(call.input, inference.memory.message_limit()).map_err(RequestError::from)?;
            let target = target(call.model_spec)?;
            let name = target.name.clone();
            let answer = classify::regress(inference, target, &batch);
            encode(&inference.counted(&name, Api::Regress, Entrypoint::Grpc, answer).await?)?
        }
        Method::MultiInference => {
            let call = TasksCall::parse(&message)?;
            let batch =
                Batch::of_input(call.input, inference.memory.message_limit()).map_err(RequestError::from)?;
            let first = call.tasks.first().and_then(|task| task.model_spec.as_ref());
            let name = first.map(|model| model.name.clone()).unwrap_or_default();
            let answer = classify::multi_inference(inference, call.tasks, &batch);
            encode(&inference.counted(&name, Api::MultiInference, Entrypoint::Grpc, answer).await?)?
        }
        Method::GetModelMetadata => encode(&metadata::metadata(&inference.models, decode(&message)?)?)?,
        Method::GetModelStatus => encode(&model_status::model_status(&inference.models, decode(&message)?)?)?,
        Method::HandleReloadConfigRequest => {
            let request: tensorflow::ReloadConfigRequest = decode(&message)?;
            let management = services.management.as_ref().ok_or(ManagementError::NotOffered)?;
            encode(&management.reload(parts, request).await?)?
        }
        Method::ServerLive => encode(&v2::ServerLiveResponse { live: true })?,
        Method::ServerReady => encode(&v2::ServerReadyResponse { ready: services.is_ready() })?,
        Method::ModelReady => {
            let request: v2::ModelReadyRequest = decode(&message)?;
            let servable = inference.models.servable(&request.name, &version(&request.version));
            encode(&v2::ModelReadyResponse { ready: servable.is_ok() })?
        }
        Method::ServerMetadata => encode(&v2::ServerMetadataResponse {
            name: SERVER.to_owned(),
            version: VERSION.to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        })?,
        Method::ModelMetadata => {
            let request: v2::ModelMetadataRequest = decode(&message)?;
            encode(&model_metadata(inference, &request.name, &version(&request.version))?)?
        }
        Method::ModelInfer => {
            let call = Infer::parse(&message)?;
            let name = call.model().to_owned();
            let answer = call.answer(inference, message.len());
            encode(&inference.counted(&name, Api::Infer, Entrypoint::Grpc, answer).await?)?
        }
        Method::RepositoryIndex => {
            let request: v2::RepositoryIndexRequest = decode(&message)?;
            encode(&index(inference, request.ready))?
        }
    };
    drop(held);
    let mut response = http::Response::new(Body::new(Answer::Message(bytes)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// The message of a request, unpacked.
async fn receive(
    services: &Services,
    method: Method,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), RequestError> {
    let encoding = Encoding::parse(headers.get("grpc-encoding"))?;
    let memory = &services.inference.memory;
    let Received { message, compressed, mut permit } = limits::read_message(body, memory).await?;
    let (message, permit) = match (compressed, encoding) {
        (false, _) => (message, permit),
        (true, Encoding::Identity) => {
            return Err(RequestError::Packed { reason: "grpc-encoding does not say how".to_owned() });
        }
        (true, encoding) => {
            let memory = memory.clone();
            inference::read(message.len(), move || {
                let message = encoding.unpack(message, &memory, &mut permit)?;
                Ok::<_, RequestError>((message, permit))
            })
            .await?
        }
    };
    if !method.is_inference() && message.len() > SMALL_MESSAGE {
        return Err(RequestError::MessageTooLarge { length: message.len(), limit: SMALL_MESSAGE });
    }
    Ok((message, permit))
}

/// A small message, which was checked for its size.
fn decode<T: Message + Default>(message: &[u8]) -> Result<T, RequestError> {
    T::decode(message).map_err(|_| {
        adytum_wire::WireError { reason: "a field has the wrong type or is cut off", offset: 0 }.into()
    })
}

/// The answer with its prefix.
fn encode(answer: &impl Message) -> Result<Bytes, RequestError> {
    let length = answer.encoded_len();
    let too_large = || RequestError::AnswerTooLarge { length };
    let mut out = BytesMut::with_capacity(length + limits::PREFIX_LENGTH);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).map_err(|_| too_large())?);
    answer.encode(&mut out).map_err(|_| too_large())?;
    Ok(out.freeze())
}

/// A message and the trailers that say that all is well.
enum Answer {
    Message(Bytes),
    Trailers,
    End,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let next = match &*self {
            Self::Message(_) => Self::Trailers,
            Self::Trailers | Self::End => Self::End,
        };
        Poll::Ready(match std::mem::replace(&mut *self, next) {
            Self::Message(message) => Some(Ok(Frame::data(message))),
            Self::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
            Self::End => None,
        })
    }
}
