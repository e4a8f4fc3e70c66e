//! Why a command is not carried out.

use adytum_api::names::SecretName;
use adytum_governance::{
    authorisation::AuthorisationError,
    command::CommandError,
    manifest::ManifestError,
    recovery::arrangement::ArrangementError,
    roles::RoleError,
    secrets::{SecretKind, ValueError},
};

use crate::{
    audit::sink::RecordError,
    broker::{confirmation::ConfirmationError, state::MAXIMUM_TOTAL_LENGTH},
    certificate_authority::AuthorityError,
    store::StoreError,
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
