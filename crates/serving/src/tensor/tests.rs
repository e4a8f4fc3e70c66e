//! Tests of decoding and encoding.

use adytum_api::tensorflow::{DataType, TensorProto, TensorShapeProto, tensor_shape_proto::Dim};
use adytum_engine::tensor::{Element, ElementType, Elements, Tensor, Text};
use proptest::prelude::*;
use prost::Message;

use super::*;

const LIMIT: usize = 1 << 20;

fn decode(
    proto: TensorProto,
    specification: &TensorSpecification,
    limit: usize,
) -> Result<Tensor, TensorError> {
    EncodedTensor::parse(&proto.encode_to_vec(), specification, limit)?.read()
}

fn specification(element_type: ElementType, shape: &[Option<usize>]) -> TensorSpecification {
    TensorSpecification { name: "x".to_owned(), element_type, shape: Some(shape.to_vec()) }
}

fn any_shape(element_type: ElementType) -> TensorSpecification {
    TensorSpecification { name: "x".to_owned(), element_type, shape: None }
}

fn proto(data_type: DataType, sizes: &[i64]) -> TensorProto {
    TensorProto {
        dtype: data_type.into(),
        tensor_shape: Some(TensorShapeProto {
            dim: sizes.iter().map(|size| Dim { size: *size, name: String::new() }).collect(),
            unknown_rank: false,
        }),
        ..TensorProto::default()
    }
}

fn elements<T: Element>(values: Vec<T>) -> Elements {
    T::wrap(std::sync::Arc::new(values))
}

#[test]
fn texts_come_and_go_as_they_are() {
    let mut typed = proto(DataType::DtString, &[3]);
    typed.string_val = vec![b"one".to_vec(), vec![0xff, 0]];
    let tensor = decode(typed, &any_shape(ElementType::Text), LIMIT).unwrap();
    let expected = [Text::from_static(b"one"), Text::from_static(&[0xff, 0]), Text::from_static(&[0xff, 0])];
    assert_eq!(tensor.values::<Text>().unwrap(), expected);
    assert_eq!(encode(tensor, false).string_val, [b"one".to_vec(), vec![0xff, 0], vec![0xff, 0]]);

    let mut content = proto(DataType::DtString, &[1]);
    content.tensor_content = vec![3, b'o', b'n', b'e'].into();
    let error = decode(content, &any_shape(ElementType::Text), LIMIT).unwrap_err();
    assert_eq!(error.code(), "tensor-value-field");
    // A text of no letters takes memory too.
    let many = proto(DataType::DtString, &[1 << 18]);
    assert_eq!(decode(many, &any_shape(ElementType::Text), LIMIT).unwrap_err().code(), "tensor-too-large");
}

#[test]
fn content_and_typed_values_give_the_same() {
    let values = [1.5_f32, -2.0, 0.0, 7.25];
    let mut content = proto(DataType::DtFloat, &[2, 2]);
    content.tensor_content = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into();
    let mut typed = proto(DataType::DtFloat, &[2, 2]);
    typed.float_val = values.to_vec();
    let specification = specification(ElementType::Float, &[None, Some(2)]);
    let expected = Tensor::from_vec(vec![2, 2], values.to_vec()).unwrap();
    assert_eq!(decode(content, &specification, LIMIT).unwrap(), expected);
    assert_eq!(decode(typed, &specification, LIMIT).unwrap(), expected);
}

#[test]
fn the_last_value_fills_the_shape() {
    let mut typed = proto(DataType::DtInt64, &[4]);
    typed.int64_val = vec![3, 5];
    let tensor = decode(typed, &any_shape(ElementType::Int64), LIMIT).unwrap();
    assert_eq!(tensor.elements(), &elements(vec![3_i64, 5, 5, 5]));
    let tensor = decode(proto(DataType::DtBool, &[2]), &any_shape(ElementType::Bool), LIMIT).unwrap();
    assert_eq!(tensor.elements(), &elements(vec![false, false]));
}

#[test]
fn quantized_types_are_their_integers() {
    let mut typed = proto(DataType::DtQuint8, &[2]);
    typed.int_val = vec![0, 255];
    let tensor = decode(typed, &any_shape(ElementType::Uint8), LIMIT).unwrap();
    assert_eq!(tensor.elements(), &elements(vec![0_u8, 255]));
}

