//! From errors to gRPC statuses: the one place. Each carries in its metadata the stable
//! code, whether to try again, and what kind of refusal it is ([`adytum_api::refusal`]).

use std::time::Duration;

use adytum_api::refusal::{CODE, KIND, RETRY, RETRY_AFTER, RefusalKind};
use adytum_governance::{
    approval::ApprovalError, authorisation::AuthorisationError, decide::Reason, manifest::ManifestError,
    recovery::arrangement::ArrangementError, roles::RoleError,
};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::overload::Overload;
use crate::{
    audit::sink::RecordError,
    broker::{
        administration::AdministrationError,
        confirmation::{ConfirmationError, SeenError},
        release::ReleaseError,
    },
    certificate_authority::AuthorityError,
    start::{fence::HandOverError, recovery::SupplyError, standby::StandbyError},
};

/// The code of an answer to a request on a connection without an attested
/// session: a mistake in the wiring of the server.
pub const NO_SESSION: &str = "no-attested-session";
/// The code of an answer to a share that nobody waits for.
pub const NOT_AWAITING_RECOVERY: &str = "not-awaiting-recovery";

fn status(code: Code, message: impl Into<String>, stable: &'static str, retry: bool) -> Status {
    status_of_kind(kind_of(code), code, message, stable, retry)
}

fn status_of_kind(
    kind: RefusalKind,
    code: Code,
    message: impl Into<String>,
    stable: &'static str,
    retry: bool,
) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE, MetadataValue::from_static(stable));
    metadata.insert(RETRY, MetadataValue::from_static(if retry { "true" } else { "false" }));
    metadata.insert(KIND, MetadataValue::from_static(kind.as_str()));
    Status::with_metadata(code, message, metadata)
}

/// What a refusal with this status is about, unless its error says otherwise.
fn kind_of(code: Code) -> RefusalKind {
    match code {
        Code::Unauthenticated | Code::PermissionDenied | Code::NotFound => RefusalKind::Verdict,
        Code::InvalidArgument | Code::FailedPrecondition | Code::Aborted => RefusalKind::Request,
        _ => RefusalKind::Outage,
    }
}

/// The answer without an attested session.
pub(crate) fn no_session() -> Status {
    status(Code::Internal, "this connection carries no attested session", NO_SESSION, false)
}

/// The answer when too many requests are in progress.
pub(crate) fn overloaded(retry_after: Duration) -> Status {
    let overload = Overload::Requests;
    let message = format!("{}; try again after {retry_after:.1?}", overload.message());
    let mut status = status(Code::ResourceExhausted, message, overload.code(), true);
    let milliseconds = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    status.metadata_mut().insert(RETRY_AFTER, milliseconds.into());
    status
}

/// The answer to a share that nobody waits for.
pub(crate) fn not_awaiting_recovery() -> Status {
    let message = "this broker has its root key and takes no share";
    status(Code::FailedPrecondition, message, NOT_AWAITING_RECOVERY, false)
}

impl From<StandbyError> for Status {
    fn from(error: StandbyError) -> Self {
        status(Code::Unavailable, error.to_string(), error.code(), true)
    }
}

impl From<SupplyError> for Status {
    fn from(error: SupplyError) -> Self {
        let code = match &error {
            SupplyError::OtherArrangement | SupplyError::Recovered | SupplyError::DoNotOpen { .. } => {
                Code::FailedPrecondition
            }
            SupplyError::UnknownRecipient { .. } => Code::NotFound,
            SupplyError::Sharing(_) => Code::InvalidArgument,
            SupplyError::Wrong { .. } => Code::PermissionDenied,
            SupplyError::Store(_) => Code::Unavailable,
        };
        let retry = matches!(&error, SupplyError::Store(error) if error.retry());
        status(code, error.to_string(), error.code(), retry)
    }
}

impl From<HandOverError> for Status {
    fn from(error: HandOverError) -> Self {
        let code = match &error {
            HandOverError::EvidenceRequired => Code::Unauthenticated,
            HandOverError::Malformed { .. } | HandOverError::Announcement(_) => Code::InvalidArgument,
            HandOverError::NotAuthorised
            | HandOverError::Policy(_)
            | HandOverError::Untrusted
            | HandOverError::OtherGenesis { .. } => Code::PermissionDenied,
            HandOverError::Authorisation(error) => authorisation(error),
            HandOverError::Fenced => Code::FailedPrecondition,
            HandOverError::AwaitingConfirmation | HandOverError::Store(_) => Code::Unavailable,
            HandOverError::Record(error) => record(error),
        };
        let message: String = error.to_string().chars().take(4096).collect();
        status(code, message, error.code(), error.retry())
    }
}

