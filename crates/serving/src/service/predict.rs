//! `PredictionService.Predict`.

use std::time::Instant;

use adytum_api::tensorflow::serving::{ModelSpec, PredictResponse, model_spec::VersionChoice};
use adytum_engine::tensor::Tensor;
use bytes::Bytes;

use super::{request::PredictCall, target::target};
use crate::{
    error::RequestError,
    inference::{
        Inference,
        inputs::{request_inputs, run_inputs, size, without_last_dimension},
    },
    metrics::{Api, Entrypoint},
    models::ServedSignature,
    tensor::{EncodedTensor, TensorSpecification, encode},
};

pub(super) async fn predict(inference: &Inference, message: Bytes) -> Result<PredictResponse, RequestError> {
    let (started, mut name) = (Instant::now(), String::new());
    let answer = answer(inference, message, &mut name).await;
    inference.count(&name, Api::Predict, Entrypoint::Grpc, &answer, started);
    answer
}

async fn answer(
    inference: &Inference,
    message: Bytes,
    name: &mut String,
) -> Result<PredictResponse, RequestError> {
    let call = PredictCall::parse(&message)?;
    let target = target(call.model_spec)?;
    name.clone_from(&target.name);
    let servable = inference.models.servable(&target.name, &target.version)?;
    let signature = servable.signature(&target.signature)?;
    let expected = request_inputs(signature);
    let limit = inference.memory.message_limit();
    let encoded = inputs(&expected, &call.inputs, limit)?;
    let outputs = outputs(signature, call.output_filter)?;
    // Refused before anything is allocated.
    let (mut elements, mut charged, mut repeated) = (0_usize, 0_usize, 0_usize);
    for (_, tensor) in &encoded {
        elements = elements.saturating_add(tensor.elements());
        charged = charged.saturating_add(tensor.size());
        repeated = repeated.saturating_add(tensor.repeated());
    }
    if signature.examples.is_none() {
        servable.check_memory(signature, elements)?;
    }
    // The message has its memory; values that it stands for need more.
    let _held = inference.memory.reserve_values(charged, message.len(), repeated)?;
    let extended = encoded.iter().any(|(_, tensor)| tensor.is_extended());
    let tensors = run_inputs(signature, read(encoded)?, limit.saturating_sub(charged))?;
    let _more = match &signature.examples {
        Some(_) => inference.charge(size(&tensors), charged.max(message.len()))?,
        None => None,
    };
    drop(call.inputs);
    drop(message);

    let mut answers = inference.run(&servable, signature, tensors, outputs.clone()).await?;
    if extended {
        answers = without_last_dimension(answers);
    }
    let content = inference.options.tensor_content;
    let names = outputs.iter().filter_map(|index| signature.outputs.get(*index));
    Ok(PredictResponse {
        outputs: names
            .zip(answers)
            .map(|(output, tensor)| (output.name.clone(), encode(tensor, content)))
            .collect(),
        model_spec: Some(ModelSpec {
            name: target.name,
            signature_name: signature.name.clone(),
            version_choice: Some(VersionChoice::Version(servable.version())),
        }),
    })
}

/// A tensor and the name of its input.
type Named<'a> = (&'a str, EncodedTensor<'a>);

/// The tensors in the order of the signature's inputs, checked against it.
fn inputs<'a>(
    expected: &'a [TensorSpecification],
    sent: &[(&'a str, &'a [u8])],
    limit: usize,
) -> Result<Vec<Named<'a>>, RequestError> {
    let find = |name: &str| sent.iter().find(|(sent, _)| *sent == name);
    if sent.len() != expected.len() || !expected.iter().all(|input| find(&input.name).is_some()) {
        return Err(RequestError::InputNames {
            sent: sent.iter().map(|(name, _)| (*name).to_owned()).collect(),
            expected: expected.iter().map(|input| input.name.clone()).collect(),
        });
    }
    let mut left = limit;
    expected
        .iter()
        .filter_map(|input| find(&input.name).map(|(_, message)| (input, *message)))
        .map(|(input, message)| {
            let tensor = EncodedTensor::parse(message, input, left)
                .map_err(|source| RequestError::Tensor { input: input.name.clone(), source })?;
            left = left.saturating_sub(tensor.size());
            Ok((input.name.as_str(), tensor))
        })
        .collect()
}

fn read(encoded: Vec<Named<'_>>) -> Result<Vec<Tensor>, RequestError> {
    encoded
        .into_iter()
        .map(|(input, tensor)| {
            tensor.read().map_err(|source| RequestError::Tensor { input: input.to_owned(), source })
        })
        .collect()
}

/// The indices of the outputs wanted: all of them without a filter.
fn outputs(signature: &ServedSignature, filter: Vec<&str>) -> Result<Vec<usize>, RequestError> {
    let outputs = &signature.outputs;
    if filter.is_empty() {
        return Ok((0..outputs.len()).collect());
    }
    let mut wanted = Vec::with_capacity(filter.len().min(outputs.len()));
    for name in filter {
        match outputs.iter().position(|output| output.name == name) {
            None => {
                return Err(RequestError::OutputName {
                    name: name.to_owned(),
                    expected: signature.output_names(),
                });
            }
            Some(index) if wanted.contains(&index) => {
                return Err(RequestError::DuplicateOutput { name: name.to_owned() });
            }
            Some(index) => wanted.push(index),
        }
    }
    Ok(wanted)
}