#[test]
fn what_does_not_fit_names_what_was_expected() {
    let image = specification(ElementType::Float, &[None, Some(224), Some(224), Some(3)]);
    let code = |proto, specification: &TensorSpecification| {
        let error = decode(proto, specification, LIMIT).unwrap_err();
        (error.code(), error.to_string())
    };
    let (kind, message) = code(proto(DataType::DtFloat, &[1, 224, 224]), &image);
    assert_eq!(kind, "tensor-wrong-shape");
    assert!(message.contains("[?,224,224,3]") && message.contains("[1,224,224]"), "{message}");
    let (kind, message) = code(proto(DataType::DtUint8, &[1, 224, 224, 3]), &image);
    assert_eq!((kind, message.as_str()), ("tensor-wrong-type", "expected to be float but uint8 is provided"));
    for unsupported in [DataType::DtComplex64, DataType::DtVariant, DataType::DtResource, DataType::DtInvalid]
    {
        let (kind, message) = code(proto(unsupported, &[1]), &image);
        assert_eq!(kind, "tensor-unsupported-type");
        assert!(message.contains("float") && message.contains(unsupported.as_str_name()), "{message}");
    }
    let flat = any_shape(ElementType::Int32);
    let mut short = proto(DataType::DtInt32, &[3]);
    short.tensor_content = vec![0_u8; 11].into();
    let (kind, message) = code(short, &flat);
    assert_eq!(kind, "tensor-content-length");
    assert!(message.contains("expected 12") && message.contains("found 11"), "{message}");
    let mut many = proto(DataType::DtInt32, &[3]);
    many.int_val = vec![0; 4];
    assert_eq!(code(many, &flat).0, "tensor-value-count");
    let mut elsewhere = proto(DataType::DtInt32, &[3]);
    elsewhere.float_val = vec![0.0; 3];
    assert_eq!(code(elsewhere, &flat).0, "tensor-value-field");
    let mut wide = proto(DataType::DtInt8, &[1]);
    wide.int_val = vec![128];
    assert_eq!(code(wide, &any_shape(ElementType::Int8)).0, "tensor-value-range");
}

#[test]
fn impossible_shapes_are_refused_before_memory_is_taken() {
    let any = any_shape(ElementType::Float);
    for (sizes, code) in [
        (vec![-1], "tensor-invalid-shape"),
        (vec![i64::MIN, 2], "tensor-invalid-shape"),
        (vec![i64::MAX, i64::MAX], "tensor-too-large"),
        (vec![1 << 32, 1 << 32], "tensor-too-large"),
        (vec![1 << 40], "tensor-too-large"),
        (vec![0, i64::MAX, i64::MAX], "tensor-too-large"),
        (vec![(1 << 18) + 1], "tensor-too-large"),
        (vec![1; 255], "tensor-invalid-shape"),
    ] {
        let mut huge = proto(DataType::DtFloat, &sizes);
        huge.float_val = vec![1.0];
        assert_eq!(decode(huge, &any, LIMIT).unwrap_err().code(), code, "{sizes:?}");
    }
    let mut unknown = proto(DataType::DtFloat, &[]);
    unknown.tensor_shape = Some(TensorShapeProto { dim: Vec::new(), unknown_rank: true });
    assert_eq!(decode(unknown, &any, LIMIT).unwrap_err().code(), "tensor-invalid-shape");
}

fn any_proto() -> impl Strategy<Value = TensorProto> {
    let sizes = proptest::collection::vec(prop_oneof![0_i64..5, any::<i64>()], 0..5);
    let content = proptest::collection::vec(any::<u8>(), 0..64);
    let values = (
        proptest::collection::vec(any::<f32>(), 0..6),
        proptest::collection::vec(any::<i32>(), 0..6),
        proptest::collection::vec(any::<i64>(), 0..6),
        proptest::collection::vec(any::<bool>(), 0..6),
    );
    (0..26_i32, sizes, content, values)
        .prop_map(|(dtype, sizes, content, (floats, ints, longs, bools))| TensorProto {
            dtype,
            tensor_content: content.into(),
            float_val: floats,
            half_val: ints.clone(),
            int_val: ints,
            int64_val: longs,
            bool_val: bools,
            ..proto(DataType::DtInvalid, &sizes)
        })
        .prop_map(|mut proto| {
            if proto.tensor_content.len() % 3 == 0 {
                proto.tensor_content.clear();
            }
            proto
        })
}

