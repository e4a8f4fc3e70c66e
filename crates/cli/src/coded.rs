//! The errors that have a code, and the line with the next step that follows their message.

use adytum_codes::WhatToDo;

adytum_codes::coded_errors!(
    adytum_client::ClientError,
    adytum_client::ConnectError,
    adytum_client::ImageError,
    adytum_client::TargetError,
    adytum_client::TrustError,
    adytum_engine::engine::LoadError,
    adytum_engine::npz::NpzError,
    adytum_engine::onnx::OnnxError,
    adytum_evidence::attester::AttesterError,
    adytum_evidence::collateral::CollateralError,
    adytum_evidence::jwt::TokenError,
    adytum_evidence::kbs_evidence::KbsEvidenceError,
    adytum_evidence::maa::MaaError,
    adytum_evidence::policy::PolicyError,
    adytum_evidence::policy::PolicyRefusal,
    adytum_evidence::ra_tls::RaTlsError,
    adytum_evidence::verifier::VerificationError,
    adytum_governance::announcement::AnnouncementError,
    adytum_governance::approval::ApprovalError,
    adytum_governance::audit::verify::VerifyError,
    adytum_governance::authorisation::AuthorisationError,
    adytum_governance::command::CommandError,
    adytum_governance::confirmation::ConfirmationReadError,
    adytum_governance::genesis::GenesisError,
    adytum_governance::head::HeadError,
    adytum_governance::head::MalformedHead,
    adytum_governance::heads::MemoryError,
    adytum_governance::manifest::ManifestError,
    adytum_governance::manifest::signed::SignaturesError,
    adytum_governance::occlum::OcclumError,
    adytum_governance::pin::PinError,
    adytum_governance::recovery::arrangement::ArrangementError,
    adytum_governance::recovery::sharing::SharingError,
    adytum_governance::role_changes::ChainError,
    adytum_governance::roles::RoleError,
    adytum_governance::secrets::ValueError,
    adytum_governance::service::ServiceError,
    adytum_import::error::ImportError,
    adytum_init::InitError,
    adytum_init::configuration::ConfigurationError,
    adytum_proxy::ProxyError,
    adytum_ratls::error::SessionError,
    adytum_sealed::bundle::BundleError,
    adytum_sealed::bundle::PackError,
    adytum_sealed::directory::RefusalReason,
    adytum_sealed::directory::ScanError,
    adytum_sealed::keys::ModelKeyError,
    adytum_sealed::rule::RuleRefusal,
    adytum_sealed::seal::SealError,
    adytum_sealed::statement::StatementError,
    adytum_sealed::unseal::UnsealError,
    crate::model::verdict::CheckError,
    crate::model::source::SourceError,
    crate::verify::VerifyError,
);

/// The outermost code of an error and its causes, if one has a code that the catalogue has.
pub(crate) fn code(error: &anyhow::Error) -> Option<&str> {
    error.chain().filter_map(code_of_cause).find(|code| adytum_codes::get(code).is_some())
}

/// What to do about an error, if it or a cause of it has a code.
pub(crate) fn what_to_do(error: &anyhow::Error) -> Option<WhatToDo> {
    adytum_codes::what_to_do(error.chain(), code_of_cause)
}

fn code_of_cause<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    let refusal = cause.downcast_ref::<crate::attested::BrokerRefusal>();
    let stated = refusal.and_then(|refusal| refusal.stated_code());
    stated.or_else(|| code_of(cause)).or_else(|| code_of_pull(cause))
}

/// The code of an error of `adytum model pull`, where that is built in.
#[cfg(feature = "object-stores")]
fn code_of_pull<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    let publish = cause.downcast_ref::<adytum_fetch::PublishError>().map(adytum_fetch::PublishError::code);
    publish.or_else(|| cause.downcast_ref::<adytum_fetch::PullError>().map(adytum_fetch::PullError::code))
}

#[cfg(not(feature = "object-stores"))]
fn code_of_pull<'a>(_: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    None
}
