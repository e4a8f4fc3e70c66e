//! Tests of JSON, with serde_json as the other implementation.

use adytum_engine::tensor::{ElementType, Elements, Tensor};
use proptest::prelude::*;

use super::*;

fn read(element_type: ElementType, text: &str) -> Result<Tensor, JsonError> {
    let mut whole = Reader::new(text.as_bytes());
    let commas = whole.skip()?;
    whole.end()?;
    let mut tensors = TensorReader::new(element_type);
    tensors.read(&mut Reader::new(text.as_bytes()))?;
    let tensor = tensors.single().unwrap();
    assert!(tensor.len() <= commas + 1, "more elements than were charged: {text}");
    Ok(tensor)
}

fn code(element_type: ElementType, text: &str) -> &'static str {
    read(element_type, text).unwrap_err().code()
}

fn floats(text: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = read(ElementType::Float, text).unwrap();
    (tensor.shape().to_vec(), tensor.values().unwrap().to_vec())
}

fn write_all(tensor: &Tensor) -> String {
    let mut out = Vec::new();
    write_elements(&mut out, tensor.elements(), 0, tensor.shape(), false);
    String::from_utf8(out).unwrap()
}

#[test]
fn lists_become_shapes() {
    assert_eq!(floats(" 2.5 "), (vec![], vec![2.5]));
    assert_eq!(floats("[1, 2.0,\n3e0]"), (vec![3], vec![1.0, 2.0, 3.0]));
    assert_eq!(floats("[[1,2],[3,4],[5,6]]"), (vec![3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(floats("[[[1],[2]]]").0, [1, 2, 1]);
    assert_eq!(floats("[]"), (vec![0], vec![]));
    assert_eq!(floats("[[],[]]").0, [2, 0]);
}

#[test]
fn what_is_ragged_is_refused() {
    for text in ["[[1,2],[3]]", "[[1],[2,3]]", "[[],[1]]", "[[[1],[2]],[[3]]]"] {
        assert!(matches!(code(ElementType::Float, text), "json-ragged" | "json-level"), "{text}");
    }
    for text in ["[1,[2]]", "[[1],2]", "[[1],[[2]]]", "[[],[[]]]"] {
        assert_eq!(code(ElementType::Float, text), "json-level", "{text}");
    }
    let message = read(ElementType::Float, "[[1,2],[3]]").unwrap_err().to_string();
    assert!(message.contains("at unexpected size: 1 at level: 1 expected size: 2"), "{message}");
}

#[test]
fn numbers_that_are_not_finite_are_read_and_written() {
    let (_, values) = floats("[NaN, Infinity, -Infinity, Inf, -Inf]");
    assert!(values[0].is_nan());
    assert_eq!(values[1..], [f32::INFINITY, -f32::INFINITY, f32::INFINITY, -f32::INFINITY]);
    let tensor = Tensor::vector(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]);
    assert_eq!(write_all(&tensor), "[NaN, Infinity, -Infinity, -0.0]");
    assert_eq!(code(ElementType::Int32, "NaN"), "json-type");
}

#[test]
fn numbers_keep_their_value_or_are_refused() {
    assert_eq!(floats("16777215").1, [16_777_215.0]);
    assert_eq!(code(ElementType::Float, "16777217"), "json-lossy");
    assert_eq!(code(ElementType::Float, "[1, -16777217]"), "json-lossy");
    assert_eq!(code(ElementType::Float, "1e39"), "json-lossy");
    assert_eq!(code(ElementType::Double, "9007199254740993"), "json-lossy");
    assert_eq!(code(ElementType::Double, "1e309"), "json-lossy");
    assert_eq!(code(ElementType::Half, "65520.0"), "json-lossy");
    let exact = read(ElementType::Int64, "[9223372036854775807, -9223372036854775808, 9007199254740993]");
    assert_eq!(exact.unwrap().values::<i64>().unwrap(), [i64::MAX, i64::MIN, 9_007_199_254_740_993]);
    let exact = read(ElementType::Uint64, "18446744073709551615").unwrap();
    assert_eq!(exact.values::<u64>().unwrap(), [u64::MAX]);
    for (element_type, text) in [
        (ElementType::Int8, "128"),
        (ElementType::Uint8, "-1"),
        (ElementType::Uint8, "256"),
        (ElementType::Int32, "2147483648"),
        (ElementType::Int64, "9223372036854775808"),
        (ElementType::Int32, "1.0"),
        (ElementType::Int32, "1e2"),
        (ElementType::Int32, "\"1\""),
        (ElementType::Float, "\"1\""),
        (ElementType::Float, "null"),
        (ElementType::Float, "true"),
        (ElementType::Float, "{\"b64\": \"aGk=\"}"),
        (ElementType::Bool, "1"),
        (ElementType::Text, "1"),
        (ElementType::Text, "{\"b64\": \"aGk=\", \"x\": 1}"),
        (ElementType::Text, "{\"b64\": 1}"),
    ] {
        assert_eq!(code(element_type, text), "json-type", "{text} as {element_type}");
    }
    let message = read(ElementType::Int32, "[1, 2.5]").unwrap_err().to_string();
    assert!(message.starts_with("JSON Value: 2.5 Type: Number is not of expected type: int32"), "{message}");
}

#[test]
fn texts_are_read_with_escapes_and_as_base64() {
    let text = r#"["a", "\u00e4\ud83d\ude00\n\"\/", {"b64": "/wA="}, {"b64": "/wA"}, ""]"#;
    let tensor = read(ElementType::Text, text).unwrap();
    let values = tensor.values::<adytum_engine::tensor::Text>().unwrap();
    assert_eq!(values[0].as_ref(), b"a");
    assert_eq!(values[1].as_ref(), "ä😀\n\"/".as_bytes());
    assert_eq!((values[2].as_ref(), values[3].as_ref()), (&[0xff, 0][..], &[0xff, 0][..]));
    assert_eq!(write_all(&tensor), r#"["a", "ä😀\n\"/", {"b64": "/wA="}, {"b64": "/wA="}, ""]"#);
    let mut out = Vec::new();
    write_elements(&mut out, tensor.elements(), 0, &[], true);
    assert_eq!(out, br#"{"b64": "YQ=="}"#);
    assert_eq!(code(ElementType::Text, r#"{"b64": "*"}"#), "json-base64");
    for text in [r#""\x""#, r#""\u12g4""#, r#""\ud800""#, r#""\ud800\u0041""#, "\"\n\"", "\"", "\"\\"] {
        assert_eq!(code(ElementType::Text, text), "json-syntax", "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for text in [
        "",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "1 2",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "tru",
        "nul",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "[1}",
        "{\"a\":1]",
        "Na",
        "'a'",
    ] {
        assert_eq!(code(ElementType::Float, text), "json-syntax", "{text}");
    }
    assert_eq!(
        read(ElementType::Float, "[1, 2; 3]").unwrap_err(),
        JsonError::Syntax { problem: "Missing a comma or ] after an array element.", offset: 5 }
    );
    let deep = "[".repeat(MAXIMUM_DEPTH + 1);
    assert_eq!(code(ElementType::Float, &deep), "json-depth");
}

#[test]
fn floats_are_written_as_c_writes_them() {
    // As printf("%.6g") or, where that loses something, printf("%.9g") has them.
    for (value, text) in [
        (0.0_f32, "0.0"),
        (1.0, "1.0"),
        (-2.5, "-2.5"),
        (0.2, "0.2"),
        (100_000.0, "100000.0"),
        (123_456.0, "123456.0"),
        (1_000_000.0, "1e+06"),
        (9_000_000.0, "9e+06"),
        (1_234_567.0, "1234567.0"),
        (0.00003, "3e-05"),
        (0.0001, "0.0001"),
        (0.123_456_79, "0.123456791"),
        (16_777_216.0, "16777216.0"),
        (1.0e-45, "1.4013e-45"),
        (f32::MAX, "3.40282347e+38"),
        (123_456_790_000.0, "1.23456791e+11"),
    ] {
        let mut out = Vec::new();
        write_float(&mut out, value);
        assert_eq!(std::str::from_utf8(&out).unwrap(), text);
    }
    let tensor = Tensor::vector(vec![0.1_f64, 0.1 + 0.2, 1e300, 5e-324]);
    assert_eq!(write_all(&tensor), "[0.1, 0.30000000000000004, 1e+300, 4.94066e-324]");
}

#[test]
fn keys_are_found_in_any_order_and_not_twice() {
    let text = br#"{"instances": [[1,2],[3,4]], "signature_name": "x"}"#;
    let members = Members::read(&mut Reader::new(text)).unwrap();
    let instances = members.get("instances").unwrap();
    assert_eq!(charge(instances, ElementType::Double), 4 * 8);
    assert_eq!(members.get("signature_name").unwrap().reader(text).text_value().unwrap(), "x");
    assert_eq!(members.get("inputs"), None);
    let twice = Members::read(&mut Reader::new(br#"{"a": 1, "\u0061": 2}"#)).unwrap_err();
    assert_eq!(twice.code(), "json-key-twice");
    assert_eq!(Members::read(&mut Reader::new(b"[]")).unwrap_err().code(), "json-type");
}

#[test]
fn items_must_have_one_shape() {
    let mut tensors = TensorReader::new(ElementType::Int32);
    tensors.read(&mut Reader::new(b"[1,2]")).unwrap();
    tensors.read(&mut Reader::new(b"[3,4]")).unwrap();
    assert_eq!(tensors.read(&mut Reader::new(b"[5]")).unwrap_err().code(), "json-shape");
    let mut tensors = TensorReader::new(ElementType::Int32);
    for item in ["[1,2]", "[3,4]", "[5,6]"] {
        tensors.read(&mut Reader::new(item.as_bytes())).unwrap();
    }
    let tensor = tensors.batch().unwrap();
    assert_eq!((tensor.shape(), tensor.values::<i32>().unwrap()), (&[3, 2][..], &[1, 2, 3, 4, 5, 6][..]));
}

/// Lists in lists of these lengths, of numbers.
fn value_of(values: &[f64], shape: &[usize]) -> serde_json::Value {
    match shape.split_first() {
        None => values[0].into(),
        Some((length, inner)) => {
            let step: usize = inner.iter().product();
            (0..*length).map(|index| value_of(&values[index * step..], inner)).collect::<Vec<_>>().into()
        }
    }
}

proptest! {
    #[test]
    fn serde_json_writes_what_is_read(shape in proptest::collection::vec(1_usize..4, 0..4), seed in any::<u64>()) {
        let count: usize = shape.iter().product();
        let values: Vec<f64> = (0..count)
            .map(|index| f64::from_bits(seed.rotate_left(u32::try_from(index).unwrap() * 7)))
            .map(|value| if value.is_finite() { value } else { 0.5 })
            .map(|value| if value == value.trunc() && value.abs() > 1e15 { 0.25 } else { value })
            .collect();
        let text = value_of(&values, &shape).to_string();
        let tensor = read(ElementType::Double, &text).unwrap();
        prop_assert_eq!(tensor.shape(), &shape[..]);
        prop_assert_eq!(tensor.values::<f64>().unwrap(), &values[..]);
        let written = write_all(&tensor);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok());
        prop_assert_eq!(read(ElementType::Double, &written).unwrap(), tensor);
    }

    #[test]
    fn floats_are_read_back_as_they_were(bits in any::<u32>()) {
        let value = f32::from_bits(bits);
        prop_assume!(value.is_finite());
        let mut out = Vec::new();
        write_float(&mut out, value);
        let text = String::from_utf8(out).unwrap();
        prop_assert!(text.contains(['.', 'e']));
        prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), bits);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for element_type in ElementType::ALL {
            let _ = TensorReader::new(*element_type).read(&mut Reader::new(&bytes));
        }
        let _ = Members::read(&mut Reader::new(&bytes));
    }

    #[test]
    fn serde_json_agrees_on_what_is_json(text in "[\\[\\]{}:,\"0-9eE.+\\-tfnrulas\\\\ ]{0,24}") {
        let mut reader = Reader::new(text.as_bytes());
        let ours = reader.skip().and_then(|_| reader.end()).is_ok();
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{}", text);
    }

    /// Reading finds each fault in values that were passed without a look.
    #[test]
    fn what_is_passed_unread_is_checked_when_it_is_read(
        text in "\\[[\\[\\],,, 0-9.eE+\\-tf\"{}]{0,80}\\]?",
        element in 0..4_usize,
    ) {
        let element_type =
            [ElementType::Float, ElementType::Int32, ElementType::Bool, ElementType::Text][element];
        let (mut fast, mut slow) = (Reader::new(text.as_bytes()), Reader::new(text.as_bytes()));
        let (unread, checked) = (fast.skip_unread(), slow.skip());
        if unread.is_none() {
            prop_assert_eq!(fast.position(), 0);
        } else if let Ok(commas) = checked {
            prop_assert_eq!((unread, fast.position()), (Some(commas), slow.position()));
        } else {
            let read = TensorReader::new(element_type).read(&mut Reader::new(text.as_bytes()));
            prop_assert!(read.is_err(), "{}", text);
        }
    }

    #[test]
    fn lists_of_numbers_are_passed_unread(shape in proptest::collection::vec(0_usize..9, 1..4)) {
        let text = value_of(&vec![0.25; shape.iter().product::<usize>()], &shape).to_string();
        let document = format!(" {text}, 1");
        let (mut fast, mut slow) = (Reader::new(document.as_bytes()), Reader::new(document.as_bytes()));
        prop_assert_eq!(fast.skip_unread(), slow.skip().ok());
        prop_assert_eq!(fast.position(), slow.position());
    }

    #[test]
    fn texts_are_read_as_they_were_written(text in any::<String>()) {
        let mut out = Vec::new();
        write_text(&mut out, &text);
        prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
        let read = read(ElementType::Text, std::str::from_utf8(&out).unwrap()).unwrap();
        let Elements::Text(values) = read.elements() else { unreachable!() };
        prop_assert_eq!(values[0].as_ref(), text.as_bytes());
    }
}
