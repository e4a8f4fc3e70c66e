//! Release: what a workload gets, recorded before it is given. `answer` puts it
//! together, certificates included. [`others`] is for the protocols of others.

mod answer;
pub mod others;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use adytum_api::{
    broker,
    names::{NameError, SecretName},
};
use adytum_evidence::claims::Claims;
use adytum_governance::{
    announcement::{AnnouncementError, WorkloadAnnouncement},
    audit::events::{AttestedWho, Event, Protocol, Who},
    decide::{Grant, Listing, Mismatches, Reason, Refusal, Rules, Verdict, decide},
};
use adytum_ratls::session::{Peer, SessionInfo};

use self::answer::Certificates;
use super::{Broker, confirmation::SeenError, state::State};
use crate::{
    audit::sink::RecordError,
    certificate_authority::{AuthorityError, RequestError},
};

/// The most names in one request: the answer stays within the message limit
/// that gRPC clients have by default (32 x 64 KiB = 2 MiB).
pub const MAXIMUM_NAMES: usize = 32;

/// How often one request is decided again because the state changed meanwhile.
const DECISIONS: usize = 8;

/// Why nothing is released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The client gave no evidence, and the broker gives secrets and its root key only to
    /// programs that attest.
    ///
    /// Do: connect from a program inside a TEE, such as `adytum-init`.
    #[error(
        "secrets are released only to programs that attest, and this session's client gave no evidence; \
         connect from inside a TEE"
    )]
    EvidenceRequired,
    /// What the peer says of itself can't be read.
    #[error("the workload's announcement: {0}")]
    Announcement(#[from] AnnouncementError),
    /// The request names more secrets than [`MAXIMUM_NAMES`].
    ///
    /// Do: ask for the secrets in several requests.
    #[error(
        "the request names {found} secrets; at most {MAXIMUM_NAMES} are allowed, so ask in several requests"
    )]
    TooManyNames {
        /// How many it names.
        found: usize,
    },
    /// A name in the request can't be a name of a secret.
    ///
    /// See: `CommandError::Name`
    #[error(transparent)]
    Name(#[from] NameError),
    /// The request names a secret twice.
    ///
    /// Do: name each secret once in the workload's configuration.
    #[error("the request names {name} twice; name it once")]
    DuplicateName { name: SecretName },
    /// The rules say no.
    #[error("{}", .0.explanation())]
    Refused(Box<Refusal>),
    /// The manifest in force gives no secret this name in the protocol of others that the
    /// workload speaks.
    ///
    /// Do: correct the name in the workload's configuration, or give a secret that name in the
    /// manifest (`kbs_resource`, `occlum`) and apply that.
    #[error(
        "no secret has the name {asked:?} in this protocol; correct it, or have the owners give one this name in the \
         manifest with `{field}`"
    )]
    UnknownToOthers {
        asked: String,
        /// The field of the manifest that gives such names.
        field: &'static str,
    },
    /// The secret has more bytes than clients of this protocol take.
    ///
    /// Do: shorten the value, or deliver it as a sealed bundle (`adytum seal --bundle`).
    #[error("the secret {name} has {found} bytes, and clients of this protocol take at most {limit}")]
    TooLongForOthers { name: SecretName, found: usize, limit: usize },
    /// The certificate request can't be answered.
    #[error(transparent)]
    CertificateRequest(#[from] RequestError),
    /// The certificate authority fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// After an unplanned restart the owners have not confirmed the state yet.
    ///
    /// See: `NotReady::AwaitingConfirmation`
    #[error(
        "the broker restarted unplanned, releases nothing yet and waits for the owners to confirm its state with \
         `adytum broker confirm`"
    )]
    AwaitingConfirmation,
    /// The broker's rules or secrets changed each time while the answer was recorded.
    ///
    /// Do: ask again after some seconds.
    #[error("the broker's rules change faster than it can answer; try again shortly")]
    Changing,
    /// The root key went to another broker.
    ///
    /// See: `NotReady::Fenced`
    #[error(
        "this broker handed its root key to the next one and releases nothing any more; use the address of the \
         next broker"
    )]
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
            Self::Announcement(error) => error.code(),
            Self::TooManyNames { .. } => "too-many-names",
            Self::Name(_) => "name-malformed",
            Self::DuplicateName { .. } => "name-duplicate",
            Self::Refused(refusal) => refusal.reason().code(),
            Self::UnknownToOthers { .. } => "secret-unknown-to-others",
            Self::TooLongForOthers { .. } => "secret-too-long-for-others",
            Self::CertificateRequest(error) => error.code(),
            Self::Authority(error) => error.code(),
            Self::AwaitingConfirmation => "awaiting-confirmation",
            Self::Changing => "state-changing",
            Self::Fenced => "fenced",
            Self::Seen(error) => error.code(),
            Self::Record(error) => error.code(),
        }
    }

    /// May the same request pass later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                matches!(refusal.reason(), Reason::SecretHasNoValue | Reason::CollateralTooOld)
            }
            Self::Record(error) => error.retry(),
            Self::AwaitingConfirmation | Self::Changing | Self::Fenced | Self::Authority(_) => true,
            Self::Seen(error) => error.retry(),
            _ => false,
        }
    }
}

