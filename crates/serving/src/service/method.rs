//! `PredictionService`, from HTTP/2 to HTTP/2.
//!
//! `Predict` is read and answered here and not by generated code, since that
//! would hold and decode a request before anything about it was checked, and
//! copy it on the way. The framing is gRPC's ("gRPC over HTTP2", Length-Prefixed
//! Message).

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use adytum_api::tensorflow::serving::{GetModelMetadataRequest, GetModelMetadataResponse, PredictResponse};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame};
use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{SMALL_MESSAGE, Services, metadata, predict};
use crate::{error::RequestError, limits};

const PREDICT: &str = "/tensorflow.serving.PredictionService/Predict";
const GET_MODEL_METADATA: &str = "/tensorflow.serving.PredictionService/GetModelMetadata";

/// The service.
#[derive(Clone)]
pub struct PredictionServer {
    services: Services,
}

impl PredictionServer {
    /// Answers from these services.
    pub fn new(services: Services) -> Self {
        Self { services }
    }
}

impl NamedService for PredictionServer {
    const NAME: &'static str = "tensorflow.serving.PredictionService";
}

impl Service<http::Request<Body>> for PredictionServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let services = self.services.clone();
        match request.uri().path() {
            PREDICT => Box::pin(async move {
                let answer = answer(&services, request.into_body()).await;
                Ok(answer.unwrap_or_else(|error| Status::from(error).into_http()))
            }),
            GET_MODEL_METADATA => Box::pin(async move {
                let codec = ProstCodec::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(SMALL_MESSAGE);
                Ok(grpc.unary(Metadata(services), request).await)
            }),
            _ => {
                Box::pin(ready(Ok(Status::unimplemented("expected Predict or GetModelMetadata").into_http())))
            }
        }
    }
}

async fn answer(services: &Services, body: Body) -> Result<http::Response<Body>, RequestError> {
    let inference = &services.inference;
    // Its memory is held until the answer is ready.
    let (message, _held) = limits::read_message(body, &inference.memory).await?;
    let answer = predict::predict(inference, message).await?;
    let body = encode(&answer).ok_or(RequestError::AnswerTooLarge { length: answer.encoded_len() })?;
    let mut response = http::Response::new(Body::new(Answer::Message(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// The answer with its prefix; none if its length doesn't fit in there.
fn encode(answer: &PredictResponse) -> Option<Bytes> {
    let length = answer.encoded_len();
    let mut out = BytesMut::with_capacity(length + limits::PREFIX_LENGTH);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).ok()?);
    answer.encode(&mut out).ok()?;
    Some(out.freeze())
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

struct Metadata(Services);

impl UnaryService<GetModelMetadataRequest> for Metadata {
    type Response = GetModelMetadataResponse;
    type Future = Ready<Result<Response<GetModelMetadataResponse>, Status>>;

    fn call(&mut self, request: Request<GetModelMetadataRequest>) -> Self::Future {
        let answer = metadata::metadata(&self.0.inference.models, request.into_inner());
        ready(answer.map(Response::new).map_err(Status::from))
    }
}
