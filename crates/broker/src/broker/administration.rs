//! Administration: commands that owners signed, and auditors as far as they may.
//!
//! `changes` makes the state that follows a command; `reading` answers those that
//! change nothing.

mod changes;
mod reading;

use std::{collections::BTreeSet, sync::Arc};

use adytum_api::{
    broker::{CommandResult, SignedCommand},
    names::SecretName,
};
use adytum_governance::{
    approval::{ApprovalError, OwnerApproval},
    audit::events::{AttestedWho, CommandName, Event, Who},
    authorisation::{AuthorisationError, SignedAuthorisation},
    command::{CommandError, CommandFields, OwnerCommand},
    confirmation::{Confirmation, SignedConfirmation},
    manifest::ManifestError,
    recovery::arrangement::ArrangementError,
    roles::{RoleError, Roles},
    secrets::{SecretKind, ValueError},
};
use adytum_ratls::session::{Peer, SessionInfo};
use adytum_signing::OwnerPublicKey;

use self::changes::{Change, ValueMaker};
use super::{
    Broker,
    confirmation::ConfirmationError,
    detached::to_its_end,
    state::{MAXIMUM_TOTAL_LENGTH, State},
};
use crate::{
    audit::sink::RecordError,
    certificate_authority::AuthorityError,
    start::fence::AUTHORISATION,
    store::{self, StoreError},
};

