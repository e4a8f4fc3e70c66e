//! Whether a model answers a batch of two as it answers each of the two alone.

use std::collections::BTreeMap;

use adytum_engine::{
    difference::difference,
    engine::Specification,
    onnx::model::Dimension,
    tensor::{Element, ElementType, Elements, Tensor, Value},
};
use half::{bf16, f16};
use serde::Serialize;

use super::{
    made_up::{self, FILLINGS, Recipe, TRIED_ROWS, TRIED_SIZES},
    probe::{Probe, Ran},
};

/// What the runs of a model, or of one of its signatures, showed.
#[derive(Debug, Serialize)]
pub(crate) struct Tried {
    /// The inputs of the first run that gave an answer, with their shapes.
    pub(crate) inputs: Vec<Shaped>,
    /// Those inputs themselves, by their names.
    #[serde(skip)]
    pub(crate) example: Vec<(String, Tensor)>,
    /// The outputs of that run.
    pub(crate) outputs: Vec<Shaped>,
    pub(crate) batch: Batch,
    /// Bytes that the values of that run take.
    pub(crate) run_bytes: usize,
    /// Bytes that each further element of the batch takes.
    pub(crate) element_bytes: Option<usize>,
}

/// A tensor's name, type and shape.
#[derive(Debug, Serialize)]
pub(crate) struct Shaped {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) element_type: String,
    pub(crate) shape: Vec<usize>,
}

/// What a batch of two showed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub(crate) enum Batch {
    /// A batch of two gives what the two give alone.
    Agrees {
        /// The largest difference, in parts of the largest value.
        difference: f64,
        /// Outputs that do not have a part for each element.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        without_rows: Vec<String>,
    },
    /// The first dimension of no input is open: there is no batch.
    None,
    /// Two equal runs differ: the model draws random numbers.
    Random { output: String },
    /// The model can't do with one element; it was run with eight.
    NotOne { reason: String },
    /// The model takes one element only.
    OneOnly { reason: String },
    /// An answer depends on the other element.
    Differs { output: String, reason: String },
}

/// Which part of a model runs: outputs, and the inputs that they need, by their indices.
pub(crate) struct Part<'a> {
    pub(crate) inputs: Vec<(usize, &'a Specification)>,
    pub(crate) outputs: Vec<(usize, &'a Specification)>,
    /// How many inputs the model has.
    pub(crate) all_inputs: usize,
}

/// How large a difference may be, in parts of the largest value.
pub(crate) struct Tolerance {
    pub(crate) difference: f64,
    /// Whether whole numbers may differ: those that were chosen by numbers that are rounded.
    pub(crate) is_rounded: bool,
}

/// Runs a part with inputs that are made up. The error is why no inputs gave an answer.
pub(crate) fn try_out(
    probe: &Probe<'_>,
    part: &Part<'_>,
    named: &BTreeMap<String, usize>,
    tolerance: &Tolerance,
) -> Result<Tried, String> {
    let specifications: Vec<&Specification> = part.inputs.iter().map(|(_, input)| *input).collect();
    let axes = made_up::batch_axes(&specifications);
    let outputs: Vec<usize> = part.outputs.iter().map(|(index, _)| *index).collect();
    let inputs = |recipe: &Recipe<'_>| -> Option<Vec<Option<Value>>> {
        let mut inputs = vec![None; part.all_inputs];
        for ((index, input), axis) in part.inputs.iter().zip(&axes) {
            *inputs.get_mut(*index)? = Some(made_up::value(input, *index, *axis, recipe)?);
        }
        Some(inputs)
    };
    let run = |recipe: &Recipe<'_>| -> Result<Ran, String> {
        probe.run(inputs(recipe).ok_or("its inputs are too large to be made up")?, &outputs)
    };

    let mut reason = None;
    let mut first = None;
    let sizes = if is_closed(&specifications, &axes, named) { &TRIED_SIZES[..1] } else { &TRIED_SIZES[..] };
    let has_batch = axes.iter().any(Option::is_some);
    let tried_rows = if has_batch { &TRIED_ROWS[..] } else { &TRIED_ROWS[..1] };
    'found: for rows in tried_rows {
        for size in sizes {
            for filling in FILLINGS {
                let recipe = Recipe { filling, size: *size, named, first_row: 0, rows: *rows };
                match run(&recipe) {
                    Ok(ran) => {
                        first = Some((recipe, ran));
                        break 'found;
                    }
                    Err(error) => drop(reason.get_or_insert(error)),
                }
            }
        }
    }
    let Some((recipe, first)) = first else {
        return Err(reason.unwrap_or_else(|| "nothing was tried".to_owned()));
    };
    let shaped_inputs = specifications.iter().zip(&axes).filter_map(|(input, axis)| {
        let element_type = input.value_type.to_string();
        Some(Shaped { name: input.name.clone(), element_type, shape: made_up::shape(input, *axis, &recipe)? })
    });
    let names: Vec<&str> = part.outputs.iter().map(|(_, output)| output.name.as_str()).collect();
    let shaped_outputs = names.iter().zip(&first.answers).filter_map(|(name, answer)| {
        let tensor = answer.tensor()?;
        let (element_type, shape) = (tensor.element_type().to_string(), tensor.shape().to_vec());
        Some(Shaped { name: (*name).to_owned(), element_type, shape })
    });
    let values = inputs(&recipe).unwrap_or_default();
    let example = part.inputs.iter().filter_map(|(index, input)| {
        let tensor = values.get(*index)?.as_ref()?.tensor()?;
        Some((input.name.clone(), tensor.clone()))
    });
    let mut tried = Tried {
        example: example.collect(),
        inputs: shaped_inputs.collect(),
        outputs: shaped_outputs.collect(),
        batch: Batch::None,
        run_bytes: first.peak,
        element_bytes: None,
    };
    if let Some(output) = differing(&run(&recipe)?.answers, &first.answers, &names) {
        tried.batch = Batch::Random { output };
    } else if recipe.rows > 1 {
        tried.batch = Batch::NotOne { reason: reason.unwrap_or_default() };
    } else if has_batch {
        let second = run(&Recipe { first_row: 1, ..recipe.clone() });
        let both = run(&Recipe { rows: 2, ..recipe.clone() });
        tried.batch = match (second, both) {
            (Ok(second), Ok(both)) => {
                tried.element_bytes = Some(both.peak.saturating_sub(first.peak));
                agree(&names, [&first.answers, &second.answers, &both.answers], tolerance)
            }
            (Err(reason), _) | (_, Err(reason)) => Batch::OneOnly { reason },
        };
    }
    Ok(tried)
}

