//! What the REST API answers with.

use adytum_api::tensorflow::serving::{ClassificationResult, RegressionResult};
use adytum_engine::tensor::{ElementType, Tensor};

use super::RestError;
use crate::json::{write_elements, write_float, write_text};

/// An output whose texts are written as base64, by its name (`api_rest.md`, "Encoding binary
/// values").
fn is_bytes(name: &str, tensor: &Tensor) -> bool {
    tensor.element_type() == ElementType::Text && name.ends_with("_bytes")
}

/// `predictions`: an entry for each example, which is a value if there is one output.
pub(super) fn rows(outputs: &[(String, Tensor)]) -> Result<Vec<u8>, RestError> {
    let mut batch = None;
    for (name, tensor) in outputs {
        let not_rows = |reason| RestError::NotRows { name: name.clone(), reason };
        let size = *tensor.shape().first().ok_or_else(|| not_rows("has no shape information".to_owned()))?;
        match batch {
            Some(expected) if expected != size => {
                return Err(not_rows(format!("has inconsistent batch size: {size} expecting: {expected}")));
            }
            _ => batch = Some(size),
        }
    }
    let mut out = b"{\n    \"predictions\": [".to_vec();
    for row in 0..batch.unwrap_or_default() {
        if row > 0 {
            out.extend_from_slice(b", ");
        }
        match outputs {
            [(name, tensor)] => write_row(&mut out, name, tensor, row),
            outputs => {
                out.extend_from_slice(b"\n        {");
                for (place, (name, tensor)) in outputs.iter().enumerate() {
                    out.extend_from_slice(if place > 0 { b",\n            " } else { b"\n            " });
                    write_text(&mut out, name);
                    out.extend_from_slice(b": ");
                    write_row(&mut out, name, tensor, row);
                }
                out.extend_from_slice(b"\n        }");
            }
        }
    }
    out.extend_from_slice(b"\n    ]\n}");
    Ok(out)
}

fn write_row(out: &mut Vec<u8>, name: &str, tensor: &Tensor, row: usize) {
    let inner = tensor.shape().get(1..).unwrap_or_default();
    let step: usize = inner.iter().product();
    write_elements(out, tensor.elements(), row * step, inner, is_bytes(name, tensor));
}

/// `outputs`: a tensor, or an object of them if there are several outputs.
pub(super) fn columns(outputs: &[(String, Tensor)]) -> Vec<u8> {
    let mut out = b"{\n    \"outputs\": ".to_vec();
    let whole = |out: &mut Vec<u8>, name: &str, tensor: &Tensor| {
        write_elements(out, tensor.elements(), 0, tensor.shape(), is_bytes(name, tensor));
    };
    match outputs {
        [(name, tensor)] => whole(&mut out, name, tensor),
        outputs => {
            out.push(b'{');
            for (place, (name, tensor)) in outputs.iter().enumerate() {
                out.extend_from_slice(if place > 0 { b",\n        " } else { b"\n        " });
                write_text(&mut out, name);
                out.extend_from_slice(b": ");
                whole(&mut out, name, tensor);
            }
            out.extend_from_slice(b"\n    }");
        }
    }
    out.extend_from_slice(b"\n}");
    out
}

/// `results`: the label and the score of each class of each example.
pub(super) fn classifications(result: &ClassificationResult) -> Vec<u8> {
    list(&result.classifications, |out, classifications| {
        out.push(b'[');
        for (place, class) in classifications.classes.iter().enumerate() {
            out.extend_from_slice(if place > 0 { b", [" } else { b"[" });
            write_text(out, &class.label);
            out.extend_from_slice(b", ");
            write_float(out, class.score);
            out.push(b']');
        }
        out.push(b']');
    })
}

/// `results`: the value of each example.
pub(super) fn regressions(result: &RegressionResult) -> Vec<u8> {
    list(&result.regressions, |out, regression| write_float(out, regression.value))
}

fn list<T>(items: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> Vec<u8> {
    let mut out = b"{\n    \"results\": [".to_vec();
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        write(&mut out, item);
    }
    out.extend_from_slice(b"\n    ]\n}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: Vec<u8>) -> serde_json::Value {
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn one_output_is_a_list_and_several_are_objects() {
        let a = ("a".to_owned(), Tensor::from_vec(vec![2, 2], vec![1.0_f32, 2.0, 3.0, 4.5]).unwrap());
        let b = ("b".to_owned(), Tensor::vector(vec![7_i64, 8]));
        let text = String::from_utf8(rows(std::slice::from_ref(&a)).unwrap()).unwrap();
        assert_eq!(text, "{\n    \"predictions\": [[1.0, 2.0], [3.0, 4.5]\n    ]\n}");
        let both = [a.clone(), b];
        let expected =
            serde_json::json!({"predictions": [{"a": [1.0, 2.0], "b": 7}, {"a": [3.0, 4.5], "b": 8}]});
        assert_eq!(read(rows(&both).unwrap()), expected);
        let expected = serde_json::json!({"outputs": {"a": [[1.0, 2.0], [3.0, 4.5]], "b": [7, 8]}});
        assert_eq!(read(columns(&both)), expected);
        assert_eq!(read(columns(&[a])), serde_json::json!({"outputs": [[1.0, 2.0], [3.0, 4.5]]}));
    }

    #[test]
    fn outputs_that_are_no_rows_are_refused() {
        let scalar = ("s".to_owned(), Tensor::scalar(1.0_f32));
        assert_eq!(rows(&[scalar]).unwrap_err().code(), "rest-not-rows");
        let outputs =
            [("a".to_owned(), Tensor::vector(vec![1_i32])), ("b".to_owned(), Tensor::vector(vec![1_i32, 2]))];
        let error = rows(&outputs).unwrap_err().to_string();
        assert!(error.contains("Tensor name: b has inconsistent batch size: 2 expecting: 1"), "{error}");
    }

    #[test]
    fn bytes_are_known_by_the_name_of_the_output() {
        let texts = || Tensor::vector(vec![adytum_engine::tensor::Text::from_static(b"hi")]);
        let expected = serde_json::json!({"predictions": [{"b64": "aGk="}]});
        assert_eq!(read(rows(&[("image_bytes".to_owned(), texts())]).unwrap()), expected);
        assert_eq!(
            read(rows(&[("image".to_owned(), texts())]).unwrap()),
            serde_json::json!({"predictions": ["hi"]})
        );
    }
}
