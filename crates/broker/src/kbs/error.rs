//! Why a request of the KBS protocol gets no answer, and how the protocol says so.

use adytum_api::resource::ResourcePathError;
use adytum_evidence::{claims::TeeKind, kbs_evidence::KbsEvidenceError, verifier::VerificationError};
use adytum_governance::decide::Reason;

use super::{MAXIMUM_BODY_LENGTH, VERSION};
use crate::broker::release::ReleaseError;

/// Why a request gets no answer.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KbsError {
    /// The path of the request is none of the KBS protocol's.
    ///
    /// Do: correct the URL: a resource is at `/kbs/v0/resource/REPOSITORY/TYPE/TAG`.
    #[error("expected a path under /kbs/v0/: auth, attest, or resource/REPOSITORY/TYPE/TAG")]
    PathUnknown,
    /// The path of a resource is not of the form repository/type/tag.
    ///
    /// Do: correct the path in the workload's configuration.
    #[error(transparent)]
    Path(#[from] ResourcePathError),
    /// The request is for a plugin of a KBS that the broker does not have.
    ///
    /// Do: fetch secrets as `resource`; the broker has no other plugin.
    #[error("this broker has the plugin \"resource\" only")]
    PluginUnknown,
    /// The request would change secrets or policies, and the KBS protocol changes nothing here.
    ///
    /// Do: change the manifest instead (`adytum manifest sign` and `adytum manifest apply`), and put
    /// values with `adytum secret put`.
    #[error(
        "nothing is administered over this protocol: owners sign a manifest (`adytum manifest apply`) and put values \
         with `adytum secret put`"
    )]
    Administration,
    /// The body of the request is not JSON of the form that the KBS protocol has.
    ///
    /// Do: use a client of protocol version 0.4.0.
    #[error("the request can't be read: {reason}; expected the JSON of KBS protocol {VERSION}")]
    Malformed { reason: String },
    /// The body of the request has too many bytes.
    ///
    /// Do: send the evidence of the TEE and its certificates only.
    #[error("the request has more than {MAXIMUM_BODY_LENGTH} bytes")]
    TooLong,
    /// The body of the request did not arrive in time.
    ///
    /// See: `TransportFault::BodyLate`
    #[error("the request's body did not come in time; try again")]
    Late,
    /// The client speaks another version of the KBS protocol.
    ///
    /// Do: use a client of protocol version 0.4.0.
    #[error("expected protocol version {VERSION}, found {found:?}")]
    Version { found: String },
    /// The client is in a kind of TEE of which the broker verifies no evidence, such as "sample".
    ///
    /// Do: run the workload on SGX, TDX or SEV-SNP.
    #[error("expected the TEE \"sgx\", \"tdx\" or \"snp\", found {found:?}")]
    Tee { found: String },
    /// The client and the broker have no hash algorithm in common.
    ///
    /// Do: let the client offer sha384, sha512 or sha256.
    #[error("expected sha384, sha512 or sha256 among the client's hash algorithms, found {found}")]
    HashAlgorithm { found: String },
    /// The request has no session of this broker, or one that has ended.
    ///
    /// Do: nothing: clients attest again by themselves. If that repeats, check that all requests of a
    /// client reach the same broker.
    #[error("no session: the cookie or token is missing, not this broker's, or too old; attest again")]
    Session,
    /// The nonce in the evidence's runtime data is not the one of the session.
    ///
    /// Do: attest with the nonce of the last answer to `auth`. A message that was recorded and
    /// is sent again has an old nonce.
    #[error("the nonce in the runtime data is not the one that this session's challenge had")]
    Nonce,
    /// The client's public key is of a kind to which the broker does not encrypt.
    ///
    /// Do: let the client make a key of P-256 or P-521 for ECDH-ES+A256KW, or of RSA with 2048 to
    /// 8192 bits for RSA-OAEP-256.
    #[error("the TEE's public key: {reason}")]
    Key { reason: String },
    /// The evidence is not of the form that its TEE has in this protocol.
    #[error(transparent)]
    Evidence(#[from] KbsEvidenceError),
    /// The evidence does not verify.
    #[error(transparent)]
    Verification(#[from] VerificationError),
    /// The evidence is of another kind of TEE than the client named first.
    ///
    /// Do: name the TEE that the evidence is of.
    #[error("the client named the TEE {named}, and its evidence is of {found}")]
    OtherTee { named: TeeKind, found: TeeKind },
    /// The evidence is bound to another key, nonce or additional evidence than the request has.
    ///
    /// Do: refuse the client: somebody altered the request, or sent evidence of another one. If the
    /// client is your own, check its version.
    #[error(
        "the evidence is bound to other runtime data: expected report data {expected}, found {found}; another key, \
         another nonce or other additional evidence was attested"
    )]
    Binding { expected: String, found: String },
    /// No secret is released.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// As many requests are in progress as the broker takes, or this address shows too often
    /// evidence that is not accepted.
    ///
    /// See: `ScheduleError::Overloaded`
    #[error("too many requests; try again shortly")]
    Overloaded,
    /// The secret can't be encrypted to the client's key.
    ///
    /// Do: let the client make another key; if it fails again, read the broker's log.
    #[error("the secret can't be encrypted to the TEE's public key")]
    Encryption,
}

