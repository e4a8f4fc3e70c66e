//! From a request's path to the service that answers it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::header::CONTENT_TYPE;
use tonic::{body::Body, service::Routes};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::Service;

use super::Protocols;
use crate::{
    models::{Answered, Pinned},
    rest::{Rest, RestOptions},
    service::{InferenceServer, NAMES, Services},
};

type Answer = Pin<
    Box<dyn Future<Output = Result<http::Response<Body>, Box<dyn std::error::Error + Send + Sync>>> + Send>,
>;

/// Inference goes the shortest way, everything else through tonic's router.
#[derive(Clone)]
pub(super) struct Root {
    protocols: Protocols,
    inference: InferenceServer,
    rest: Rest,
    others: Routes,
    services: Services,
    options: RestOptions,
    /// The models of the connection's attested session.
    session: Option<Arc<Pinned>>,
}

impl Root {
    pub(super) fn new(
        services: Services,
        health: HealthReporter,
        protocols: Protocols,
        rest: RestOptions,
    ) -> Self {
        let health = HealthServer::new(HealthService::from_health_reporter(health));
        let reflection = || {
            let configured = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(adytum_api::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            NAMES.iter().fold(configured, |reflection, name| reflection.with_service_name(*name))
        };
        let mut others = Routes::new(health);
        // Clients ask by the older name too.
        match (reflection().build_v1(), reflection().build_v1alpha()) {
            (Ok(current), Ok(older)) => others = others.add_service(current).add_service(older),
            (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no server reflection"),
        }
        Self {
            protocols,
            inference: InferenceServer::new(services.clone()),
            rest: Rest::new(services.clone(), rest.clone()),
            others: others.prepare(),
            services,
            options: rest,
            session: None,
        }
    }

    /// The same for the connection of an attested session, which carries gRPC and REST alike.
    pub(super) fn in_session(self, pinned: Arc<Pinned>) -> Self {
        Self { protocols: Protocols::Both, session: Some(pinned), ..self }
    }

    /// The services and the REST API as one request of an attested session sees them. Each
    /// answer names the model that gave it.
    fn call_in_session(&mut self, request: http::Request<Body>, pinned: &Arc<Pinned>) -> Answer {
        let answered = Answered::default();
        let services = self.services.in_session(pinned, &answered);
        let answer: Answer = if self.is_rest(&request) {
            let rest = Rest::new(services, self.options.clone());
            Box::pin(async move { Ok(rest.answer(request).await) })
        } else {
            grpc(&mut self.others, &mut InferenceServer::new(services), request)
        };
        Box::pin(async move {
            let mut response = answer.await?;
            answered.name_in(response.headers_mut());
            Ok(response)
        })
    }

    /// Whether the REST API answers.
    fn is_rest(&self, request: &http::Request<Body>) -> bool {
        match self.protocols {
            Protocols::Grpc => false,
            Protocols::Rest => true,
            Protocols::Both => {
                let content_type = request.headers().get(CONTENT_TYPE);
                !content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
            }
        }
    }
}

impl Service<http::Request<Body>> for Root {
    type Response = http::Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if let Some(pinned) = self.session.clone() {
            return self.call_in_session(request, &pinned);
        }
        if self.is_rest(&request) {
            let rest = self.rest.clone();
            return Box::pin(async move { Ok(rest.answer(request).await) });
        }
        grpc(&mut self.others, &mut self.inference, request)
    }
}

fn grpc(others: &mut Routes, inference: &mut InferenceServer, request: http::Request<Body>) -> Answer {
    if InferenceServer::answers(request.uri().path()) {
        let answer = inference.call(request);
        Box::pin(async { answer.await.map_err(Into::into) })
    } else {
        let answer = others.call(request);
        Box::pin(async { answer.await.map_err(Into::into) })
    }
}
