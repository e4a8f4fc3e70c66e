//! Answers to requests of the KBS protocol.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use adytum_api::{refusal::RefusalKind, resource::ResourcePath};
use adytum_crowd::bucket::{Buckets, Token};
use adytum_evidence::kbs_evidence;
use axum::{
    body::{Body, to_bytes},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, RETRY_AFTER, SET_COOKIE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    MAXIMUM_BODY_LENGTH,
    error::KbsError,
    jwe::{self, Jwe},
    message::{AttestRequest, AuthRequest},
    sessions::{Challenge, InRequest, LIFETIME, Sessions},
};
use crate::{
    broker::{
        Broker,
        release::others::{NameOfOthers, ReleasedSecret},
    },
    server::ServerLimits,
    telemetry::{
        log_limiter::LogLimiter,
        metrics::{GaugeGuard, Service},
    },
};

const PREFIX: &str = "/kbs/v0/";
/// What clients call the session in their cookies.
const COOKIE_NAME: &str = "kbs-session-id";
/// Where the reference server documents its errors.
const ERROR_TYPES: &str = "https://github.com/confidential-containers/kbs/errors/";
/// How long a secret may be used, for clients that know of leases.
const LEASE: HeaderName = HeaderName::from_static("adytum-lease-seconds");
/// ... and how much longer while no broker can be reached.
const GRACE: HeaderName = HeaderName::from_static("adytum-grace-seconds");

/// What all connections share.
pub(super) struct Kbs {
    pub(super) broker: Arc<Broker>,
    pub(super) limits: ServerLimits,
    pub(super) sessions: Sessions,
    /// Requests in progress that cost a verification or a release.
    pub(super) working: Arc<Semaphore>,
    /// Evidence that is not accepted, by address.
    pub(super) strangers: Arc<Buckets>,
    pub(super) log_limiter: LogLimiter,
}

/// An error as the protocol has it (after RFC 9457), with our code.
#[derive(Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    code: &'static str,
    retry: bool,
    /// `verdict`, where that is what it is: a workload that hears it gives up what it has.
    #[serde(rename = "kind", skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
}

impl Kbs {
    /// Answers a request, and counts it.
    pub(super) async fn answer(&self, address: SocketAddr, request: Request<Body>) -> Response {
        let (began, metrics) = (Instant::now(), self.broker.metrics());
        let _present = GaugeGuard::enter(&metrics.requests_in_flight);
        let answered = timeout(self.limits.request_timeout, self.dispatch(address, request)).await;
        let (code, response) = match answered.unwrap_or(Err(KbsError::Late)) {
            Ok(response) => ("ok", response),
            Err(error) => {
                self.refused(address, &error);
                (error.code(), problem(&error))
            }
        };
        metrics.request(Service::Kbs, code, began.elapsed());
        response
    }

