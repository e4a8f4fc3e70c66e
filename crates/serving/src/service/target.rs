//! The model, version and signature that a request is for.

use adytum_api::tensorflow::serving::{ModelSpec, model_spec};

use crate::{error::RequestError, models::VersionChoice};

/// What a request is for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) version: VersionChoice,
    /// Empty for the default.
    pub(crate) signature: String,
}

pub(crate) fn target(specification: Option<ModelSpec>) -> Result<Target, RequestError> {
    let specification = specification.ok_or(RequestError::MissingModelSpec)?;
    let version = match specification.version_choice {
        None => VersionChoice::Latest,
        Some(model_spec::VersionChoice::Version(version)) => VersionChoice::Number(version),
        Some(model_spec::VersionChoice::VersionLabel(label)) => VersionChoice::Label(label),
    };
    Ok(Target { name: specification.name, version, signature: specification.signature_name })
}
