//! The owners' word for a broker's state: that it is the newest there is, or that a newer
//! one is given up for it.
//!
//! A broker can't know whether a host has put an older state in the place of the newest.
//! So to confirm a state is a change like any other: as many owners sign as must agree to
//! a change in the state that is confirmed. Each also says which head their own tool
//! remembers, and nothing is confirmed that is below one of these. To restore a backup,
//! owners sign another statement, which names what is given up.
//!
//! A confirmation is not bound to a session, so that owners may sign on machines of their
//! own, one after another. It is bound to one start of the broker by its [`Challenge`].

use std::{collections::BTreeSet, num::NonZeroUsize};

use adytum_api::broker as wire;
use adytum_evidence::measurement::Sha256Digest;
use adytum_signing::{OwnerPublicKey, OwnerSignature, OwnerSigningKey, Purpose};
use serde::{Deserialize, Serialize};

use crate::{
    approval::{ApprovalError, MAXIMUM_OWNERS, OwnerApproval, agreed_if},
    genesis::GenesisDigest,
    head::{MalformedHead, StateHead},
    roles::Owners,
};

/// The value of `format` in a file of one with its signatures.
pub const FORMAT: &str = "adytum state confirmation v1";
/// The longest file, in bytes.
pub const MAXIMUM_LENGTH: usize = 64 * 1024;

/// Random bytes of one start of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Challenge(pub Sha256Digest);

/// What owners say of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The start of the broker that it is for.
    pub challenge: Challenge,
    /// The head of the state.
    pub head: StateHead,
    /// The head of a newer state that is given up; `None`: there is no newer one.
    pub given_up: Option<StateHead>,
}

/// One owner's signature under a confirmation. Not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerConfirmation {
    /// The signer that the confirmation names, and the signature.
    pub approval: OwnerApproval,
    /// The highest head that the signer's tool remembers; `None`: it remembers none.
    pub seen: Option<StateHead>,
}

/// A confirmation with its owners' signatures. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedConfirmation {
    pub confirmation: Confirmation,
    pub signatures: Vec<OwnerConfirmation>,
}

/// Why bytes or a text are no confirmation of a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmationReadError {
    /// The file of a confirmation is longer than such a file can be.
    ///
    /// Do: name the file that `adytum broker confirm --out` wrote.
    ///
    /// Retry: no
    #[error("the confirmation has {found} bytes; at most {MAXIMUM_LENGTH} are allowed")]
    TooLong { found: usize },
    /// The confirmation of a state is not in the form that the program reads.
    ///
    /// Do: name the file that `adytum broker confirm --out` wrote, and use tools of the
    /// broker's version.
    ///
    /// Retry: no
    #[error("the confirmation can't be read: {reason}")]
    Syntax { reason: String },
    /// The confirmation in the file is for a broker of another genesis.
    ///
    /// Do: name the file for this broker, or the genesis of the other one.
    ///
    /// Retry: no
    #[error("the confirmation is for the broker of genesis {found}; expected {expected}")]
    OtherGenesis {
        /// The broker that it is read for.
        expected: GenesisDigest,
        /// The one in it.
        found: GenesisDigest,
    },
    /// A head in it can't be read.
    #[error("a head in the confirmation: {0}")]
    Head(#[from] MalformedHead),
    /// A signature in it can't be read.
    #[error("the confirmation: {0}")]
    Signature(#[from] ApprovalError),
}

impl ConfirmationReadError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "confirmation-too-long",
            Self::Syntax { .. } => "confirmation-syntax",
            Self::OtherGenesis { .. } => "confirmation-other-genesis",
            Self::Head(error) => error.code(),
            Self::Signature(error) => error.code(),
        }
    }
}

impl Confirmation {
    /// How many of these owners must sign it. A manifest may let fewer confirm; a newer
    /// state is never given up by fewer than must agree to a change.
    pub fn needed(&self, owners: &Owners, confirm_by: Option<NonZeroUsize>) -> usize {
        match confirm_by {
            Some(number) if self.given_up.is_none() => number.get().min(owners.threshold()),
            _ => owners.threshold(),
        }
    }

    fn purpose(&self) -> Purpose {
        match self.given_up {
            None => Purpose::Confirmation,
            Some(_) => Purpose::Rollback,
        }
    }

    /// What one owner signs: genesis, challenge, the head confirmed, the head given up and
    /// the head that the owner has seen; a head that is absent is empty.
    fn fields(&self, genesis: GenesisDigest, seen: Option<&StateHead>) -> [Vec<u8>; 5] {
        let optional = |head: Option<&StateHead>| head.map_or_else(Vec::new, head_bytes);
        [
            genesis.0.0.to_vec(),
            self.challenge.0.0.to_vec(),
            head_bytes(&self.head),
            optional(self.given_up.as_ref()),
            optional(seen),
        ]
    }
}

/// Epoch, manifest version and number of audit records (eight bytes each, big-endian),
/// then the hash of the last audit record, if there is one.
fn head_bytes(head: &StateHead) -> Vec<u8> {
    let numbers = [head.epoch, head.manifest_version, head.audit_size];
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    bytes.extend(head.audit_hash.iter().flat_map(|hash| hash.0));
    bytes
}

impl SignedConfirmation {
    /// One that nobody has signed yet.
    pub fn unsigned(confirmation: Confirmation) -> Self {
        Self { confirmation, signatures: Vec::new() }
    }

