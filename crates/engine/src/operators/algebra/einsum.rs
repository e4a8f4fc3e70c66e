//! Einsum: operands are multiplied one after the other; a letter that nothing needs any
//! more is summed at once.

use super::matmul::multiply;
use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        arguments::{reshaped, single, unfit},
        axes::product,
        definition::Builder,
        elementwise::variadic::type_of_all,
        layout::{View, steps_of},
        number::Number,
        reduction::Rows,
        types::for_types,
        widen::in_float,
    },
    tensor::Tensor,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "Einsum", einsum)];

/// A name of a dimension: a letter, or the place of a dimension of the ellipsis counted
/// from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

/// The letters of a term; the ellipsis is `None`.
type Term = Vec<Option<char>>;

#[derive(Clone, Debug)]
struct Equation {
    inputs: Vec<Term>,
    output: Option<Term>,
}

impl Equation {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let refused = |reason: &str| Refusal::new(format!("the equation {text:?} {reason}"));
        let term = |term: &str| -> Result<Term, Refusal> {
            let mut letters = Vec::new();
            let mut rest: &str = &term.replace(' ', "");
            while let Some(letter) = rest.chars().next() {
                if let Some(after) = rest.strip_prefix("...") {
                    if letters.contains(&None) {
                        return Err(refused("has two ellipses in a term"));
                    }
                    letters.push(None);
                    rest = after;
                } else if letter.is_ascii_alphabetic() {
                    letters.push(Some(letter));
                    rest = &rest[1..];
                } else {
                    return Err(refused("has characters that are not letters"));
                }
            }
            Ok(letters)
        };
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(term(right)?)),
            None => (text, None),
        };
        let inputs: Vec<Term> = left.split(',').map(term).collect::<Result<_, _>>()?;
        if let Some(output) = &right {
            for (place, letter) in output.iter().enumerate() {
                let named = letter.is_none() || inputs.iter().any(|term| term.contains(letter));
                if !named || output[..place].contains(letter) {
                    return Err(refused("has an output letter that no input has, or that is there twice"));
                }
            }
        }
        Ok(Self { inputs, output: right })
    }

    /// The labels of the output, for an ellipsis of `width` dimensions.
    fn output_labels(&self, width: usize) -> Vec<Label> {
        let ellipsis = (0..width).rev().map(Label::Ellipsis);
        match &self.output {
            Some(term) => term
                .iter()
                .flat_map(|letter| match letter {
                    Some(letter) => vec![Label::Letter(*letter)],
                    None => ellipsis.clone().collect(),
                })
                .collect(),
            None => {
                let mut letters: Vec<char> = self.inputs.iter().flatten().flatten().copied().collect();
                letters.sort_unstable();
                let once = letters.chunk_by(|a, b| a == b).filter(|group| group.len() == 1);
                ellipsis.chain(once.map(|group| Label::Letter(group[0]))).collect()
            }
        }
    }
}

/// An operand whose dimensions have different names.
struct Operand {
    tensor: Tensor,
    labels: Vec<Label>,
}

