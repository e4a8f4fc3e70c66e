//! `PredictionService.Classify`, `Regress` and `MultiInference`: requests of examples.
//!
//! The rules of which outputs mean what are those of TensorFlow Serving's `classifier.cc` and
//! `regressor.cc`.

use std::sync::Arc;

use adytum_api::tensorflow::serving::{
    Class, ClassificationResponse, ClassificationResult, Classifications, InferenceResult, InferenceTask,
    ModelSpec, MultiInferenceResponse, Regression, RegressionResponse, RegressionResult, inference_result,
    model_spec::VersionChoice,
};
use adytum_engine::tensor::{ElementType, Tensor, Text};
use adytum_wire::{Fields, WireError};
use prost::Message;

use super::target::{Target, target};
use crate::{
    error::RequestError,
    examples::Batch,
    inference::{
        Inference,
        inputs::{example_inputs, size},
    },
    models::{Method, Servable, ServedSignature},
};

const CLASSES: &str = "classes";
const SCORES: &str = "scores";
const OUTPUTS: &str = "outputs";

const CLASSIFY: &str = "tensorflow/serving/classify";
const REGRESS: &str = "tensorflow/serving/regress";

/// The most tasks of one request.
const MOST_TASKS: usize = 64;

/// A `ClassificationRequest` or `RegressionRequest`: field 1 is the model, field 2 the examples.
/// The examples stay where they lie.
pub(super) struct ExamplesCall<'a> {
    pub(super) model_spec: Option<ModelSpec>,
    pub(super) input: &'a [u8],
}

impl<'a> ExamplesCall<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, RequestError> {
        let mut call = Self { model_spec: None, input: &message[..0] };
        for field in Fields::of(message) {
            let field = field?;
            match (field.number, field.bytes().and_then(|range| message.get(range))) {
                (1, Some(bytes)) => call.model_spec = Some(decode(bytes, field.whole.start)?),
                (2, Some(bytes)) => call.input = bytes,
                _ => {}
            }
        }
        Ok(call)
    }
}

/// A `MultiInferenceRequest`.
pub(super) struct TasksCall<'a> {
    pub(super) tasks: Vec<InferenceTask>,
    pub(super) input: &'a [u8],
}

impl<'a> TasksCall<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, RequestError> {
        let mut call = Self { tasks: Vec::new(), input: &message[..0] };
        for field in Fields::of(message) {
            let field = field?;
            match (field.number, field.bytes().and_then(|range| message.get(range))) {
                (1, Some(_)) if call.tasks.len() >= MOST_TASKS => {
                    return Err(RequestError::TooMany { what: "tasks", limit: MOST_TASKS });
                }
                (1, Some(bytes)) => call.tasks.push(decode(bytes, field.whole.start)?),
                (2, Some(bytes)) => call.input = bytes,
                _ => {}
            }
        }
        Ok(call)
    }
}

fn decode<T: Message + Default>(bytes: &[u8], offset: usize) -> Result<T, WireError> {
    T::decode(bytes).map_err(|_| WireError { reason: "a field holds another message", offset })
}

/// A signature that was found, with its model.
struct Found {
    target: Target,
    servable: Arc<Servable>,
}

impl Found {
    fn find(inference: &Inference, target: Target) -> Result<Self, RequestError> {
        let servable = inference.models.servable(&target.name, &target.version)?;
        Ok(Self { target, servable })
    }

    fn signature(&self, inference: &Inference, wanted: Method) -> Result<&ServedSignature, RequestError> {
        let signature = self.servable.signature(&self.target.signature)?;
        if inference.options.check_method && signature.method != wanted {
            return Err(RequestError::Method {
                signature: signature.name.clone(),
                expected: method_name(&wanted).to_owned(),
                found: method_name(&signature.method).to_owned(),
            });
        }
        Ok(signature)
    }

    fn model_spec(&self, signature: &ServedSignature) -> ModelSpec {
        ModelSpec {
            name: self.target.name.clone(),
            signature_name: signature.name.clone(),
            version_choice: Some(VersionChoice::Version(self.servable.version())),
        }
    }

    /// The number of examples, and the outputs of these names that the signature has.
    async fn outputs(
        &self,
        inference: &Inference,
        signature: &ServedSignature,
        batch: &Batch<'_>,
        names: &[&str],
    ) -> Result<Vec<Option<Tensor>>, RequestError> {
        let place = |name: &&str| signature.outputs.iter().position(|output| output.name == **name);
        let places: Vec<Option<usize>> = names.iter().map(place).collect();
        let wanted: Vec<usize> = places.iter().flatten().copied().collect();
        if wanted.is_empty() {
            return Err(RequestError::MissingOutputs {
                signature: signature.name.clone(),
                expected: names.join("\" or \""),
            });
        }
        let tensors = example_inputs(signature, batch, inference.memory.message_limit())?;
        let _held = inference.charge(size(&tensors), 0)?;
        let mut answers = inference.run(&self.servable, signature, tensors, wanted).await?.into_iter();
        Ok(places.into_iter().map(|place| place.and_then(|_| answers.next())).collect())
    }
}

/// TensorFlow's name of a method.
pub(crate) fn method_name(method: &Method) -> &str {
    match method {
        Method::Predict => "tensorflow/serving/predict",
        Method::Classify => CLASSIFY,
        Method::Regress => REGRESS,
        Method::Other(name) => name,
    }
}

