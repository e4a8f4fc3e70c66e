//! A model's signatures, as protobuf's JSON has `GetModelMetadataResponse`.

use std::collections::BTreeMap;

use adytum_api::tensorflow::{TensorInfo, tensor_info::Encoding};
use serde_json::{Map, Value, json};

use super::{RestError, path::ModelPath};
use crate::{inference::Inference, service::metadata};

pub(super) fn metadata(inference: &Inference, model: &ModelPath) -> Result<Value, RestError> {
    let servable = inference.models.servable(&model.name, &model.version)?;
    let signatures: Map<String, Value> = metadata::signatures(&servable)
        .signature_def
        .into_iter()
        .map(|(name, signature)| {
            let described = json!({
                "inputs": tensors(signature.inputs),
                "outputs": tensors(signature.outputs),
                "method_name": signature.method_name,
            });
            (name, described)
        })
        .collect();
    Ok(json!({
        "model_spec": {
            "name": model.name,
            "signature_name": "",
            "version": servable.version().to_string(),
        },
        "metadata": { "signature_def": { "signature_def": signatures } },
    }))
}

fn tensors(tensors: BTreeMap<String, TensorInfo>) -> Map<String, Value> {
    tensors.into_iter().map(|(name, info)| (name, tensor(&info))).collect()
}

fn tensor(info: &TensorInfo) -> Value {
    let shape = info.tensor_shape.clone().unwrap_or_default();
    // A 64-bit number is a text in protobuf's JSON.
    let dimensions: Vec<Value> =
        shape.dim.iter().map(|dim| json!({ "size": dim.size.to_string(), "name": dim.name })).collect();
    let name = match &info.encoding {
        Some(Encoding::Name(name)) => name.as_str(),
        None => "",
    };
    json!({
        "dtype": info.dtype().as_str_name(),
        "tensor_shape": { "dim": dimensions, "unknown_rank": shape.unknown_rank },
        "name": name,
    })
}
