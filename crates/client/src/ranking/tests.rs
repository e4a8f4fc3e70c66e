use adytum_api::tensorflow::{TensorShapeProto, tensor_shape_proto::Dim};
use proptest::prelude::*;

use super::*;

fn tensor(shape: &[i64]) -> TensorProto {
    let dim = shape.iter().map(|&size| Dim { size, name: String::new() }).collect();
    TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
        ..TensorProto::default()
    }
}

fn response(outputs: Vec<(&str, TensorProto)>) -> PredictResponse {
    let outputs = outputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    PredictResponse { outputs, model_spec: None }
}

fn floats(shape: &[i64], values: &[f32]) -> TensorProto {
    TensorProto { float_val: values.to_vec(), ..tensor(shape) }
}

#[test]
fn typed_fields_and_content_are_the_same() {
    let values = [0.25_f32, 0.75];
    let content: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let typed = response(vec![("p", floats(&[1, 2], &values))]);
    let packed = response(vec![("p", TensorProto { tensor_content: content.into(), ..tensor(&[1, 2]) })]);
    let double =
        TensorProto { dtype: DataType::DtDouble.into(), double_val: vec![0.25, 0.75], ..tensor(&[2]) };
    for response in [typed, packed, response(vec![("p", double)])] {
        assert_eq!(scores(&response, None).unwrap(), [0.25, 0.75]);
    }
}

#[test]
fn the_output_is_chosen_by_name_where_there_are_several() {
    let two = response(vec![("a", floats(&[1], &[1.0])), ("b", floats(&[1], &[2.0]))]);
    assert_eq!(scores(&two, Some("b")).unwrap(), [2.0]);
    assert!(scores(&two, None).unwrap_err().to_string().contains("several outputs (a, b)"));
    assert!(scores(&two, Some("c")).unwrap_err().to_string().contains("no output \"c\"; it has a, b"));
    assert!(scores(&response(vec![]), None).unwrap_err().to_string().contains("no output"));
}

#[test]
fn answers_that_contradict_themselves_are_refused() {
    let both = TensorProto { tensor_content: vec![0; 8].into(), ..floats(&[1, 2], &[0.5, 0.5]) };
    let integers = TensorProto { dtype: DataType::DtInt32.into(), ..tensor(&[1]) };
    for (tensor, words) in [
        (floats(&[1, 3], &[0.5, 0.5]), "[1, 3] and 2 elements"),
        (floats(&[2, 2], &[0.5; 4]), "wanted are [1,classes]"),
        (floats(&[], &[0.5]), "wanted are [1,classes]"),
        (floats(&[1, 0], &[]), "0 elements"),
        (floats(&[-2], &[0.5, 0.5]), "[-2]"),
        (TensorProto { tensor_content: vec![0; 7].into(), ..tensor(&[1, 2]) }, "7 bytes"),
        (both, "at once"),
        (integers, "DT_INT32"),
        (floats(&[1, 2], &[0.5, f32::NAN]), "class 1 is NaN"),
    ] {
        let error = scores(&response(vec![("p", tensor)]), None).unwrap_err();
        assert_eq!(error.code(), "bad-answer");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn the_best_come_first_and_equals_in_order() {
    let ranked = top(&[0.1, 0.4, 0.1, 0.4], 3);
    assert_eq!(ranked.iter().map(|ranked| ranked.class).collect::<Vec<_>>(), [1, 3, 0]);
    assert_eq!(top(&[1.0], 5).len(), 1);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(response) = <PredictResponse as prost::Message>::decode(bytes.as_slice()) {
            let _ = scores(&response, None);
        }
    }

    #[test]
    fn no_tensor_makes_it_panic(
        dtype in 0..4_i32,
        shape in proptest::collection::vec(any::<i64>(), 0..4),
        content in proptest::collection::vec(any::<u8>(), 0..32),
        values in proptest::collection::vec(any::<f32>(), 0..4),
    ) {
        let tensor = TensorProto { dtype, tensor_content: content.into(), float_val: values, ..tensor(&shape) };
        if let Ok(scores) = scores(&response(vec![("p", tensor)]), None) {
            prop_assert!(!scores.is_empty());
            prop_assert_eq!(top(&scores, scores.len() + 1).len(), scores.len());
        }
    }
}
