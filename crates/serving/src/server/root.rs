//! From a request's path to the service that answers it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use adytum_api::tensorflow::serving::model_service_server::ModelServiceServer;
use tonic::{body::Body, server::NamedService, service::Routes};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::Service;

use crate::service::{PredictionServer, SMALL_MESSAGE, Services};

/// Predictions go the shortest way, everything else through tonic's router.
#[derive(Clone)]
pub(super) struct Root {
    prediction: PredictionServer,
    others: Routes,
}

impl Root {
    pub(super) fn new(services: Services, health: HealthReporter) -> Self {
        let prediction = PredictionServer::new(services.clone());
        let model = ModelServiceServer::new(services).max_decoding_message_size(SMALL_MESSAGE);
        let health = HealthServer::new(HealthService::from_health_reporter(health));
        Self { prediction, others: Routes::new(model).add_service(health).prepare() }
    }
}

impl Service<http::Request<Body>> for Root {
    type Response = http::Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        if service.is_some_and(|(name, _)| name == PredictionServer::NAME) {
            let answer = self.prediction.call(request);
            Box::pin(async { answer.await.map_err(Into::into) })
        } else {
            let answer = self.others.call(request);
            Box::pin(async { answer.await.map_err(Into::into) })
        }
    }
}
