//! Commands of owners: what they sign and how the signed bytes are read.
//!
//! An owner signs for one session (its TLS exporter), one broker (the genesis),
//! one state of its rules (the manifest version) and one body. Carried to any
//! other, the signature is void.

use adytum_api::{
    broker::{Command, SignedCommand, command},
    names::{NameError, SecretName},
};
use adytum_evidence::measurement::Sha256Digest;
use adytum_signing::{OwnerSigningKey, Purpose};
use prost::Message;
use zeroize::Zeroizing;

use crate::{
    approval::{ApprovalError, OwnerApproval},
    audit::events::CommandName,
    authorisation::SignedAuthorisation,
    confirmation::{ConfirmationReadError, SignedConfirmation},
    genesis::GenesisDigest,
    manifest::SignedManifest,
    roles::Needs,
};

/// The longest command body, in bytes: a manifest of the greatest length and
/// its signatures.
pub const MAXIMUM_BODY_LENGTH: usize = crate::manifest::MAXIMUM_LENGTH + 16 * 1024;

/// The most audit records in one answer.
pub const MAXIMUM_AUDIT_PAGE: u32 = 256;

/// What a command's signatures are over.
#[derive(Clone, Debug)]
pub struct CommandFields {
    session: Zeroizing<[u8; 32]>,
    genesis: Sha256Digest,
    manifest_version: [u8; 8],
    body: Sha256Digest,
}

impl CommandFields {
    /// For this session (`SessionInfo::request_binding`), this broker, the
    /// manifest version that the owner saw, and this encoded [`Command`].
    pub fn new(
        request_binding: &[u8; 32],
        genesis: GenesisDigest,
        manifest_version: u64,
        body: &[u8],
    ) -> Self {
        Self {
            session: Zeroizing::new(*request_binding),
            genesis: genesis.0,
            manifest_version: manifest_version.to_be_bytes(),
            body: Sha256Digest::of_bytes(body),
        }
    }

    /// The fields in the order in which they are signed.
    pub fn fields(&self) -> [&[u8]; 4] {
        [self.session.as_slice(), &self.genesis.0, &self.manifest_version, &self.body.0]
    }

    /// One owner's signature.
    pub fn sign(&self, key: &OwnerSigningKey) -> OwnerApproval {
        OwnerApproval::sign(key, Purpose::Command, &self.fields())
    }

    /// One digest of all of them: which command this is, on which session.
    pub fn digest(&self) -> Sha256Digest {
        let mut hasher = adytum_evidence::identity::LengthPrefixed::<sha2::Sha256>::new();
        self.fields().iter().for_each(|field| hasher.field(field));
        Sha256Digest(hasher.finish().into())
    }
}

/// Encodes a command and has these owners sign it: for owners' tools.
pub fn sign(
    request_binding: &[u8; 32],
    genesis: GenesisDigest,
    manifest_version: u64,
    command: command::Command,
    keys: &[&OwnerSigningKey],
) -> SignedCommand {
    let body = Command { command: Some(command) }.encode_to_vec();
    let fields = CommandFields::new(request_binding, genesis, manifest_version, &body);
    let signatures = keys.iter().map(|key| fields.sign(key).to_wire()).collect();
    SignedCommand { body, manifest_version, signatures }
}

/// A command whose fields are of their types. Nothing is authorised yet.
#[derive(Debug)]
pub enum OwnerCommand {
    /// Install a manifest.
    ApplyManifest(SignedManifest),
    /// Give a secret a value.
    PutSecret {
        name: SecretName,
        /// The value, not yet judged by its kind.
        value: SecretBytes,
    },
    /// Forget a secret's value.
    RemoveSecret { name: SecretName },
    /// Have the broker make a new value.
    RotateSecret { name: SecretName },
    /// Give the certificate authority another key.
    RotateCertificateAuthority,
    /// List secrets, without values.
    ListSecrets,
    /// Show a manifest.
    GetManifest {
        /// Which; 0: the one in force.
        version: u64,
    },
    /// List the manifests there ever were.
    ListManifests {
        /// Only versions below this one; 0: all.
        before: u64,
        count: u32,
        /// Only those that changed who the owners and auditors are.
        changing_owners: bool,
    },
    /// Confirm the state after an unplanned restart, or give a newer one up for it.
    ConfirmState(SignedConfirmation),
    /// Let the broker hand its root key to the next one; `None` withdraws that.
    AuthoriseUpgrade(Option<SignedAuthorisation>),
    /// Show part of the audit log.
    ReadAudit {
        /// The number of the first record; 0: the last ones.
        first: u64,
        count: u32,
    },
    /// Say what will be refused.
    GetForecast,
}

