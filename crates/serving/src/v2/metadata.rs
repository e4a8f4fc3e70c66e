//! What the server says of itself and of its models.

use adytum_api::inference::{
    ModelMetadataResponse, RepositoryIndexResponse, model_metadata_response::TensorMetadata,
    repository_index_response::ModelIndex,
};

use super::{V2Error, name};
use crate::{
    inference::{Inference, inputs::request_inputs},
    models::{VersionChoice, VersionState},
    tensor::TensorSpecification,
};

/// The server's name.
pub(crate) const SERVER: &str = "adytum-serving";
/// The server's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The extensions that it has; of the model repository's, only the index.
pub(crate) const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];
/// The kind of its models.
pub(crate) const PLATFORM: &str = "onnx_onnxv1";

/// A version as the protocol writes it: nothing for the highest, a number, or else a label.
pub(crate) fn version(text: &str) -> VersionChoice {
    match text.parse() {
        Ok(number) => VersionChoice::Number(number),
        Err(_) if text.is_empty() => VersionChoice::Latest,
        Err(_) => VersionChoice::Label(text.to_owned()),
    }
}

/// A model's default signature.
pub(crate) fn metadata(
    inference: &Inference,
    model: &str,
    choice: &VersionChoice,
) -> Result<ModelMetadataResponse, V2Error> {
    let servable = inference.models.servable(model, choice)?;
    let signature = servable.signature("")?;
    let mut versions: Vec<i64> = inference
        .models
        .status(model, &VersionChoice::Latest)?
        .into_iter()
        .filter(|status| matches!(status.state, VersionState::Available(_)))
        .map(|status| status.version)
        .collect();
    versions.sort_unstable();
    Ok(ModelMetadataResponse {
        name: model.to_owned(),
        versions: versions.iter().map(i64::to_string).collect(),
        platform: PLATFORM.to_owned(),
        inputs: tensors(&request_inputs(signature)),
        outputs: tensors(&signature.outputs),
    })
}

fn tensors(specifications: &[TensorSpecification]) -> Vec<TensorMetadata> {
    let size = |size: &Option<usize>| size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
    specifications
        .iter()
        .map(|tensor| TensorMetadata {
            name: tensor.name.clone(),
            datatype: name(tensor.element_type).to_owned(),
            // The protocol has no word for an unknown rank.
            shape: tensor.shape.iter().flatten().map(size).collect(),
        })
        .collect()
}

/// All versions of all models, or those that answer requests.
pub(crate) fn index(inference: &Inference, ready: bool) -> RepositoryIndexResponse {
    let mut models = Vec::new();
    for name in inference.models.names() {
        // A model that is gone since has no state.
        for status in inference.models.status(&name, &VersionChoice::Latest).unwrap_or_default() {
            let (state, reason) = match status.state {
                VersionState::Available(_) => ("READY", String::new()),
                VersionState::Start | VersionState::Loading => ("LOADING", String::new()),
                VersionState::Unloading => ("UNLOADING", String::new()),
                VersionState::End(reason) => ("UNAVAILABLE", reason.unwrap_or_else(|| "unloaded".to_owned())),
            };
            if !ready || state == "READY" {
                let version = status.version.to_string();
                models.push(ModelIndex { name: name.clone(), version, state: state.to_owned(), reason });
            }
        }
    }
    RepositoryIndexResponse { models }
}
