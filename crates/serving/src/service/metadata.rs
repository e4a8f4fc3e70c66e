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

use super::{DEFAULT_SIGNATURE, target};
use crate::{
    error::RequestError,
    models::Models,
    tensor::{TensorSpecification, to_tensorflow},
};

const SIGNATURE_DEFINITION: &str = "signature_def";
const TYPE_URL: &str = "type.googleapis.com/tensorflow.serving.SignatureDefMap";
const METHOD_NAME: &str = "tensorflow/serving/predict";

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
    let servable = models.servable(&target.name, target.version)?;
    let describe = |tensors: &[TensorSpecification]| {
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor_info(tensor))).collect()
    };
    let definition = SignatureDef {
        inputs: describe(&servable.signature().inputs),
        outputs: describe(&servable.signature().outputs),
        method_name: METHOD_NAME.to_owned(),
    };
    let map = SignatureDefMap { signature_def: [(DEFAULT_SIGNATURE.to_owned(), definition)].into() };
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
