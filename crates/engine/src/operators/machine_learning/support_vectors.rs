//! Support vector machines: `SVMClassifier`, `SVMRegressor`.

use super::{
    DOMAIN,
    classes::Classes,
    linear::{dot, first_largest},
    transform::{Transform, logistic},
};
use crate::{
    operators::{
        Attributes, Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, check_arity, floats, is_plain_number, output, rows_and_columns},
    },
    tensor::{ElementType, Value, ValueType},
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] =
    &[(DOMAIN, "SVMClassifier", build_classifier), (DOMAIN, "SVMRegressor", build_regressor)];

/// How alike a row and a support vector are.
#[derive(Clone, Copy, Debug)]
enum Kernel {
    Linear,
    Polynomial { gamma: f32, offset: f32, degree: f32 },
    RadialBasis { gamma: f32 },
    Sigmoid { gamma: f32, offset: f32 },
}

impl Kernel {
    fn read(attributes: &Attributes) -> Result<Self, Refusal> {
        let parameters = attributes.floats("kernel_params")?.unwrap_or_default();
        let (gamma, offset, degree) = match parameters {
            [] => (0.0, 0.0, 0.0),
            [gamma, offset, degree, ..] => (*gamma, *offset, *degree),
            _ => return Err(Refusal::new("the attribute kernel_params has fewer than 3 values")),
        };
        match attributes.text("kernel_type")? {
            None | Some("LINEAR") => Ok(Self::Linear),
            Some("POLY") => Ok(Self::Polynomial { gamma, offset, degree }),
            Some("RBF") => Ok(Self::RadialBasis { gamma }),
            Some("SIGMOID") => Ok(Self::Sigmoid { gamma, offset }),
            Some(other) => {
                Err(Refusal::new(format!("the attribute kernel_type is {other:?}, which ONNX does not know")))
            }
        }
    }

    fn evaluate(self, row: &[f32], vector: &[f32]) -> f32 {
        match self {
            Self::Linear => dot(row, vector),
            Self::Polynomial { gamma, offset, degree } => {
                let base = gamma * dot(row, vector) + offset;
                match degree {
                    2.0 => base * base,
                    3.0 => base * base * base,
                    degree => base.powf(degree),
                }
            }
            Self::RadialBasis { gamma } => {
                let distance: f32 = row.iter().zip(vector).map(|(a, b)| (a - b) * (a - b)).sum();
                (-gamma * distance).exp()
            }
            Self::Sigmoid { gamma, offset } => (gamma * dot(row, vector) + offset).tanh(),
        }
    }
}

/// A row of a matrix must have this many features.
fn check_features(columns: usize, features: usize) -> Result<(), OperatorError> {
    if columns == features {
        return Ok(());
    }
    Err(OperatorError::inputs(format!("a row has {columns} features; the model has {features}")))
}

/// Vectors of equal length, one after another.
fn split_vectors(name: &str, values: &[f32], count: usize) -> Result<usize, Refusal> {
    if count > 0 && !values.is_empty() && values.len().is_multiple_of(count) {
        return Ok(values.len() / count);
    }
    Err(Refusal::new(format!("{} values of {name} do not divide into {count} vectors", values.len())))
}

#[derive(Debug)]
enum Machine {
    /// One linear function a class (liblinear).
    Linear { coefficients: Vec<f32>, offset: f32, all_positive: bool },
    /// One function a pair of classes (libsvm).
    Pairs(Pairs),
}

#[derive(Debug)]
struct Pairs {
    kernel: Kernel,
    vectors: Vec<f32>,
    /// How many support vectors there are.
    count: usize,
    /// By class: the first of its support vectors, and how many it has.
    ranges: Vec<(usize, usize)>,
    /// `[classes - 1, count]`.
    coefficients: Vec<f32>,
    offsets: Vec<f32>,
    /// The slope and offset of each pair's probability; none if there are no probabilities.
    calibration: Vec<(f32, f32)>,
}

#[derive(Debug)]
struct Classifier {
    machine: Machine,
    classes: Classes,
    features: usize,
    /// How many scores a row has in the output.
    width: usize,
    transform: Transform,
}