impl Broker {
    /// Releases all named secrets to the peer of this session, or none. The head that
    /// the peer has seen is the caller's to look at: [`Broker::continues`].
    pub async fn release(
        &self,
        session: &SessionInfo,
        request: &broker::GetSecretsRequest,
    ) -> Result<broker::GetSecretsResponse, ReleaseError> {
        // Before the names are looked at: a peer without evidence learns nothing.
        let Peer::Attested { claims, announcement } = &session.peer else {
            return Err(self.without_evidence(session));
        };
        // Not even recorded: its log is closed.
        if self.is_fenced() {
            return Err(ReleaseError::Fenced);
        }
        let names = match self.admissible(&request.names) {
            Ok(names) => names,
            Err(error) => {
                self.refuse(session, error.code(), error.to_string()).await?;
                return Err(error);
            }
        };
        let claims = match WorkloadAnnouncement::decode(announcement) {
            Ok(announced) => Claims::clone(claims).announcing(announced.map(|announced| announced.identity)),
            Err(error) => {
                self.refuse(session, error.code(), error.to_string()).await?;
                return Err(error.into());
            }
        };
        for _ in 0..DECISIONS {
            let state = self.state();
            let answer = self.release_under(&state, session, &claims, &names, request).await?;
            // A decision from before a change is not given out after it.
            if Arc::ptr_eq(&state, &self.state()) {
                return Ok(answer);
            }
        }
        Err(ReleaseError::Changing)
    }

    /// Counts a request for secrets of a peer that gave no evidence; gives the answer.
    pub(crate) fn without_evidence(&self, session: &SessionInfo) -> ReleaseError {
        tracing::debug!(peer = %session.peer_address, "secrets asked for without evidence");
        self.audit().count(ReleaseError::EvidenceRequired.code());
        ReleaseError::EvidenceRequired
    }

    async fn release_under(
        &self,
        state: &State,
        session: &SessionInfo,
        claims: &Claims,
        names: &[SecretName],
        request: &broker::GetSecretsRequest,
    ) -> Result<broker::GetSecretsResponse, ReleaseError> {
        let (admitted, time) = (state.admitted.as_deref(), self.grace_time());
        let rules = Rules { admitted, occlum: self.occlum(), time };
        let manifest_version = state.manifest_version();
        let decision = decide(rules, &state.secrets, claims, names, Listing::BRIEF);
        let who = who(session, claims);
        let grant = match decision {
            Ok(grant) => grant,
            Err(refusal) => {
                self.record(&refused(&who, &refusal, manifest_version)).await?;
                return Err(ReleaseError::Refused(Box::new(refusal)));
            }
        };
        let authority = state.authority.as_deref();
        let certificates =
            match Certificates::issue(authority, &grant, &request.certificate_request, self.now()) {
                Ok(certificates) => certificates,
                Err(error) => {
                    self.refuse(session, error.code(), error.to_string()).await?;
                    return Err(error);
                }
            };
        let now = self.now();
        self.record(&granted(&who, &grant, &certificates, manifest_version)).await?;
        self.clock.used(now);
        self.seen.granted(claims, &grant.matched);
        let head = Some((&self.store().head()).into());
        Ok(broker::GetSecretsResponse { head, ..certificates.answer(&grant, state.manifest_in_force()) })
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
        self.refuse_to(who(session, claims), code, reason).await
    }

    async fn refuse_to(&self, who: Who, code: &'static str, reason: String) -> Result<(), ReleaseError> {
        let manifest_version = self.state().manifest_version();
        let refused = Event::Refused { who, secret: None, code, rule: reason, manifest_version };
        Ok(self.record(&[refused]).await?)
    }

    /// The checks of a request that need no rule.
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
    Who {
        address: session.peer_address,
        protocol: Protocol::Session,
        attested: Some(AttestedWho::new(claims)),
    }
}

fn granted(
    who: &Who,
    grant: &Grant<'_>,
    certificates: &Certificates<'_>,
    manifest_version: u64,
) -> Vec<Event> {
    let grace = grant.in_grace_until.map(|day| format!(", within tcb_grace until {day}")).unwrap_or_default();
    if grant.secrets.is_empty() {
        let rule = grant.matched.first().map(ToString::to_string).unwrap_or_default() + &grace;
        let who = who.clone();
        return vec![Event::Granted { who, secret: None, secret_version: 0, rule, manifest_version }];
    }
    let one = |secret: &adytum_governance::decide::GrantedSecret<'_>| Event::Granted {
        who: who.clone(),
        secret: Some(secret.name.clone()),
        secret_version: secret.version,
        rule: format!("{}{grace}{}", secret.by, certificates.described(secret)),
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
                Verdict::Removed { by } => (Reason::SecretRemoved.code(), by.to_string()),
                Verdict::NoValue { by } => (Reason::SecretHasNoValue.code(), by.to_string()),
                Verdict::Refused { mismatches } => (Reason::SecretRefused.code(), describe(mismatches)),
                Verdict::Unknown => (Reason::SecretUnknown.code(), "no rule names it".to_owned()),
            };
            event(Some(name.clone()), code, rule)
        })
        .collect()
}

/// The nearest few: an event has a bounded length too.
fn describe(Mismatches { nearest, more }: &Mismatches) -> String {
    const SHOWN: usize = 4;
    let shown = nearest.iter().take(SHOWN).map(|mismatch| {
        let failures: Vec<String> = mismatch.failures.iter().map(ToString::to_string).collect();
        format!("not {}: {}", mismatch.workload, failures.join(", "))
    });
    let mut text = shown.collect::<Vec<_>>().join("; ");
    let more = nearest.len().saturating_sub(SHOWN) + more;
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
