//! `PredictionService` as tonic serves it. Written by hand, since generated code
//! would decode requests before anything about them was checked.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use adytum_api::tensorflow::serving::{GetModelMetadataRequest, GetModelMetadataResponse, PredictResponse};
use bytes::{Buf, Bytes};
use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{SMALL_MESSAGE, Services, metadata, predict};

const PREDICT: &str = "/tensorflow.serving.PredictionService/Predict";
const GET_MODEL_METADATA: &str = "/tensorflow.serving.PredictionService/GetModelMetadata";

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

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
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let services = self.services.clone();
        match request.uri().path() {
            PREDICT => Box::pin(async move {
                let limit = services.memory().message_limit();
                let mut grpc = Grpc::new(PredictCodec).max_decoding_message_size(limit);
                Ok(grpc.unary(Predict(services), request).await)
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

struct Predict(Services);

impl UnaryService<Bytes> for Predict {
    type Response = PredictResponse;
    type Future = Boxed<Result<Response<PredictResponse>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let services = self.0.clone();
        Box::pin(async move {
            let answer = predict::predict(&services.inference, request.into_inner()).await?;
            Ok(Response::new(answer))
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

/// Requests as bytes, answers as messages.
#[derive(Clone, Copy, Debug, Default)]
struct PredictCodec;

impl Codec for PredictCodec {
    type Encode = PredictResponse;
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

impl Decoder for PredictCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // Shares the buffer's memory.
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

impl Encoder for PredictCodec {
    type Item = PredictResponse;
    type Error = Status;

    fn encode(&mut self, item: PredictResponse, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}