fn build_classifier(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 2)?;
    if !is_plain_number(definition.tensor_type(0)?) {
        return Err(definition.unsupported_type(0));
    }
    let attributes = definition.attributes;
    let classes = Classes::read(attributes, "classlabels_ints", "classlabels_strings")?;
    let transform = Transform::read(attributes)?;
    let coefficients = attributes.floats("coefficients")?.unwrap_or_default().to_vec();
    let offsets = attributes.floats("rho")?.unwrap_or_default().to_vec();
    let counts = attributes.integers("vectors_per_class")?.unwrap_or_default();
    let class_count = classes.len();
    if class_count < 2 {
        return Err(Refusal::new("a classifier of one class is not computed"));
    }
    let (machine, features, width) = if counts.iter().all(|count| *count == 0) {
        let features = split_vectors("coefficients", &coefficients, class_count)?;
        let offset = *offsets.first().ok_or_else(|| Refusal::new("the attribute rho is missing"))?;
        let all_positive = coefficients.iter().all(|value| *value >= 0.0);
        (Machine::Linear { coefficients, offset, all_positive }, features, class_count)
    } else {
        let (pairs, features) = Pairs::read(attributes, counts, class_count, coefficients, offsets)?;
        let width = if pairs.calibration.is_empty() && class_count > 2 {
            pair_count(class_count)?
        } else {
            class_count
        };
        if pairs.calibration.is_empty() && class_count == 2 && transform == Transform::Probit {
            return Err(Refusal::new("PROBIT is not defined for one score of two classes"));
        }
        (Machine::Pairs(pairs), features, width)
    };
    let types = vec![ValueType::Tensor(classes.element_type()), ValueType::Tensor(ElementType::Float)];
    Ok(Built { operator: Box::new(Classifier { machine, classes, features, width, transform }), types })
}

/// The number of pairs of this many classes.
fn pair_count(classes: usize) -> Result<usize, Refusal> {
    classes
        .checked_mul(classes.saturating_sub(1))
        .map(|product| product / 2)
        .ok_or_else(|| Refusal::new(format!("{classes} classes are too many")))
}

impl Pairs {
    fn read(
        attributes: &Attributes,
        counts: &[i64],
        classes: usize,
        coefficients: Vec<f32>,
        offsets: Vec<f32>,
    ) -> Result<(Self, usize), Refusal> {
        let mut ranges = Vec::with_capacity(counts.len());
        let mut count = 0_usize;
        for vectors in counts {
            let vectors = usize::try_from(*vectors)
                .map_err(|_| Refusal::new("a value of vectors_per_class is negative"))?;
            ranges.push((count, vectors));
            count = count
                .checked_add(vectors)
                .ok_or_else(|| Refusal::new("there are too many support vectors"))?;
        }
        if ranges.len() != classes {
            return Err(Refusal::new(format!(
                "vectors_per_class has {} values for {classes} classes",
                ranges.len()
            )));
        }
        let vectors = attributes.floats("support_vectors")?.unwrap_or_default().to_vec();
        let features = split_vectors("support_vectors", &vectors, count)?;
        let pairs = pair_count(classes)?;
        let expected = (classes - 1).checked_mul(count);
        if expected.is_none_or(|expected| coefficients.len() < expected) || offsets.len() < pairs {
            return Err(Refusal::new(format!(
                "{} coefficients and {} values of rho are too few for {classes} classes and {count} support vectors",
                coefficients.len(),
                offsets.len()
            )));
        }
        let slopes = attributes.floats("prob_a")?.unwrap_or_default();
        let intercepts = attributes.floats("prob_b")?.unwrap_or_default();
        if slopes.len() != intercepts.len() || (!slopes.is_empty() && slopes.len() < pairs) {
            return Err(Refusal::new("prob_a and prob_b need a value for each pair of classes, or none"));
        }
        let calibration = slopes.iter().copied().zip(intercepts.iter().copied()).collect();
        let kernel = Kernel::read(attributes)?;
        Ok((Self { kernel, vectors, count, ranges, coefficients, offsets, calibration }, features))
    }