/// Bytes of a secret that don't print.
pub struct SecretBytes(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

/// Why bytes are not a command.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The command has more than [`MAXIMUM_BODY_LENGTH`] bytes.
    ///
    /// Do: shorten the manifest or the value in it: a manifest has at most 2 MiB, a value at most
    /// 64 KiB.
    #[error("the command has {found} bytes; at most {MAXIMUM_BODY_LENGTH} are allowed")]
    TooLong { found: usize },
    /// The body of the command is not an encoded `Command`.
    ///
    /// Do: send it with an `adytum` of the broker's version.
    #[error("the command's body can't be decoded: {reason}")]
    Encoding {
        /// What the decoder said.
        reason: String,
    },
    /// The body of the command has no command that this broker knows.
    ///
    /// Do: send it with an `adytum` of the broker's version.
    #[error("the command's body names no command that this broker knows; use a tool of the broker's version")]
    Unknown,
    /// A name in the request is empty, too long, or has a character that names don't have.
    ///
    /// Do: use at most 128 letters, digits, '_', '-' and '.'; the first is a letter or a digit.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A confirmation of the state in it can't be read.
    #[error(transparent)]
    Confirmation(#[from] ConfirmationReadError),
    /// The manifest in the command is not UTF-8 text.
    ///
    /// See: `ManifestError::Syntax`
    #[error("the manifest in the command is not UTF-8 text")]
    ManifestText,
    /// The upgrade authorisation in the command is not UTF-8 text.
    ///
    /// See: `AuthorisationError::Syntax`
    #[error("the upgrade authorisation in the command is not UTF-8 text")]
    UpgradeText,
    /// A signature of the document in it can't be read.
    #[error("the document in the command: {0}")]
    ManifestSignature(ApprovalError),
}

impl CommandError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "command-too-long",
            Self::Encoding { .. } => "command-encoding",
            Self::Unknown => "command-unknown",
            Self::Name(_) => "name-malformed",
            Self::Confirmation(error) => error.code(),
            Self::ManifestText => "manifest-syntax",
            Self::UpgradeText => "upgrade-authorisation-syntax",
            Self::ManifestSignature(error) => error.code(),
        }
    }
}

impl OwnerCommand {
    /// Reads an encoded [`Command`].
    pub fn parse(body: &[u8]) -> Result<Self, CommandError> {
        if body.len() > MAXIMUM_BODY_LENGTH {
            return Err(CommandError::TooLong { found: body.len() });
        }
        let command =
            Command::decode(body).map_err(|error| CommandError::Encoding { reason: error.to_string() })?;
        match command.command.ok_or(CommandError::Unknown)? {
            command::Command::ApplyManifest(apply) => {
                let text = String::from_utf8(apply.manifest).map_err(|_| CommandError::ManifestText)?;
                let approvals =
                    OwnerApproval::from_wire(&apply.signatures).map_err(CommandError::ManifestSignature)?;
                Ok(Self::ApplyManifest(SignedManifest { text, approvals }))
            }
            command::Command::PutSecret(put) => {
                let value = SecretBytes(Zeroizing::new(put.value));
                Ok(Self::PutSecret { name: put.name.parse()?, value })
            }
            command::Command::RemoveSecret(remove) => Ok(Self::RemoveSecret { name: remove.name.parse()? }),
            command::Command::RotateSecret(rotate) => Ok(Self::RotateSecret { name: rotate.name.parse()? }),
            command::Command::RotateCertificateAuthority(_) => Ok(Self::RotateCertificateAuthority),
            command::Command::ListSecrets(_) => Ok(Self::ListSecrets),
            command::Command::GetManifest(get) => Ok(Self::GetManifest { version: get.version }),
            command::Command::ListManifests(list) => {
                let adytum_api::broker::ListManifests { before, count, changing_owners } = list;
                Ok(Self::ListManifests { before, count, changing_owners })
            }
            command::Command::ConfirmState(confirm) => {
                Ok(Self::ConfirmState(SignedConfirmation::from_wire(confirm)?))
            }
            command::Command::AuthoriseUpgrade(authorise) => {
                let text =
                    String::from_utf8(authorise.authorisation).map_err(|_| CommandError::UpgradeText)?;
                if text.is_empty() {
                    return Ok(Self::AuthoriseUpgrade(None));
                }
                let approvals = OwnerApproval::from_wire(&authorise.signatures)
                    .map_err(CommandError::ManifestSignature)?;
                Ok(Self::AuthoriseUpgrade(Some(SignedAuthorisation { text, approvals })))
            }
            command::Command::GetForecast(_) => Ok(Self::GetForecast),
            command::Command::ReadAudit(read) => Ok(Self::ReadAudit { first: read.first, count: read.count }),
        }
    }

