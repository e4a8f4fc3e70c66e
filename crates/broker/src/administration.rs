//! Administration: commands that owners signed.

use std::{collections::BTreeSet, sync::Arc};

use adytum_api::{
    broker::{CommandResult, SecretSummary, SignedCommand},
    names::SecretName,
};
use adytum_ratls::session::{Peer, SessionInfo};
use adytum_sealed::signing::{OwnerPublicKey, Purpose};

use crate::{
    approval::{ApprovalError, OwnerApproval, agreed},
    audit::export::entry,
    broker::Broker,
    command::{CommandError, CommandFields, OwnerCommand, SecretBytes},
    confirmation::SeenError,
    events::{AttestedWho, Event, RecordError, Who},
    genesis::Genesis,
    manifest::{ManifestError, SignedManifest, admission::admit},
    root_key::arrangement::ArrangementError,
    secrets::{SecretValue, StoredSecret, ValueError},
    state::{MAXIMUM_TOTAL_LENGTH, State},
    store::{self, StoreError},
    succession::{
        authorisation::{AuthorisationError, SignedAuthorisation},
        fence::AUTHORISATION,
    },
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
    /// The owners did not agree to it, here and now.
    #[error("the command: {0}")]
    Approval(#[from] ApprovalError),
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
            Self::Approval(error) => error.code(),
            Self::StaleManifest { .. } => "command-stale-manifest-version",
            Self::Replayed => "command-replayed",
            Self::Manifest(error) => error.code(),
            Self::SecretNotNamed { .. } => "secret-not-in-manifest",
            Self::Value { source, .. } => source.code(),
            Self::TotalTooLarge { .. } => "secrets-too-large",
            Self::NoValue { .. } => "secret-has-no-value",
            Self::AwaitingConfirmation => "awaiting-confirmation",
            Self::RecoveryNotArranged => "recovery-not-arranged",
            Self::Recovery(error) => error.code(),
            Self::Upgrade(error) => error.code(),
            Self::Fenced => "fenced",
            Self::Seen(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Record(error) => error.code,
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
    /// Carries out a command if the owners agreed to it for this session, this
    /// broker and the manifest in force. Changes need the genesis' threshold of
    /// owners; reading needs one.
    pub async fn execute(
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
        let approvals = OwnerApproval::from_wire(&signed.signatures)?;
        let fields = CommandFields::new(
            &session.request_binding,
            self.genesis_digest(),
            signed.manifest_version,
            &body,
        );
        let needed = if command.changes() { self.genesis().threshold() } else { 1 };
        let owners = agreed(self.genesis(), needed, Purpose::Command, &fields.fields(), &approvals);
        // Owners did sign, if too few.
        if matches!(owners, Ok(_) | Err(ApprovalError::BelowThreshold { .. })) {
            asked.owners = approvals.iter().map(|approval| approval.owner).collect();
        }
        let owners = owners?;

        // From here on one change at a time, against the state that it sees.
        let _guard = self.lock_changes().await;
        if self.is_fenced() {
            return Err(AdministrationError::Fenced);
        }
        let state = self.state();
        let current = state.manifest_version();
        if signed.manifest_version != current {
            return Err(AdministrationError::StaleManifest { signed: signed.manifest_version, current });
        }
        let (what, secret) = (command.verb(), command.secret().cloned());
        let changes = command.changes();
        if changes && self.executed().contains(&fields.digest()) {
            return Err(AdministrationError::Replayed);
        }
        if changes && self.awaiting_confirmation() {
            return Err(AdministrationError::AwaitingConfirmation);
        }
        let executed = |manifest_version| Event::Executed {
            who: who(session),
            owners: owners.iter().copied().collect(),
            command: what,
            changes,
            secret: secret.clone(),
            manifest_version,
        };
        if !changes {
            self.record(&[executed(current)]).await?;
        }
        let mut result = match command {
            OwnerCommand::ConfirmState { head } => {
                let event = executed(current);
                let records = self.audit().prepare(std::slice::from_ref(&event)).await?;
                let committed = self.confirm(&head, records).await?;
                self.recorded(&committed, event).await?;
                CommandResult { manifest_version: current, ..CommandResult::default() }
            }
            OwnerCommand::ListSecrets => list(&state),
            OwnerCommand::GetManifest => manifest(&state),
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
                self.commit(apply_manifest(self.genesis(), &state, signed)?, executed).await?
            }
            OwnerCommand::PutSecret { name, value } => {
                self.commit(put_secret(&state, name, value, &owners)?, executed).await?
            }
            OwnerCommand::RemoveSecret { name } => {
                self.commit(remove_secret(&state, name, &owners)?, executed).await?
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
        if changes {
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
        beside.audit = self.audit().prepare(std::slice::from_ref(&event)).await?;
        let committed = self.replace_state(change.next, beside).await?;
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
        signed.approved_by(self.genesis())?;
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

/// The state after a change, and the answer to the command.
struct Change {
    next: State,
    result: CommandResult,
}

fn apply_manifest(
    genesis: &Genesis,
    state: &State,
    signed: SignedManifest,
) -> Result<Change, AdministrationError> {
    let admitted = admit(genesis, state.manifest_version(), signed)?;
    let manifest_version = admitted.manifest.version;
    let next = State { admitted: Some(Arc::new(admitted)), ..state.clone() };
    Ok(Change { next, result: CommandResult { manifest_version, ..CommandResult::default() } })
}

fn put_secret(
    state: &State,
    name: SecretName,
    value: SecretBytes,
    owners: &BTreeSet<OwnerPublicKey>,
) -> Result<Change, AdministrationError> {
    let manifest_version = state.manifest_version();
    let rule = state.manifest().and_then(|manifest| manifest.secrets.get(&name));
    let Some(rule) = rule else {
        return Err(AdministrationError::SecretNotNamed { name, manifest_version });
    };
    let value = SecretValue::parse(rule.kind, value.0)
        .map_err(|source| AdministrationError::Value { name: name.clone(), source })?;
    let former = state.secrets.get(&name);
    let freed = former.and_then(|former| former.value.as_ref()).map_or(0, |value| value.expose().len());
    let found = state.total_length() - freed + value.expose().len();
    if found > MAXIMUM_TOTAL_LENGTH {
        return Err(AdministrationError::TotalTooLarge { found });
    }
    let version = former.map_or(0, |former| former.version).saturating_add(1);
    let stored = StoredSecret {
        kind: rule.kind,
        value: Some(value),
        version,
        changed_by: owners.iter().copied().collect(),
    };
    let mut next = state.clone();
    next.secrets.insert(name, stored);
    let result = CommandResult { manifest_version, secret_version: version, ..CommandResult::default() };
    Ok(Change { next, result })
}

fn remove_secret(
    state: &State,
    name: SecretName,
    owners: &BTreeSet<OwnerPublicKey>,
) -> Result<Change, AdministrationError> {
    let mut next = state.clone();
    match next.secrets.get_mut(&name) {
        Some(stored) if stored.value.is_some() => {
            stored.value = None;
            stored.changed_by = owners.iter().copied().collect();
            let secret_version = stored.version;
            let manifest_version = state.manifest_version();
            let result = CommandResult { manifest_version, secret_version, ..CommandResult::default() };
            Ok(Change { next, result })
        }
        _ => Err(AdministrationError::NoValue { name }),
    }
}

/// Every secret that the manifest names or that has a value; no values.
fn list(state: &State) -> CommandResult {
    let rules = state.manifest().map(|manifest| &manifest.secrets);
    let named = rules.into_iter().flatten().map(|(name, rule)| {
        let version = match state.secrets.get(name) {
            Some(stored) if stored.value.is_some() && stored.kind == rule.kind => stored.version,
            _ => 0,
        };
        SecretSummary {
            name: name.to_string(),
            kind: rule.kind.to_wire().into(),
            version,
            workloads: rule.workloads.iter().map(ToString::to_string).collect(),
        }
    });
    let unnamed = state
        .secrets
        .iter()
        .filter(|(name, stored)| {
            stored.value.is_some() && !rules.is_some_and(|rules| rules.contains_key(*name))
        })
        .map(|(name, stored)| SecretSummary {
            name: name.to_string(),
            kind: stored.kind.to_wire().into(),
            version: stored.version,
            workloads: Vec::new(),
        });
    CommandResult {
        manifest_version: state.manifest_version(),
        secrets: named.chain(unnamed).collect(),
        ..CommandResult::default()
    }
}

fn manifest(state: &State) -> CommandResult {
    let signed = state.signed_manifest();
    CommandResult {
        manifest_version: state.manifest_version(),
        manifest: signed.map(|signed| signed.text.clone().into_bytes()).unwrap_or_default(),
        manifest_signatures: signed
            .map(|signed| signed.approvals.iter().map(OwnerApproval::to_wire).collect())
            .unwrap_or_default(),
        ..CommandResult::default()
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
mod tests;