/// Whether other sizes would change nothing.
fn is_closed(inputs: &[&Specification], axes: &[Option<usize>], named: &BTreeMap<String, usize>) -> bool {
    inputs.iter().zip(axes).all(|(input, axis)| {
        input.shape.as_ref().is_some_and(|shape| {
            shape.iter().enumerate().all(|(index, dimension)| {
                *axis == Some(index)
                    || matches!(dimension, Dimension::Fixed(_))
                    || made_up::given(input, index, dimension, named).is_some()
            })
        })
    })
}

/// The first output that two equal runs answer differently.
fn differing(again: &[Value], first: &[Value], names: &[&str]) -> Option<String> {
    let differs = |(again, first): (&Value, &Value)| match (again.tensor(), first.tensor()) {
        (Some(again), Some(first)) => difference(again, first).map_or(true, |difference| difference > 1e-5),
        _ => again != first,
    };
    let index = again.iter().zip(first).position(differs)?;
    names.get(index).map(|name| (*name).to_owned())
}

/// Compares the answers to two elements alone with those to both.
fn agree(names: &[&str], answers: [&Vec<Value>; 3], tolerance: &Tolerance) -> Batch {
    let [first, second, both] = answers;
    let (mut largest, mut without_rows) = (0.0_f64, Vec::new());
    for (index, name) in names.iter().enumerate() {
        let tensor = |answers: &Vec<Value>| answers.get(index).and_then(|value| value.tensor().cloned());
        let (Some(first), Some(second), Some(both)) = (tensor(first), tensor(second), tensor(both)) else {
            without_rows.push((*name).to_owned());
            continue;
        };
        let Some(axis) = stacked_along(&first, &second, &both) else {
            without_rows.push((*name).to_owned());
            continue;
        };
        let length = |tensor: &Tensor| tensor.shape().get(axis).copied().unwrap_or(0);
        let (middle, end) = (length(&first), length(&both));
        for (element, alone, range) in [(1, &first, 0..middle), (2, &second, middle..end)] {
            let Some(found) = slice(&both, axis, range) else { continue };
            match difference(&found, alone) {
                Ok(difference) if difference <= tolerance.difference => largest = largest.max(difference),
                Err(_) if tolerance.is_rounded => {}
                Ok(difference) => {
                    let reason = format!(
                        "element {element} of a batch of 2 differs from its own answer by {difference:.1e} of the largest value"
                    );
                    return Batch::Differs { output: (*name).to_owned(), reason };
                }
                Err(reason) => {
                    let reason =
                        format!("element {element} of a batch of 2 differs from its own answer: {reason}");
                    return Batch::Differs { output: (*name).to_owned(), reason };
                }
            }
        }
    }
    Batch::Agrees { difference: largest, without_rows }
}

/// The dimension along which an answer to both has the answers to each.
fn stacked_along(first: &Tensor, second: &Tensor, both: &Tensor) -> Option<usize> {
    let shapes = [first.shape(), second.shape(), both.shape()];
    let [a, b, both] = shapes;
    if a.len() != b.len() || a.len() != both.len() {
        return None;
    }
    let sizes = || a.iter().zip(b).zip(both);
    let mut differing = sizes().enumerate().filter(|(_, ((a, _), both))| a != both);
    let (axis, ((a, b), both)) = differing.next()?;
    let others_are_equal =
        differing.next().is_none() && sizes().enumerate().all(|(index, ((a, b), _))| index == axis || a == b);
    (a + b == *both && others_are_equal).then_some(axis)
}

