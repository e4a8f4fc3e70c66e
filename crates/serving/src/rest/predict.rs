//! `:predict`: tensors in rows (`instances`) or in columns (`inputs`).

use std::sync::Arc;

use adytum_engine::tensor::Tensor;
use bytes::Bytes;

use super::{
    RestError,
    path::ModelPath,
    results::{columns, rows},
};
use crate::{
    error::RequestError,
    inference::{
        self, Inference,
        inputs::{request_inputs, run_inputs, size, without_last_dimension},
    },
    json::{Kind, Members, Reader, Span, TensorReader, charge},
    models::Servable,
    tensor::TensorSpecification,
};

const SIGNATURE: &str = "signature_name";
const INSTANCES: &str = "instances";
const INPUTS: &str = "inputs";

/// How the tensors of a request come, and how those of its answer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Rows,
    Columns,
}

/// A request that was read.
struct Read {
    form: Form,
    signature: String,
    tensors: Vec<Tensor>,
    /// Whether a last dimension was added to one of them.
    extended: bool,
    /// The memory of the tensors.
    _held: Option<tokio::sync::OwnedSemaphorePermit>,
}

pub(super) async fn predict(
    inference: &Arc<Inference>,
    model: &ModelPath,
    body: Bytes,
) -> Result<Vec<u8>, RestError> {
    let servable = inference.models.servable(&model.name, &model.version)?;
    let (reading, with, length) = (Arc::clone(&servable), Arc::clone(inference), body.len());
    let read = inference::read(length, move || read(&with, &reading, &body)).await?;
    let signature = servable.signature(&read.signature)?;
    let outputs = (0..signature.outputs.len()).collect();
    let mut answers = inference.run(&servable, signature, read.tensors, outputs).await?;
    if read.extended {
        answers = without_last_dimension(answers);
    }
    let named: Vec<(&str, Tensor)> =
        signature.outputs.iter().map(|output| output.name.as_str()).zip(answers).collect();
    inference::read(named.iter().map(|(_, tensor)| tensor.bytes()).sum(), {
        let named: Vec<(String, Tensor)> =
            named.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        move || match read.form {
            Form::Rows => rows(&named),
            Form::Columns => Ok(columns(&named)),
        }
    })
    .await
}

/// The signature that a body names; empty if it names none.
pub(super) fn signature_name(members: &Members, text: &[u8]) -> Result<String, RestError> {
    match members.get(SIGNATURE) {
        None => Ok(String::new()),
        Some(span) => Ok(span.reader(text).text_value()?.into_owned()),
    }
}

/// The members of a body, which must be one object.
pub(super) fn members(text: &[u8]) -> Result<Members, RestError> {
    let mut reader = Reader::new(text);
    let members = Members::read(&mut reader)?;
    reader.end()?;
    Ok(members)
}

