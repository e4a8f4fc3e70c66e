//! Trees whose scores are the answer.

use super::{
    ensemble,
    forest::Forest,
    listing::Listing,
    nodes::{Aggregate, Score},
    number::Number,
};
use crate::{
    operators::{
        Attributes, Built, Context, Definition, Operator, OperatorError, Refusal,
        machine_learning::transform::{Transform, probit},
        operands::{Operands, check_arity, is_plain_number, output, rows_and_columns},
    },
    tensor::{ElementType, Value},
};

/// How many rows are scored by one tree before the next: they stay in the cache.
pub(super) const BLOCK: usize = 128;

#[derive(Debug)]
struct Regressor<T> {
    forest: Forest<T>,
    aggregate: Aggregate,
    /// By target, or none.
    base_values: Vec<T>,
    transform: Transform,
    /// The answer is float whatever the trees compute in.
    rounds: bool,
}

/// The number of targets that an attribute gives.
fn target_count(attributes: &Attributes) -> Result<usize, Refusal> {
    let targets = attributes.integer("n_targets")?.unwrap_or(0);
    usize::try_from(targets)
        .ok()
        .filter(|targets| *targets > 0)
        .ok_or_else(|| Refusal::new(format!("the attribute n_targets is {targets}; at least 1 is expected")))
}

/// Of one target, ONNX Runtime computes no transformation but PROBIT, and ONNX means one.
fn check_transform(transform: Transform, targets: usize) -> Result<(), Refusal> {
    if targets == 1 && !matches!(transform, Transform::Identity | Transform::Probit) {
        return Err(Refusal::new(
            "runtimes differ in the transformation of one target; export the model without post_transform",
        ));
    }
    Ok(())
}

pub(super) fn build_regressor(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    match definition.tensor_type(0)? {
        ElementType::Double => {
            Ok(Built::tensor(Regressor::<f64>::listed(definition.attributes)?, ElementType::Float))
        }
        number if is_plain_number(number) => {
            Ok(Built::tensor(Regressor::<f32>::listed(definition.attributes)?, ElementType::Float))
        }
        _ => Err(definition.unsupported_type(0)),
    }
}

pub(super) fn build_ensemble(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    match definition.tensor_type(0)? {
        ElementType::Double => {
            Ok(Built::tensor(Regressor::<f64>::ensemble(definition.attributes)?, ElementType::Double))
        }
        ElementType::Float => {
            Ok(Built::tensor(Regressor::<f32>::ensemble(definition.attributes)?, ElementType::Float))
        }
        _ => Err(definition.unsupported_type(0)),
    }
}

impl<T: Number> Regressor<T> {
    fn listed(attributes: &Attributes) -> Result<Self, Refusal> {
        let listing = Listing::of_regressor(attributes);
        let targets = target_count(attributes)?;
        let base_values = listing.numbers::<T>("base_values")?;
        if !base_values.is_empty() && base_values.len() != targets {
            return Err(Refusal::new(format!(
                "base_values has {} values for {targets} targets",
                base_values.len()
            )));
        }
        let aggregate = match attributes.text("aggregate_function")? {
            None | Some("SUM") => Aggregate::Sum,
            Some("AVERAGE") => Aggregate::Average,
            Some("MIN") => Aggregate::Minimum,
            Some("MAX") => Aggregate::Maximum,
            Some(other) => {
                return Err(Refusal::new(format!(
                    "aggregate_function is {other:?}, which ONNX does not know"
                )));
            }
        };
        let transform = Transform::read(attributes)?;
        check_transform(transform, targets)?;
        Ok(Self {
            forest: listing.forest(targets)?.compiled(),
            aggregate,
            base_values,
            transform,
            rounds: true,
        })
    }

