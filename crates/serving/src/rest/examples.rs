//! `:classify` and `:regress`: examples as JSON objects become encoded `tf.Example`s.

use std::sync::Arc;

use adytum_import::signature::FeatureList;
use adytum_wire::{put_bytes, put_varint};
use bytes::Bytes;

use super::{
    RestError,
    path::{Call, ModelPath},
    predict::{members, signature_name},
    results::{classifications, regressions},
};
use crate::{
    examples::Batch,
    inference::{self, Inference},
    json::{JsonError, Kind, Reader, Span, each_member},
    models::{Servable, ServedSignature},
    service::{classify, target::Target},
};

const EXAMPLES: &str = "examples";
const CONTEXT: &str = "context";

/// A request that was read.
struct Read {
    signature: String,
    context: Option<Vec<u8>>,
    examples: Vec<Vec<u8>>,
    _held: Option<tokio::sync::OwnedSemaphorePermit>,
}

pub(super) async fn answer(
    inference: &Arc<Inference>,
    model: &ModelPath,
    call: Call,
    body: Bytes,
) -> Result<Vec<u8>, RestError> {
    let servable = inference.models.servable(&model.name, &model.version)?;
    let (with, length) = (Arc::clone(inference), body.len());
    let method = if call == Call::Regress { "regress" } else { "classify" };
    let read = inference::read(length, move || read(&with, &servable, &body, method)).await?;
    let batch = Batch::of_encoded(read.context.as_deref(), &read.examples);
    let target =
        Target { name: model.name.clone(), version: model.version.clone(), signature: read.signature };
    if call == Call::Regress {
        let response = classify::regress(inference, target, &batch).await?;
        return Ok(regressions(&response.result.unwrap_or_default()));
    }
    let response = classify::classify(inference, target, &batch).await?;
    Ok(classifications(&response.result.unwrap_or_default()))
}

fn read(
    inference: &Inference,
    servable: &Servable,
    text: &[u8],
    method: &'static str,
) -> Result<Read, RestError> {
    let members = members(text)?;
    let name = signature_name(&members, text)?;
    let signature = servable.signature(&name)?;
    let examples = members.get(EXAMPLES).ok_or(RestError::NoExamples { method })?;
    let context = members.get(CONTEXT);
    // A number takes at most ten bytes, and an example or a name some more.
    let values = examples.most_values().saturating_add(context.as_ref().map_or(0, Span::most_values));
    let size = values.saturating_mul(size_of::<Vec<u8>>()).saturating_add(text.len());
    let limit = inference.memory.message_limit();
    if size > limit {
        return Err(RestError::TooLarge { size, limit });
    }
    let held = inference.charge(size, 0)?;
    let context = context.map(|span| example(&mut span.reader(text), signature, 0)).transpose()?;
    let mut reader = examples.reader(text);
    let mut encoded = Vec::new();
    if !reader.begin_array()? {
        return Err(RestError::Nothing { key: EXAMPLES });
    }
    loop {
        encoded.push(example(&mut reader, signature, encoded.len())?);
        if !reader.next_element()? {
            break;
        }
    }
    Ok(Read { signature: name, context, examples: encoded, _held: held })
}

/// An object of features, encoded.
fn example(reader: &mut Reader<'_>, signature: &ServedSignature, item: usize) -> Result<Vec<u8>, RestError> {
    let mut features = Vec::new();
    let mut failed = None;
    each_member(reader, |reader, key, _| {
        let wanted = signature
            .examples
            .iter()
            .flat_map(|examples| &examples.features)
            .find(|feature| feature.name == key)
            .map(|feature| feature.list);
        match feature(reader, wanted)? {
            Ok(feature) => {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                put_bytes(&mut entry, 2, &feature);
                put_bytes(&mut features, 1, &entry);
            }
            Err(expected) => {
                let feature = key.chars().take(80).collect();
                failed.get_or_insert(RestError::Feature { feature, expected, item });
            }
        }
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut example = Vec::new();
    put_bytes(&mut example, 1, &features);
    Ok(example)
}

/// An encoded `tensorflow.Feature`, or the name of the kind that its values should have.
///
/// Whole numbers are integers, unless the signature takes floats: `2` and `2.0` are the same to
/// most that write JSON.
fn feature(
    reader: &mut Reader<'_>,
    wanted: Option<FeatureList>,
) -> Result<Result<Vec<u8>, &'static str>, JsonError> {
    let mut values = Values { kind: None, wanted, packed: Vec::new() };
    let mut fits = true;
    if reader.kind()? == Kind::Array {
        if reader.begin_array()? {
            loop {
                fits &= values.push(reader)?;
                if !reader.next_element()? {
                    break;
                }
            }
        }
    } else {
        fits = values.push(reader)?;
    }
    Ok(if fits { Ok(values.encode()) } else { Err(values.kind.map_or("a value", name)) })
}

fn name(kind: FeatureList) -> &'static str {
    match kind {
        FeatureList::Int64 => "int64",
        FeatureList::Float => "float",
        FeatureList::Bytes => "bytes",
    }
}

/// The values of one feature.
struct Values {
    kind: Option<FeatureList>,
    wanted: Option<FeatureList>,
    /// Numbers as a packed field has them, or texts as fields.
    packed: Vec<u8>,
}

impl Values {
    /// Adds the next value; false if it is none that can be next to those before it.
    fn push(&mut self, reader: &mut Reader<'_>) -> Result<bool, JsonError> {
        let kind = match reader.kind()? {
            Kind::Text | Kind::Object => FeatureList::Bytes,
            Kind::True | Kind::False => FeatureList::Int64,
            Kind::Number if self.wanted == Some(FeatureList::Float) => FeatureList::Float,
            Kind::Number if reader.is_integer()? => FeatureList::Int64,
            Kind::Number => FeatureList::Float,
            Kind::Array | Kind::Null => {
                reader.skip()?;
                return Ok(false);
            }
        };
        if *self.kind.get_or_insert(kind) != kind {
            reader.skip()?;
            return Ok(false);
        }
        match kind {
            FeatureList::Int64 if matches!(reader.kind()?, Kind::True | Kind::False) => {
                self.packed.push(u8::from(reader.boolean()?));
            }
            FeatureList::Int64 => put_varint(&mut self.packed, reader.element::<i64>()?.cast_unsigned()),
            FeatureList::Float => self.packed.extend_from_slice(&reader.element::<f32>()?.to_le_bytes()),
            FeatureList::Bytes => {
                put_bytes(&mut self.packed, 1, &reader.element::<adytum_engine::tensor::Text>()?)
            }
        }
        Ok(true)
    }

    fn encode(self) -> Vec<u8> {
        let mut feature = Vec::new();
        let (number, packed) = match self.kind {
            None => return feature,
            Some(FeatureList::Bytes) => {
                put_bytes(&mut feature, 1, &self.packed);
                return feature;
            }
            Some(FeatureList::Float) => (2, self.packed),
            Some(FeatureList::Int64) => (3, self.packed),
        };
        let mut list = Vec::new();
        put_bytes(&mut list, 1, &packed);
        put_bytes(&mut feature, number, &list);
        feature
    }
}
