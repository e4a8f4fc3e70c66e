//! Evidence from a simulated platform that another process serves.

use std::{fmt, time::Duration};

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    evidence::{Evidence, MAXIMUM_EVIDENCE_LENGTH},
    measurement::{ReportData, WorkloadIdentity},
};
use async_trait::async_trait;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Serialize;

use crate::{
    attester::default_mr_signer,
    error::SimError,
    messages::{ErrorReply, ProgramRequest, QuoteRequest, SealingKeyReply},
};

/// How long one request may take; a service imitates slow hardware with at most
/// half of it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Attests that a workload runs on the simulated platform at a URL.
#[derive(Clone)]
pub struct RemoteSimAttester {
    service: String,
    client: Client<HttpConnector, Full<Bytes>>,
    program: ProgramRequest,
    sealing_key: SealingKey,
    quote_latency: Duration,
}

impl RemoteSimAttester {
    /// Attests to `identity` on the platform served at `url`
    /// (`http://HOST:PORT`), from which the sealing key is fetched at once.
    pub async fn connect(url: &str, identity: WorkloadIdentity) -> Result<Self, SimError> {
        let service = service_url(url)?;
        let program = ProgramRequest {
            identity,
            mr_signer: default_mr_signer(),
            isv_prod_id: 0,
            isv_svn: 0,
            config_svn: 0,
            debug: false,
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let operation = "fetching the sealing key";
        let answer = post(&client, &service, "sealing-key", operation, &program).await?;
        let sealing_key = serde_json::from_slice::<SealingKeyReply>(&answer)
            .ok()
            .and_then(|reply| reply.key())
            .ok_or_else(|| SimError::Answer {
                url: service.clone(),
                operation,
                expected: "a key of 64 hexadecimal digits",
                found: format!("{} other bytes", answer.len()),
            })?;
        Ok(Self { service, client, program, sealing_key, quote_latency: Duration::ZERO })
    }

    /// Waits this long for each quote, besides what the service waits.
    #[must_use]
    pub fn quote_latency(mut self, quote_latency: Duration) -> Self {
        self.quote_latency = quote_latency;
        self
    }
}

#[async_trait]
impl Attester for RemoteSimAttester {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        if !self.quote_latency.is_zero() {
            tokio::time::sleep(self.quote_latency).await;
        }
        let request = QuoteRequest { program: self.program.clone(), report_data };
        let quote = post(&self.client, &self.service, "quote", "quoting", &request).await?;
        Ok(Evidence::dcap_quote(quote))
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(Some(self.sealing_key.clone()))
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}

impl fmt::Debug for RemoteSimAttester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSimAttester")
            .field("service", &self.service)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// The URL without a slash at its end, if it is one of HTTP with a host and no
/// path of its own.
pub(crate) fn service_url(text: &str) -> Result<String, SimError> {
    let refused = || SimError::Location { text: text.to_owned() };
    let uri: Uri = text.parse().map_err(|_| refused())?;
    if uri.scheme_str() != Some("http") || uri.path() != "/" || uri.query().is_some() {
        return Err(refused());
    }
    let authority = uri.authority().filter(|it| !it.host().is_empty()).ok_or_else(refused)?;
    Ok(format!("http://{authority}"))
}

async fn post(
    client: &Client<HttpConnector, Full<Bytes>>,
    service: &str,
    path: &str,
    operation: &'static str,
    body: &impl Serialize,
) -> Result<Vec<u8>, SimError> {
    let unreachable = |reason: String| SimError::Unreachable { url: service.to_owned(), operation, reason };
    let body = serde_json::to_vec(body).map_err(|error| unreachable(error.to_string()))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{service}/simulation/{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body))
        .map_err(|error| unreachable(error.to_string()))?;

    let exchange = async {
        let response = client.request(request).await.map_err(|error| unreachable(causes(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAXIMUM_EVIDENCE_LENGTH)
            .collect()
            .await
            .map_err(|error| unreachable(causes(&*error)))?
            .to_bytes();
        Ok((status, body))
    };
    let (status, body) = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| unreachable(format!("no answer within {TIMEOUT:?}")))??;
    if status != StatusCode::OK {
        let found = match serde_json::from_slice::<ErrorReply>(&body) {
            Ok(error) => format!("{status}: {} ({})", error.message, error.code),
            Err(_) => status.to_string(),
        };
        return Err(SimError::Answer { url: service.to_owned(), operation, expected: "200 OK", found });
    }
    Ok(body.to_vec())
}

/// An error with all that caused it: the outermost alone says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
