//! TensorFlow Serving's gRPC services.

mod metadata;
mod method;
mod model_status;
mod predict;
mod request;

use std::sync::Arc;

use adytum_api::tensorflow::serving::{
    GetModelStatusRequest, GetModelStatusResponse, ModelSpec, model_service_server::ModelService, model_spec,
};
use tonic::{Request, Response, Status};

use crate::{
    error::RequestError,
    limits::RequestMemory,
    models::{Models, VersionChoice},
    scheduler::Scheduler,
};

pub use method::PredictionServer;

/// The largest request that carries no tensors, in bytes.
pub const SMALL_MESSAGE: usize = 64 << 10;

/// Everything that answering takes.
#[derive(Clone)]
pub struct Inference {
    pub models: Models,
    pub scheduler: Scheduler,
    /// The memory that requests may take.
    pub memory: RequestMemory,
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
    version: VersionChoice,
    signature: String,
}

fn target(specification: Option<ModelSpec>) -> Result<Target, RequestError> {
    let specification = specification.ok_or(RequestError::MissingModelSpec)?;
    let version = match specification.version_choice {
        None => VersionChoice::Latest,
        Some(model_spec::VersionChoice::Version(version)) => VersionChoice::Number(version),
        Some(model_spec::VersionChoice::VersionLabel(label)) => VersionChoice::Label(label),
    };
    Ok(Target { name: specification.name, version, signature: specification.signature_name })
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
