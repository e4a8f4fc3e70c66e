//! What a served model takes and gives.

use std::collections::BTreeMap;

use adytum_api::tensorflow::{
    DataType, TensorInfo, TensorShapeProto,
    serving::{GetModelMetadataResponse, SignatureDefMap},
};
use prost::Message;

use crate::error::ClientError;

/// One tensor of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpecification {
    /// The type of its elements.
    pub element_type: DataType,
    /// Its dimensions, `None` for those of any size; no shape at all where the
    /// server doesn't know even how many there are.
    pub shape: Option<Vec<Option<usize>>>,
}

impl TensorSpecification {
    fn of(info: &TensorInfo) -> Self {
        let element_type = DataType::try_from(info.dtype).unwrap_or(DataType::DtInvalid);
        Self { element_type, shape: info.tensor_shape.as_ref().and_then(dimensions) }
    }

    /// The shape as `[?,224,224,3]`.
    pub fn shape_text(&self) -> String {
        let Some(shape) = &self.shape else { return "[...]".to_owned() };
        let sizes: Vec<_> =
            shape.iter().map(|size| size.map_or("?".to_owned(), |size| size.to_string())).collect();
        format!("[{}]", sizes.join(","))
    }
}

fn dimensions(shape: &TensorShapeProto) -> Option<Vec<Option<usize>>> {
    // A negative size is an unknown one.
    (!shape.unknown_rank).then(|| shape.dim.iter().map(|dim| usize::try_from(dim.size).ok()).collect())
}

/// A signature of a served model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What it takes, by name.
    pub inputs: BTreeMap<String, TensorSpecification>,
    /// What it gives, by name.
    pub outputs: BTreeMap<String, TensorSpecification>,
}

impl Signature {
    /// The signature of this name in a server's answer.
    pub(crate) fn of(response: &GetModelMetadataResponse, name: &str) -> Result<Self, ClientError> {
        let answer = |problem: String| ClientError::Answer { problem };
        let any = response
            .metadata
            .get("signature_def")
            .ok_or_else(|| answer("the server's metadata have no signatures".to_owned()))?;
        let map = SignatureDefMap::decode(any.value.as_slice())
            .map_err(|error| answer(format!("the server's metadata can't be read: {error}")))?;
        let Some(found) = map.signature_def.get(name) else {
            let known: Vec<_> = map.signature_def.keys().map(String::as_str).collect();
            return Err(ClientError::Interface {
                problem: format!("it has no signature {name:?}; it has {}", known.join(", ")),
            });
        };
        let specifications = |tensors: &BTreeMap<String, TensorInfo>| {
            tensors.iter().map(|(name, info)| (name.clone(), TensorSpecification::of(info))).collect()
        };
        Ok(Self { inputs: specifications(&found.inputs), outputs: specifications(&found.outputs) })
    }

    /// The reference deployment's ResNet-50, for servers that don't tell.
    pub fn reference() -> Self {
        let tensor = |shape: &[Option<usize>]| TensorSpecification {
            element_type: DataType::DtFloat,
            shape: Some(shape.to_vec()),
        };
        let input = tensor(&[None, Some(224), Some(224), Some(3)]);
        let output = tensor(&[None, None]);
        Self {
            inputs: [("input_1".to_owned(), input)].into(),
            outputs: [("activation_49".to_owned(), output)].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use adytum_api::tensorflow::{SignatureDef, tensor_shape_proto::Dim};

    use super::*;

    fn response(value: Vec<u8>) -> GetModelMetadataResponse {
        let any = prost_types::Any { type_url: String::new(), value };
        GetModelMetadataResponse { model_spec: None, metadata: [("signature_def".to_owned(), any)].into() }
    }

    #[test]
    fn shapes_are_read_with_unknown_sizes() {
        let dim = |size| Dim { size, name: String::new() };
        let shape = TensorShapeProto { dim: vec![dim(-1), dim(8)], unknown_rank: false };
        let info = TensorInfo { dtype: 1, tensor_shape: Some(shape), encoding: None };
        let unknown = TensorInfo {
            dtype: 99,
            tensor_shape: Some(TensorShapeProto { dim: vec![], unknown_rank: true }),
            encoding: None,
        };
        let definition = SignatureDef {
            inputs: [("a".to_owned(), info)].into(),
            outputs: [("b".to_owned(), unknown)].into(),
            method_name: String::new(),
        };
        let map = SignatureDefMap { signature_def: [("serving_default".to_owned(), definition)].into() };
        let response = response(map.encode_to_vec());

        let signature = Signature::of(&response, "serving_default").unwrap();
        assert_eq!(signature.inputs["a"].shape, Some(vec![None, Some(8)]));
        assert_eq!(signature.inputs["a"].shape_text(), "[?,8]");
        assert_eq!(signature.outputs["b"].shape, None);
        assert_eq!(signature.outputs["b"].element_type, DataType::DtInvalid);

        let error = Signature::of(&response, "other").unwrap_err();
        assert_eq!(error.code(), "unsupported-model");
        assert!(error.to_string().contains("it has serving_default"), "{error}");
    }

    #[test]
    fn garbage_is_an_error() {
        let error = Signature::of(&response(vec![0xff; 9]), "serving_default").unwrap_err();
        assert_eq!(error.code(), "bad-answer");
        let error = Signature::of(&GetModelMetadataResponse::default(), "x").unwrap_err();
        assert_eq!(error.code(), "bad-answer");
    }
}
