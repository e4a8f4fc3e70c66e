//! One attempt: an attested session with the pinned broker, and the request.

use std::{sync::Arc, time::Duration};

use adytum_api::{
    broker::{self as wire, GetSecretsRequest, GetSecretsResponse, key_broker_client::KeyBrokerClient},
    names::SecretName,
};
use adytum_evidence::{claims::Claims, verifier::Verifier};
use adytum_ratls::{
    claims::{BrokerPin, PeerJudge, StateHead},
    connector::{AttestedConnector, ConnectorConfiguration},
    error::{Refusal, SessionError},
    heads::HeadGuard,
    limits::Limits,
    session::LocalAttestation,
};
use async_trait::async_trait;
use tonic::Code;

use super::AttemptError;
use crate::{answer::AnswerError, configuration::MeasuredConfiguration};

/// How long the broker may take to answer within a session.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const MAXIMUM_ANSWER: usize = 16 * 1024 * 1024;

/// Gives secrets, or says why not.
#[async_trait]
pub trait Broker: Send + Sync {
    /// All of these, or none; certificates for the key of the request (PKCS#10
    /// in DER), if there is one.
    async fn secrets(
        &self,
        names: &[&SecretName],
        certificate_request: Option<Vec<u8>>,
    ) -> Result<GetSecretsResponse, AttemptError>;
}

/// The pinned broker at an address.
pub struct AttestedBroker {
    connector: AttestedConnector,
    /// Remembers the broker's state while this process runs: who renews notices
    /// that an older one was put back.
    guard: Arc<HeadGuard<AnyOf>>,
    address: String,
}

impl AttestedBroker {
    /// Whoever answers at `address` (`host:port`) must be the broker that the
    /// configuration pins.
    pub fn new(
        configuration: &MeasuredConfiguration,
        address: String,
        verifier: Arc<Verifier>,
        local: LocalAttestation,
    ) -> Self {
        let guard = Arc::new(HeadGuard::new(AnyOf::pinned(configuration)));
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier,
            judge: guard.clone(),
            local: Some(local),
            limits: Limits::default(),
        });
        Self { connector, guard, address }
    }

    /// Remembers the head of the state that the answer's own record is part of.
    fn remember(&self, head: Option<wire::StateHead>) -> Result<(), AttemptError> {
        let Some(head) = head else { return Ok(()) };
        let head =
            StateHead::try_from(head).map_err(|error| AnswerError::new(format!("its head: {error}")))?;
        self.guard.observe(head).map_err(|error| {
            let refusal = Refusal::permanent(error.code(), error.to_string());
            SessionError::Refused { peer: self.address.clone(), refusal }.into()
        })
    }
}

#[async_trait]
impl Broker for AttestedBroker {
    async fn secrets(
        &self,
        names: &[&SecretName],
        certificate_request: Option<Vec<u8>>,
    ) -> Result<GetSecretsResponse, AttemptError> {
        let seen = self.guard.seen().as_ref().map(Into::into);
        let session = self.connector.session(&self.address).await?;
        let mut client = KeyBrokerClient::new(session.channel).max_decoding_message_size(MAXIMUM_ANSWER);
        let names = names.iter().map(ToString::to_string).collect();
        let certificate_request = certificate_request.unwrap_or_default();
        let request = GetSecretsRequest { names, certificate_request, seen };
        match tokio::time::timeout(ANSWER_LIMIT, client.get_secrets(request)).await {
            Ok(Ok(answer)) => {
                let mut answer = answer.into_inner();
                self.remember(answer.head.take())?;
                Ok(answer)
            }
            Ok(Err(status)) => Err(AttemptError::Refused {
                peer: self.address.clone(),
                status: status.code(),
                refusal: refusal(&status),
            }),
            Err(_) => Err(SessionError::Timeout {
                peer: self.address.clone(),
                limit: ANSWER_LIMIT,
                step: "the answer to GetSecrets",
            }
            .into()),
        }
    }
}

/// Reads a refusal out of a gRPC status.
fn refusal(status: &tonic::Status) -> Refusal {
    let text = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    let by_status = matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Cancelled
    );
    let retry = match text("adytum-retry") {
        Some("true") => true,
        Some("false") => false,
        _ => by_status,
    };
    let code = text("adytum-code").map_or_else(|| kebab_case(status.code()), str::to_owned);
    Refusal { code, message: status.message().to_owned(), retry }
}

/// `PermissionDenied` as `grpc-permission-denied`.
fn kebab_case(code: Code) -> String {
    let mut text = "grpc".to_owned();
    for character in format!("{code:?}").chars() {
        if character.is_ascii_uppercase() {
            text.push('-');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}

/// Accepts a broker that one of several pins accepts. Never empty, since a
/// configuration has at least one policy.
#[derive(Clone, Debug)]
pub struct AnyOf(Vec<BrokerPin>);

impl AnyOf {
    /// The pins of a configuration.
    pub fn pinned(configuration: &MeasuredConfiguration) -> Self {
        let broker = configuration.broker();
        let pin = |policy: &_| BrokerPin { policy: Clone::clone(policy), genesis: broker.genesis };
        Self(broker.policies.iter().map(pin).collect())
    }
}

impl PeerJudge for AnyOf {
    fn judge(&self, claims: &Claims, session_claims: &[u8]) -> Result<(), Refusal> {
        let mut reason = Refusal::permanent("policy-refused", "the configuration pins no broker");
        for (index, pin) in self.0.iter().enumerate() {
            match pin.judge(claims, session_claims) {
                Ok(()) => return Ok(()),
                // The first pin's reason, unless a later one accepts the code and
                // misses the genesis only: that says more.
                Err(refusal) if index == 0 || refusal.code == "genesis-mismatch" => reason = refusal,
                Err(_) => {}
            }
        }
        Err(reason)
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Status, metadata::MetadataMap};

    use super::*;

    #[test]
    fn the_brokers_own_code_counts() {
        let mut metadata = MetadataMap::new();
        metadata.insert("adytum-code", "policy-refused".parse().unwrap());
        metadata.insert("adytum-retry", "false".parse().unwrap());
        let status = Status::with_metadata(Code::Unavailable, "no", metadata);
        assert_eq!(
            refusal(&status),
            Refusal { code: "policy-refused".to_owned(), message: "no".to_owned(), retry: false }
        );
    }

    #[test]
    fn without_it_the_status_decides() {
        for (code, retry) in [
            (Code::Unavailable, true),
            (Code::ResourceExhausted, true),
            (Code::PermissionDenied, false),
            (Code::NotFound, false),
            (Code::Internal, false),
        ] {
            assert_eq!(refusal(&Status::new(code, "")).retry, retry, "{code:?}");
        }
        assert_eq!(refusal(&Status::permission_denied("")).code, "grpc-permission-denied");
    }
}