pub(crate) async fn classify(
    inference: &Inference,
    target: Target,
    batch: &Batch<'_>,
) -> Result<ClassificationResponse, RequestError> {
    let found = Found::find(inference, target)?;
    let signature = found.signature(inference, Method::Classify)?;
    let outputs = found.outputs(inference, signature, batch, &[CLASSES, SCORES]).await?;
    let [classes, scores] = outputs.as_slice() else {
        return Err(RequestError::NoExamples { signature: signature.name.clone() });
    };
    let labels = matrix::<Text>(classes.as_ref(), CLASSES, ElementType::Text, batch.len())?;
    let scores = matrix::<f32>(scores.as_ref(), SCORES, ElementType::Float, batch.len())?;
    if let (Some((_, labels)), Some((_, scores))) = (labels, scores)
        && labels != scores
    {
        return Err(output_shape(SCORES, format!("[{}, {labels}]", batch.len()), format!("[.., {scores}]")));
    }
    let count = labels.map(|(_, count)| count).or(scores.map(|(_, count)| count)).unwrap_or_default();
    let classifications = (0..batch.len()).map(|example| {
        let classes = (example * count..(example + 1) * count).map(|place| Class {
            label: labels
                .and_then(|(labels, _)| labels.get(place))
                .map(|label| String::from_utf8_lossy(label).into_owned())
                .unwrap_or_default(),
            score: scores.and_then(|(scores, _)| scores.get(place).copied()).unwrap_or_default(),
        });
        Classifications { classes: classes.collect() }
    });
    Ok(ClassificationResponse {
        result: Some(ClassificationResult { classifications: classifications.collect() }),
        model_spec: Some(found.model_spec(signature)),
    })
}

pub(crate) async fn regress(
    inference: &Inference,
    target: Target,
    batch: &Batch<'_>,
) -> Result<RegressionResponse, RequestError> {
    let found = Found::find(inference, target)?;
    let signature = found.signature(inference, Method::Regress)?;
    let outputs = found.outputs(inference, signature, batch, &[OUTPUTS]).await?;
    let values = outputs
        .first()
        .and_then(Option::as_ref)
        .filter(|outputs| matches!(outputs.shape(), [rows] | [rows, 1] if *rows == batch.len()));
    let Some(values) = values.and_then(Tensor::values::<f32>) else {
        let found = outputs.first().and_then(Option::as_ref).map(describe).unwrap_or_default();
        return Err(output_shape(OUTPUTS, format!("float [{}] or [{0}, 1]", batch.len()), found));
    };
    let regressions = values.iter().map(|value| Regression { value: *value }).collect();
    Ok(RegressionResponse {
        result: Some(RegressionResult { regressions }),
        model_spec: Some(found.model_spec(signature)),
    })
}

pub(super) async fn multi_inference(
    inference: &Inference,
    tasks: Vec<InferenceTask>,
    batch: &Batch<'_>,
) -> Result<MultiInferenceResponse, RequestError> {
    let mut signatures = Vec::with_capacity(tasks.len());
    for task in &tasks {
        let specification = task.model_spec.as_ref().ok_or(RequestError::MissingModelSpec)?;
        if tasks.first().and_then(|first| first.model_spec.as_ref()).map(|first| &first.name)
            != Some(&specification.name)
        {
            return Err(RequestError::SeveralModels { name: specification.name.clone() });
        }
        if signatures.contains(&&specification.signature_name) {
            return Err(RequestError::SignatureTwice { signature: specification.signature_name.clone() });
        }
        signatures.push(&specification.signature_name);
    }
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        let target = target(task.model_spec)?;
        let (model_spec, result) = match task.method_name.as_str() {
            CLASSIFY => {
                let response = classify(inference, target, batch).await?;
                (response.model_spec, response.result.map(inference_result::Result::ClassificationResult))
            }
            REGRESS => {
                let response = regress(inference, target, batch).await?;
                (response.model_spec, response.result.map(inference_result::Result::RegressionResult))
            }
            other => return Err(RequestError::TaskMethod { method: other.chars().take(80).collect() }),
        };
        results.push(InferenceResult { model_spec, result });
    }
    if results.is_empty() {
        return Err(RequestError::NoTasks);
    }
    Ok(MultiInferenceResponse { results })
}

/// The values of an output [examples, classes], and the number of classes.
fn matrix<'a, T: adytum_engine::tensor::Element>(
    tensor: Option<&'a Tensor>,
    name: &'static str,
    element_type: ElementType,
    rows: usize,
) -> Result<Option<(&'a [T], usize)>, RequestError> {
    let Some(tensor) = tensor else { return Ok(None) };
    match (tensor.shape(), tensor.values::<T>()) {
        ([found, classes], Some(values)) if *found == rows => Ok(Some((values, *classes))),
        _ => Err(output_shape(name, format!("{element_type} [{rows}, num_classes]"), describe(tensor))),
    }
}

fn output_shape(name: &'static str, expected: String, found: String) -> RequestError {
    RequestError::OutputShape { name, expected, found }
}

fn describe(tensor: &Tensor) -> String {
    format!("{} {:?}", tensor.element_type(), tensor.shape())
}