#[test]
fn unpacked_and_split_values_are_values_too() {
    let specification = any_shape(ElementType::Int32);
    let mut message = proto(DataType::DtInt32, &[4]).encode_to_vec();
    adytum_wire::put_number(&mut message, 7, 1);
    adytum_wire::put_bytes(&mut message, 7, &[2, 3]);
    adytum_wire::put_number(&mut message, 7, u64::from(u32::MAX));
    let tensor = EncodedTensor::parse(&message, &specification, LIMIT).unwrap().read().unwrap();
    assert_eq!(tensor.elements(), &elements(vec![1_i32, 2, 3, -1]));
    adytum_wire::put_bytes(&mut message, 7, &[0x80]);
    let error = EncodedTensor::parse(&message, &specification, LIMIT).unwrap().read().unwrap_err();
    assert_eq!(error.code(), "tensor-malformed");
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        for element_type in ElementType::ALL {
            let parsed = EncodedTensor::parse(&bytes, &any_shape(*element_type), 4096);
            let _ = parsed.and_then(EncodedTensor::read);
        }
    }

    #[test]
    fn generated_code_reads_the_same(mut proto in any_proto()) {
        // What prost reads of the same bytes, element by element.
        proto.tensor_content.clear();
        proto.tensor_shape = Some(TensorShapeProto { dim: vec![Dim { size: 6, name: String::new() }], unknown_rank: false });
        proto.float_val.resize(6, 0.5);
        proto.int64_val.resize(6, -7);
        proto.bool_val.resize(6, true);
        let again = TensorProto::decode(proto.encode_to_vec().as_slice()).unwrap();
        for (data_type, expected) in [
            (DataType::DtFloat, elements(again.float_val)),
            (DataType::DtInt64, elements(again.int64_val)),
            (DataType::DtBool, elements(again.bool_val)),
        ] {
            proto.dtype = data_type.into();
            let specification = any_shape(expected.element_type());
            let tensor = decode(proto.clone(), &specification, LIMIT).unwrap();
            let bits = |elements: &Elements| match elements {
                // NaN is unequal to itself.
                Elements::Float(values) => values.iter().map(|value| i64::from(value.to_bits())).collect(),
                Elements::Int64(values) => values.to_vec(),
                Elements::Bool(values) => values.iter().map(|value| i64::from(*value)).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(bits(tensor.elements()), bits(&expected));
        }
    }
    #[test]
    fn any_tensor_is_decoded_or_refused(proto in any_proto(), index in 0..ElementType::ALL.len()) {
        let specification = any_shape(ElementType::ALL[index]);
        if let Ok(tensor) = decode(proto, &specification, 4096) {
            let count: usize = tensor.shape().iter().product();
            prop_assert_eq!(count, tensor.elements().len());
            prop_assert!(count * tensor.elements().element_type().size() <= 4096);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(index in 0..ElementType::ALL.len(), bytes in proptest::collection::vec(0..2_u8, 64), rows in 1..3_usize) {
        let element_type = ElementType::ALL[index];
        prop_assume!(element_type != ElementType::Text);
        let columns = 64 / element_type.size() / rows;
        let mut content = proto(to_tensorflow(element_type), &[rows as i64, columns as i64]);
        content.tensor_content = bytes[..rows * columns * element_type.size()].to_vec().into();
        let specification = any_shape(element_type);
        let tensor = decode(content, &specification, LIMIT).unwrap();
        for as_content in [false, true] {
            let encoded = encode(tensor.clone(), as_content);
            prop_assert_eq!(encoded.tensor_content.is_empty(), !as_content || tensor.is_empty());
            prop_assert_eq!(decode(encoded, &specification, LIMIT).unwrap(), tensor.clone());
        }
    }
}
