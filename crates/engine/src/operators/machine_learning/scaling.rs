//! Numbers made ready for a model: `Scaler`, `Normalizer`, `Imputer`, `Binarizer`.

use super::DOMAIN;
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, broken, check_arity, is_plain_number, output, rows_and_columns},
    },
    tensor::{ElementType, Elements, Value},
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] = &[
    (DOMAIN, "Scaler", build_scaler),
    (DOMAIN, "Normalizer", build_normalizer),
    (DOMAIN, "Imputer", build_imputer),
    (DOMAIN, "Binarizer", build_binarizer),
];

/// The element type of the only input, which must be float, double, int64 or int32.
fn number_type(definition: &Definition<'_>) -> Result<ElementType, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    let element_type = definition.tensor_type(0)?;
    if is_plain_number(element_type) { Ok(element_type) } else { Err(definition.unsupported_type(0)) }
}

/// The number of features: the second dimension, or the first of a vector.
fn features(shape: &[usize]) -> Result<usize, OperatorError> {
    match shape {
        [] => Err(OperatorError::inputs("the input is a scalar; at least one dimension is expected")),
        [columns] | [_, columns, ..] => Ok(*columns),
    }
}

/// One parameter for every feature, or one of each.
fn parameter<T: Copy>(parameters: &[T], index: usize, features: usize) -> T {
    if parameters.len() == 1 { parameters[0] } else { parameters[index % features] }
}

fn check_parameters(name: &str, count: usize, features: usize) -> Result<(), OperatorError> {
    if count == 1 || count == features {
        return Ok(());
    }
    Err(OperatorError::inputs(format!(
        "the model has {count} values of {name} and a row has {features} features"
    )))
}

/// `(x - offset) * scale`.
#[derive(Debug)]
struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

fn build_scaler(definition: &Definition<'_>) -> Result<Built, Refusal> {
    number_type(definition)?;
    let scale = definition.attributes.floats("scale")?.unwrap_or_default().to_vec();
    let offset = definition.attributes.floats("offset")?.unwrap_or_default().to_vec();
    if scale.is_empty() || scale.len() != offset.len() {
        return Err(Refusal::new(format!(
            "scale has {} values and offset {}; as many of each are expected, at least 1",
            scale.len(),
            offset.len()
        )));
    }
    Ok(Built::tensor(Scaler { offset, scale }, ElementType::Float))
}

impl Operator for Scaler {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let features = features(tensor.shape())?;
        check_parameters("scale", self.scale.len(), features)?;
        let pair =
            |index| (parameter(&self.offset, index, features), parameter(&self.scale, index, features));
        // A double is scaled in 64 bits and then rounded; all else is computed in 32.
        let single = |index, value: f32| {
            let (offset, scale) = pair(index);
            (value - offset) * scale
        };
        let (shape, elements) = tensor.into_parts();
        let scaled = match &elements {
            Elements::Float(values) => {
                values.iter().enumerate().map(|(index, x)| single(index, *x)).collect()
            }
            Elements::Int64(values) => {
                values.iter().enumerate().map(|(index, x)| single(index, *x as f32)).collect()
            }
            Elements::Int32(values) => {
                values.iter().enumerate().map(|(index, x)| single(index, *x as f32)).collect()
            }
            Elements::Double(values) => values
                .iter()
                .enumerate()
                .map(|(index, x)| {
                    let (offset, scale) = pair(index);
                    ((x - f64::from(offset)) * f64::from(scale)) as f32
                })
                .collect::<Vec<_>>(),
            _ => return Err(broken("a tensor is not of numbers")),
        };
        Ok(vec![output(shape, scaled)?])
    }
}

/// What the sum of each row becomes one of.
#[derive(Clone, Copy, Debug)]
enum Norm {
    Max,
    L1,
    L2,
}

#[derive(Debug)]
struct Normalizer(Norm);

fn build_normalizer(definition: &Definition<'_>) -> Result<Built, Refusal> {
    number_type(definition)?;
    let norm = match definition.attributes.text("norm")? {
        None | Some("MAX") => Norm::Max,
        Some("L1") => Norm::L1,
        Some("L2") => Norm::L2,
        Some(other) => {
            return Err(Refusal::new(format!("the attribute norm is {other:?}; MAX, L1 or L2 is expected")));
        }
    };
    Ok(Built::tensor(Normalizer(norm), ElementType::Float))
}

/// A number as the norms read it.
trait Normed: Copy {
    fn single(self) -> f32;
    fn magnitude(self) -> f32;
    fn square(self) -> f32;
}

macro_rules! normed {
    ($($number:ty: $magnitude:expr, $square:expr;)*) => { $(
        impl Normed for $number {
            fn single(self) -> f32 {
                self as f32
            }
            fn magnitude(self) -> f32 {
                $magnitude(self) as f32
            }
            fn square(self) -> f32 {
                $square(self) as f32
            }
        }
    )* };
}
normed! {
    f32: f32::abs, |x: f32| x * x;
    f64: f64::abs, |x: f64| x * x;
    i64: i64::unsigned_abs, |x: i64| x.wrapping_mul(x);
    i32: i32::unsigned_abs, |x: i32| x.wrapping_mul(x);
}

impl Norm {
    fn normalize<T: Normed>(self, row: &[T], normalized: &mut Vec<f32>) {
        let total = match self {
            Self::Max => row.iter().fold(f32::MIN, |largest, x| largest.max(x.single())),
            Self::L1 => row.iter().map(|x| x.magnitude()).sum(),
            Self::L2 => row.iter().map(|x| x.square()).sum(),
        };
        normalized.extend(row.iter().map(|x| match self {
            _ if total == 0.0 => x.single(),
            Self::Max | Self::L1 => x.single() / total,
            Self::L2 => (x.square() / total).sqrt().copysign(x.single()),
        }));
    }
}

