//! One round: challenge, evidence, resources.

use std::{sync::Arc, time::Duration};

use adytum_evidence::{attester::Attester, claims::TeeKind, kbs_evidence, measurement::ReportData};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, Request, header};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::{
    KbsError, ResourcePath,
    jwe::{TeeKey, bound, read_jwe},
};
use crate::http_exchange::{Answer, ExchangeError, HttpClient};

/// The version of the protocol: a KBS takes exactly this one.
const VERSION: &str = "0.4.0";
/// The cookie of a session.
const SESSION: &str = "kbs-session-id";
/// For how many seconds a resource may be used, in answers of our own broker.
const LEASE: &str = "adytum-lease-seconds";
/// How many seconds longer while no broker can be reached.
const GRACE: &str = "adytum-grace-seconds";
/// For one round.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Of a reason, this many characters are repeated.
const LONGEST_REASON: usize = 500;

/// How a KBS is asked.
#[derive(Clone)]
pub struct KbsOptions {
    /// `https://HOST:PORT`.
    pub url: String,
    /// Where it is reached, if not where the URL says: `HOST:PORT`.
    pub address: Option<String>,
    /// What its certificate must chain to.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Gets resources from one KBS, as a program in a TEE.
pub struct KbsClient {
    options: KbsOptions,
    http: HttpClient,
    attester: Arc<dyn Attester>,
    deadline: Duration,
}

/// What a KBS gave.
pub struct Resources {
    /// In the order in which they were asked for.
    pub values: Vec<Zeroizing<Vec<u8>>>,
    /// For how long they may be used, and how much longer while the KBS can't be reached. Our own
    /// broker says it, others don't.
    pub lease: Option<(Duration, Duration)>,
}

/// The hashes that are offered.
#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Challenge {
    nonce: String,
    #[serde(default)]
    extra_params: Value,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    detail: String,
}

impl Hash {
    /// The one that a challenge names; SHA-384 if it names none.
    fn of(challenge: &Challenge) -> Result<Self, KbsError> {
        match challenge.extra_params.get("selected-hash-algorithm") {
            None => Ok(Self::Sha384),
            Some(Value::String(name)) => match name.to_ascii_lowercase().as_str() {
                "sha256" => Ok(Self::Sha256),
                "sha384" => Ok(Self::Sha384),
                "sha512" => Ok(Self::Sha512),
                other => Err(KbsError::Hash { found: other.chars().take(40).collect() }),
            },
            Some(_) => Err(KbsError::Answer { step: "auth" }),
        }
    }

    fn report_data(self, text: &str) -> ReportData {
        let mut data = [0; 64];
        let digest = match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha384 => Sha384::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        };
        data.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        ReportData(data)
    }
}

impl KbsClient {
    /// A client of this KBS.
    pub fn new(options: KbsOptions, attester: Arc<dyn Attester>) -> Result<Self, KbsError> {
        if !options.url.starts_with("https://") {
            let reason =
                "the protocol does not attest the server, so its certificate has to say who it is".to_owned();
            return Err(KbsError::Url { url: options.url, reason });
        }
        let http = HttpClient::new(&options.roots).map_err(|reason| KbsError::Roots { reason })?;
        Ok(Self { options, http, attester, deadline: DEADLINE })
    }

    /// The same with another limit for each round.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// These resources, or none.
    pub async fn resources(&self, paths: &[&ResourcePath]) -> Result<Resources, KbsError> {
        let slow = |_| KbsError::Slow { limit: self.deadline };
        tokio::time::timeout(self.deadline, self.ask_for(paths)).await.map_err(slow)?
    }

    async fn ask_for(&self, paths: &[&ResourcePath]) -> Result<Resources, KbsError> {
        let key = TeeKey::generate()?;
        let cookie = self.attest(&key).await?;
        let (mut values, mut lease) = (Vec::with_capacity(paths.len()), None);
        for path in paths {
            let step = "a resource";
            let path = format!("/kbs/v0/resource/{path}");
            let answer = self.send(step, Method::GET, &path, Some(&cookie), String::new()).await?;
            lease = shorter(lease, lent(&answer.headers));
            values.push(key.open(&read_jwe(&answer.body)?)?);
        }
        Ok(Resources { values, lease })
    }

