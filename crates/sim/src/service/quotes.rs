//! Quotes and sealing keys for programs on other machines, which the service
//! believes to be what they say.

use adytum_evidence::measurement::Sha256Digest;
use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::post,
};

use super::{Service, refusal::Refusal};
use crate::{
    messages::{ProgramRequest, QuoteRequest, SealingKeyReply},
    quoting::Program,
};

pub(super) fn router() -> Router<Service> {
    Router::new().route("/quote", post(quote)).route("/sealing-key", post(sealing_key))
}

async fn quote(
    State(service): State<Service>,
    request: Result<Json<QuoteRequest>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(request) = request?;
    if !service.quote_latency.is_zero() {
        tokio::time::sleep(service.quote_latency).await;
    }
    let quote = service.platform.quote(&Program::from(&request.program), request.report_data)?;
    tracing::debug!(
        identity = %request.program.identity,
        quote = %Sha256Digest::of_bytes(&quote),
        "simulated quote"
    );
    Ok(([("content-type", "application/octet-stream")], quote).into_response())
}

async fn sealing_key(
    State(service): State<Service>,
    request: Result<Json<ProgramRequest>, JsonRejection>,
) -> Result<Json<SealingKeyReply>, Refusal> {
    let Json(request) = request?;
    let key = service.platform.sealing_key(&Program::from(&request))?;
    Ok(Json(SealingKeyReply::of(&key)))
}
