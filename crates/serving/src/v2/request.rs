//! `ModelInfer` over gRPC: a `ModelInferRequest`, read where it lies, and its answer.

use std::ops::Range;

use adytum_api::inference::{
    InferParameter, ModelInferResponse, infer_parameter::ParameterChoice,
    model_infer_response::InferOutputTensor,
};
use adytum_wire::{Field, Fields, WireError};
use bytes::Bytes;
use prost::Message;

use super::{Asked, DataError, Sent, V2Error, contents, name, version};
use crate::{
    error::RequestError,
    inference::Inference,
    tensor::{decode_raw, encode_raw},
};

/// The most inputs, outputs and parameters: more than any model has, few enough to look through.
const MOST_NAMES: usize = 256;

/// Numbers of dimensions above this are refused where they are read.
const MAXIMUM_RANK: usize = 254;

/// The parameter that names a signature.
pub(crate) const SIGNATURE: &str = "signature_name";

/// What a `ModelInferRequest` says; the values are not looked into.
#[derive(Debug, Default)]
pub struct Infer<'a> {
    model: &'a str,
    version: &'a str,
    id: &'a str,
    signature: String,
    inputs: Vec<Input<'a>>,
    outputs: Vec<&'a str>,
    raw: Vec<&'a [u8]>,
}

#[derive(Debug, Default)]
struct Input<'a> {
    name: &'a str,
    data_type: &'a str,
    shape: Vec<i64>,
    contents: Option<&'a [u8]>,
}

/// Where the values of an input are.
enum Place<'a> {
    Contents(&'a [u8]),
    Raw(&'a [u8]),
    Nowhere,
}

impl<'a> Infer<'a> {
    /// Reads a message.
    pub fn parse(message: &'a [u8]) -> Result<Self, V2Error> {
        let mut call = Self::default();
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => call.model = text(message, &field)?,
                2 => call.version = text(message, &field)?,
                3 => call.id = text(message, &field)?,
                4 => {
                    if let Some(signature) = signature(bytes(message, &field)?)? {
                        call.signature = signature;
                    }
                }
                5 => push(&mut call.inputs, input(message, range(&field)?)?, "inputs")?,
                6 => push(&mut call.outputs, output(message, range(&field)?)?, "outputs")?,
                7 => push(&mut call.raw, bytes(message, &field)?, "raw contents")?,
                _ => {}
            }
        }
        Ok(call)
    }

    /// The name of the model.
    pub fn model(&self) -> &str {
        self.model
    }

    /// Answers it.
    pub(crate) async fn answer(
        self,
        inference: &Inference,
        length: usize,
    ) -> Result<ModelInferResponse, V2Error> {
        let is_raw = !self.raw.is_empty();
        if is_raw && self.raw.len() != self.inputs.len() {
            return Err(V2Error::RawCount { inputs: self.inputs.len(), found: self.raw.len() });
        }
        let mut raw = self.raw.into_iter();
        let sent = self.inputs.into_iter().map(|input| Sent {
            name: input.name.to_owned(),
            data_type: input.data_type.to_owned(),
            shape: input.shape,
            values: match (raw.next(), input.contents) {
                (Some(raw), _) => Place::Raw(raw),
                (None, Some(contents)) => Place::Contents(contents),
                (None, None) => Place::Nowhere,
            },
        });
        let asked = Asked {
            model: self.model.to_owned(),
            version: version(self.version),
            signature: self.signature,
            inputs: sent.collect(),
            outputs: self.outputs.into_iter().map(str::to_owned).collect(),
            held: length,
        };
        let model_name = asked.model.clone();
        let answered = asked
            .run(inference, |place, element_type, count| match place {
                Place::Raw(bytes) => Ok(decode_raw(bytes, element_type, count)?),
                Place::Contents(contents) => contents::decode(contents, element_type, count),
                Place::Nowhere if count == 0 => Ok(decode_raw(&[], element_type, 0)?),
                Place::Nowhere => Err(DataError::Missing),
            })
            .await?;
        let mut response = ModelInferResponse {
            model_name,
            model_version: answered.servable.version().to_string(),
            id: self.id.to_owned(),
            ..ModelInferResponse::default()
        };
        // Answered as it was asked: typed, unless a type has no field of its own.
        let typed = if is_raw {
            None
        } else {
            answered
                .outputs
                .iter()
                .map(|(_, tensor)| contents::encode(tensor.elements()))
                .collect::<Option<Vec<_>>>()
        };
        let mut typed = typed.map(Vec::into_iter);
        for (output, tensor) in answered.outputs {
            response.outputs.push(InferOutputTensor {
                name: output,
                datatype: name(tensor.element_type()).to_owned(),
                shape: tensor.shape().iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect(),
                contents: typed.as_mut().and_then(Iterator::next),
                ..InferOutputTensor::default()
            });
            if typed.is_none() {
                response.raw_output_contents.push(Bytes::from(encode_raw(tensor.elements())));
            }
        }
        Ok(response)
    }
}