    /// Adds an owner's signature with the highest head that the owner's tool remembers; a
    /// former one of the same owner is replaced.
    pub fn sign(&mut self, genesis: GenesisDigest, key: &OwnerSigningKey, seen: Option<StateHead>) {
        let fields = self.confirmation.fields(genesis, seen.as_ref());
        let fields = fields.each_ref().map(Vec::as_slice);
        let approval = OwnerApproval::sign(key, self.confirmation.purpose(), &fields);
        self.signatures.retain(|one| one.approval.owner != approval.owner);
        self.signatures.push(OwnerConfirmation { approval, seen });
    }

    /// The owners who signed it, if they are enough of these.
    pub fn approved_by(
        &self,
        genesis: GenesisDigest,
        owners: &Owners,
        confirm_by: Option<NonZeroUsize>,
    ) -> Result<BTreeSet<OwnerPublicKey>, ApprovalError> {
        let approvals: Vec<_> = self.signatures.iter().map(|one| one.approval).collect();
        let valid = |approval: &OwnerApproval| {
            self.signatures.iter().filter(|one| one.approval == *approval).all(|one| {
                let fields = self.confirmation.fields(genesis, one.seen.as_ref());
                let fields = fields.each_ref().map(Vec::as_slice);
                approval.owner.verify(self.confirmation.purpose(), &fields, &approval.signature).is_ok()
            })
        };
        agreed_if(owners.keys(), self.confirmation.needed(owners, confirm_by), &approvals, valid)
    }

    /// The command with it.
    pub fn to_wire(&self) -> wire::ConfirmState {
        let Confirmation { challenge, head, given_up } = &self.confirmation;
        let signature = |one: &OwnerConfirmation| wire::StateConfirmation {
            signature: Some(one.approval.to_wire()),
            seen: one.seen.as_ref().map(Into::into),
        };
        wire::ConfirmState {
            head: Some(head.into()),
            challenge: challenge.0.0.to_vec(),
            given_up: given_up.as_ref().map(Into::into),
            confirmations: self.signatures.iter().map(signature).collect(),
        }
    }

    /// Reads the command.
    pub fn from_wire(command: wire::ConfirmState) -> Result<Self, ConfirmationReadError> {
        let wire::ConfirmState { head, challenge, given_up, confirmations } = command;
        let challenge =
            Sha256Digest::try_from(challenge.as_slice()).map_err(|_| ConfirmationReadError::Syntax {
                reason: format!("expected 32 bytes of challenge, found {}", challenge.len()),
            })?;
        if confirmations.len() > MAXIMUM_OWNERS {
            return Err(ApprovalError::TooMany { found: confirmations.len() }.into());
        }
        let mut signatures = Vec::new();
        for one in confirmations {
            let approvals = OwnerApproval::from_wire(&[one.signature.unwrap_or_default()])?;
            let seen = one.seen.map(StateHead::try_from).transpose()?;
            signatures.extend(
                approvals.into_iter().map(|approval| OwnerConfirmation { approval, seen: seen.clone() }),
            );
        }
        let confirmation = Confirmation {
            challenge: Challenge(challenge),
            head: head.unwrap_or_default().try_into()?,
            given_up: given_up.map(StateHead::try_from).transpose()?,
        };
        Ok(Self { confirmation, signatures })
    }

    /// As a file, to which the next owner adds a signature.
    pub fn to_file(&self, genesis: GenesisDigest) -> Result<String, ConfirmationReadError> {
        let Confirmation { challenge, head, given_up } = self.confirmation.clone();
        let signature = |one: &OwnerConfirmation| SignatureTable {
            owner: one.approval.owner,
            signature: hex::encode(one.approval.signature.0),
            seen: one.seen.clone(),
        };
        let signatures = self.signatures.iter().map(signature).collect();
        let file = File { format: FORMAT.to_owned(), genesis, challenge, head, given_up, signatures };
        toml::to_string_pretty(&file).map_err(syntax)
    }

    /// Reads what [`Self::to_file`] wrote, if it is for this broker.
    pub fn from_file(text: &str, genesis: GenesisDigest) -> Result<Self, ConfirmationReadError> {
        if text.len() > MAXIMUM_LENGTH {
            return Err(ConfirmationReadError::TooLong { found: text.len() });
        }
        let file: File = toml::from_str(text).map_err(syntax)?;
        if file.format != FORMAT {
            return Err(syntax(format!("the format is {:?}, expected {FORMAT:?}", file.format)));
        }
        if file.genesis != genesis {
            return Err(ConfirmationReadError::OtherGenesis { expected: genesis, found: file.genesis });
        }
        if file.signatures.len() > MAXIMUM_OWNERS {
            return Err(ApprovalError::TooMany { found: file.signatures.len() }.into());
        }
        let signature = |table: SignatureTable| {
            let mut bytes = [0; 64];
            hex::decode_to_slice(&table.signature, &mut bytes)
                .map_err(|_| syntax("a signature is not 128 hexadecimal digits"))?;
            let approval = OwnerApproval { owner: table.owner, signature: OwnerSignature(bytes) };
            Ok(OwnerConfirmation { approval, seen: table.seen })
        };
        let signatures =
            file.signatures.into_iter().map(signature).collect::<Result<_, ConfirmationReadError>>()?;
        let confirmation =
            Confirmation { challenge: file.challenge, head: file.head, given_up: file.given_up };
        Ok(Self { confirmation, signatures })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    genesis: GenesisDigest,
    challenge: Challenge,
    head: StateHead,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given_up: Option<StateHead>,
    #[serde(default, rename = "signature")]
    signatures: Vec<SignatureTable>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureTable {
    owner: OwnerPublicKey,
    signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<StateHead>,
}

fn syntax(error: impl ToString) -> ConfirmationReadError {
    ConfirmationReadError::Syntax { reason: error.to_string() }
}

#[cfg(test)]
mod tests;
