//! Administration: commands that owners signed, and auditors as far as they may.
//!
//! `changes` makes the state that follows a command; `reading` answers those that
//! change nothing.

mod changes;
mod error;
mod reading;

use std::{collections::BTreeSet, sync::Arc};

use adytum_api::{
    broker::{CommandResult, SignedCommand},
    names::SecretName,
};
use adytum_governance::{
    approval::{ApprovalError, OwnerApproval},
    audit::events::{AttestedWho, CommandName, Event, Protocol, Who},
    authorisation::SignedAuthorisation,
    command::{CommandFields, OwnerCommand},
    confirmation::{Confirmation, SignedConfirmation},
    roles::{RoleError, Roles},
};
use adytum_ratls::session::{Peer, SessionInfo};
use adytum_signing::OwnerPublicKey;

use self::changes::{Change, ValueMaker};
pub use self::error::AdministrationError;
use super::{Broker, detached::to_its_end, state::State};
use crate::{start::fence::AUTHORISATION, store};

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
        if matches!(request.command, OwnerCommand::GetForecast) {
            // It asks others, and no change waits for that.
            self.recent_forecast().await;
        }
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
            OwnerCommand::GetForecast => {
                return Ok(CommandResult {
                    manifest_version: state.manifest_version(),
                    forecast: self.forecast_answer(),
                    ..CommandResult::default()
                });
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
    Who { address: session.peer_address, protocol: Protocol::Session, attested }
}

#[cfg(test)]
mod tests;