fn push<T>(list: &mut Vec<T>, item: T, what: &'static str) -> Result<(), V2Error> {
    if list.len() >= MOST_NAMES {
        return Err(RequestError::TooMany { what, limit: MOST_NAMES }.into());
    }
    list.push(item);
    Ok(())
}

fn input(message: &[u8], place: Range<usize>) -> Result<Input<'_>, V2Error> {
    let mut input = Input::default();
    for field in Fields::within(message, place) {
        let field = field?;
        match field.number {
            1 => input.name = text(message, &field)?,
            2 => input.data_type = text(message, &field)?,
            3 => {
                if let Some(size) = field.varint() {
                    dimension(&mut input.shape, size)?;
                } else {
                    let mut packed = Fields::within(message, range(&field)?);
                    while !packed.is_at_end() {
                        dimension(&mut input.shape, packed.varint()?)?;
                    }
                }
            }
            5 => input.contents = Some(bytes(message, &field)?),
            _ => {}
        }
    }
    Ok(input)
}

fn dimension(shape: &mut Vec<i64>, size: u64) -> Result<(), V2Error> {
    if shape.len() >= MAXIMUM_RANK {
        return Err(RequestError::TooMany { what: "sizes in a shape", limit: MAXIMUM_RANK }.into());
    }
    shape.push(size.cast_signed());
    Ok(())
}

fn output(message: &[u8], place: Range<usize>) -> Result<&str, V2Error> {
    let mut name = "";
    for field in Fields::within(message, place) {
        let field = field?;
        if field.number == 1 {
            name = text(message, &field)?;
        }
    }
    Ok(name)
}

/// The text of a parameter, if it is the one that names a signature.
fn signature(entry: &[u8]) -> Result<Option<String>, V2Error> {
    let (mut key, mut value) = ("", &entry[..0]);
    for field in Fields::of(entry) {
        let field = field?;
        match field.number {
            1 => key = text(entry, &field)?,
            2 => value = bytes(entry, &field)?,
            _ => {}
        }
    }
    if key != SIGNATURE {
        return Ok(None);
    }
    let parameter = InferParameter::decode(value)
        .map_err(|_| WireError { reason: "a parameter is no InferParameter", offset: 0 })?;
    Ok(match parameter.parameter_choice {
        Some(ParameterChoice::StringParam(signature)) => Some(signature),
        _ => None,
    })
}

fn range(field: &Field) -> Result<Range<usize>, WireError> {
    field.bytes().ok_or(WireError { reason: "not a message", offset: field.whole.start })
}

fn bytes<'a>(message: &'a [u8], field: &Field) -> Result<&'a [u8], WireError> {
    Ok(message.get(range(field)?).unwrap_or_default())
}

fn text<'a>(message: &'a [u8], field: &Field) -> Result<&'a str, WireError> {
    std::str::from_utf8(bytes(message, field)?)
        .map_err(|_| WireError { reason: "a text is not UTF-8", offset: field.whole.start })
}