/// Why a command is not carried out.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdministrationError {
    /// A workload sent a command, and commands are for the tools of owners.
    ///
    /// Do: send the command with `adytum` from outside the workload.
    #[error(
        "commands are for owners' tools, and this session's client attested as a workload; send the command \
         with adytum from outside the workload"
    )]
    FromWorkload,
    /// The body can't be read.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The owners who must agree to it did not, here and now.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The command was signed for another version of the manifest than the version in force.
    ///
    /// Do: look at the manifest in force (`adytum manifest get`), then give the command again.
    #[error(
        "the command was signed for manifest version {signed}, and version {current} is in force; compare them \
         (`adytum manifest get`), then give the command again"
    )]
    StaleManifest {
        /// The version signed for.
        signed: u64,
        /// The version in force.
        current: u64,
    },
    /// The command was carried out before on this session.
    ///
    /// Do: run `adytum` again to repeat the command: each run opens a new session.
    #[error("this command was carried out before on this session; run it in a new session to repeat it")]
    Replayed,
    /// The manifest in it is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest in force does not name the secret.
    ///
    /// Do: add the secret to the manifest and apply it with `adytum manifest apply`, then put its
    /// value.
    #[error(
        "the manifest in force (version {manifest_version}; 0: none yet) names no secret {name}; apply a \
         manifest that does, then put its value"
    )]
    SecretNotNamed {
        name: SecretName,
        /// The version in force.
        manifest_version: u64,
    },
    /// The value is refused.
    #[error("the secret {name}: {source}")]
    Value { name: SecretName, source: ValueError },
    /// The values of the secret come from owners, so the broker can't make a new one.
    ///
    /// Do: give it a new value with `adytum secret put`.
    #[error(
        "the secret {name} is of the kind {kind}, whose values come from owners; give it a new one with \
         `adytum secret put`"
    )]
    NotMadeHere { name: SecretName, kind: SecretKind },
    /// The broker never had a manifest of this version.
    ///
    /// Do: choose a version that `adytum manifest history` lists.
    #[error(
        "the broker never had a manifest of version {version}; `adytum manifest history` lists those it had"
    )]
    NoManifest {
        /// The version asked for.
        version: u64,
    },
    /// The values of all secrets together would exceed the limit of [`MAXIMUM_TOTAL_LENGTH`]
    /// bytes.
    ///
    /// Do: remove values that are not used with `adytum secret rm`, or deliver large values as
    /// sealed bundles.
    #[error(
        "with this value the secrets would have {found} bytes; at most {MAXIMUM_TOTAL_LENGTH} are allowed, so \
         remove some with `adytum secret rm`"
    )]
    TotalTooLarge { found: usize },
    /// The secret has no value to remove.
    ///
    /// See: `Reason::SecretHasNoValue`
    #[error("the secret {name} has no value, so there is nothing to remove")]
    NoValue { name: SecretName },
    /// After an unplanned restart the owners have not confirmed the state yet.
    ///
    /// See: `NotReady::AwaitingConfirmation`
    #[error(
        "the broker restarted unplanned and changes nothing until the owners confirm its state with `adytum \
         broker confirm`"
    )]
    AwaitingConfirmation,
    /// The manifest does not say how the secrets are recovered if the machine is lost.
    ///
    /// Do: name `recipients` in the manifest's `[recovery]` (`adytum recovery-key new` makes
    /// their keys), or write `unrecoverable = true` there; then apply it.
    #[error(
        "nobody could recover the secrets if this machine were lost: name recipients in the manifest's \
         [recovery] (make their keys with `adytum recovery-key new`), or write `unrecoverable = true` there"
    )]
    RecoveryNotArranged,
    /// Recovery can't be arranged.
    #[error(transparent)]
    Recovery(#[from] ArrangementError),
    /// The upgrade authorisation is refused.
    #[error(transparent)]
    Upgrade(#[from] AuthorisationError),
    /// The root key went to another broker.
    ///
    /// See: `NotReady::Fenced`
    #[error(
        "this broker handed its root key to the next one and changes nothing any more; use the address of the \
         next broker"
    )]
    Fenced,
    /// The state is not confirmed.
    #[error(transparent)]
    Confirmation(#[from] ConfirmationError),
    /// The certificate authority fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The broker has no certificate authority, because no manifest had a certificate to issue
    /// yet.
    ///
    /// Do: add a secret of the kind `tls-certificate` or `ssl-config` to the manifest and apply
    /// it.
    #[error(
        "the broker has no certificate authority, because no manifest had a certificate to issue yet; apply \
         one with a secret of the kind tls-certificate or ssl-config"
    )]
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
            Self::Confirmation(error) => error.code(),
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
            Self::Confirmation(error) => error.retry(),
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
        let mut attempt = CommandAttempt::default();
        let result = self.authorise_and_execute(session, command, &mut attempt).await;
        if let Err(error) = &result {
            let refused = Event::CommandRefused {
                who: who(session),
                owners: attempt.owners,
                command: attempt.name,
                code: error.code(),
                reason: error.to_string(),
                manifest_version: self.state().manifest_version(),
            };
            let recorded = self.record(&[refused]).await;
            // A store that fails is the cause, and the owner must know it.
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
        attempt: &mut CommandAttempt,
    ) -> Result<CommandResult, AdministrationError> {
        let request = self.read(session, signed, attempt)?;
        let roles = Arc::clone(&self.state().roles);
        let owners = request.allowed_by(&roles);
        attempt.signed(&request, &owners);
        if !attempt.owners.is_empty() {
            self.owner_sessions().shown(session.id());
        }
        let owners = owners?;
        // From here on one change at a time, against the state that it sees.
        let _guard = self.lock_changes().await;
        if self.is_fenced() {
            return Err(AdministrationError::Fenced);
        }
        let state = self.state();
        // Another manifest may have come meanwhile, and with it perhaps other owners.
        let owners =
            if Arc::ptr_eq(&roles, &state.roles) { owners } else { request.allowed_by(&state.roles)? };
        self.check_order(&request, &state)?;
        let SignedRequest { command, fields, .. } = request;
        let changes = command.changes();
        let execution = Execution {
            who: who(session),
            owners,
            state,
            command: command.name(),
            secret: command.secret().cloned(),
            // A confirmation changes no state that others' commands are signed for, and
            // is recorded with what it does nevertheless.
            changes: changes || matches!(command, OwnerCommand::ConfirmState(_)),
        };
        let mut result = self.carry_out(command, &execution).await?;
        if changes {
            // Only now: a failed command may be tried again as it is.
            self.executed().insert(fields.digest());
        }
        result.head = Some((&self.store().head()).into());
        Ok(result)
    }

    /// Reads a command of an owner's tool. Nothing is authorised yet.
    fn read(
        &self,
        session: &SessionInfo,
        signed: SignedCommand,
        attempt: &mut CommandAttempt,
    ) -> Result<SignedRequest, AdministrationError> {
        if !matches!(session.peer, Peer::Unattested) {
            return Err(AdministrationError::FromWorkload);
        }
        if self.is_fenced() {
            return Err(AdministrationError::Fenced);
        }
        let SignedCommand { body, manifest_version, signatures } = signed;
        let body = zeroize::Zeroizing::new(body);
        let command = OwnerCommand::parse(&body)?;
        attempt.name = Some(command.name());
        let approvals = OwnerApproval::from_wire(&signatures).map_err(RoleError::from)?;
        let fields =
            CommandFields::new(&session.request_binding, self.genesis_digest(), manifest_version, &body);
        Ok(SignedRequest { command, fields, approvals, manifest_version })
    }

    /// Is the command signed for this state, and was it not carried out before?
    fn check_order(&self, request: &SignedRequest, state: &State) -> Result<(), AdministrationError> {
        let (signed, current) = (request.manifest_version, state.manifest_version());
        if signed != current {
            return Err(AdministrationError::StaleManifest { signed, current });
        }
        if request.command.changes() {
            if self.executed().contains(&request.fields.digest()) {
                return Err(AdministrationError::Replayed);
            }
            if self.awaiting_confirmation() {
                return Err(AdministrationError::AwaitingConfirmation);
            }
        }
        Ok(())
    }

    /// Carries out a command that is authorised. The caller holds the lock on changes.
    async fn carry_out(
        &self,
        command: OwnerCommand,
        execution: &Execution,
    ) -> Result<CommandResult, AdministrationError> {
        let (state, owners) = (&execution.state, &execution.owners);
        if !execution.changes {
            self.record(&[execution.event(state.manifest_version())]).await?;
        }
        let maker = ValueMaker { genesis: self.genesis(), now: self.now() };
        let change = match command {
            OwnerCommand::ConfirmState(signed) => return self.confirm_state(signed, execution).await,
            OwnerCommand::AuthoriseUpgrade(signed) => {
                return self.keep_authorisation(signed, execution).await;
            }
            OwnerCommand::ListSecrets => return Ok(reading::secrets(state)),
            OwnerCommand::GetManifest { version } => {
                return reading::manifest(state, self.store(), version).await;
            }
            OwnerCommand::ListManifests { before, count, changing_owners } => {
                return reading::history(state, self.store(), before, count, changing_owners).await;
            }
            OwnerCommand::ReadAudit { first, count } => {
                return reading::audit(state, self.audit(), first, count).await;
            }
            OwnerCommand::ApplyManifest(signed) => changes::apply_manifest(maker, state, signed)?,
            OwnerCommand::PutSecret { name, value } => changes::put_secret(state, name, value, owners)?,
            OwnerCommand::RemoveSecret { name } => changes::remove_secret(state, name, owners)?,
            OwnerCommand::RotateSecret { name } => changes::rotate_secret(maker, state, name, owners)?,
            OwnerCommand::RotateCertificateAuthority => changes::rotate_authority(maker, state)?,
        };
        self.commit(change, execution).await
    }

    /// The change and its record are kept together, or neither is.
    async fn commit(
        &self,
        change: Change,
        execution: &Execution,
    ) -> Result<CommandResult, AdministrationError> {
        let mut recovery = self.arrange_for(&change.next).await?;
        let event = execution.event(change.result.manifest_version);
        let mut kept = change.next.changes_since(&execution.state)?;
        kept.items.append(&mut recovery.items);
        kept.envelope.append(&mut recovery.envelope);
        kept.audit = self.audit().prepare(std::slice::from_ref(&event)).await?;
        let committed = self.replace_state(change.next, kept).await?;
        self.recorded(&committed, event).await?;
        Ok(change.result)
    }

    async fn confirm_state(
        &self,
        signed: SignedConfirmation,
        execution: &Execution,
    ) -> Result<CommandResult, AdministrationError> {
        let manifest_version = execution.state.manifest_version();
        let owners = self.confirmed_by(&signed, &execution.state).await?;
        let Confirmation { head, given_up, .. } = signed.confirmation;
        let (who, owners) = (execution.who.clone(), owners.into_iter().collect());
        let event = Event::Confirmed { who, owners, head, given_up, manifest_version };
        let records = self.audit().prepare(std::slice::from_ref(&event)).await?;
        let committed = self.keep_confirmation(records).await?;
        self.recorded(&committed, event).await?;
        Ok(CommandResult { manifest_version, ..CommandResult::default() })
    }

    async fn keep_authorisation(
        &self,
        signed: Option<SignedAuthorisation>,
        execution: &Execution,
    ) -> Result<CommandResult, AdministrationError> {
        let manifest_version = execution.state.manifest_version();
        let event = execution.event(manifest_version);
        let audit = self.audit().prepare(std::slice::from_ref(&event)).await?;
        let items = vec![(AUTHORISATION, self.authorisation_item(signed)?)];
        let committed = self.store().commit(store::Change { items, audit, ..Default::default() }).await?;
        self.recorded(&committed, event).await?;
        Ok(CommandResult { manifest_version, ..CommandResult::default() })
    }

    /// The authorisation as it is kept, if enough owners signed it; `None`
    /// withdraws the present one.
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