    /// Gives the cookie of a session in which this program's evidence was accepted.
    async fn attest(&self, key: &TeeKey) -> Result<String, KbsError> {
        // Which TEE it is, a quote says; the challenge comes after its name.
        let tee = self.tee().await?;
        let offer = json!({
            "version": VERSION,
            "tee": tee,
            "extra-params": {"supported-hash-algorithms": ["sha256", "sha384", "sha512"]},
        });
        let step = "auth";
        let answer = self.send(step, Method::POST, "/kbs/v0/auth", None, offer.to_string()).await?;
        let cookie = session(&answer.headers).ok_or(KbsError::Answer { step })?;
        let challenge: Challenge = read(step, &answer)?;
        // It goes into canonical JSON as it is.
        if STANDARD.decode(&challenge.nonce).is_err() {
            return Err(KbsError::Answer { step });
        }
        let jwk = key.jwk();
        let report_data = Hash::of(&challenge)?.report_data(&bound(&challenge.nonce, &jwk));
        let evidence = self.attester.evidence(report_data).await?;
        let (_, primary) = kbs_evidence::write(&evidence)?;
        let jwk: Value = serde_json::from_str(&jwk).map_err(|_| KbsError::Answer { step: "attest" })?;
        let shown = json!({
            "runtime-data": {"nonce": challenge.nonce, "tee-pubkey": jwk},
            "tee-evidence": {"primary_evidence": primary, "additional_evidence": ""},
        });
        self.send("attest", Method::POST, "/kbs/v0/attest", Some(&cookie), shown.to_string()).await?;
        Ok(cookie)
    }

    async fn tee(&self) -> Result<&'static str, KbsError> {
        let evidence = self.attester.evidence(ReportData([0; 64])).await?;
        match kbs_evidence::write(&evidence)?.0 {
            TeeKind::Sgx => Ok("sgx"),
            TeeKind::Tdx => Ok("tdx"),
            TeeKind::Snp => Ok("snp"),
            other => Err(KbsError::Platform { found: other.to_string() }),
        }
    }

    async fn send(
        &self,
        step: &'static str,
        method: Method,
        path: &str,
        cookie: Option<&str>,
        body: String,
    ) -> Result<Answer, KbsError> {
        let url = format!("{}{path}", self.options.url.trim_end_matches('/'));
        let unusable = |reason: String| KbsError::Url { url: url.clone(), reason };
        let mut request = Request::builder().method(method).uri(&url);
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(body).map_err(|error| unusable(error.to_string()))?;
        let answer = self.http.send(request, self.options.address.as_deref()).await;
        let answer = answer.map_err(|error| match error {
            ExchangeError::Url(reason) => unusable(reason),
            ExchangeError::Unreachable(reason) => {
                KbsError::Unreachable { url: self.options.url.clone(), reason }
            }
            ExchangeError::TooLarge => KbsError::TooLarge { step },
        })?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let detail = serde_json::from_slice::<Problem>(&answer.body)
            .map_or_else(|_| String::new(), |said| said.detail);
        let printable = detail.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        let reason = printable.take(LONGEST_REASON).collect();
        Err(KbsError::Refused { step, status: answer.status.as_u16(), reason })
    }
}

fn read<T: DeserializeOwned>(step: &'static str, answer: &Answer) -> Result<T, KbsError> {
    serde_json::from_slice(&answer.body).map_err(|_| KbsError::Answer { step })
}

type Lent = Option<(Duration, Duration)>;

/// The lease and its grace, where the server is a broker of ours.
fn lent(headers: &HeaderMap) -> Lent {
    let seconds = |name| headers.get(name)?.to_str().ok()?.parse().ok().map(Duration::from_secs);
    let lease = seconds(LEASE).filter(|lease| !lease.is_zero())?;
    Some((lease, seconds(GRACE).unwrap_or_default()))
}

fn shorter(one: Lent, other: Lent) -> Lent {
    match (one, other) {
        (Some((lease, grace)), Some(other)) => Some((lease.min(other.0), grace.min(other.1))),
        (one, other) => one.or(other),
    }
}

/// The session's cookie, without its attributes.
fn session(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split(';').next())
        .find(|cookie| cookie.trim().starts_with(&format!("{SESSION}=")))
        .map(|cookie| cookie.trim().to_owned())
}
