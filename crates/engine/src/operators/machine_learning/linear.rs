//! Linear models: `LinearClassifier`, `LinearRegressor`.

use super::{
    DOMAIN,
    classes::Classes,
    transform::{Transform, logistic, probit},
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, check_arity, floats, is_plain_number, output, rows_and_columns},
    },
    tensor::{ElementType, Value, ValueType},
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] =
    &[(DOMAIN, "LinearClassifier", build_classifier), (DOMAIN, "LinearRegressor", build_regressor)];

/// The sum of products of two vectors of equal length, in 32-bit floating point. Eight
/// running sums, so that the compiler can use vector instructions.
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (left_chunks, right_chunks) = (left.chunks_exact(8), right.chunks_exact(8));
    let rest: f32 = left_chunks.remainder().iter().zip(right_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left_chunks.zip(right_chunks) {
        for index in 0..8 {
            sums[index] += a[index] * b[index];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Scores that are linear in the features: coefficients by score, then by feature.
#[derive(Debug)]
struct Linear {
    scores: usize,
    features: usize,
    coefficients: Vec<f32>,
    intercepts: Option<Vec<f32>>,
}

impl Linear {
    fn new(coefficients: &[f32], scores: usize, intercepts: Option<Vec<f32>>) -> Result<Self, Refusal> {
        if scores == 0 || coefficients.is_empty() || !coefficients.len().is_multiple_of(scores) {
            return Err(Refusal::new(format!(
                "{} coefficients do not divide into {scores} linear functions",
                coefficients.len()
            )));
        }
        Ok(Self {
            scores,
            features: coefficients.len() / scores,
            coefficients: coefficients.to_vec(),
            intercepts,
        })
    }

    fn evaluate(&self, rows: &[f32], scores: &mut Vec<f32>) {
        for row in rows.chunks_exact(self.features) {
            for (index, coefficients) in self.coefficients.chunks_exact(self.features).enumerate() {
                let intercept = self.intercepts.as_ref().map_or(0.0, |intercepts| intercepts[index]);
                scores.push(dot(row, coefficients) + intercept);
            }
        }
    }

    fn check(&self, columns: usize) -> Result<(), OperatorError> {
        if columns == self.features {
            return Ok(());
        }
        Err(OperatorError::inputs(format!("a row has {columns} features; the model has {}", self.features)))
    }
}

#[derive(Debug)]
struct LinearClassifier {
    linear: Linear,
    classes: Classes,
    /// One score stands for two classes, and both get a column.
    adds_class: bool,
    transform: Transform,
}

fn build_classifier(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 2)?;
    if !is_plain_number(definition.tensor_type(0)?) {
        return Err(definition.unsupported_type(0));
    }
    let attributes = definition.attributes;
    let classes = Classes::read(attributes, "classlabels_ints", "classlabels_strings")?;
    let coefficients = attributes.floats("coefficients")?.unwrap_or_default();
    let intercepts = attributes.floats("intercepts")?.unwrap_or_default();
    if intercepts.is_empty() {
        return Err(Refusal::new(
            "the attribute intercepts is missing, so the number of scores is not known",
        ));
    }
    let linear = Linear::new(coefficients, intercepts.len(), Some(intercepts.to_vec()))?;
    let adds_class = linear.scores == 1 && classes.len() == 2;
    let classes = if linear.scores == 1 && !adds_class { classes.zero_and_one() } else { classes };
    if linear.scores > classes.len() {
        return Err(Refusal::new(format!("{} scores have only {} classes", linear.scores, classes.len())));
    }
    let transform = Transform::read(attributes)?;
    if adds_class && transform == Transform::Probit {
        return Err(Refusal::new("PROBIT is not defined for one score of two classes"));
    }
    let types = vec![ValueType::Tensor(classes.element_type()), ValueType::Tensor(ElementType::Float)];
    Ok(Built { operator: Box::new(LinearClassifier { linear, classes, adds_class, transform }), types })
}

impl Operator for LinearClassifier {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let (rows, columns) = rows_and_columns(tensor.shape())?;
        self.linear.check(columns)?;
        let width = if self.adds_class { 2 } else { self.linear.scores };
        let mut scores = Vec::with_capacity(context.reserve(ElementType::Float, &[rows, width])?);
        self.linear.evaluate(&floats(tensor)?, &mut scores);
        let mut labels = Vec::with_capacity(rows);
        if self.linear.scores == 1 {
            labels.extend(scores.iter().map(|score| usize::from(*score > 0.0)));
            if self.adds_class {
                scores = match self.transform {
                    Transform::Logistic => {
                        scores.into_iter().flat_map(|s| [logistic(-s), logistic(s)]).collect()
                    }
                    _ => scores.into_iter().flat_map(|score| [1.0 - score, score]).collect(),
                };
            } else if self.transform == Transform::Probit {
                scores.iter_mut().for_each(|score| *score = probit(*score));
            }
        } else {
            for row in scores.chunks_exact_mut(width) {
                labels.push(first_largest(row));
                self.transform.apply(row);
            }
        }
        Ok(vec![self.classes.labels(&labels).into(), output([rows, width], scores)?])
    }
}

/// The index of the largest score; the first one where several are equal.
pub(super) fn first_largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, score) in row.iter().enumerate().skip(1) {
        if *score > row[best] {
            best = index;
        }
    }
    best
}

#[derive(Debug)]
struct LinearRegressor {
    linear: Linear,
    transform: Transform,
}

fn build_regressor(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    if !is_plain_number(definition.tensor_type(0)?) {
        return Err(definition.unsupported_type(0));
    }
    let attributes = definition.attributes;
    let targets = attributes.integer("targets")?.unwrap_or(1);
    let targets = usize::try_from(targets)
        .map_err(|_| Refusal::new(format!("the attribute targets is {targets}; at least 1 is expected")))?;
    let intercepts = attributes.floats("intercepts")?.unwrap_or_default();
    let intercepts = match intercepts.len() {
        0 => None,
        count if count == targets => Some(intercepts.to_vec()),
        count => return Err(Refusal::new(format!("{count} intercepts were found for {targets} targets"))),
    };
    let linear = Linear::new(attributes.floats("coefficients")?.unwrap_or_default(), targets, intercepts)?;
    let operator = LinearRegressor { linear, transform: Transform::read(attributes)? };
    Ok(Built::tensor(operator, ElementType::Float))
}

impl Operator for LinearRegressor {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let (rows, columns) = rows_and_columns(tensor.shape())?;
        self.linear.check(columns)?;
        let width = self.linear.scores;
        let mut scores = Vec::with_capacity(context.reserve(ElementType::Float, &[rows, width])?);
        self.linear.evaluate(&floats(tensor)?, &mut scores);
        if width > 1 {
            scores.chunks_exact_mut(width).for_each(|row| self.transform.apply(row));
        } else if self.transform == Transform::Probit {
            // Of one target, ONNX Runtime computes no other transformation.
            scores.iter_mut().for_each(|score| *score = probit(*score));
        }
        Ok(vec![output([rows, width], scores)?])
    }
}