impl KbsError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PathUnknown => "kbs-path-unknown",
            Self::Path(_) => "resource-path-malformed",
            Self::PluginUnknown => "kbs-plugin-unknown",
            Self::Administration => "kbs-administration",
            Self::Malformed { .. } => "kbs-message-malformed",
            Self::TooLong => "kbs-message-too-long",
            Self::Late => "body-late",
            Self::Version { .. } => "kbs-version",
            Self::Tee { .. } => "kbs-tee-unsupported",
            Self::HashAlgorithm { .. } => "kbs-hash-algorithm",
            Self::Session => "kbs-session-unknown",
            Self::Nonce => "kbs-nonce",
            Self::Key { .. } => "kbs-key-unsupported",
            Self::Evidence(error) => error.code(),
            Self::Verification(error) => error.code(),
            Self::OtherTee { .. } => "kbs-other-tee",
            Self::Binding { .. } => "kbs-binding",
            Self::Release(error) => error.code(),
            Self::Overloaded => "overloaded",
            Self::Encryption => "kbs-encryption-failed",
        }
    }

    /// May the same request pass later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Late | Self::Overloaded => true,
            Self::Verification(error) => error.retry(),
            Self::Release(error) => error.retry(),
            _ => false,
        }
    }

    /// Is this the broker's judgement of a workload, and no fault of the request or of the broker?
    pub fn is_verdict(&self) -> bool {
        match self {
            Self::Release(ReleaseError::Refused(refusal)) => refusal.reason() != Reason::CollateralTooOld,
            Self::Release(ReleaseError::UnknownToOthers { .. }) => true,
            _ => false,
        }
    }

    /// The HTTP status. Clients stop at 404 and attest again at 401, so those two are used as the
    /// reference server does: 404 for a path without meaning, 401 for nearly all else.
    pub fn status(&self) -> u16 {
        match self {
            Self::PathUnknown | Self::Path(_) | Self::PluginUnknown => 404,
            Self::Administration => 403,
            Self::TooLong => 413,
            Self::Overloaded | Self::Late => 503,
            Self::Verification(error) if error.retry() => 503,
            Self::Release(error) if unavailable(error) => 503,
            _ => 401,
        }
    }

    /// What the reference server calls it, at the end of the error's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PathUnknown | Self::Path(_) => "InvalidRequestPath",
            Self::PluginUnknown => "PluginNotFound",
            Self::Administration => "AdminAuthAccess",
            Self::Session => "TokenNotFound",
            Self::Release(error) => match error {
                ReleaseError::Refused(refusal) => match refusal.reason() {
                    Reason::SecretHasNoValue | Reason::SecretRemoved => "PluginInternalError",
                    _ => "PolicyDeny",
                },
                _ => "PluginInternalError",
            },
            Self::Encryption => "JweError",
            _ => "AttestationError",
        }
    }
}

/// Is the broker at fault, and not the client?
fn unavailable(error: &ReleaseError) -> bool {
    match error {
        ReleaseError::Refused(refusal) => refusal.reason() == Reason::CollateralTooOld,
        other => other.retry(),
    }
}