fn einsum(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = type_of_all(definition)?;
        let text =
            definition.attributes.text("equation")?.ok_or_else(|| Refusal::new("the equation is missing"))?;
        let equation = Equation::parse(text)?;
        if equation.inputs.len() != definition.inputs.len() {
            return Err(Refusal::new(format!(
                "the equation {text:?} has {} terms for {} inputs",
                equation.inputs.len(),
                definition.inputs.len()
            )));
        }
        for_types!(
            element_type,
            [f32, f64, i8, i16, i32, i64, u8, u16, u32, u64],
            T => single(definition, element_type, move |arguments, context| {
                compute::<T>(&equation, arguments.into_tensors()?, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn compute<T: Number>(
    equation: &Equation,
    tensors: Vec<Tensor>,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    // What each dimension of each operand is called, and how long each label is.
    let mut named: Vec<Vec<Label>> = Vec::with_capacity(tensors.len());
    let mut width = 0;
    for (term, tensor) in equation.inputs.iter().zip(&tensors) {
        let letters = term.iter().flatten().count();
        let own = if term.contains(&None) { tensor.rank().checked_sub(letters) } else { Some(0) };
        let Some(own) = own.filter(|own| letters + own == tensor.rank()) else {
            return unfit(format!("a term of {letters} letters does not fit the shape {:?}", tensor.shape()));
        };
        width = width.max(own);
        named.push(
            term.iter()
                .flat_map(|letter| match letter {
                    Some(letter) => vec![Label::Letter(*letter)],
                    None => (0..own).rev().map(Label::Ellipsis).collect(),
                })
                .collect(),
        );
    }
    let mut sizes: Vec<(Label, usize)> = Vec::new();
    for (labels, tensor) in named.iter().zip(&tensors) {
        for (label, size) in labels.iter().zip(tensor.shape()) {
            match sizes.iter_mut().find(|(known, _)| known == label) {
                None => sizes.push((*label, *size)),
                Some((_, known)) if *known == 1 => *known = *size,
                Some((_, known)) if *size == 1 || size == known => {}
                Some((label, known)) => {
                    return unfit(format!("the dimension {label:?} is {known} and {size} long"));
                }
            }
        }
    }
    let size_of = |label: &Label| sizes.iter().find(|(known, _)| known == label).map_or(1, |(_, size)| *size);
    let output = equation.output_labels(width);
    let operands =
        named.iter().zip(&tensors).map(|(labels, tensor)| distinct(tensor, labels, size_of, context));
    let mut rest: Vec<Operand> = operands.collect::<Result<_, _>>()?;
    rest.reverse();
    let Some(mut result) = rest.pop() else { return unfit("there is no operand") };
    while let Some(next) = rest.pop() {
        let needed =
            |label: &Label| output.contains(label) || rest.iter().any(|other| other.labels.contains(label));
        result = contract::<T>(result, next, needed, context)?;
    }
    let result = sum_out::<T>(result, |label| output.contains(label), context)?;
    // A label of 1 that was dropped, or that is longer elsewhere only, comes back as 1.
    let known: Vec<Label> = output.iter().copied().filter(|label| result.labels.contains(label)).collect();
    let order = places(&result.labels, &known);
    let moved = View::transposed(result.tensor.shape(), &order).copy(&result.tensor, context)?;
    let shape: Vec<usize> = output.iter().map(size_of).collect();
    reshaped(moved, shape)
}

fn places(labels: &[Label], wanted: &[Label]) -> Vec<usize> {
    wanted.iter().filter_map(|label| labels.iter().position(|known| known == label)).collect()
}

/// A view in which each label is there once: repeated ones are the diagonal; those that
/// are 1 here and longer elsewhere are left out.
fn distinct(
    tensor: &Tensor,
    labels: &[Label],
    size_of: impl Fn(&Label) -> usize,
    context: &Context<'_>,
) -> Result<Operand, OperatorError> {
    let mut view = View { shape: Vec::new(), steps: Vec::new(), start: 0 };
    let mut kept: Vec<Label> = Vec::new();
    for ((label, size), step) in labels.iter().zip(tensor.shape()).zip(steps_of(tensor.shape())) {
        if *size != size_of(label) {
            continue;
        }
        match kept.iter().position(|known| known == label) {
            Some(place) => view.steps[place] += step,
            None => {
                kept.push(*label);
                view.shape.push(*size);
                view.steps.push(step);
            }
        }
    }
    if kept.len() == labels.len() {
        return Ok(Operand { tensor: tensor.clone(), labels: kept });
    }
    Ok(Operand { tensor: view.copy(tensor, context)?, labels: kept })
}

/// Sums over the labels that are not needed.
fn sum_out<T: Number>(
    operand: Operand,
    needed: impl Fn(&Label) -> bool,
    context: &Context<'_>,
) -> Result<Operand, OperatorError> {
    let summed: Vec<usize> = operand
        .labels
        .iter()
        .enumerate()
        .filter(|(_, label)| !needed(label))
        .map(|(place, _)| place)
        .collect();
    if summed.is_empty() {
        return Ok(operand);
    }
    let rows = Rows::<T>::new(&operand.tensor, &summed, context)?;
    let tensor =
        rows.reduce(false, context, |row| row.iter().fold(T::ZERO, |sum, value| sum.plus(*value)))?;
    Ok(Operand { tensor, labels: operand.labels.into_iter().filter(|label| needed(label)).collect() })
}

/// The product of two operands, without the labels that only they have and nothing needs.
fn contract<T: Number>(
    left: Operand,
    right: Operand,
    needed: impl Fn(&Label) -> bool,
    context: &Context<'_>,
) -> Result<Operand, OperatorError> {
    let left = sum_out::<T>(left, |label| needed(label) || right.labels.contains(label), context)?;
    let right = sum_out::<T>(right, |label| needed(label) || left.labels.contains(label), context)?;
    let shared = |keep: bool| -> Vec<Label> {
        let both = left.labels.iter().copied().filter(|label| right.labels.contains(label));
        both.filter(|label| needed(label) == keep).collect()
    };
    let (batch, summed) = (shared(true), shared(false));
    let only = |labels: &[Label], others: &[Label]| -> Vec<Label> {
        labels.iter().copied().filter(|label| !others.contains(label)).collect()
    };
    let (own, others) = (only(&left.labels, &right.labels), only(&right.labels, &left.labels));
    let arranged = |operand: &Operand, groups: [&[Label]; 3]| -> Result<Tensor, OperatorError> {
        let order = places(&operand.labels, &groups.concat());
        let shape = operand.tensor.shape();
        let size = |labels: &[Label]| -> usize {
            product(
                &places(&operand.labels, labels).into_iter().map(|place| shape[place]).collect::<Vec<_>>(),
            )
        };
        let sizes = groups.map(size);
        reshaped(View::transposed(shape, &order).copy(&operand.tensor, context)?, sizes)
    };
    let first = arranged(&left, [&batch, &own, &summed])?;
    let second = arranged(&right, [&batch, &summed, &others])?;
    let result = multiply::<T>(&first, &second, context)?;
    let size_in = |operand: &Operand, label: &Label| {
        places(&operand.labels, &[*label]).first().map_or(1, |place| operand.tensor.shape()[*place])
    };
    let mut shape: Vec<usize> = batch.iter().chain(&own).map(|label| size_in(&left, label)).collect();
    shape.extend(others.iter().map(|label| size_in(&right, label)));
    let labels = [batch, own, others].concat();
    Ok(Operand { tensor: reshaped(result, shape)?, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_read() {
        assert!(Equation::parse("ij,jk->ik").is_ok());
        assert_eq!(
            Equation::parse("b ij, a j").unwrap().output_labels(0),
            [Label::Letter('a'), Label::Letter('b'), Label::Letter('i')]
        );
        for wrong in ["ij->k", "i1->i", "......->", "ij->ii"] {
            assert!(Equation::parse(wrong).is_err(), "{wrong}");
        }
    }
}