    /// The score of each pair of classes, and how many pairs each class has won.
    fn evaluate(&self, row: &[f32], scratch: &mut Scratch) {
        let Scratch { kernels, scores, votes } = scratch;
        kernels.clear();
        kernels.extend(self.vectors.chunks_exact(row.len()).map(|vector| self.kernel.evaluate(row, vector)));
        scores.clear();
        votes.clear();
        votes.resize(self.ranges.len(), 0.0);
        let sum = |sum: f64, (start, count): (usize, usize), coefficient_row: usize| {
            let coefficients = &self.coefficients[coefficient_row * self.count + start..][..count];
            let products = coefficients.iter().zip(&kernels[start..start + count]);
            products.fold(sum, |sum, (coefficient, kernel)| sum + f64::from(coefficient * kernel))
        };
        for (i, first) in self.ranges.iter().enumerate() {
            for (j, second) in self.ranges.iter().enumerate().skip(i + 1) {
                let score = sum(sum(0.0, *first, j - 1), *second, i) + f64::from(self.offsets[scores.len()]);
                scores.push(score as f32);
                votes[if score > 0.0 { i } else { j }] += 1.0;
            }
        }
    }

    /// The probability of each class, from the scores of the pairs.
    fn probabilities(&self, scores: &[f32]) -> Vec<f32> {
        let classes = self.ranges.len();
        let mut pairwise = vec![0.0_f32; classes * classes];
        let mut pair = 0;
        for i in 0..classes {
            for j in i + 1..classes {
                let (slope, intercept) = self.calibration[pair];
                let value = (1.0 - logistic(scores[pair] * slope + intercept)).clamp(1e-7, 1.0 - 1e-7);
                pairwise[i * classes + j] = value;
                pairwise[j * classes + i] = 1.0 - value;
                pair += 1;
            }
        }
        couple(classes, &pairwise)
    }
}

/// Pairwise coupling: the probabilities of classes from those of pairs (Wu, Lin and
/// Weng, "Probability estimates for multi-class classification by pairwise coupling",
/// algorithm 2), in 32-bit floating point as ONNX Runtime computes it.
fn couple(classes: usize, pairwise: &[f32]) -> Vec<f32> {
    let mut matrix = vec![0.0_f32; classes * classes];
    for i in 0..classes {
        for j in (0..classes).filter(|j| *j != i) {
            let (against, for_it) = (pairwise[j * classes + i], pairwise[i * classes + j]);
            matrix[i * classes + i] += against * against;
            matrix[i * classes + j] = if j < i { matrix[j * classes + i] } else { -against * for_it };
        }
    }
    let mut probabilities = vec![1.0 / classes as f32; classes];
    let mut products = vec![0.0_f32; classes];
    let tolerance = 0.005 / classes as f32;
    for _ in 0..100 {
        let mut total = 0.0;
        for i in 0..classes {
            products[i] = 0.0;
            for j in 0..classes {
                products[i] += matrix[i * classes + j] * probabilities[j];
            }
            total += probabilities[i] * products[i];
        }
        let error = products.iter().fold(0.0_f32, |error, product| error.max((product - total).abs()));
        if error < tolerance {
            break;
        }
        for i in 0..classes {
            let diagonal = matrix[i * classes + i];
            let step = (total - products[i]) / diagonal;
            probabilities[i] += step;
            total = (total + step * (step * diagonal + 2.0 * products[i])) / (1.0 + step) / (1.0 + step);
            for j in 0..classes {
                products[j] = (products[j] + step * matrix[i * classes + j]) / (1.0 + step);
                probabilities[j] /= 1.0 + step;
            }
        }
    }
    probabilities
}

/// What one row needs while it is computed.
#[derive(Default)]
struct Scratch {
    kernels: Vec<f32>,
    scores: Vec<f32>,
    votes: Vec<f32>,
}

impl Classifier {
    /// Adds the scores of a row and gives the index of its class.
    fn classify(&self, row: &[f32], scratch: &mut Scratch, output: &mut Vec<f32>) -> usize {
        let start = output.len();
        match &self.machine {
            Machine::Linear { coefficients, offset, all_positive } => {
                output.extend(coefficients.chunks_exact(row.len()).map(|vector| dot(row, vector) + offset));
                let scores = &mut output[start..];
                let best = first_largest(scores);
                let largest = scores[best];
                self.transform.apply(scores);
                let is_second = if *all_positive { largest >= 0.5 } else { largest > 0.0 };
                if self.classes.len() == 2 && is_second { 1 } else { best }
            }
            Machine::Pairs(pairs) => {
                pairs.evaluate(row, scratch);
                if !pairs.calibration.is_empty() {
                    output.extend(pairs.probabilities(&scratch.scores));
                    self.transform.apply(&mut output[start..]);
                } else if let [score] = scratch.scores.as_slice() {
                    output.extend(match self.transform {
                        Transform::Identity => [-score, *score],
                        Transform::Logistic => [logistic(-score), logistic(*score)],
                        _ => [1.0 - score, *score],
                    });
                } else {
                    output.extend_from_slice(&scratch.scores);
                    self.transform.apply(&mut output[start..]);
                }
                first_largest(&scratch.votes)
            }
        }
    }
}