/// A part of a tensor along one dimension.
fn slice(tensor: &Tensor, axis: usize, range: std::ops::Range<usize>) -> Option<Tensor> {
    fn cut<T: Element>(tensor: &Tensor, axis: usize, range: &std::ops::Range<usize>) -> Option<Tensor> {
        let values = tensor.values::<T>()?;
        let mut shape = tensor.shape().to_vec();
        let inner: usize = shape.get(axis + 1..)?.iter().product();
        let size = shape.get_mut(axis)?;
        let block = *size * inner;
        *size = range.len();
        let part = range.start * inner..range.end * inner;
        let mut cut = Vec::with_capacity(shape.iter().product());
        for block in values.chunks_exact(block.max(1)) {
            cut.extend_from_slice(block.get(part.clone())?);
        }
        Tensor::from_vec(shape, cut)
    }
    match tensor.elements() {
        Elements::Float(_) => cut::<f32>(tensor, axis, &range),
        Elements::Double(_) => cut::<f64>(tensor, axis, &range),
        Elements::Half(_) => cut::<f16>(tensor, axis, &range),
        Elements::Bfloat16(_) => cut::<bf16>(tensor, axis, &range),
        Elements::Int8(_) => cut::<i8>(tensor, axis, &range),
        Elements::Int16(_) => cut::<i16>(tensor, axis, &range),
        Elements::Int32(_) => cut::<i32>(tensor, axis, &range),
        Elements::Int64(_) => cut::<i64>(tensor, axis, &range),
        Elements::Uint8(_) => cut::<u8>(tensor, axis, &range),
        Elements::Uint16(_) => cut::<u16>(tensor, axis, &range),
        Elements::Uint32(_) => cut::<u32>(tensor, axis, &range),
        Elements::Uint64(_) => cut::<u64>(tensor, axis, &range),
        Elements::Bool(_) => cut::<bool>(tensor, axis, &range),
        Elements::Text(_) => cut::<adytum_engine::tensor::Text>(tensor, axis, &range),
    }
}

/// How large differences may be in a model: numbers of 16 bits and numbers that are quantised by the
/// whole tensor's range differ more.
pub(crate) fn tolerance<'a>(operators: impl Iterator<Item = &'a str>, types: &[ElementType]) -> Tolerance {
    let is_dynamic = |operator: &str| operator.starts_with("Dynamic") || operator.contains("MatMulInteger");
    let is_quantised =
        |operator: &str| is_dynamic(operator) || operator.contains("Quantize") || operator.starts_with("Q");
    let is_short =
        |element_type: &ElementType| matches!(element_type, ElementType::Half | ElementType::Bfloat16);
    let (mut dynamic, mut quantised) = (false, false);
    for operator in operators {
        dynamic |= is_dynamic(operator);
        quantised |= is_quantised(operator);
    }
    let short = types.iter().any(is_short);
    let difference = match (dynamic, quantised || short) {
        (true, _) => 0.1,
        (false, true) => 0.02,
        (false, false) => 1e-4,
    };
    Tolerance { difference, is_rounded: dynamic || quantised || short }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    fn compared(first: &Tensor, second: &Tensor, both: &Tensor) -> Batch {
        let values = [first, second, both].map(|tensor| vec![Value::Tensor(tensor.clone())]);
        let [first, second, both] = &values;
        agree(&["y"], [first, second, both], &Tolerance { difference: 1e-4, is_rounded: false })
    }

    #[test]
    fn rows_are_compared_along_the_dimension_that_grew() {
        let (first, second) =
            (tensor(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]), tensor(&[2, 1, 2], &[5.0, 6.0, 7.0, 8.0]));
        let both = tensor(&[2, 2, 2], &[1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
        assert!(matches!(compared(&first, &second, &both), Batch::Agrees { difference: 0.0, .. }));
        let wrong = tensor(&[2, 2, 2], &[1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.1]);
        let found = compared(&first, &second, &wrong);
        assert!(
            matches!(&found, Batch::Differs { reason, .. } if reason.starts_with("element 2")),
            "{found:?}"
        );
    }

    #[test]
    fn outputs_without_rows_are_named() {
        let one = tensor(&[1], &[1.0]);
        let found = compared(&one, &one, &one);
        assert!(matches!(&found, Batch::Agrees { without_rows, .. } if without_rows == &["y"]), "{found:?}");
        // As many rows as were found, as of boxes in pictures.
        let found =
            compared(&tensor(&[1], &[1.0]), &tensor(&[2], &[2.0, 3.0]), &tensor(&[3], &[1.0, 2.0, 3.0]));
        assert!(matches!(&found, Batch::Agrees { without_rows, .. } if without_rows.is_empty()), "{found:?}");
    }
}
