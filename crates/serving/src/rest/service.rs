//! From a request to its answer.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tonic::body::Body;

use super::{
    RestError, answer, body, examples, metadata,
    path::{Call, Route},
    predict, status, v2,
};
use crate::{
    metrics::{Api, Entrypoint},
    observation::note_call,
    service::Services,
};

/// Prometheus' text format.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What the REST API's flags say.
#[derive(Clone, Debug)]
pub struct RestOptions {
    /// How long an answer may take (`--rest_api_timeout_in_ms`).
    pub timeout: Duration,
    /// Whether pages of any origin may read answers (`--rest_api_enable_cors_support`).
    pub any_origin: bool,
    /// The path of the metrics, if they are shown.
    pub metrics_path: Option<String>,
}

impl Default for RestOptions {
    /// TensorFlow Serving's defaults.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), any_origin: false, metrics_path: None }
    }
}

/// The REST API.
#[derive(Clone)]
pub struct Rest {
    services: Services,
    options: Arc<RestOptions>,
}

impl Rest {
    /// Answers from these services.
    pub fn new(services: Services, options: RestOptions) -> Self {
        Self { services, options: Arc::new(options) }
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let mut response = if self.options.any_origin && request.method() == Method::OPTIONS {
            answer::empty(StatusCode::OK)
        } else {
            let answered = tokio::time::timeout(self.options.timeout, self.try_answer(request)).await;
            let milliseconds = u64::try_from(self.options.timeout.as_millis()).unwrap_or(u64::MAX);
            answered
                .unwrap_or(Err(RestError::Timeout { milliseconds }))
                .unwrap_or_else(|error| answer::error(&error))
        };
        if self.options.any_origin {
            answer::allow_any_origin(&mut response);
        }
        response
    }

    async fn try_answer(&self, request: Request<Body>) -> Result<Response<Body>, RestError> {
        let inference = &self.services.inference;
        let (parts, body) = request.into_parts();
        if parts.method == Method::GET && self.options.metrics_path.as_deref() == Some(parts.uri.path()) {
            note_call("GET metrics");
            return Ok(answer::with_type(inference.models.render_metrics().into(), METRICS));
        }
        let route = Route::parse(&parts.method, parts.uri.path())?;
        note_call(route.name());
        match route {
            Route::Models => Ok(value(&json!({ "models": inference.models.names() }))),
            Route::Status(model) => Ok(value(&status::status(inference, model)?)),
            Route::Metadata(model) => Ok(value(&metadata::metadata(inference, &model)?)),
            Route::Call(model, call) => {
                // The memory is held until the answer is ready.
                let (text, _held) = body::read(&parts.headers, body, &inference.memory).await?;
                let (api, answer) = match call {
                    Call::Predict => (Api::Predict, predict::predict(inference, &model, text).boxed()),
                    Call::Classify => {
                        (Api::Classify, examples::answer(inference, &model, call, text).boxed())
                    }
                    Call::Regress => (Api::Regress, examples::answer(inference, &model, call, text).boxed()),
                };
                let text = inference.counted(&model.name, api, Entrypoint::Rest, answer).await?;
                Ok(answer::json(text))
            }
            Route::Server => Ok(value(&v2::server())),
            Route::Live => Ok(value(&json!({ "live": true }))),
            Route::Ready => {
                let ready = self.services.is_ready();
                let mut response = value(&json!({ "ready": ready }));
                if !ready {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                }
                Ok(response)
            }
            Route::Model(model) => Ok(value(&v2::model(inference, &model)?)),
            Route::ModelReady(model) => {
                inference.models.servable(&model.name, &model.version)?;
                Ok(value(&json!({ "name": model.name, "ready": true })))
            }
            Route::Infer(model) => {
                let (bytes, _held) = body::read(&parts.headers, body, &inference.memory).await?;
                let answer = v2::infer(inference, &model, &parts.headers, bytes);
                inference.counted(&model.name, Api::Infer, Entrypoint::Rest, answer).await
            }
            Route::Index => {
                let (bytes, _held) = body::read(&parts.headers, body, &inference.memory).await?;
                Ok(value(&v2::index(inference, &bytes)?))
            }
        }
    }
}

fn value(value: &Value) -> Response<Body> {
    // `{:#}` is JSON with line breaks, as TensorFlow Serving writes it.
    answer::json(format!("{value:#}\n").into_bytes())
}