    async fn dispatch(&self, address: SocketAddr, request: Request<Body>) -> Result<Response, KbsError> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix(PREFIX).ok_or(KbsError::PathUnknown)?;
        let (plugin, rest) = path.split_once('/').unwrap_or((path, ""));
        match (parts.method, plugin) {
            (Method::POST, "auth") if rest.is_empty() => self.auth(&self.body(body).await?),
            (Method::POST, "attest") if rest.is_empty() => {
                let body = self.body(body).await?;
                self.attest(address, &parts.headers, &body).await
            }
            (Method::GET, "resource") => self.resource(address, &parts.headers, rest).await,
            (_, "resource" | "attestation-policy" | "resource-policy" | "reference-value") => {
                Err(KbsError::Administration)
            }
            (_, "auth" | "attest") => Err(KbsError::PathUnknown),
            _ => Err(KbsError::PluginUnknown),
        }
    }

    fn auth(&self, body: &[u8]) -> Result<Response, KbsError> {
        let request = AuthRequest::parse(body)?;
        let (cookie, nonce) =
            self.sessions.challenge(request, Instant::now()).map_err(|_| KbsError::Overloaded)?;
        let extra = match request.chosen {
            Some(algorithm) => json!({ "selected-hash-algorithm": algorithm.to_string() }),
            None => json!(""),
        };
        Ok(with_cookie(&cookie, &json!({ "nonce": nonce, "extra-params": extra })))
    }

    async fn attest(
        &self,
        address: SocketAddr,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, KbsError> {
        let now = Instant::now();
        let cookie = cookie(headers).ok_or(KbsError::Session)?;
        let challenge = self.sessions.read(cookie, now).ok_or(KbsError::Session)?;
        let token = match self.sessions.attested(&challenge, now) {
            Some(there) => there.token.clone(),
            None => self.verify(address, &challenge, body).await?,
        };
        Ok(with_cookie(cookie, &json!({ "token": token })))
    }

    async fn verify(
        &self,
        address: SocketAddr,
        challenge: &Challenge,
        body: &[u8],
    ) -> Result<String, KbsError> {
        let request = AttestRequest::parse(body)?;
        if request.nonce != challenge.nonce {
            return Err(KbsError::Nonce);
        }
        let evidence = kbs_evidence::read(&request.evidence)?;
        // A peer with accepted evidence was no stranger.
        let stranger = self.stranger(address)?;
        let _working = self.working.try_acquire().map_err(|_| KbsError::Overloaded)?;
        let verifier = self.broker.verifier().borrow().clone();
        let claims = verifier.verify(&evidence).await?;
        if claims.tee() != challenge.tee {
            return Err(KbsError::OtherTee { named: challenge.tee, found: claims.tee() });
        }
        let expected = request.report_data(challenge.algorithm);
        if claims.report_data != expected {
            let (expected, found) = (expected.to_string(), claims.report_data.to_string());
            return Err(KbsError::Binding { expected, found });
        }
        stranger.give_back();
        let now = (Instant::now(), self.broker.now());
        self.sessions.attest(challenge, claims, request.key, address.ip().into(), now)
    }

    async fn resource(
        &self,
        address: SocketAddr,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Response, KbsError> {
        // Before the path is looked at: a peer without evidence learns nothing.
        let session = self.session(headers).ok_or(KbsError::Session)?;
        let path = ResourcePath::of_request(path)?;
        let _working = self.working.try_acquire().map_err(|_| KbsError::Overloaded)?;
        let asked = NameOfOthers::Kbs(&path);
        let released = self.broker.release_to_others(address, &session.claims, asked).await?;
        let ReleasedSecret { value, lease, .. } = released;
        let answer: Jwe = jwe::encrypt(&session.key, value.expose())?;
        let mut response = json(&answer);
        response.headers_mut().insert(LEASE, lease.duration.seconds().into());
        response.headers_mut().insert(GRACE, lease.grace.seconds().into());
        Ok(response)
    }

    fn session(&self, headers: &HeaderMap) -> Option<InRequest> {
        let now = Instant::now();
        let of_cookie = cookie(headers).and_then(|cookie| self.sessions.read(cookie, now));
        if let Some(session) = of_cookie.and_then(|challenge| self.sessions.attested(&challenge, now)) {
            return Some(session);
        }
        let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        self.sessions.of_token(token.trim(), now)
    }

    /// Counts evidence as a stranger's until it is accepted.
    fn stranger(&self, address: SocketAddr) -> Result<Token, KbsError> {
        self.strangers.take(address.ip().into(), Instant::now()).map_err(|_| KbsError::Overloaded)
    }

    async fn body(&self, body: Body) -> Result<axum::body::Bytes, KbsError> {
        let read = timeout(self.limits.body_timeout, to_bytes(body, MAXIMUM_BODY_LENGTH));
        match read.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) if is_too_long(&error) => Err(KbsError::TooLong),
            Ok(Err(error)) => {
                Err(KbsError::Malformed { reason: error.to_string().chars().take(256).collect() })
            }
            Err(_) => Err(KbsError::Late),
        }
    }

    /// Strangers are counted in the audit log; releases have records of their own.
    fn refused(&self, address: SocketAddr, error: &KbsError) {
        if matches!(error, KbsError::Release(_)) {
            return;
        }
        self.broker.audit().count(error.code());
        if let Some(suppressed) = self.log_limiter.may_write(tokio::time::Instant::now()) {
            tracing::info!(peer = %address.ip(), code = error.code(), %error, suppressed, "no answer over KBS");
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    use std::error::Error as _;
    error.source().is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

fn with_cookie(cookie: &str, body: &impl Serialize) -> Response {
    let mut response = json(body);
    let seconds = LIFETIME.as_secs();
    let cookie = format!("{COOKIE_NAME}={cookie}; Path=/; Max-Age={seconds}; HttpOnly");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn json(body: &impl Serialize) -> Response {
    // Texts under text keys always have a JSON form.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let fields = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (StatusCode::OK, fields, body).into_response()
}

fn problem(error: &KbsError) -> Response {
    let (code, retry) = (error.code(), error.retry());
    let kind = format!("{ERROR_TYPES}{}", error.name());
    let detail: String = format!("{code}: {error}").chars().take(4096).collect();
    let verdict = error.is_verdict().then(|| RefusalKind::Verdict.as_str());
    let mut response = json(&Problem { kind, detail, code, retry, verdict });
    *response.status_mut() = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    if error.status() == 503 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