    fn ensemble(attributes: &Attributes) -> Result<Self, Refusal> {
        let targets = target_count(attributes)?;
        let aggregate = match attributes.integer("aggregate_function")?.unwrap_or(1) {
            0 => Aggregate::Average,
            1 => Aggregate::Sum,
            2 => Aggregate::Minimum,
            3 => Aggregate::Maximum,
            other => return Err(Refusal::new(format!("aggregate_function is {other}; 0 to 3 are expected"))),
        };
        let transform = Transform::from_number(attributes.integer("post_transform")?.unwrap_or(0))?;
        if matches!(transform, Transform::Softmax | Transform::Logistic) {
            return Err(Refusal::new(
                "ONNX Runtime reads the numbers 1 and 2 of post_transform the other way round than ONNX: \
                 compute the transformation in a node of its own",
            ));
        }
        check_transform(transform, targets)?;
        let forest = ensemble::read(attributes, targets)?.compiled();
        Ok(Self { forest, aggregate, base_values: Vec::new(), transform, rounds: false })
    }

    fn finish(&self, row: &[Score<T>], answers: &mut Vec<T>) {
        let base = |index: usize| self.base_values.get(index).copied().unwrap_or(T::ZERO);
        let scores = row.iter().enumerate().map(|(index, score)| score.value + base(index));
        match self.transform {
            Transform::Identity => answers.extend(scores),
            Transform::Probit => {
                answers.extend(scores.map(|score| T::from_single(probit(score.to_single()))))
            }
            transform => {
                let mut scores = scores.map(Number::to_single).collect::<Vec<_>>();
                transform.apply(&mut scores);
                answers.extend(scores.into_iter().map(T::from_single));
            }
        }
    }
}

/// The rows of an input, in the trees' numbers, of at least as many features as they compare.
pub(super) fn read_rows<T: Number>(
    inputs: Vec<Option<Value>>,
    features: usize,
) -> Result<(usize, usize, Vec<T>), OperatorError> {
    let tensor = Operands::new(inputs).tensor(0)?;
    let (rows, columns) = rows_and_columns(tensor.shape())?;
    if columns < features.max(1) {
        return Err(OperatorError::inputs(format!(
            "a row has {columns} features; the model reads {features}"
        )));
    }
    Ok((rows, columns, T::read(tensor)?))
}

/// Scores rows by blocks and hands each row's scores on.
pub(super) fn score_rows<T: Number>(
    forest: &Forest<T>,
    aggregate: Aggregate,
    (rows, columns, values): (usize, usize, &[T]),
    context: &Context<'_>,
    mut finish: impl FnMut(&mut [Score<T>]) -> Result<(), OperatorError>,
) -> Result<(), OperatorError> {
    let targets = forest.targets();
    let block = rows.min(BLOCK);
    // A score and whether it is there take at most twice its size.
    let mut scores =
        vec![Score { value: T::ZERO, present: false }; context.reserve(T::TYPE, &[block, targets, 2])? / 2];
    let mut scratch = forest.scratch(context)?;
    let mut done = 0;
    while done < rows {
        context.check()?;
        let count = block.min(rows - done);
        let scores = &mut scores[..count * targets];
        scores.fill(Score { value: T::ZERO, present: false });
        let rows = &values[done * columns..(done + count) * columns];
        forest.score(rows, columns, aggregate, scores, scratch.as_mut())?;
        scores.chunks_exact_mut(targets).try_for_each(&mut finish)?;
        done += count;
    }
    Ok(())
}

impl<T: Number> Operator for Regressor<T> {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let (rows, columns, values) = read_rows::<T>(inputs, self.forest.features())?;
        let shape = [rows, self.forest.targets()];
        let mut answers = Vec::with_capacity(context.reserve(T::TYPE, &shape)?);
        score_rows(&self.forest, self.aggregate, (rows, columns, &values), context, |row| {
            self.finish(row, &mut answers);
            Ok(())
        })?;
        Ok(vec![if self.rounds {
            output(shape, answers.into_iter().map(Number::to_single).collect())?
        } else {
            output(shape, answers)?
        }])
    }
}
