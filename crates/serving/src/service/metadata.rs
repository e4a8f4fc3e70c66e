//! `PredictionService.GetModelMetadata`.

use adytum_api::tensorflow::{
    SignatureDef, TensorInfo, TensorShapeProto,
    serving::{
        GetModelMetadataRequest, GetModelMetadataResponse, ModelSpec, SignatureDefMap,
        model_spec::VersionChoice,
    },
    tensor_info::Encoding,
    tensor_shape_proto::Dim,
};
use prost::Message;

use super::{classify::method_name, target::target};
use crate::{
    error::RequestError,
    inference::inputs::request_inputs,
    models::{Models, Servable},
    tensor::{TensorSpecification, to_tensorflow},
};

const SIGNATURE_DEFINITION: &str = "signature_def";
const TYPE_URL: &str = "type.googleapis.com/tensorflow.serving.SignatureDefMap";

pub(crate) fn metadata(
    models: &Models,
    request: GetModelMetadataRequest,
) -> Result<GetModelMetadataResponse, RequestError> {
    let target = target(request.model_spec)?;
    if request.metadata_field.is_empty() {
        return Err(RequestError::NoMetadataField);
    }
    if let Some(name) = request.metadata_field.into_iter().find(|field| field != SIGNATURE_DEFINITION) {
        return Err(RequestError::MetadataField { name });
    }
    let servable = models.servable(&target.name, &target.version)?;
    let map = signatures(&servable);
    let any = prost_types::Any { type_url: TYPE_URL.to_owned(), value: map.encode_to_vec() };
    Ok(GetModelMetadataResponse {
        model_spec: Some(ModelSpec {
            name: target.name,
            signature_name: String::new(),
            version_choice: Some(VersionChoice::Version(servable.version())),
        }),
        metadata: [(SIGNATURE_DEFINITION.to_owned(), any)].into(),
    })
}

/// The signatures of a model, as its metadata tells them.
pub(crate) fn signatures(servable: &Servable) -> SignatureDefMap {
    let describe = |tensors: &[TensorSpecification]| {
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor_info(tensor))).collect()
    };
    let definitions = servable.signatures().iter().map(|(name, signature)| {
        let definition = SignatureDef {
            inputs: describe(&request_inputs(signature)),
            outputs: describe(&signature.outputs),
            method_name: method_name(&signature.method).to_owned(),
        };
        (name.clone(), definition)
    });
    SignatureDefMap { signature_def: definitions.collect() }
}

fn tensor_info(tensor: &TensorSpecification) -> TensorInfo {
    let shape = match &tensor.shape {
        None => TensorShapeProto { dim: Vec::new(), unknown_rank: true },
        Some(sizes) => TensorShapeProto {
            dim: sizes
                .iter()
                .map(|size| Dim {
                    size: size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1),
                    name: String::new(),
                })
                .collect(),
            unknown_rank: false,
        },
    };
    let data_type = to_tensorflow(tensor.element_type);
    TensorInfo {
        encoding: Some(Encoding::Name(tensor.name.clone())),
        dtype: data_type.into(),
        tensor_shape: Some(shape),
    }
}
