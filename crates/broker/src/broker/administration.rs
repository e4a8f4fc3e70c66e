//! Administration: commands that owners signed, and auditors as far as they may.
//!
//! `changes` makes the state that follows a command; `reading` answers those that
//! change nothing.

mod changes;
mod reading;

use std::sync::Arc;

use adytum_api::{
    broker::{CommandResult, SignedCommand},
    names::SecretName,
};
use adytum_governance::{
    approval::{ApprovalError, OwnerApproval},
    audit::{
        events::{AttestedWho, Event, Who},
        export::entry,
    },
    authorisation::{AuthorisationError, SignedAuthorisation},
    command::{CommandError, CommandFields, OwnerCommand},
    manifest::ManifestError,
    recovery::arrangement::ArrangementError,
    roles::RoleError,
    secrets::{SecretKind, ValueError},
};
use adytum_ratls::session::{Peer, SessionInfo};
use adytum_signing::OwnerPublicKey;

use self::changes::{Change, Made};
use super::{Broker, confirmation::SeenError, detached::to_its_end, state::MAXIMUM_TOTAL_LENGTH};
use crate::{
    audit::sink::RecordError,
    certificate_authority::AuthorityError,
    start::fence::AUTHORISATION,
    store::{self, StoreError},
};

/// Why a command is not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdministrationError {
    /// A workload sent it. Owners have no TEE; a workload that holds an owner's
    /// key has no business with it.
    #[error("commands are for owners' tools, and this session's client attested as a workload")]
    FromWorkload,
    /// The body can't be read.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Those who must did not agree to it, here and now.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// Signed for another state of the rules.
    #[error(
        "the command was signed for manifest version {signed}, and version {current} is in force; look at what \
         changed and sign again"
    )]
    StaleManifest {
        /// The version signed for.
        signed: u64,
        /// The version in force.
        current: u64,
    },
    /// Carried out before on this session.
    #[error("this very command was carried out before on this session; open a new session to repeat it")]
    Replayed,
    /// The manifest in it is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest in force does not name the secret.
    #[error(
        "the manifest in force (version {manifest_version}; 0: none yet) names no secret {name}; apply a \
         manifest that does, then put its value"
    )]
    SecretNotNamed {
        /// The secret.
        name: SecretName,
        /// The version in force.
        manifest_version: u64,
    },
    /// The value is refused.
    #[error("the secret {name}: {source}")]
    Value {
        /// The secret.
        name: SecretName,
        /// Why.
        source: ValueError,
    },
    /// Only values that the broker makes can be made anew.
    #[error(
        "the secret {name} is of the kind {kind}, whose values come from owners; give it a new one with \
         `adytum secret put`"
    )]
    NotMadeHere {
        /// The secret.
        name: SecretName,
        /// Its kind.
        kind: SecretKind,
    },
    /// There was no such manifest.
    #[error("there is no manifest version {version}, and there was none")]
    NoManifest {
        /// The version asked for.
        version: u64,
    },
    /// The values together would exceed [`MAXIMUM_TOTAL_LENGTH`].
    #[error(
        "with this value the secrets would have {found} bytes; at most {MAXIMUM_TOTAL_LENGTH} are allowed"
    )]
    TotalTooLarge {
        /// Bytes with it.
        found: usize,
    },
    /// There is nothing to remove.
    #[error("the secret {name} has no value")]
    NoValue {
        /// The secret.
        name: SecretName,
    },
    /// After an unplanned restart no owner has confirmed the state yet.
    #[error(
        "the broker restarted unplanned and changes nothing until an owner confirms its state with `adytum broker          confirm`"
    )]
    AwaitingConfirmation,
    /// The secrets would be lost with this machine, and nobody has said that this is
    /// meant.
    #[error(
        "nobody could recover the secrets if this machine were lost: name recipients in the manifest's [recovery] \
         (make their keys with `adytum recovery-key new`), or write `unrecoverable = true` there"
    )]
    RecoveryNotArranged,
    /// Recovery can't be arranged.
    #[error(transparent)]
    Recovery(#[from] ArrangementError),
    /// The upgrade authorisation is refused.
    #[error(transparent)]
    Upgrade(#[from] AuthorisationError),
    /// The root key went to another broker.
    #[error("this broker handed its root key to the next one and changes nothing any more: go to that one")]
    Fenced,
    /// The head confirmed is not this state's.
    #[error(transparent)]
    Seen(#[from] SeenError),
    /// The certificate authority fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The manifest in force wants no certificates issued.
    #[error("the broker has no certificate authority: no manifest had a certificate to issue yet")]
    NoAuthority,
    /// The change can't be kept, so it was not made.
    #[error("the change was not made: {0}")]
    Store(#[from] StoreError),
    /// The change was not recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl AdministrationError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::FromWorkload => "command-from-workload",
            Self::Command(error) => error.code(),
            Self::Role(error) => error.code(),
            Self::StaleManifest { .. } => "command-stale-manifest-version",
            Self::Replayed => "command-replayed",
            Self::Manifest(error) => error.code(),
            Self::SecretNotNamed { .. } => "secret-not-in-manifest",
            Self::Value { source, .. } => source.code(),
            Self::NotMadeHere { .. } => "secret-not-made-here",
            Self::NoManifest { .. } => "manifest-version-unknown",
            Self::TotalTooLarge { .. } => "secrets-too-large",
            Self::NoValue { .. } => "secret-has-no-value",
            Self::AwaitingConfirmation => "awaiting-confirmation",
            Self::RecoveryNotArranged => "recovery-not-arranged",
            Self::Recovery(error) => error.code(),
            Self::Upgrade(error) => error.code(),
            Self::Fenced => "fenced",
            Self::Seen(error) => error.code(),
            Self::Authority(error) => error.code(),
            Self::NoAuthority => "no-certificate-authority",
            Self::Store(error) => error.code(),
            Self::Record(error) => error.code(),
        }
    }

    /// May the same command pass later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Record(error) => error.retry(),
            Self::Store(error) => error.retry(),
            Self::Recovery(ArrangementError::Attester(_)) => true,
            _ => false,
        }
    }
}