    /// Its name in the audit log.
    pub fn name(&self) -> CommandName {
        match self {
            Self::ApplyManifest(_) => CommandName::ApplyManifest,
            Self::PutSecret { .. } => CommandName::PutSecret,
            Self::RemoveSecret { .. } => CommandName::RemoveSecret,
            Self::RotateSecret { .. } => CommandName::RotateSecret,
            Self::RotateCertificateAuthority => CommandName::RotateCertificateAuthority,
            Self::ListSecrets => CommandName::ListSecrets,
            Self::GetManifest { .. } => CommandName::GetManifest,
            Self::ListManifests { .. } => CommandName::ListManifests,
            Self::ConfirmState(signed) if signed.confirmation.given_up.is_some() => {
                CommandName::AcceptRollback
            }
            Self::ConfirmState(_) => CommandName::ConfirmState,
            Self::AuthoriseUpgrade(Some(_)) => CommandName::AuthoriseUpgrade,
            Self::AuthoriseUpgrade(None) => CommandName::WithdrawUpgrade,
            Self::ReadAudit { .. } => CommandName::ReadAudit,
            Self::GetForecast => CommandName::GetForecast,
        }
    }

    /// The secret it is about.
    pub fn secret(&self) -> Option<&SecretName> {
        match self {
            Self::PutSecret { name, .. } | Self::RemoveSecret { name } | Self::RotateSecret { name } => {
                Some(name)
            }
            Self::ApplyManifest(_)
            | Self::RotateCertificateAuthority
            | Self::ListSecrets
            | Self::GetManifest { .. }
            | Self::ListManifests { .. }
            | Self::ConfirmState(_)
            | Self::AuthoriseUpgrade(_)
            | Self::GetForecast
            | Self::ReadAudit { .. } => None,
        }
    }

    /// Whose word it needs.
    pub fn needs(&self) -> Needs {
        match self {
            Self::ApplyManifest(_)
            | Self::PutSecret { .. }
            | Self::RemoveSecret { .. }
            | Self::RotateSecret { .. }
            | Self::RotateCertificateAuthority
            | Self::AuthoriseUpgrade(_) => Needs::Threshold,
            // One owner brings it. Those who decide have signed what is in it.
            Self::ConfirmState(_) => Needs::OneOwner,
            Self::ListSecrets
            | Self::GetManifest { .. }
            | Self::ListManifests { .. }
            | Self::GetForecast
            | Self::ReadAudit { .. } => Needs::OneReader,
        }
    }

    /// Does it change what the broker holds?
    pub fn changes(&self) -> bool {
        self.needs() == Needs::Threshold
    }
}

#[cfg(test)]
mod tests {
    use adytum_api::broker::{ApplyManifest, OwnerSignature, PutSecret};
    use proptest::prelude::*;

    use super::*;

    fn encoded(command: command::Command) -> Vec<u8> {
        Command { command: Some(command) }.encode_to_vec()
    }

    #[test]
    fn each_field_is_signed() {
        let genesis = |byte| GenesisDigest(Sha256Digest([byte; 32]));
        let base = CommandFields::new(&[1; 32], genesis(1), 1, b"body").digest();
        for other in [
            CommandFields::new(&[2; 32], genesis(1), 1, b"body"),
            CommandFields::new(&[1; 32], genesis(2), 1, b"body"),
            CommandFields::new(&[1; 32], genesis(1), 2, b"body"),
            CommandFields::new(&[1; 32], genesis(1), 1, b"bodY"),
        ] {
            assert_ne!(other.digest(), base);
        }
    }

    #[test]
    fn bodies_that_are_no_command_say_why() {
        let put = |name: &str| {
            encoded(command::Command::PutSecret(PutSecret { name: name.into(), value: b"v".to_vec() }))
        };
        let apply = |manifest: Vec<u8>, signatures| {
            encoded(command::Command::ApplyManifest(ApplyManifest { manifest, signatures }))
        };
        let short = OwnerSignature { public_key: vec![1; 31], signature: vec![] };
        for (body, code) in [
            (vec![], "command-unknown"),
            (vec![0xff; 8], "command-encoding"),
            (put("../x"), "name-malformed"),
            (apply(vec![0xff], vec![]), "manifest-syntax"),
            (apply(vec![], vec![short]), "signature-malformed"),
            (vec![0; MAXIMUM_BODY_LENGTH + 1], "command-too-long"),
        ] {
            assert_eq!(OwnerCommand::parse(&body).unwrap_err().code(), code);
        }
        let printed = format!("{:?}", OwnerCommand::parse(&put("model_key")).unwrap());
        assert_eq!(printed, "PutSecret { name: SecretName(\"model_key\"), value: SecretBytes(1 bytes) }");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = OwnerCommand::parse(&body);
        }

        #[test]
        fn any_flip_is_read_or_refused(at in 0usize..200, mask in 1u8..) {
            let mut body = encoded(command::Command::PutSecret(PutSecret {
                name: "model_key".into(),
                value: vec![7; 150],
            }));
            let at = at % body.len();
            body[at] ^= mask;
            let _ = OwnerCommand::parse(&body);
        }
    }
}