impl Operator for Classifier {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let (rows, columns) = rows_and_columns(tensor.shape())?;
        check_features(columns, self.features)?;
        let mut scores = Vec::with_capacity(context.reserve(ElementType::Float, &[rows, self.width])?);
        let mut labels = Vec::with_capacity(rows);
        let mut scratch = Scratch::default();
        for row in floats(tensor)?.chunks_exact(columns) {
            context.check()?;
            labels.push(self.classify(row, &mut scratch, &mut scores));
        }
        Ok(vec![self.classes.labels(&labels).into(), output([rows, self.width], scores)?])
    }
}

/// `start` plus the sum of products, in the order and with the rounding of ONNX Runtime's
/// matrix product: one fused operation a product, in blocks. Many support vectors lie on
/// the border that decides the sign of a one-class machine, so the last bit counts.
fn fused_dot(left: &[f32], right: &[f32], start: f32) -> f32 {
    const BLOCK: usize = 1024;
    // A product of two 32-bit numbers is exact in 64 bits.
    let fused = |sum: f32, (a, b): (&f32, &f32)| (f64::from(*a) * f64::from(*b) + f64::from(sum)) as f32;
    let blocks = left.chunks(BLOCK).zip(right.chunks(BLOCK));
    blocks.fold(start, |sum, (left, right)| left.iter().zip(right).fold(0.0, fused) + sum)
}

#[derive(Debug)]
struct Regressor {
    kernel: Kernel,
    /// One after another; of a linear machine its coefficients.
    vectors: Vec<f32>,
    features: usize,
    /// By support vector; none of a linear machine.
    coefficients: Option<Vec<f32>>,
    offset: f32,
    one_class: bool,
}

fn build_regressor(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    if !is_plain_number(definition.tensor_type(0)?) {
        return Err(definition.unsupported_type(0));
    }
    let attributes = definition.attributes;
    let count = attributes.integer("n_supports")?.unwrap_or(0);
    let count = usize::try_from(count).map_err(|_| Refusal::new("the attribute n_supports is negative"))?;
    let coefficients = attributes.floats("coefficients")?.unwrap_or_default().to_vec();
    if coefficients.is_empty() {
        return Err(Refusal::new("the attribute coefficients is missing"));
    }
    let offset = attributes.floats("rho")?.and_then(|offsets| offsets.first().copied());
    let offset = offset.ok_or_else(|| Refusal::new("the attribute rho is missing"))?;
    let one_class = attributes.integer("one_class")?.unwrap_or(0) != 0;
    let regressor = if count > 0 {
        let vectors = attributes.floats("support_vectors")?.unwrap_or_default().to_vec();
        let features = split_vectors("support_vectors", &vectors, count)?;
        if coefficients.len() != count {
            return Err(Refusal::new(format!(
                "{} coefficients were found for {count} support vectors",
                coefficients.len()
            )));
        }
        let kernel = Kernel::read(attributes)?;
        Regressor { kernel, vectors, features, coefficients: Some(coefficients), offset, one_class }
    } else {
        let features = coefficients.len();
        Regressor {
            kernel: Kernel::Linear,
            vectors: coefficients,
            features,
            coefficients: None,
            offset,
            one_class,
        }
    };
    Ok(Built::tensor(regressor, ElementType::Float))
}

impl Operator for Regressor {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let (rows, columns) = rows_and_columns(tensor.shape())?;
        check_features(columns, self.features)?;
        let mut values = Vec::with_capacity(rows);
        let mut kernels = Vec::new();
        for row in floats(tensor)?.chunks_exact(columns) {
            context.check()?;
            kernels.clear();
            kernels
                .extend(self.vectors.chunks_exact(columns).map(|vector| self.kernel.evaluate(row, vector)));
            let value = match &self.coefficients {
                Some(coefficients) => fused_dot(&kernels, coefficients, self.offset),
                None => kernels.first().copied().unwrap_or(0.0) + self.offset,
            };
            values.push(match self.one_class {
                true if value > 0.0 => 1.0,
                true => -1.0,
                false => value,
            });
        }
        Ok(vec![output([rows, 1], values)?])
    }
}