impl Broker {
    /// Carries out a command if those agreed to it, for this session, this broker and
    /// the manifest in force, whose word it needs: see [`OwnerCommand::needs`]. Once
    /// begun it is carried out to its end, whether or not anybody waits for that.
    pub async fn execute(
        self: &Arc<Self>,
        session: &SessionInfo,
        command: SignedCommand,
    ) -> Result<CommandResult, AdministrationError> {
        let (broker, session) = (Arc::clone(self), session.clone());
        to_its_end(async move { broker.execute_or_record(&session, command).await }).await
    }

    async fn execute_or_record(
        &self,
        session: &SessionInfo,
        command: SignedCommand,
    ) -> Result<CommandResult, AdministrationError> {
        let mut asked = Asked::default();
        let result = self.authorise_and_execute(session, command, &mut asked).await;
        if let Err(error) = &result {
            let refused = Event::CommandRefused {
                who: who(session),
                owners: asked.owners,
                command: asked.verb,
                code: error.code(),
                reason: error.to_string(),
                manifest_version: self.state().manifest_version(),
            };
            let recorded = self.record(&[refused]).await;
            // A store that fails is why: that is what the owner must know.
            if !matches!(
                error,
                AdministrationError::Store(_) | AdministrationError::Record(_) | AdministrationError::Fenced
            ) {
                recorded?;
            }
        }
        result
    }

