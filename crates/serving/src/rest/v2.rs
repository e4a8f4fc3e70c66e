//! The Open Inference Protocol over HTTP, with its extension for binary tensor data
//! (<https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>).

use std::sync::Arc;

use adytum_api::inference::model_metadata_response::TensorMetadata;
use adytum_engine::tensor::{ElementType, Elements, Text};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use serde_json::{Value, json};
use tonic::body::Body;

use super::{RestError, answer, path::ModelPath, predict::members};
use crate::{
    inference::{self, Inference},
    json::{Kind, Members, Span, TensorReader, write_elements, write_text},
    tensor::{decode_raw, encode_raw},
    v2::{Asked, DataError, EXTENSIONS, SERVER, Sent, V2Error, VERSION, index as all_models, metadata, name},
};

/// The header with the length of the JSON before the binary data.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// The most inputs, and the most outputs that are asked for.
const MOST_NAMES: usize = 256;

pub(super) fn server() -> Value {
    json!({ "name": SERVER, "version": VERSION, "extensions": EXTENSIONS })
}

pub(super) fn model(inference: &Inference, model: &ModelPath) -> Result<Value, RestError> {
    let metadata = metadata(inference, &model.name, &model.version)?;
    let tensors = |tensors: &[TensorMetadata]| -> Vec<Value> {
        tensors
            .iter()
            .map(|tensor| json!({ "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape }))
            .collect()
    };
    Ok(json!({
        "name": metadata.name,
        "versions": metadata.versions,
        "platform": metadata.platform,
        "inputs": tensors(&metadata.inputs),
        "outputs": tensors(&metadata.outputs),
    }))
}

pub(super) fn index(inference: &Inference, body: &[u8]) -> Result<Value, RestError> {
    let mut ready = false;
    if !body.is_empty() {
        let members = members(body)?;
        if let Some(span) = members.get("ready") {
            ready = span.reader(body).boolean()?;
        }
    }
    let models = all_models(inference, ready).models.into_iter().map(|model| {
        json!({ "name": model.name, "version": model.version, "state": model.state, "reason": model.reason })
    });
    Ok(models.collect())
}

/// Where the values of an input are.
enum Place {
    Json(Span),
    Binary(Bytes),
    Nowhere,
}

/// An output that is asked for.
struct Output {
    name: String,
    binary: Option<bool>,
}

/// A request that was read.
struct Read {
    id: Option<String>,
    signature: String,
    inputs: Vec<Sent<Place>>,
    outputs: Vec<Output>,
    /// Of outputs for which nothing else is said.
    binary: bool,
    json: Bytes,
}

pub(super) async fn infer(
    inference: &Arc<Inference>,
    model: &ModelPath,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, RestError> {
    let length = body.len();
    let announced = match headers.get(HEADER_LENGTH) {
        None => None,
        Some(header) => {
            let length = header.to_str().ok().and_then(|length| length.parse::<usize>().ok());
            Some(
                length
                    .filter(|json| *json <= body.len())
                    .ok_or_else(|| binary("the header's length is not within the body"))?,
            )
        }
    };
    let read = inference::read(length, move || parse(body, announced)).await?;
    let json = read.json;
    let asked = Asked {
        model: model.name.clone(),
        version: model.version.clone(),
        signature: read.signature,
        inputs: read.inputs,
        outputs: read.outputs.iter().map(|output| output.name.clone()).collect(),
        held: length,
    };
    let answered = asked
        .run(inference, |place, element_type, count| match place {
            Place::Json(span) => values(span, &json, element_type, count),
            Place::Binary(raw) => Ok(decode_raw(&raw, element_type, count)?),
            Place::Nowhere => Err(DataError::Missing),
        })
        .await?;

    let mut text = b"{\"model_name\": ".to_vec();
    write_text(&mut text, &model.name);
    text.extend_from_slice(format!(", \"model_version\": \"{}\"", answered.servable.version()).as_bytes());
    if let Some(id) = &read.id {
        text.extend_from_slice(b", \"id\": ");
        write_text(&mut text, id);
    }
    text.extend_from_slice(b", \"outputs\": [");
    let mut data = Vec::new();
    let mut any_binary = false;
    for (place, (output, tensor)) in answered.outputs.iter().enumerate() {
        text.extend_from_slice(if place > 0 { b", {\"name\": " } else { b"{\"name\": " });
        write_text(&mut text, output);
        let element_type = tensor.element_type();
        let described =
            format!(", \"datatype\": \"{}\", \"shape\": {:?}, ", name(element_type), tensor.shape());
        text.extend_from_slice(described.as_bytes());
        let asked = read.outputs.iter().find(|asked| asked.name == *output).and_then(|asked| asked.binary);
        if asked.unwrap_or(read.binary) {
            any_binary = true;
            let raw = encode_raw(tensor.elements());
            text.extend_from_slice(
                format!("\"parameters\": {{\"binary_data_size\": {}}}", raw.len()).as_bytes(),
            );
            data.extend_from_slice(&raw);
        } else {
            if let Some(texts) = tensor.values::<Text>()
                && texts.iter().any(|text| std::str::from_utf8(text).is_err())
            {
                return Err(V2Error::NotText { output: output.clone() }.into());
            }
            text.extend_from_slice(b"\"data\": ");
            write_elements(&mut text, tensor.elements(), 0, &[tensor.len()], false);
        }
        text.push(b'}');
    }
    text.extend_from_slice(b"]}");
    if !any_binary {
        return Ok(answer::json(text));
    }
    let length = HeaderValue::from(text.len());
    text.extend_from_slice(&data);
    let mut response = answer::with_type(text.into(), HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(HEADER_LENGTH, length);
    Ok(response)
}

fn binary(problem: &str) -> V2Error {
    V2Error::Binary { problem: problem.to_owned() }
}

fn body(problem: &str) -> V2Error {
    V2Error::Body { problem: problem.to_owned() }
}

/// Reads a body of which the first `announced` bytes are JSON, or all of them.
fn parse(whole: Bytes, announced: Option<usize>) -> Result<Read, RestError> {
    let mut rest = whole.clone();
    let json = rest.split_to(announced.unwrap_or(whole.len()));
    let all = members(&json)?;
    let text = |span: Span| span.reader(&json).text_value().map(|text| text.into_owned());
    let id = all.get("id").map(text).transpose()?;
    let parameters = Parameters::read(all.get("parameters"), &json)?;
    let mut inputs = Vec::new();
    let listed = all.get("inputs").ok_or_else(|| body("the key 'inputs' is missing"))?;
    for input in list(listed, &json, "inputs")? {
        let (Some(name), Some(data_type), Some(shape)) =
            (input.get("name"), input.get("datatype"), input.get("shape"))
        else {
            return Err(body("an input needs 'name', 'datatype' and 'shape'").into());
        };
        let size = Parameters::read(input.get("parameters"), &json)?.size;
        let values = match (size, input.get("data")) {
            (Some(_), Some(_)) => return Err(body("an input has 'data' and 'binary_data_size'").into()),
            (Some(size), None) if size <= rest.len() => Place::Binary(rest.split_to(size)),
            (Some(_), None) => return Err(binary("the body ends before the data of an input").into()),
            (None, Some(span)) => Place::Json(span),
            (None, None) => Place::Nowhere,
        };
        inputs.push(Sent {
            name: text(name)?,
            data_type: text(data_type)?,
            shape: shape_of(shape, &json)?,
            values,
        });
    }
    if !rest.is_empty() {
        return Err(binary("the body has more data than its inputs").into());
    }
    let mut outputs = Vec::new();
    if let Some(listed) = all.get("outputs") {
        for output in list(listed, &json, "outputs")? {
            let name = text(output.get("name").ok_or_else(|| body("an output needs 'name'"))?)?;
            outputs.push(Output {
                name,
                binary: Parameters::read(output.get("parameters"), &json)?.binary_data,
            });
        }
    }
    let signature = parameters.signature.unwrap_or_default();
    Ok(Read {
        id,
        signature,
        inputs,
        outputs,
        binary: parameters.binary_data_output.unwrap_or(false),
        json: json.clone(),
    })
}

/// The objects of a list.
fn list(span: Span, json: &[u8], what: &'static str) -> Result<Vec<Members>, RestError> {
    let mut reader = span.reader(json);
    let mut members = Vec::new();
    if reader.begin_array()? {
        loop {
            if members.len() >= MOST_NAMES {
                return Err(crate::error::RequestError::TooMany { what, limit: MOST_NAMES }.into());
            }
            members.push(Members::read(&mut reader)?);
            if !reader.next_element()? {
                break;
            }
        }
    }
    Ok(members)
}

fn shape_of(span: Span, json: &[u8]) -> Result<Vec<i64>, RestError> {
    if span.most_values() > MOST_NAMES {
        return Err(body("a shape has too many sizes").into());
    }
    let mut sizes = TensorReader::new(ElementType::Int64);
    sizes.read(&mut span.reader(json))?;
    let sizes = sizes.single().filter(|sizes| sizes.rank() == 1);
    sizes.and_then(|sizes| sizes.into_vec()).ok_or_else(|| body("a shape must be a list of numbers").into())
}

/// The values of an input, in one list or in lists in lists.
fn values(span: Span, json: &[u8], element_type: ElementType, count: usize) -> Result<Elements, DataError> {
    if span.most_values() < count
        || (count > 0 && span.most_values() > count.saturating_mul(2).saturating_add(64))
    {
        return Err(DataError::Count { expected: count, found: span.most_values() });
    }
    let failed = |error: crate::json::JsonError| DataError::Json(error.to_string());
    let mut reader = span.reader(json);
    if reader.kind().map_err(failed)? != Kind::Array {
        return Err(DataError::Json("expected a list".to_owned()));
    }
    let mut tensor = TensorReader::new(element_type);
    tensor.read(&mut reader).map_err(failed)?;
    let tensor = tensor.single().ok_or(DataError::Missing)?;
    if tensor.len() != count {
        return Err(DataError::Count { expected: count, found: tensor.len() });
    }
    Ok(tensor.into_parts().1)
}

/// The parameters that mean something here.
#[derive(Default)]
struct Parameters {
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    /// `binary_data_size`.
    size: Option<usize>,
    signature: Option<String>,
}

impl Parameters {
    fn read(span: Option<Span>, json: &[u8]) -> Result<Self, RestError> {
        let Some(span) = span else { return Ok(Self::default()) };
        let members = Members::read(&mut span.reader(json))?;
        let boolean = |key| members.get(key).map(|span| span.reader(json).boolean()).transpose();
        let size =
            members.get("binary_data_size").map(|span| span.reader(json).element::<u64>()).transpose()?;
        let signature = members
            .get("signature_name")
            .map(|span| span.reader(json).text_value().map(|text| text.into_owned()));
        Ok(Self {
            binary_data: boolean("binary_data")?,
            binary_data_output: boolean("binary_data_output")?,
            size: size.map(|size| usize::try_from(size).unwrap_or(usize::MAX)),
            signature: signature.transpose()?,
        })
    }
}
