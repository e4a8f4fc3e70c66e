//! The errors that have a code, and the line with the next step that follows their message.

use adytum_codes::WhatToDo;

adytum_codes::coded_errors!(
    adytum_broker::broker::StartError,
    adytum_broker::broker::administration::AdministrationError,
    adytum_broker::broker::state::RestoreError,
    adytum_broker::occlum::OcclumListenError,
    adytum_broker::start::fence::HandOverError,
    adytum_broker::store::StoreError,
    adytum_evidence::attester::AttesterError,
    adytum_evidence::collateral::CollateralError,
    adytum_evidence::policy::PolicyError,
    adytum_governance::authorisation::AuthorisationError,
    adytum_governance::genesis::GenesisError,
    adytum_governance::manifest::ManifestError,
    adytum_governance::occlum::OcclumError,
    adytum_governance::recovery::arrangement::ArrangementError,
    adytum_ratls::error::SessionError,
);

/// What to do about an error, if it or a cause of it has a code.
pub(crate) fn what_to_do(error: &anyhow::Error) -> Option<WhatToDo> {
    adytum_codes::what_to_do(error.chain(), code_of)
}