    async fn authorise_and_execute(
        &self,
        session: &SessionInfo,
        signed: SignedCommand,
        asked: &mut Asked,
    ) -> Result<CommandResult, AdministrationError> {
        if !matches!(session.peer, Peer::Unattested) {
            return Err(AdministrationError::FromWorkload);
        }
        if self.is_fenced() {
            return Err(AdministrationError::Fenced);
        }
        let body = zeroize::Zeroizing::new(signed.body);
        let command = OwnerCommand::parse(&body)?;
        asked.verb = Some(command.verb());
        let approvals = OwnerApproval::from_wire(&signed.signatures).map_err(RoleError::from)?;
        let fields = CommandFields::new(
            &session.request_binding,
            self.genesis_digest(),
            signed.manifest_version,
            &body,
        );
        let roles = Arc::clone(&self.state().roles);
        let mut owners = roles.allow(command.needs(), &fields.fields(), &approvals);
        // The signatures are good, if too few or of the wrong people.
        if let Ok(_)
        | Err(RoleError::NotAllowed { .. } | RoleError::Approval(ApprovalError::BelowThreshold { .. })) =
            &owners
        {
            asked.owners = approvals.iter().map(|approval| approval.owner).collect();
        }
        owners.as_ref().map_err(RoleError::clone)?;

        // From here on one change at a time, against the state that it sees.
        let _guard = self.lock_changes().await;
        if self.is_fenced() {
            return Err(AdministrationError::Fenced);
        }
        let state = self.state();
        if !Arc::ptr_eq(&roles, &state.roles) {
            // Another manifest came meanwhile, and with it perhaps other owners.
            owners = state.roles.allow(command.needs(), &fields.fields(), &approvals);
        }
        let owners = owners?;
        let current = state.manifest_version();
        if signed.manifest_version != current {
            return Err(AdministrationError::StaleManifest { signed: signed.manifest_version, current });
        }
        let (what, secret) = (command.verb(), command.secret().cloned());
        let changing = command.changes();
        // It changes no state that others' commands are signed for, and is recorded
        // with what it does nevertheless.
        let confirming = matches!(command, OwnerCommand::ConfirmState { .. });
        if changing && self.executed().contains(&fields.digest()) {
            return Err(AdministrationError::Replayed);
        }
        if changing && self.awaiting_confirmation() {
            return Err(AdministrationError::AwaitingConfirmation);
        }
        let executed = |manifest_version| Event::Executed {
            who: who(session),
            owners: owners.iter().copied().collect(),
            command: what,
            changes: changing || confirming,
            secret: secret.clone(),
            manifest_version,
        };
        if !changing && !confirming {
            self.record(&[executed(current)]).await?;
        }
        let made = Made { genesis: self.genesis(), now: self.now() };
        let mut result = match command {
            OwnerCommand::ConfirmState { head } => {
                let event = executed(current);
                let records = self.audit().prepare(std::slice::from_ref(&event)).await?;
                let committed = self.confirm(&head, records).await?;
                self.recorded(&committed, event).await?;
                CommandResult { manifest_version: current, ..CommandResult::default() }
            }
            OwnerCommand::ListSecrets => reading::secrets(&state),
            OwnerCommand::GetManifest { version } => reading::manifest(&state, self.store(), version).await?,
            OwnerCommand::ListManifests { before, count, changing_owners } => {
                reading::history(&state, self.store(), before, count, changing_owners).await?
            }
            OwnerCommand::ReadAudit { first, count } => {
                let (records, checkpoint) = self.audit().read(first, count).await?;
                CommandResult {
                    manifest_version: current,
                    audit: records.into_iter().map(entry).collect(),
                    audit_checkpoint: checkpoint,
                    ..CommandResult::default()
                }
            }
            OwnerCommand::ApplyManifest(signed) => {
                self.commit(changes::apply_manifest(made, &state, signed)?, executed).await?
            }
            OwnerCommand::PutSecret { name, value } => {
                self.commit(changes::put_secret(&state, name, value, &owners)?, executed).await?
            }
            OwnerCommand::RemoveSecret { name } => {
                self.commit(changes::remove_secret(&state, name, &owners)?, executed).await?
            }
            OwnerCommand::RotateSecret { name } => {
                self.commit(changes::rotate_secret(made, &state, name, &owners)?, executed).await?
            }
            OwnerCommand::RotateCertificateAuthority => {
                self.commit(changes::rotate_authority(made, &state)?, executed).await?
            }
            OwnerCommand::AuthoriseUpgrade(signed) => {
                let event = executed(current);
                let audit = self.audit().prepare(std::slice::from_ref(&event)).await?;
                let items = vec![(AUTHORISATION, self.authorisation_item(signed)?)];
                let committed =
                    self.store().commit(store::Change { items, audit, ..Default::default() }).await?;
                self.recorded(&committed, event).await?;
                CommandResult { manifest_version: current, ..CommandResult::default() }
            }
        };
        if changing {
            // Only now: what failed may be tried again as it is.
            self.executed().insert(fields.digest());
        }
        result.head = Some((&self.store().head()).into());
        Ok(result)
    }

    /// The change and its record are kept together, or neither is.
    async fn commit(
        &self,
        change: Change,
        executed: impl Fn(u64) -> Event,
    ) -> Result<CommandResult, AdministrationError> {
        let mut beside = self.arrange_for(&change.next).await?;
        let event = executed(change.result.manifest_version);
        let mut kept = change.next.changes_since(&self.state())?;
        kept.items.append(&mut beside.items);
        kept.envelope.append(&mut beside.envelope);
        kept.audit = self.audit().prepare(std::slice::from_ref(&event)).await?;
        let committed = self.replace_state(change.next, kept).await?;
        self.recorded(&committed, event).await?;
        Ok(change.result)
    }

    /// The authorisation as it is kept, if enough owners signed it; `None`
    /// withdraws the former one.
    fn authorisation_item(
        &self,
        signed: Option<SignedAuthorisation>,
    ) -> Result<Option<store::Item>, AdministrationError> {
        let Some(signed) = signed else { return Ok(None) };
        signed.read(self.genesis_digest())?;
        signed.approved_by(self.genesis_digest(), &self.state().roles.owners)?;
        Ok(Some(store::Item(zeroize::Zeroizing::new(signed.to_file()?.into_bytes()))))
    }
}

/// What is known of a command when it is refused.
#[derive(Default)]
struct Asked {
    verb: Option<&'static str>,
    /// Who validly signed it.
    owners: Vec<OwnerPublicKey>,
}

fn who(session: &SessionInfo) -> Who {
    let attested = match &session.peer {
        Peer::Attested { claims, .. } => Some(AttestedWho::new(claims)),
        Peer::Unattested => None,
    };
    Who { address: session.peer_address, attested }
}

#[cfg(test)]
mod made_tests;
#[cfg(test)]
mod owner_tests;
#[cfg(test)]
mod tests;