impl Operator for Normalizer {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        fn by_row<T: Normed>(norm: Norm, values: &[T], columns: usize) -> Vec<f32> {
            let mut normalized = Vec::with_capacity(values.len());
            values.chunks_exact(columns.max(1)).for_each(|row| norm.normalize(row, &mut normalized));
            normalized
        }
        let tensor = Operands::new(inputs).tensor(0)?;
        let (_, columns) = rows_and_columns(tensor.shape())?;
        let normalized = match tensor.elements() {
            Elements::Float(values) => by_row(self.0, values, columns),
            Elements::Double(values) => by_row(self.0, values, columns),
            Elements::Int64(values) => by_row(self.0, values, columns),
            Elements::Int32(values) => by_row(self.0, values, columns),
            _ => return Err(broken("a tensor is not of numbers")),
        };
        Ok(vec![output(tensor.shape(), normalized)?])
    }
}

/// Puts a value in place of another, by feature.
#[derive(Debug)]
enum Imputer {
    Floats { replaced: f32, imputed: Vec<f32> },
    Integers { replaced: i64, imputed: Vec<i64> },
}

fn build_imputer(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = number_type(definition)?;
    let attributes = definition.attributes;
    let is_float = matches!(element_type, ElementType::Float | ElementType::Double);
    let missing = |name: &str| Refusal::new(format!("the attribute {name} is missing or empty"));
    let imputer = if is_float {
        let imputed = attributes.floats("imputed_value_floats")?.unwrap_or_default().to_vec();
        if imputed.is_empty() {
            return Err(missing("imputed_value_floats"));
        }
        Imputer::Floats { replaced: attributes.float("replaced_value_float")?.unwrap_or(0.0), imputed }
    } else {
        let imputed = attributes.integers("imputed_value_int64s")?.unwrap_or_default().to_vec();
        if imputed.is_empty() {
            return Err(missing("imputed_value_int64s"));
        }
        if element_type == ElementType::Int32 && imputed.iter().any(|value| i32::try_from(*value).is_err()) {
            return Err(Refusal::new("a value of imputed_value_int64s does not fit the input's type, int32"));
        }
        Imputer::Integers { replaced: attributes.integer("replaced_value_int64")?.unwrap_or(0), imputed }
    };
    Ok(Built::tensor(imputer, element_type))
}

impl Imputer {
    fn replace<T: Copy, P: Copy>(
        values: &mut [T],
        columns: usize,
        imputed: &[P],
        is_replaced: impl Fn(T) -> bool,
        convert: impl Fn(P) -> T,
    ) {
        for (index, value) in values.iter_mut().enumerate() {
            if is_replaced(*value) {
                *value = convert(parameter(imputed, index, columns));
            }
        }
    }
}

impl Operator for Imputer {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let shape = tensor.shape().to_vec();
        let columns = features(&shape)?;
        let mistyped = || broken("a tensor is not of the type of the definition");
        match self {
            Self::Floats { replaced, imputed } => {
                check_parameters("imputed_value_floats", imputed.len(), columns)?;
                let replaced = *replaced;
                if tensor.element_type() == ElementType::Float {
                    let mut values = tensor.into_vec::<f32>().ok_or_else(mistyped)?;
                    let matches = |x: f32| x == replaced || (x.is_nan() && replaced.is_nan());
                    Self::replace(&mut values, columns, imputed, matches, |x| x);
                    Ok(vec![output(shape, values)?])
                } else {
                    let mut values = tensor.into_vec::<f64>().ok_or_else(mistyped)?;
                    let matches = |x: f64| x == f64::from(replaced) || (x.is_nan() && replaced.is_nan());
                    Self::replace(&mut values, columns, imputed, matches, f64::from);
                    Ok(vec![output(shape, values)?])
                }
            }
            Self::Integers { replaced, imputed } => {
                check_parameters("imputed_value_int64s", imputed.len(), columns)?;
                if tensor.element_type() == ElementType::Int64 {
                    let mut values = tensor.into_vec::<i64>().ok_or_else(mistyped)?;
                    Self::replace(&mut values, columns, imputed, |x| x == *replaced, |x| x);
                    Ok(vec![output(shape, values)?])
                } else {
                    let mut values = tensor.into_vec::<i32>().ok_or_else(mistyped)?;
                    // The definition has checked that the values fit.
                    Self::replace(&mut values, columns, imputed, |x| i64::from(x) == *replaced, |x| x as i32);
                    Ok(vec![output(shape, values)?])
                }
            }
        }
    }
}

/// 1 where a value is above the threshold, else 0.
#[derive(Debug)]
struct Binarizer {
    threshold: f32,
}

fn build_binarizer(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = number_type(definition)?;
    let threshold = definition.attributes.float("threshold")?.unwrap_or(0.0);
    Ok(Built::tensor(Binarizer { threshold }, element_type))
}

impl Operator for Binarizer {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let (shape, elements) = tensor.into_parts();
        let threshold = f64::from(self.threshold);
        Ok(vec![match elements {
            Elements::Float(values) => {
                output(shape, values.iter().map(|x| f32::from(u8::from(*x > self.threshold))).collect())
            }
            Elements::Double(values) => {
                output(shape, values.iter().map(|x| f64::from(u8::from(*x > threshold))).collect())
            }
            Elements::Int64(values) => {
                output(shape, values.iter().map(|x| i64::from(*x as f64 > threshold)).collect())
            }
            Elements::Int32(values) => {
                output(shape, values.iter().map(|x| i32::from(f64::from(*x) > threshold)).collect())
            }
            _ => Err(broken("a tensor is not of numbers")),
        }?])
    }
}
