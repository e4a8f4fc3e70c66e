//! `ModelService.GetModelStatus`.

use adytum_api::tensorflow::serving::{
    GetModelStatusRequest, GetModelStatusResponse, ModelVersionStatus, StatusProto,
    model_version_status::State,
};
use tonic::Code;

use super::target;
use crate::{
    error::RequestError,
    models::{Models, VersionState},
};

pub(super) fn model_status(
    models: &Models,
    request: GetModelStatusRequest,
) -> Result<GetModelStatusResponse, RequestError> {
    let target = target(request.model_spec)?;
    let model_version_status = models
        .status(&target.name, &target.version)?
        .into_iter()
        .map(|status| {
            let (state, error_code, error_message) = match status.state {
                VersionState::Start => (State::Start, Code::Ok, String::new()),
                VersionState::Loading => (State::Loading, Code::Ok, String::new()),
                VersionState::Available(_) => (State::Available, Code::Ok, String::new()),
                VersionState::Unloading => (State::Unloading, Code::Ok, String::new()),
                VersionState::End(None) => (State::End, Code::Ok, String::new()),
                VersionState::End(Some(reason)) => (State::End, Code::FailedPrecondition, reason),
            };
            ModelVersionStatus {
                version: status.version,
                state: state.into(),
                status: Some(StatusProto { error_code: error_code.into(), error_message }),
            }
        })
        .collect();
    Ok(GetModelStatusResponse { model_version_status })
}