impl From<ReleaseError> for Status {
    fn from(error: ReleaseError) -> Self {
        let code = match &error {
            ReleaseError::EvidenceRequired => Code::Unauthenticated,
            ReleaseError::Announcement(_)
            | ReleaseError::TooManyNames { .. }
            | ReleaseError::Name(_)
            | ReleaseError::DuplicateName { .. } => Code::InvalidArgument,
            ReleaseError::Refused(refusal) => match refusal.reason() {
                Reason::EvidenceNotTrusted => Code::Unauthenticated,
                Reason::NoWorkload
                | Reason::TcbNotAccepted
                | Reason::SecretRefused
                | Reason::SecretRemoved => Code::PermissionDenied,
                Reason::CollateralTooOld => Code::Unavailable,
                Reason::SecretUnknown => Code::NotFound,
                Reason::SecretHasNoValue => Code::FailedPrecondition,
            },
            ReleaseError::UnknownToOthers { .. } => Code::NotFound,
            ReleaseError::TooLongForOthers { .. } => Code::FailedPrecondition,
            ReleaseError::Record(error) => record(error),
            ReleaseError::AwaitingConfirmation | ReleaseError::Changing | ReleaseError::Fenced => {
                Code::Unavailable
            }
            ReleaseError::CertificateRequest(_) => Code::InvalidArgument,
            ReleaseError::Authority(AuthorityError::Expired { .. }) => Code::FailedPrecondition,
            ReleaseError::Authority(_) => Code::Internal,
            ReleaseError::Seen(error) => seen(error),
        };
        let kind = match &error {
            // The broker's source of collateral is at fault, not the peer.
            ReleaseError::Refused(refusal) if refusal.reason() == Reason::CollateralTooOld => {
                RefusalKind::Outage
            }
            // Rules name the secret and the workload, and there is no value to give.
            ReleaseError::Refused(_) => RefusalKind::Verdict,
            // The state or the authority of the broker is at fault, not the peer.
            ReleaseError::Seen(SeenError::Head(_)) | ReleaseError::Authority(_) => RefusalKind::Outage,
            _ => kind_of(code),
        };
        status_of_kind(kind, code, error.to_string(), error.code(), error.retry())
    }
}

impl From<AdministrationError> for Status {
    fn from(error: AdministrationError) -> Self {
        let code = match &error {
            AdministrationError::FromWorkload => Code::PermissionDenied,
            AdministrationError::Command(_) | AdministrationError::Value { .. } => Code::InvalidArgument,
            AdministrationError::Role(RoleError::Approval(error)) => approval(error),
            AdministrationError::Role(RoleError::NotAllowed { .. }) => Code::PermissionDenied,
            AdministrationError::StaleManifest { .. } | AdministrationError::Replayed => Code::Aborted,
            AdministrationError::Manifest(error) => manifest(error),
            AdministrationError::SecretNotNamed { .. } | AdministrationError::NotMadeHere { .. } => {
                Code::FailedPrecondition
            }
            AdministrationError::NoAuthority => Code::FailedPrecondition,
            AdministrationError::Authority(_) => Code::Internal,
            AdministrationError::TotalTooLarge { .. } => Code::ResourceExhausted,
            AdministrationError::NoValue { .. } | AdministrationError::NoManifest { .. } => Code::NotFound,
            AdministrationError::AwaitingConfirmation | AdministrationError::RecoveryNotArranged => {
                Code::FailedPrecondition
            }
            AdministrationError::Fenced => Code::Unavailable,
            AdministrationError::Recovery(error) => match error {
                ArrangementError::Attester(_) | ArrangementError::Key(_) => Code::Unavailable,
                _ => Code::Internal,
            },
            AdministrationError::Upgrade(error) => authorisation(error),
            AdministrationError::Confirmation(error) => confirmation(error),
            AdministrationError::Store(_) => Code::Unavailable,
            AdministrationError::Record(error) => record(error),
        };
        let message: String = error.to_string().chars().take(4096).collect();
        status(code, message, error.code(), error.retry())
    }
}

impl From<SeenError> for Status {
    fn from(error: SeenError) -> Self {
        let code = seen(&error);
        let kind = if matches!(error, SeenError::Head(_)) { RefusalKind::Outage } else { kind_of(code) };
        status_of_kind(kind, code, error.to_string(), error.code(), error.retry())
    }
}

fn seen(error: &SeenError) -> Code {
    match error {
        SeenError::Malformed(_) => Code::InvalidArgument,
        SeenError::Head(_) => Code::FailedPrecondition,
        SeenError::Store(_) => Code::Unavailable,
    }
}

fn confirmation(error: &ConfirmationError) -> Code {
    match error {
        ConfirmationError::Approval(error) => approval(error),
        ConfirmationError::Seen(error) => seen(error),
        ConfirmationError::OtherStart | ConfirmationError::Stale { .. } => Code::Aborted,
        ConfirmationError::NewerSeen { .. }
        | ConfirmationError::NothingGivenUp { .. }
        | ConfirmationError::NotGivenUp { .. } => Code::FailedPrecondition,
    }
}

fn record(error: &RecordError) -> Code {
    if error.retry() { Code::Unavailable } else { Code::ResourceExhausted }
}

fn authorisation(error: &AuthorisationError) -> Code {
    match error {
        AuthorisationError::Approval(error) => approval(error),
        AuthorisationError::OtherGenesis { .. } => Code::FailedPrecondition,
        _ => Code::InvalidArgument,
    }
}

fn approval(error: &ApprovalError) -> Code {
    match error {
        ApprovalError::Unsigned { .. } => Code::Unauthenticated,
        ApprovalError::TooMany { .. } | ApprovalError::Malformed(_) => Code::InvalidArgument,
        ApprovalError::Stranger { .. }
        | ApprovalError::SameOwnerTwice { .. }
        | ApprovalError::Invalid { .. }
        | ApprovalError::BelowThreshold { .. } => Code::PermissionDenied,
    }
}

fn manifest(error: &ManifestError) -> Code {
    match error {
        ManifestError::Older { .. }
        | ManifestError::Replayed { .. }
        | ManifestError::OtherGenesis { .. }
        | ManifestError::Simulation => Code::FailedPrecondition,
        ManifestError::Signatures { source, .. } => approval(source),
        _ => Code::InvalidArgument,
    }
}
