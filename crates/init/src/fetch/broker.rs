//! One attempt: an attested session with the pinned broker, and the request.

use std::{sync::Arc, time::Duration};

use adytum_api::{
    broker::{self as wire, GetSecretsRequest, key_broker_client::KeyBrokerClient},
    names::SecretName,
    refusal::{CODE, KIND, RETRY, RETRY_AFTER, RefusalKind},
};
use adytum_evidence::{
    claims::Claims, clock::floor::FloorClock, measurement::Sha256Digest, verifier::Verifier,
};
use adytum_governance::{
    announcement::BrokerAnnouncement,
    head::StateHead,
    heads::HeadGuard,
    pin::{BrokerPin, PinError},
};
use adytum_ratls::{
    configuration::ConnectorConfiguration,
    connector::AttestedConnector,
    error::{Refusal, SessionError},
    judge::PeerJudge,
    limits::Limits,
    session::{LocalAttestation, Peer},
};
use async_trait::async_trait;
use tonic::Code;

use super::{AttemptError, KeySource};
use crate::{
    answer::{Answer, AnswerError},
    certificate::CertificateKey,
    configuration::PinnedBroker,
};

/// How long the broker may take to answer within a session.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const MAXIMUM_ANSWER: usize = 16 * 1024 * 1024;

/// The broker releases secrets although its owners gave it no manifest yet.
///
/// Do: apply the first manifest. If the broker is to release by an Occlum configuration,
/// name its digest in the measured configuration (`occlum_configuration`).
///
/// Retry: no
const WITHOUT_MANIFEST: &str = "broker-without-manifest";

/// The pinned broker at an address.
pub(crate) struct AttestedBroker {
    connector: AttestedConnector,
    /// Remembers the broker's state while this process runs: who renews notices
    /// that an older one was put back.
    pinned: Arc<PinnedBrokers>,
    address: String,
    clock: Arc<FloorClock>,
}

impl AttestedBroker {
    /// The peer at `address` (`host:port`) must be the broker that the
    /// configuration pins. The clock adopts the floor that it announces: its evidence covers
    /// that, and only code that the configuration pins is believed.
    pub(crate) fn new(
        pinned: &PinnedBroker,
        address: String,
        verifier: Arc<Verifier>,
        local: LocalAttestation,
        clock: Arc<FloorClock>,
    ) -> Self {
        let pinned = Arc::new(PinnedBrokers::of(pinned));
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier,
            judge: pinned.clone(),
            local: Some(local),
            limits: Limits::default(),
        });
        Self { connector, pinned, address, clock }
    }

    /// Remembers the head of the state that the answer's own record is part of.
    fn remember(&self, head: Option<wire::StateHead>) -> Result<(), AttemptError> {
        let Some(head) = head else { return Ok(()) };
        let head =
            StateHead::try_from(head).map_err(|error| AnswerError::new(format!("its head: {error}")))?;
        self.pinned.seen.observe(head).map_err(|error| {
            let refusal = Refusal::verdict(error.code(), error.to_string());
            SessionError::Refused { peer: self.address.clone(), refusal }.into()
        })
    }
}

