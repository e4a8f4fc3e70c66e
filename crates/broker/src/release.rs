//! Release: what a workload gets, recorded before it is given.

use adytum_api::{
    broker,
    names::{NameError, SecretName},
};
use adytum_evidence::claims::Claims;
use adytum_ratls::session::{Peer, SessionInfo};
use adytum_sealed::rule::ModelRule;

use crate::{
    broker::Broker,
    confirmation::SeenError,
    decide::{Grant, Mismatch, Reason, Refusal, Rules, Verdict, decide},
    events::{AttestedWho, Event, RecordError, Who},
};

/// The most names in one request: the answer stays within the message limit
/// that gRPC clients have by default (32 x 64 KiB = 2 MiB).
pub const MAXIMUM_NAMES: usize = 32;

/// Why nothing is released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The peer gave no evidence.
    #[error(
        "secrets are released only to programs that attest, and this session's client gave no evidence; \
         connect from inside a TEE"
    )]
    EvidenceRequired,
    /// More than [`MAXIMUM_NAMES`].
    #[error(
        "the request names {found} secrets; at most {MAXIMUM_NAMES} are allowed, so ask in several requests"
    )]
    TooManyNames {
        /// How many it names.
        found: usize,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A name that stands there twice.
    #[error("the request names {name} twice")]
    DuplicateName {
        /// The name.
        name: SecretName,
    },
    /// The rules say no.
    #[error("{}", .0.explanation())]
    Refused(Box<Refusal>),
    /// After an unplanned restart no owner has confirmed the state yet.
    #[error(
        "the broker restarted unplanned and waits for an owner to confirm its state with `adytum broker confirm`"
    )]
    AwaitingConfirmation,
    /// The root key went to another broker.
    #[error("this broker handed its root key to the next one and releases nothing any more: go to that one")]
    Fenced,
    /// The broker's state does not continue the one that the peer has seen.
    #[error(transparent)]
    Seen(#[from] SeenError),
    /// The event could not be recorded, so nothing was released.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl ReleaseError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EvidenceRequired => "evidence-required",
            Self::TooManyNames { .. } => "too-many-names",
            Self::Name(_) => "name-malformed",
            Self::DuplicateName { .. } => "name-duplicate",
            Self::Refused(refusal) => refusal.reason().code(),
            Self::AwaitingConfirmation => "awaiting-confirmation",
            Self::Fenced => "fenced",
            Self::Seen(error) => error.code(),
            Self::Record(error) => error.code,
        }
    }

    /// May the same request pass later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.reason() == Reason::SecretHasNoValue,
            Self::Record(error) => error.retry(),
            Self::AwaitingConfirmation | Self::Fenced => true,
            Self::Seen(error) => error.retry(),
            _ => false,
        }
    }
}

impl Broker {
    /// Releases all named secrets to the peer of this session, or none.
    pub async fn release(
        &self,
        session: &SessionInfo,
        names: &[String],
    ) -> Result<broker::GetSecretsResponse, ReleaseError> {
        // Before the names are looked at: a peer without evidence learns nothing.
        let Peer::Attested { claims, .. } = &session.peer else {
            tracing::debug!(peer = %session.peer_address, "secrets asked for without evidence");
            self.audit().count(ReleaseError::EvidenceRequired.code());
            return Err(ReleaseError::EvidenceRequired);
        };
        // Not even recorded: its log is closed.
        if self.is_fenced() {
            return Err(ReleaseError::Fenced);
        }
        let names = match self.admissible(names) {
            Ok(names) => names,
            Err(error) => {
                self.refuse(session, error.code(), error.to_string()).await?;
                return Err(error);
            }
        };
        let state = self.state();
        let rules = Rules { admitted: state.admitted.as_deref(), reference: self.reference() };
        let manifest_version = state.manifest_version();
        let decision = decide(rules, &state.secrets, claims, &names);
        let who = who(session, claims);
        let events = match &decision {
            Ok(grant) => granted(&who, grant, manifest_version),
            Err(refusal) => refused(&who, refusal, manifest_version),
        };
        self.record(&events).await?;
        let grant = decision.map_err(|refusal| ReleaseError::Refused(Box::new(refusal)))?;
        Ok(answer(&grant, manifest_version))
    }

