//! TensorFlow Serving's gRPC services.

mod metadata;
mod model_status;
mod predict;

use std::sync::Arc;

use adytum_api::tensorflow::serving::{
    GetModelMetadataRequest, GetModelMetadataResponse, GetModelStatusRequest, GetModelStatusResponse,
    ModelSpec, PredictRequest, PredictResponse, model_service_server::ModelService,
    model_spec::VersionChoice, prediction_service_server::PredictionService,
};
use tonic::{Request, Response, Status};

use crate::{error::RequestError, models::Models, scheduler::Scheduler};

/// The signature that every model has: its graph's inputs and outputs.
pub const DEFAULT_SIGNATURE: &str = "serving_default";

/// Everything that answering takes.
#[derive(Clone)]
pub struct Inference {
    /// The models.
    pub models: Models,
    /// Runs them.
    pub scheduler: Scheduler,
    /// The most bytes of tensors that a request may unfold to.
    pub tensor_limit: usize,
}

/// The services.
#[derive(Clone)]
pub struct Services {
    inference: Arc<Inference>,
}

impl Services {
    /// Services on these models.
    pub fn new(inference: Inference) -> Self {
        Self { inference: Arc::new(inference) }
    }
}

/// The model and version that a request is for.
struct Target {
    name: String,
    version: Option<i64>,
    signature: String,
}

fn target(specification: Option<ModelSpec>) -> Result<Target, RequestError> {
    let specification = specification.ok_or(RequestError::MissingModelSpec)?;
    let version = match specification.version_choice {
        None => None,
        Some(VersionChoice::Version(version)) => Some(version),
        Some(VersionChoice::VersionLabel(label)) => return Err(RequestError::VersionLabel { label }),
    };
    Ok(Target { name: specification.name, version, signature: specification.signature_name })
}

#[tonic::async_trait]
impl PredictionService for Services {
    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<PredictResponse>, Status> {
        Ok(Response::new(predict::predict(&self.inference, request.into_inner()).await?))
    }

    async fn get_model_metadata(
        &self,
        request: Request<GetModelMetadataRequest>,
    ) -> Result<Response<GetModelMetadataResponse>, Status> {
        Ok(Response::new(metadata::metadata(&self.inference.models, request.into_inner())?))
    }
}

#[tonic::async_trait]
impl ModelService for Services {
    async fn get_model_status(
        &self,
        request: Request<GetModelStatusRequest>,
    ) -> Result<Response<GetModelStatusResponse>, Status> {
        Ok(Response::new(model_status::model_status(&self.inference.models, request.into_inner())?))
    }
}
