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

use super::target;
use crate::{
    error::RequestError,
    models::{Method, Models},
    tensor::{TensorSpecification, to_tensorflow},
};

const SIGNATURE_DEFINITION: &str = "signature_def";
const TYPE_URL: &str = "type.googleapis.com/tensorflow.serving.SignatureDefMap";

pub(super) fn metadata(
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
    let describe = |tensors: &[TensorSpecification]| {
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor_info(tensor))).collect()
    };
    let definitions = servable.signatures().iter().map(|(name, signature)| {
        let definition = SignatureDef {
            inputs: describe(&signature.inputs),
            outputs: describe(&signature.outputs),
            method_name: method_name(&signature.method),
        };
        (name.clone(), definition)
    });
    let map = SignatureDefMap { signature_def: definitions.collect() };
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

fn method_name(method: &Method) -> String {
    match method {
        Method::Predict => "tensorflow/serving/predict".to_owned(),
        Method::Classify => "tensorflow/serving/classify".to_owned(),
        Method::Regress => "tensorflow/serving/regress".to_owned(),
        Method::Other(name) => name.clone(),
    }
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