fn read(inference: &Inference, servable: &Servable, text: &[u8]) -> Result<Read, RestError> {
    let mut reader = Reader::new(text);
    let members = Members::read_before(&mut reader, &[INSTANCES, INPUTS])?;
    reader.end()?;
    let signature = servable.signature(&signature_name(&members, text)?)?;
    let inputs = request_inputs(signature);
    if inputs.is_empty() {
        return Err(RestError::NoSignatureInputs { signature: signature.name.clone() });
    }
    let (form, span) = match (members.get(INSTANCES), members.get(INPUTS)) {
        (Some(_), Some(_)) => return Err(RestError::BothForms),
        (Some(instances), None) => (Form::Rows, instances),
        (None, Some(inputs)) => (Form::Columns, inputs),
        (None, None) => return Err(RestError::NoInputs),
    };
    // Before anything is kept: as many bytes as the values can take.
    let widest = inputs.iter().map(|input| charge(span, input.element_type)).max().unwrap_or_default();
    let limit = inference.memory.message_limit();
    if widest > limit {
        return Err(RestError::TooLarge { size: widest, limit });
    }
    let held = inference.charge(widest, text.len())?;
    let tensors = match form {
        Form::Rows => read_rows(span, text, &inputs)?,
        Form::Columns => read_columns(span, text, &inputs)?,
    };
    let mut extended = false;
    let tensors = inputs
        .iter()
        .zip(tensors)
        .map(|(input, tensor)| {
            let (shape, elements) = tensor.into_parts();
            let fitted = input
                .fit(shape)
                .map_err(|source| RequestError::Tensor { input: input.name.clone(), source })?;
            extended |= fitted.extended;
            Tensor::new(fitted.shape, elements).ok_or(RestError::NoInputs)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let tensors = run_inputs(signature, tensors, limit.saturating_sub(widest))?;
    let held = match (&signature.examples, size(&tensors)) {
        (Some(_), more) => {
            drop(held);
            inference.charge(more, text.len())?
        }
        (None, _) => held,
    };
    Ok(Read { form, signature: signature.name.clone(), tensors, extended, _held: held })
}

fn names(inputs: &[TensorSpecification]) -> Vec<String> {
    inputs.iter().map(|input| input.name.clone()).collect()
}

/// Whether an object comes next that is not the base64 of a text.
fn is_named(reader: &Reader<'_>, text: &[u8]) -> Result<bool, RestError> {
    let mut ahead = reader.clone();
    if ahead.kind()? != Kind::Object {
        return Ok(false);
    }
    let members = Members::read(&mut ahead)?;
    let base64 = match members.get("b64") {
        Some(span) if members.keys().count() == 1 => span.reader(text).kind()? == Kind::Text,
        _ => false,
    };
    Ok(!base64)
}

/// One value or one object for each example.
fn read_rows(span: Span, text: &[u8], inputs: &[TensorSpecification]) -> Result<Vec<Tensor>, RestError> {
    let mut reader = span.reader(text);
    let mut tensors: Vec<TensorReader> =
        inputs.iter().map(|input| TensorReader::new(input.element_type)).collect();
    if !reader.begin_array()? {
        return Err(RestError::Nothing { key: INSTANCES });
    }
    let named = is_named(&reader, text)?;
    if !named && inputs.len() > 1 {
        return Err(RestError::Unnamed { key: INSTANCES, expected: names(inputs) });
    }
    let mut item = 0;
    loop {
        if named {
            read_row(&mut reader, inputs, &mut tensors, item)?;
        } else {
            // Only an object can be the other form.
            if reader.kind()? == Kind::Object && is_named(&reader, text)? {
                return Err(RestError::Mixed { expected: "value/list", found: "object", item });
            }
            if let ([input], [tensor]) = (inputs, tensors.as_mut_slice()) {
                tensor.read(&mut reader).map_err(|error| instance(item, &input.name, error))?;
            }
        }
        item += 1;
        if !reader.next_element()? {
            break;
        }
    }
    Ok(tensors.into_iter().filter_map(TensorReader::batch).collect())
}

fn instance(item: usize, key: &str, error: crate::json::JsonError) -> RestError {
    RestError::Instance { item, key: key.to_owned(), error }
}

fn read_row(
    reader: &mut Reader<'_>,
    inputs: &[TensorSpecification],
    tensors: &mut [TensorReader],
    item: usize,
) -> Result<(), RestError> {
    if reader.kind()? != Kind::Object {
        return Err(RestError::Mixed { expected: "object", found: "list", item });
    }
    let keys = || RestError::Keys {
        place: format!("element: {item} of '{INSTANCES}' list"),
        expected: names(inputs),
    };
    let mut failed = None;
    crate::json::each_member(reader, |reader, key, _| {
        let place = inputs.iter().position(|input| input.name == key);
        match place.and_then(|place| tensors.get_mut(place)) {
            Some(tensor) if tensor.count() == item => {
                tensor.read(reader).inspect_err(|error| failed = Some(instance(item, key, error.clone())))
            }
            // Not an input, or one that this object has had.
            _ => {
                failed.get_or_insert_with(keys);
                reader.skip().map(drop)
            }
        }
    })
    .map_err(|error| failed.take().unwrap_or_else(|| error.into()))?;
    match failed {
        Some(error) => Err(error),
        None if tensors.iter().any(|tensor| tensor.count() != item + 1) => Err(keys()),
        None => Ok(()),
    }
}

/// One value for all examples, or an object with one for each input.
fn read_columns(span: Span, text: &[u8], inputs: &[TensorSpecification]) -> Result<Vec<Tensor>, RestError> {
    let mut reader = span.reader(text);
    if !is_named(&reader, text)? {
        let [input] = inputs else {
            return Err(RestError::Unnamed { key: INPUTS, expected: names(inputs) });
        };
        return Ok(vec![whole(&mut reader, input)?]);
    }
    let members = Members::read(&mut reader)?;
    let keys = || RestError::Keys { place: format!("'{INPUTS}' object"), expected: names(inputs) };
    if members.keys().count() != inputs.len() {
        return Err(keys());
    }
    inputs
        .iter()
        .map(|input| whole(&mut members.get(&input.name).ok_or_else(keys)?.reader(text), input))
        .collect()
}

fn whole(reader: &mut Reader<'_>, input: &TensorSpecification) -> Result<Tensor, RestError> {
    let mut tensor = TensorReader::new(input.element_type);
    tensor.read(reader)?;
    tensor.single().ok_or(RestError::NoInputs)
}
