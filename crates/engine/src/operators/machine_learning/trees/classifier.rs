//! Trees whose scores choose a class.

use super::{
    forest::Forest,
    listing::Listing,
    nodes::{Aggregate, Score},
    number::Number,
    regressor::{read_rows, score_rows},
};
use crate::{
    operators::{
        Attributes, Built, Context, Definition, Operator, OperatorError, Refusal,
        machine_learning::{
            classes::Classes,
            transform::{Transform, logistic},
        },
        operands::{check_arity, is_plain_number, output},
    },
    tensor::{ElementType, Value, ValueType},
};

/// How a row's scores name its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// A score for each class: the largest one wins.
    Largest,
    /// One score for two classes: the second wins above the limit. Where the score is
    /// class 0's in the model, both classes get a column; where it is class 1's, the
    /// first column stays zero.
    Single { target: usize, limit: Limit },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// All weights are positive, so the score is a probability: 0.5.
    Half,
    /// Zero.
    Zero,
}

#[derive(Debug)]
struct Classifier<T> {
    forest: Forest<T>,
    classes: Classes,
    base_values: Vec<T>,
    choice: Choice,
    transform: Transform,
}

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 2)?;
    match definition.tensor_type(0)? {
        ElementType::Double => Classifier::<f64>::build(definition.attributes),
        number if is_plain_number(number) => Classifier::<f32>::build(definition.attributes),
        _ => Err(definition.unsupported_type(0)),
    }
}

impl<T: Number> Classifier<T> {
    fn build(attributes: &Attributes) -> Result<Built, Refusal> {
        let classes = Classes::read(attributes, "classlabels_int64s", "classlabels_strings")?;
        let listing = Listing::of_classifier(attributes);
        let facts = listing.weight_facts::<T>()?;
        let base_values = listing.numbers::<T>("base_values")?;
        let transform = Transform::read(attributes)?;
        let choice = match (classes.len(), facts.targets.iter().next()) {
            (0 | 1, _) => return Err(Refusal::new("a classifier of one class is not computed")),
            (2, Some(target)) if facts.targets.len() == 1 => Choice::Single {
                target: usize::from(*target != 0),
                limit: match transform {
                    // A probability above a half is a logistic score above zero.
                    Transform::Logistic => Limit::Zero,
                    _ if facts.all_positive => Limit::Half,
                    _ => Limit::Zero,
                },
            },
            _ => Choice::Largest,
        };
        // One score of two classes may have one base value, its own. Runtimes differ in
        // what two base values add to, and in which column PROBIT fills.
        let (expected, probit) = match choice {
            Choice::Largest => (classes.len(), true),
            Choice::Single { target: 0, .. } => (1, false),
            Choice::Single { .. } => (0, true),
        };
        if !base_values.is_empty() && base_values.len() != expected {
            return Err(Refusal::new(format!(
                "base_values has {} values; {expected} are expected",
                base_values.len()
            )));
        }
        if transform == Transform::Probit && !probit {
            return Err(Refusal::new("PROBIT is not defined for one score of two classes"));
        }
        let forest = listing.forest(classes.len())?.compiled();
        let types = vec![ValueType::Tensor(classes.element_type()), ValueType::Tensor(ElementType::Float)];
        Ok(Built { operator: Box::new(Self { forest, classes, base_values, choice, transform }), types })
    }

    /// Adds the scores of a row and gives the index of its class.
    fn finish(&self, row: &mut [Score<T>], scores: &mut Vec<f32>) -> Result<usize, OperatorError> {
        let start = scores.len();
        match self.choice {
            Choice::Largest => {
                for (score, base) in row.iter_mut().zip(&self.base_values) {
                    score.value += *base;
                    score.present = true;
                }
                scores.extend(row.iter().map(|score| score.value.to_single()));
                self.transform.apply(&mut scores[start..]);
                largest(row).ok_or_else(|| OperatorError::inputs("no class has a score for a row"))
            }
            Choice::Single { target, limit } => {
                let score = row[target].value + self.base_values.first().copied().unwrap_or(T::ZERO);
                let limit_value = T::from_single(if limit == Limit::Half { 0.5 } else { 0.0 });
                let single = score.to_single();
                if target == 1 {
                    scores.extend([0.0, single]);
                    self.transform.apply(&mut scores[start..]);
                } else if self.transform == Transform::Logistic {
                    scores.extend([logistic(-single), logistic(single)]);
                } else if limit == Limit::Half {
                    scores.extend([1.0 - single, single]);
                } else {
                    scores.extend([-single, single]);
                }
                Ok(usize::from(score > limit_value))
            }
        }
    }
}

/// The first class with the largest score among those that have one.
fn largest<T: Number>(row: &[Score<T>]) -> Option<usize> {
    let mut best: Option<(usize, T)> = None;
    for (index, score) in row.iter().enumerate().filter(|(_, score)| score.present) {
        if best.is_none_or(|(_, value)| score.value > value) {
            best = Some((index, score.value));
        }
    }
    best.map(|(index, _)| index)
}

impl<T: Number> Operator for Classifier<T> {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let (rows, columns, values) = read_rows::<T>(inputs, self.forest.features())?;
        let shape = [rows, self.classes.len()];
        let mut scores = Vec::with_capacity(context.reserve(ElementType::Float, &shape)?);
        let mut labels = Vec::with_capacity(rows);
        score_rows(&self.forest, Aggregate::Sum, (rows, columns, &values), context, |row| {
            labels.push(self.finish(row, &mut scores)?);
            Ok(())
        })?;
        Ok(vec![self.classes.labels(&labels).into(), output(shape, scores)?])
    }
}
