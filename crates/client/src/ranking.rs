//! From a server's answer to the most probable classes.

use adytum_api::tensorflow::{DataType, TensorProto, serving::PredictResponse};

use crate::error::ClientError;

/// A class and how probable it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedClass {
    pub class: usize,
    /// Its score; a probability where the model ends in a softmax.
    pub probability: f64,
}

/// The scores of the one image that was asked about: the output of this name,
/// or the only one.
pub fn scores(response: &PredictResponse, output: Option<&str>) -> Result<Vec<f64>, ClientError> {
    let answer = |problem: String| ClientError::Answer { problem };
    let known = || {
        response.outputs.keys().map(|name| name.escape_default().to_string()).collect::<Vec<_>>().join(", ")
    };
    let (name, tensor) = match output {
        Some(name) => response
            .outputs
            .get_key_value(name)
            .ok_or_else(|| answer(format!("it has no output {name:?}; it has {}", known())))?,
        None => {
            let mut outputs = response.outputs.iter();
            match (outputs.next(), outputs.next()) {
                (Some(only), None) => only,
                (None, _) => return Err(answer("it has no output".to_owned())),
                _ => return Err(answer(format!("it has several outputs ({}); choose one", known()))),
            }
        }
    };
    let scores = elements(tensor).map_err(|problem| answer(format!("output {name:?}: {problem}")))?;
    if let Some(class) = scores.iter().position(|score| !score.is_finite()) {
        return Err(answer(format!("output {name:?}: the score of class {class} is {}", scores[class])));
    }
    Ok(scores)
}

/// The best `count` of them; of equals the first, as `argmax` has it.
pub fn top(scores: &[f64], count: usize) -> Vec<RankedClass> {
    let mut ranked: Vec<_> =
        scores.iter().enumerate().map(|(class, &probability)| RankedClass { class, probability }).collect();
    // The sort is stable, so equals stay in the order of their classes.
    ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    ranked.truncate(count);
    ranked
}

fn elements(tensor: &TensorProto) -> Result<Vec<f64>, String> {
    let dtype = DataType::try_from(tensor.dtype).unwrap_or(DataType::DtInvalid);
    let content = &tensor.tensor_content;
    let typed = |count: usize| {
        if content.is_empty() {
            Ok(())
        } else {
            Err(format!("{} bytes and {count} numbers at once", content.len()))
        }
    };
    let scores: Vec<f64> = match dtype {
        DataType::DtFloat if tensor.float_val.is_empty() => {
            packed(content, |bytes| f64::from(f32::from_le_bytes(bytes)))?
        }
        DataType::DtFloat => {
            typed(tensor.float_val.len())?;
            tensor.float_val.iter().map(|&value| value.into()).collect()
        }
        DataType::DtDouble if tensor.double_val.is_empty() => packed(content, f64::from_le_bytes)?,
        DataType::DtDouble => {
            typed(tensor.double_val.len())?;
            tensor.double_val.clone()
        }
        other => return Err(format!("is {}, wanted are DT_FLOAT or DT_DOUBLE", other.as_str_name())),
    };
    check_shape(tensor, scores.len())?;
    Ok(scores)
}

fn packed<const SIZE: usize>(content: &[u8], read: impl Fn([u8; SIZE]) -> f64) -> Result<Vec<f64>, String> {
    let (elements, rest) = content.as_chunks::<SIZE>();
    if rest.is_empty() {
        Ok(elements.iter().copied().map(read).collect())
    } else {
        Err(format!("{} bytes are no whole number of elements of {SIZE}", content.len()))
    }
}

/// The shape must be `[classes]` or have a 1 before it, and match the elements.
fn check_shape(tensor: &TensorProto, count: usize) -> Result<(), String> {
    let shape = tensor.tensor_shape.as_ref().map(|shape| shape.dim.as_slice()).unwrap_or_default();
    let sizes: Vec<i64> = shape.iter().map(|dim| dim.size).collect();
    let is_one_row = match sizes.split_last() {
        Some((&classes, before)) => {
            usize::try_from(classes) == Ok(count) && before.iter().all(|&size| size == 1)
        }
        None => false,
    };
    if is_one_row && count > 0 {
        Ok(())
    } else {
        Err(format!("has the shape {sizes:?} and {count} elements, wanted are [1,classes] and as many"))
    }
}

#[cfg(test)]
mod tests;