/// A command that can be read, and the signatures on it.
struct SignedRequest {
    command: OwnerCommand,
    fields: CommandFields,
    approvals: Vec<OwnerApproval>,
    /// The manifest in force when it was signed.
    manifest_version: u64,
}

impl SignedRequest {
    /// The owners (or auditors) who signed it, if they may do this under these roles.
    fn allowed_by(&self, roles: &Roles) -> Result<BTreeSet<OwnerPublicKey>, RoleError> {
        roles.allow(self.command.needs(), &self.fields.fields(), &self.approvals)
    }
}

/// For whom a command is carried out, and against which state.
struct Execution {
    who: Who,
    owners: BTreeSet<OwnerPublicKey>,
    state: Arc<State>,
    command: CommandName,
    secret: Option<SecretName>,
    /// Does it change what the broker holds?
    changes: bool,
}

impl Execution {
    /// The event, with this manifest in force afterwards.
    fn event(&self, manifest_version: u64) -> Event {
        Event::Executed {
            who: self.who.clone(),
            owners: self.owners.iter().copied().collect(),
            command: self.command,
            changes: self.changes,
            secret: self.secret.clone(),
            manifest_version,
        }
    }
}

/// The facts that are known of a command when it is refused.
#[derive(Default)]
struct CommandAttempt {
    name: Option<CommandName>,
    /// The owners whose signatures are valid.
    owners: Vec<OwnerPublicKey>,
}

impl CommandAttempt {
    /// Takes note of who signed. The signatures are good also where they are too few or of
    /// the wrong people.
    fn signed(&mut self, request: &SignedRequest, allowed: &Result<BTreeSet<OwnerPublicKey>, RoleError>) {
        if let Ok(_)
        | Err(RoleError::NotAllowed { .. } | RoleError::Approval(ApprovalError::BelowThreshold { .. })) =
            allowed
        {
            self.owners = request.approvals.iter().map(|approval| approval.owner).collect();
        }
    }
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