    /// Records that a request was refused before any rule was looked at, if the
    /// peer of this session has accepted evidence.
    pub(crate) async fn refuse(
        &self,
        session: &SessionInfo,
        code: &'static str,
        reason: String,
    ) -> Result<(), ReleaseError> {
        let Peer::Attested { claims, .. } = &session.peer else { return Ok(()) };
        let (who, manifest_version) = (who(session, claims), self.state().manifest_version());
        let refused = Event::Refused { who, secret: None, code, rule: reason, manifest_version };
        Ok(self.record(&[refused]).await?)
    }

    /// What can be said of a request before any rule is looked at.
    fn admissible(&self, names: &[String]) -> Result<Vec<SecretName>, ReleaseError> {
        if self.awaiting_confirmation() {
            return Err(ReleaseError::AwaitingConfirmation);
        }
        parse_names(names)
    }
}

fn parse_names(names: &[String]) -> Result<Vec<SecretName>, ReleaseError> {
    if names.len() > MAXIMUM_NAMES {
        return Err(ReleaseError::TooManyNames { found: names.len() });
    }
    let mut parsed: Vec<SecretName> = Vec::with_capacity(names.len());
    for name in names {
        let name: SecretName = name.parse()?;
        if parsed.contains(&name) {
            return Err(ReleaseError::DuplicateName { name });
        }
        parsed.push(name);
    }
    Ok(parsed)
}

fn who(session: &SessionInfo, claims: &Claims) -> Who {
    Who { address: session.peer_address, attested: Some(AttestedWho::new(claims)) }
}

fn granted(who: &Who, grant: &Grant<'_>, manifest_version: u64) -> Vec<Event> {
    if grant.secrets.is_empty() {
        let rule = grant.matched.first().map(ToString::to_string).unwrap_or_default();
        let who = who.clone();
        return vec![Event::Granted { who, secret: None, secret_version: 0, rule, manifest_version }];
    }
    let one = |secret: &crate::decide::GrantedSecret<'_>| Event::Granted {
        who: who.clone(),
        secret: Some(secret.name.clone()),
        secret_version: secret.version,
        rule: secret.by.to_string(),
        manifest_version,
    };
    grant.secrets.iter().map(one).collect()
}

fn refused(who: &Who, refusal: &Refusal, manifest_version: u64) -> Vec<Event> {
    let event = |secret: Option<SecretName>, code, rule| Event::Refused {
        who: who.clone(),
        secret,
        code,
        rule,
        manifest_version,
    };
    if refusal.verdicts.is_empty() {
        return vec![event(None, refusal.reason().code(), describe(&refusal.mismatches))];
    }
    refusal
        .verdicts
        .iter()
        .map(|(name, verdict)| {
            let (code, rule) = match verdict {
                Verdict::Withheld { by } => ("secret-withheld", format!("{by}; another name was refused")),
                Verdict::NoValue { by } => (Reason::SecretHasNoValue.code(), by.to_string()),
                Verdict::Refused { mismatches } => (Reason::SecretRefused.code(), describe(mismatches)),
                Verdict::Unknown => (Reason::SecretUnknown.code(), "no rule names it".to_owned()),
            };
            event(Some(name.clone()), code, rule)
        })
        .collect()
}

/// The nearest few: an event has a bounded length too.
fn describe(mismatches: &[Mismatch]) -> String {
    const SHOWN: usize = 4;
    let shown = mismatches.iter().take(SHOWN).map(|mismatch| {
        let failures: Vec<String> = mismatch.failures.iter().map(ToString::to_string).collect();
        format!("not {}: {}", mismatch.workload, failures.join(", "))
    });
    let mut text = shown.collect::<Vec<_>>().join("; ");
    if mismatches.len() > SHOWN {
        text.push_str(&format!("; and {} more", mismatches.len() - SHOWN));
    }
    text
}

fn answer(grant: &Grant<'_>, manifest_version: u64) -> broker::GetSecretsResponse {
    broker::GetSecretsResponse {
        secrets: grant
            .secrets
            .iter()
            .map(|secret| broker::Secret {
                name: secret.name.to_string(),
                kind: secret.kind.to_wire().into(),
                value: secret.value.expose().to_vec(),
                version: secret.version,
                ..broker::Secret::default()
            })
            .collect(),
        models: grant.models.iter().map(|rule| model(rule)).collect(),
        manifest_version,
        ..broker::GetSecretsResponse::default()
    }
}

fn model(rule: &ModelRule) -> broker::ModelRule {
    broker::ModelRule {
        name: rule.name.to_string(),
        signers: rule.signers.iter().map(|signer| signer.0.to_vec()).collect(),
        minimum_version: rule.minimum_version,
        digests: rule.digests.iter().map(|digest| digest.0.to_vec()).collect(),
    }
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
