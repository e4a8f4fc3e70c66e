//! Quotes and sealing keys for programs on other machines, which the service
//! believes to be what they say.

use adytum_evidence::{
    attester::SealingKey,
    measurement::{MrEnclave, MrSigner, ReportData, Sha256Digest, WorkloadIdentity},
};
use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{Service, refusal::Refusal};
use crate::{attester::default_mr_signer, quoting::Program};

/// What a program says that it is. All but the identity may be left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramRequest {
    pub(crate) identity: WorkloadIdentity,
    #[serde(default = "default_mr_signer")]
    pub(crate) mr_signer: MrSigner,
    #[serde(default)]
    pub(crate) isv_prod_id: u16,
    #[serde(default)]
    pub(crate) isv_svn: u16,
    #[serde(default)]
    pub(crate) config_svn: u16,
    #[serde(default)]
    pub(crate) debug: bool,
}

/// `POST /simulation/quote`; the answer is the quote's bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct QuoteRequest {
    #[serde(flatten)]
    pub(crate) program: ProgramRequest,
    pub(crate) report_data: ReportData,
}

/// The answer to `POST /simulation/sealing-key`, whose request is a
/// [`ProgramRequest`].
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
pub(crate) struct SealingKeyReply {
    /// The digest as 64 hexadecimal digits.
    sealing_key: String,
}

impl SealingKeyReply {
    /// The key, unless the text is none.
    pub(crate) fn key(&self) -> Option<SealingKey> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.sealing_key.as_bytes(), &mut *key).ok()?;
        Some(SealingKey(key))
    }
}

impl From<&ProgramRequest> for Program {
    fn from(request: &ProgramRequest) -> Self {
        Self {
            mr_enclave: MrEnclave(request.identity.0),
            mr_signer: request.mr_signer,
            isv_prod_id: request.isv_prod_id,
            isv_svn: request.isv_svn,
            config_svn: request.config_svn,
            debug: request.debug,
        }
    }
}

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
    Ok(Json(SealingKeyReply { sealing_key: hex::encode(*key.0) }))
}
