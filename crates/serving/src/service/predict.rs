//! `PredictionService.Predict`.

use std::{collections::BTreeMap, sync::Arc};

use adytum_api::tensorflow::{
    TensorProto,
    serving::{ModelSpec, PredictRequest, PredictResponse, model_spec::VersionChoice},
};

use super::{DEFAULT_SIGNATURE, Inference, target};
use crate::{
    error::RequestError,
    models::Servable,
    tensor::{Tensor, decode, encode},
};

pub(super) async fn predict(
    inference: &Inference,
    request: PredictRequest,
) -> Result<PredictResponse, RequestError> {
    let target = target(request.model_spec)?;
    let servable = inference.models.servable(&target.name, target.version)?;
    if !matches!(target.signature.as_str(), "" | DEFAULT_SIGNATURE) {
        return Err(RequestError::SignatureNotFound { name: target.signature });
    }
    let inputs = inputs(&servable, request.inputs, inference.tensor_limit)?;
    let outputs = outputs(&servable, request.output_filter)?;

    let predicted = servable.cost().predict(crate::models::count_elements(&inputs));
    let running = Arc::clone(&servable);
    let wanted = outputs.clone();
    let answers =
        inference.scheduler.run(predicted, move |threads| running.run(inputs, &wanted, threads)).await??;

    let names = outputs.iter().filter_map(|index| servable.signature().outputs.get(*index));
    Ok(PredictResponse {
        outputs: names.zip(answers).map(|(output, tensor)| (output.name.clone(), encode(tensor))).collect(),
        model_spec: Some(ModelSpec {
            name: target.name,
            signature_name: DEFAULT_SIGNATURE.to_owned(),
            version_choice: Some(VersionChoice::Version(servable.version())),
        }),
    })
}

/// The tensors in the order of the signature's inputs.
fn inputs(
    servable: &Servable,
    mut sent: BTreeMap<String, TensorProto>,
    limit: usize,
) -> Result<Vec<Tensor>, RequestError> {
    let expected = &servable.signature().inputs;
    if sent.len() != expected.len() || !expected.iter().all(|input| sent.contains_key(&input.name)) {
        return Err(RequestError::InputNames {
            sent: sent.into_keys().take(64).collect(),
            expected: servable.input_names(),
        });
    }
    let mut tensors = Vec::with_capacity(expected.len());
    let mut left = limit;
    for input in expected {
        let proto = sent.remove(&input.name).unwrap_or_default();
        let tensor = decode(proto, input, left)
            .map_err(|source| RequestError::Tensor { input: input.name.clone(), source })?;
        let elements = tensor.elements();
        left = left.saturating_sub(elements.len().saturating_mul(elements.element_type().size()));
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// The indices of the outputs wanted: all of them without a filter.
fn outputs(servable: &Servable, filter: Vec<String>) -> Result<Vec<usize>, RequestError> {
    let outputs = &servable.signature().outputs;
    if filter.is_empty() {
        return Ok((0..outputs.len()).collect());
    }
    let mut wanted = Vec::with_capacity(filter.len().min(outputs.len()));
    for name in filter {
        match outputs.iter().position(|output| output.name == name) {
            None => return Err(RequestError::OutputName { name, expected: servable.output_names() }),
            Some(index) if wanted.contains(&index) => return Err(RequestError::DuplicateOutput { name }),
            Some(index) => wanted.push(index),
        }
    }
    Ok(wanted)
}
