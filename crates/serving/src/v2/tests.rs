//! Tests of the protocol's tensors and messages.

use adytum_api::inference::{
    InferTensorContents, ModelInferRequest,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
};
use adytum_engine::tensor::{ElementType, Elements, Tensor, Text};
use half::{bf16, f16};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::tensor::{RawError, decode_raw, encode_raw};

/// Some elements of each type.
fn samples() -> Vec<Elements> {
    let tensors = [
        Tensor::vector(vec![1.5_f32, f32::NAN, f32::NEG_INFINITY]),
        Tensor::vector(vec![1.5_f64, -0.0]),
        Tensor::vector(vec![f16::from_f32(1.5), f16::MAX]),
        Tensor::vector(vec![bf16::from_f32(1.5), bf16::MIN]),
        Tensor::vector(vec![i8::MIN, i8::MAX]),
        Tensor::vector(vec![i16::MIN, i16::MAX]),
        Tensor::vector(vec![i32::MIN, i32::MAX]),
        Tensor::vector(vec![i64::MIN, i64::MAX]),
        Tensor::vector(vec![u8::MIN, u8::MAX]),
        Tensor::vector(vec![u16::MIN, u16::MAX]),
        Tensor::vector(vec![u32::MIN, u32::MAX]),
        Tensor::vector(vec![u64::MIN, u64::MAX]),
        Tensor::vector(vec![true, false]),
        Tensor::vector(vec![Text::from_static(b"\xff\0"), Text::new(), Text::from_static(b"abc")]),
    ];
    tensors.map(|tensor| tensor.into_parts().1).into()
}

#[test]
fn every_type_has_a_name_and_survives_both_forms() {
    for elements in samples() {
        let element_type = elements.element_type();
        assert_eq!(from_name(name(element_type)), Some(element_type));
        let raw = encode_raw(&elements);
        let again = decode_raw(&raw, element_type, elements.len()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{elements:?}"));
        assert!(decode_raw(&raw, element_type, elements.len() + 1).is_err());
        assert!(decode_raw(&raw[..raw.len() - 1], element_type, elements.len()).is_err());
        match contents::encode(&elements) {
            None => assert!(matches!(element_type, ElementType::Half | ElementType::Bfloat16)),
            Some(typed) => {
                let typed = typed.encode_to_vec();
                let again = contents::decode(&typed, element_type, elements.len()).unwrap();
                assert_eq!(format!("{again:?}"), format!("{elements:?}"));
                assert!(contents::decode(&typed, element_type, elements.len() + 1).is_err());
                assert!(contents::decode(&typed, element_type, elements.len() - 1).is_err());
            }
        }
    }
    assert_eq!(from_name("FP8"), None);
    assert_eq!(from_name("fp32"), None);
}

#[test]
fn values_in_the_wrong_place_or_range_are_refused() {
    let floats = InferTensorContents { fp32_contents: vec![1.0], ..Default::default() }.encode_to_vec();
    assert_eq!(contents::decode(&floats, ElementType::Int32, 1).unwrap_err(), DataError::OtherField);
    assert_eq!(contents::decode(&floats, ElementType::Half, 1).unwrap_err(), DataError::RawOnly);
    let large = InferTensorContents { int_contents: vec![1, 128], ..Default::default() }.encode_to_vec();
    assert_eq!(contents::decode(&large, ElementType::Int8, 2).unwrap_err(), DataError::Range { index: 1 });
    let large = InferTensorContents { uint_contents: vec![1 << 16], ..Default::default() }.encode_to_vec();
    assert_eq!(contents::decode(&large, ElementType::Uint16, 1).unwrap_err(), DataError::Range { index: 0 });
    assert_eq!(
        decode_raw(&[9, 0, 0, 0, 1], ElementType::Text, 1).unwrap_err(),
        RawError::TextCutOff { index: 0 }
    );
    assert_eq!(decode_raw(&[0, 0], ElementType::Text, 0).unwrap_err(), RawError::TextCutOff { index: 0 });
}

#[test]
fn generated_code_writes_what_is_read() {
    let input = |name: &str| InferInputTensor {
        name: name.to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, -1],
        contents: Some(InferTensorContents { fp32_contents: vec![1.0], ..Default::default() }),
        ..Default::default()
    };
    let request = ModelInferRequest {
        model_name: "m".to_owned(),
        model_version: "7".to_owned(),
        id: "id".to_owned(),
        inputs: vec![input("x"), input("y")],
        outputs: vec![InferRequestedOutputTensor { name: "z".to_owned(), ..Default::default() }],
        raw_input_contents: vec![vec![1, 2], vec![]],
        ..Default::default()
    };
    let message = request.encode_to_vec();
    let read = format!("{:?}", Infer::parse(&message).unwrap());
    assert!(read.starts_with("Infer { model: \"m\", version: \"7\", id: \"id\""), "{read}");
    assert!(
        read.contains("shape: [1, -1]") && read.ends_with("outputs: [\"z\"], raw: [[1, 2], []] }"),
        "{read}"
    );
    let many = ModelInferRequest { inputs: vec![input("x"); 257], ..Default::default() }.encode_to_vec();
    assert_eq!(Infer::parse(&many).unwrap_err().code(), "too-many");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120), count in 0_usize..20) {
        let _ = Infer::parse(&bytes);
        for element_type in ElementType::ALL {
            if let Ok(elements) = decode_raw(&bytes, *element_type, count) {
                prop_assert_eq!(elements.len(), count);
            }
            if let Ok(elements) = contents::decode(&bytes, *element_type, count) {
                prop_assert_eq!(elements.len(), count);
            }
        }
    }
}
