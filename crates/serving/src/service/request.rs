//! A `PredictRequest`, read where it lies.

use adytum_api::tensorflow::serving::ModelSpec;
use prost::Message;

use crate::error::RequestError;
use adytum_wire::{Field, Fields, WireError};

/// The most inputs, and the most names in an output filter: more than any model
/// has, few enough to look through.
const MOST_NAMES: usize = 256;

/// What a `PredictRequest` says; the tensors are not looked into.
pub(super) struct PredictCall<'a> {
    pub(super) model_spec: Option<ModelSpec>,
    /// Names and encoded tensors, each name once.
    pub(super) inputs: Vec<(&'a str, &'a [u8])>,
    pub(super) output_filter: Vec<&'a str>,
}

impl<'a> PredictCall<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, RequestError> {
        let mut call = Self { model_spec: None, inputs: Vec::new(), output_filter: Vec::new() };
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => {
                    let specification = ModelSpec::decode(bytes(message, &field)?)
                        .map_err(|_| malformed("not a ModelSpec", &field))?;
                    call.model_spec = Some(specification);
                }
                2 => {
                    let (name, tensor) = entry(message, &field)?;
                    match call.inputs.iter_mut().find(|(known, _)| *known == name) {
                        // In a map the last one counts.
                        Some(known) => known.1 = tensor,
                        None => push(&mut call.inputs, (name, tensor), "inputs")?,
                    }
                }
                3 => push(&mut call.output_filter, text(message, &field)?, "names in output_filter")?,
                _ => {}
            }
        }
        Ok(call)
    }
}

fn push<T>(list: &mut Vec<T>, item: T, what: &'static str) -> Result<(), RequestError> {
    if list.len() >= MOST_NAMES {
        return Err(RequestError::TooMany { what, limit: MOST_NAMES });
    }
    list.push(item);
    Ok(())
}

/// An entry of the map `inputs`.
fn entry<'a>(message: &'a [u8], field: &Field) -> Result<(&'a str, &'a [u8]), RequestError> {
    let (mut name, mut tensor) = ("", Default::default());
    let range = field.bytes().ok_or_else(|| malformed("not a map entry", field))?;
    for part in Fields::within(message, range) {
        let part = part?;
        match part.number {
            1 => name = text(message, &part)?,
            2 => tensor = bytes(message, &part)?,
            _ => {}
        }
    }
    Ok((name, tensor))
}

fn bytes<'a>(message: &'a [u8], field: &Field) -> Result<&'a [u8], RequestError> {
    field.bytes().and_then(|range| message.get(range)).ok_or_else(|| malformed("not a message", field))
}

fn text<'a>(message: &'a [u8], field: &Field) -> Result<&'a str, RequestError> {
    std::str::from_utf8(bytes(message, field)?).map_err(|_| malformed("a text is not UTF-8", field))
}

fn malformed(reason: &'static str, field: &Field) -> RequestError {
    WireError { reason, offset: field.whole.start }.into()
}

#[cfg(test)]
mod tests {
    use adytum_api::tensorflow::serving::PredictRequest;
    use proptest::prelude::*;

    use super::*;
    use adytum_wire::put_bytes;

    #[test]
    fn too_many_names_are_refused() {
        for (number, what) in [(2, "inputs"), (3, "output_filter")] {
            let mut message = Vec::new();
            for index in 0..=MOST_NAMES {
                let name = format!("{index}");
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, name.as_bytes());
                put_bytes(&mut message, number, if number == 2 { &entry } else { name.as_bytes() });
            }
            let error = PredictCall::parse(&message).err().unwrap();
            assert_eq!(error.code(), "too-many");
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    #[test]
    fn the_last_of_two_inputs_of_a_name_counts() {
        let mut message = Vec::new();
        for tensor in [b"first", b"other"] {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, b"x");
            put_bytes(&mut entry, 2, tensor);
            put_bytes(&mut message, 2, &entry);
        }
        assert_eq!(PredictCall::parse(&message).ok().unwrap().inputs, [("x", &b"other"[..])]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PredictCall::parse(&bytes);
        }

        #[test]
        fn generated_code_reads_the_same(
            name in any::<String>(), inputs in proptest::collection::btree_map(any::<String>(), 0..9_i32, 0..4),
            output_filter in proptest::collection::vec(any::<String>(), 0..4),
        ) {
            let request = PredictRequest {
                model_spec: Some(ModelSpec { name, ..ModelSpec::default() }),
                inputs: inputs
                    .into_iter()
                    .map(|(name, dtype)| (name, adytum_api::tensorflow::TensorProto { dtype, ..Default::default() }))
                    .collect(),
                output_filter,
            };
            let message = request.encode_to_vec();
            let call = PredictCall::parse(&message).ok().unwrap();
            prop_assert_eq!(call.model_spec, request.model_spec);
            prop_assert_eq!(call.output_filter, request.output_filter);
            let inputs: Vec<_> = request.inputs.iter().map(|(name, tensor)| (name.clone(), tensor.encode_to_vec())).collect();
            let read: Vec<_> = call.inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.to_vec())).collect();
            prop_assert_eq!(read, inputs);
        }
    }
}
