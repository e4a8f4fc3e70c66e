//! `PredictionService.Predict`.

use std::sync::Arc;

use adytum_api::tensorflow::serving::{ModelSpec, PredictResponse, model_spec::VersionChoice};
use adytum_engine::{operators::Cancellation, tensor::Tensor};
use bytes::Bytes;

use super::{Inference, request::PredictCall, target};
use crate::{
    error::RequestError,
    models::{ServedSignature, count_elements},
    tensor::{EncodedTensor, encode},
};

pub(super) async fn predict(inference: &Inference, message: Bytes) -> Result<PredictResponse, RequestError> {
    let call = PredictCall::parse(&message)?;
    let target = target(call.model_spec)?;
    let servable = inference.models.servable(&target.name, &target.version)?;
    let signature = servable.signature(&target.signature)?;
    let encoded = inputs(signature, &call.inputs, inference.memory.message_limit())?;
    let outputs = outputs(signature, call.output_filter)?;
    // Refused before anything is allocated.
    let (mut elements, mut size, mut repeated) = (0_usize, 0_usize, 0_usize);
    for (_, tensor) in &encoded {
        elements = elements.saturating_add(tensor.elements());
        size = size.saturating_add(tensor.size());
        repeated = repeated.saturating_add(tensor.repeated());
    }
    servable.check_memory(signature, elements)?;
    let _held = inference.memory.reserve_values(size, message.len(), repeated)?;
    let inputs = read(encoded)?;
    drop(call.inputs);
    drop(message);

    let predicted = signature.cost().predict(count_elements(&inputs));
    let running = Arc::clone(&servable);
    let name = signature.name.clone();
    let wanted = outputs.clone();
    let caller = Caller::default();
    let cancellation = caller.0.clone();
    let answers = inference
        .scheduler
        .run(predicted, move |threads| {
            let signature = running.signature(&name)?;
            running.run(signature, inputs, &wanted, threads, &cancellation)
        })
        .await??;

    let names = outputs.iter().filter_map(|index| signature.outputs.get(*index));
    Ok(PredictResponse {
        outputs: names.zip(answers).map(|(output, tensor)| (output.name.clone(), encode(tensor))).collect(),
        model_spec: Some(ModelSpec {
            name: target.name,
            signature_name: signature.name.clone(),
            version_choice: Some(VersionChoice::Version(servable.version())),
        }),
    })
}

/// The client that waits for the answer. When the client goes, this is dropped, and a run ends at
/// its next operator.
#[derive(Default)]
struct Caller(Cancellation);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A tensor and the name of its input.
type Named<'a> = (&'a str, EncodedTensor<'a>);

/// The tensors in the order of the signature's inputs, checked against it.
fn inputs<'a>(
    signature: &'a ServedSignature,
    sent: &[(&'a str, &'a [u8])],
    limit: usize,
) -> Result<Vec<Named<'a>>, RequestError> {
    let expected = &signature.inputs;
    let find = |name: &str| sent.iter().find(|(sent, _)| *sent == name);
    if sent.len() != expected.len() || !expected.iter().all(|input| find(&input.name).is_some()) {
        return Err(RequestError::InputNames {
            sent: sent.iter().map(|(name, _)| (*name).to_owned()).collect(),
            expected: signature.input_names(),
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