#[async_trait]
impl KeySource for AttestedBroker {
    async fn secrets(
        &self,
        asked: &[&SecretName],
        certificate: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError> {
        let certificate_request = certificate.map(CertificateKey::request).transpose()?;
        let seen = self.pinned.seen.seen().as_ref().map(Into::into);
        let session = self.connector.session(&self.address).await?;
        let announced = announcement(&session.info.peer);
        if let Some(announced) = &announced {
            self.clock.adopt(announced.clock_floor);
        }
        let occlum = announced.and_then(|announced| announced.occlum);
        let mut client = KeyBrokerClient::new(session.channel).max_decoding_message_size(MAXIMUM_ANSWER);
        let names = asked.iter().map(ToString::to_string).collect();
        let certificate_request = certificate_request.unwrap_or_default();
        let request = GetSecretsRequest { names, certificate_request, seen };
        match tokio::time::timeout(ANSWER_LIMIT, client.get_secrets(request)).await {
            Ok(Ok(answer)) => {
                let mut answer = answer.into_inner();
                if let Err(refusal) = by_owners(answer.manifest_version, occlum) {
                    return Err(SessionError::Refused { peer: self.address.clone(), refusal }.into());
                }
                self.remember(answer.head.take())?;
                Ok(Answer::from_wire(answer, asked, certificate)?)
            }
            Ok(Err(status)) => {
                Err(AttemptError::Refused { peer: self.address.clone(), refusal: refusal(&status) })
            }
            Err(_) => Err(SessionError::Timeout {
                peer: self.address.clone(),
                limit: ANSWER_LIMIT,
                step: "the answer to GetSecrets",
            }
            .into()),
        }
    }
}

/// What the broker of a session announced; a pin has accepted it.
fn announcement(peer: &Peer) -> Option<BrokerAnnouncement> {
    let Peer::Attested { announcement, .. } = peer else { return None };
    BrokerAnnouncement::decode(announcement).ok()
}

/// Owners sign every manifest. Secrets before the first manifest can only come from
/// the host that started the broker: they count if the pin names the configuration that gives them.
fn by_owners(manifest_version: u64, occlum: Option<Sha256Digest>) -> Result<(), Refusal> {
    if manifest_version == 0 && occlum.is_none() {
        let message = "the broker releases secrets before its owners gave it a manifest, and by no Occlum \
                       configuration that is pinned";
        return Err(Refusal::verdict(WITHOUT_MANIFEST, message));
    }
    Ok(())
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
    let retry = match text(RETRY) {
        Some("true") => true,
        Some("false") => false,
        _ => by_status,
    };
    let code = text(CODE).map_or_else(|| kebab_case(status.code()), str::to_owned);
    // A status that says nothing of its kind is no broker's: it judges nobody.
    let kind = text(KIND).and_then(RefusalKind::from_name).unwrap_or(RefusalKind::Outage);
    let retry_after_ms = text(RETRY_AFTER).and_then(|text| text.parse().ok());
    Refusal { code, message: status.message().to_owned(), retry, kind, retry_after_ms }
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

/// Accepts a broker that one of the configuration's pins accepts, unless it shows an older
/// state than before. A configuration has at least one pin.
#[derive(Debug)]
struct PinnedBrokers {
    pins: Vec<BrokerPin>,
    seen: HeadGuard,
}

impl PinnedBrokers {
    /// The pins of a configuration.
    fn of(broker: &PinnedBroker) -> Self {
        let pin = |policy: &_| BrokerPin {
            policy: Clone::clone(policy),
            genesis: broker.genesis,
            occlum: broker.occlum_configuration.clone(),
        };
        Self { pins: broker.policies.iter().map(pin).collect(), seen: HeadGuard::default() }
    }

    fn pinned(&self, claims: &Claims, announcement: &[u8]) -> Result<BrokerAnnouncement, Refusal> {
        let mut reason = Refusal::verdict("policy-refused", "the configuration pins no broker");
        for (index, pin) in self.pins.iter().enumerate() {
            match pin.judge(claims, announcement) {
                Ok(announcement) => return Ok(announcement),
                // The first pin's reason, unless a later one accepts the code and
                // misses the genesis only: that says more.
                Err(error)
                    if index == 0
                        || matches!(error, PinError::OtherGenesis { .. } | PinError::Occlum { .. }) =>
                {
                    reason = Refusal::verdict(error.code(), error.to_string());
                }
                Err(_) => {}
            }
        }
        Err(reason)
    }
}

impl PeerJudge for PinnedBrokers {
    fn judge(&self, claims: &Claims, announcement: &[u8]) -> Result<(), Refusal> {
        let announced = self.pinned(claims, announcement)?;
        self.seen.accept(announced.head).map_err(|error| Refusal {
            retry: error.retry(),
            ..Refusal::verdict(error.code(), error.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Status, metadata::MetadataMap};

    use super::*;

    #[test]
    fn before_the_first_manifest_only_a_configuration_that_is_pinned_gives_anything() {
        assert_eq!(by_owners(0, None).unwrap_err().code, "broker-without-manifest");
        assert!(by_owners(0, Some(Sha256Digest([1; 32]))).is_ok());
        assert!(by_owners(1, None).is_ok());
    }

    #[test]
    fn the_brokers_own_code_counts() {
        let mut metadata = MetadataMap::new();
        metadata.insert(CODE, "policy-refused".parse().unwrap());
        metadata.insert(RETRY, "false".parse().unwrap());
        metadata.insert(KIND, "verdict".parse().unwrap());
        let status = Status::with_metadata(Code::Unavailable, "no", metadata);
        assert_eq!(refusal(&status), Refusal::verdict("policy-refused", "no"));
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
        let bare = refusal(&Status::permission_denied(""));
        assert_eq!((bare.code.as_str(), bare.kind), ("grpc-permission-denied", RefusalKind::Outage));
    }
}
