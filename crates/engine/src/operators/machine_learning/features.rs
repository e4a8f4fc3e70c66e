//! Columns chosen, joined and spread: `ArrayFeatureExtractor`, `FeatureVectorizer`,
//! `OneHotEncoder`.

use std::collections::HashMap;

use super::DOMAIN;
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, broken, check_arity, floats, is_plain_number, output, select, values, volume},
    },
    tensor::{ElementType, Elements, Tensor, Text, Value},
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] = &[
    (DOMAIN, "ArrayFeatureExtractor", build_extractor),
    (DOMAIN, "FeatureVectorizer", build_vectorizer),
    (DOMAIN, "OneHotEncoder", build_one_hot),
];

/// The elements at the given indices of the last dimension.
#[derive(Debug)]
struct Extractor;

fn build_extractor(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 2..=2, 1)?;
    if definition.tensor_type(1)? != ElementType::Int64 {
        return Err(definition.unsupported_type(1));
    }
    Ok(Built::tensor(Extractor, definition.tensor_type(0)?))
}

impl Operator for Extractor {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (tensor, chosen) = (operands.tensor(0)?, operands.tensor(1)?);
        let Some((columns, outer)) = tensor.shape().split_last() else {
            return Err(OperatorError::inputs("the input is a scalar; at least one dimension is expected"));
        };
        let chosen = values::<i64>(&chosen)?
            .iter()
            .map(|index| usize::try_from(*index).ok().filter(|index| index < columns).ok_or(index))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|index| {
                OperatorError::inputs(format!("the index {index} is not one of {columns} columns"))
            })?;
        if chosen.is_empty() {
            return Err(OperatorError::inputs("no index was given"));
        }
        let mut shape = if outer.is_empty() { vec![1] } else { outer.to_vec() };
        shape.push(chosen.len());
        context.reserve(tensor.element_type(), &shape)?;
        let rows = volume(outer);
        let indices = (0..rows).flat_map(|row| chosen.iter().map(move |index| row * columns + index));
        let extracted = Tensor::new(shape, select(tensor.elements(), indices));
        Ok(vec![extracted.ok_or_else(|| broken("an output does not fill its shape"))?.into()])
    }
}

/// Inputs joined by column, each cut or filled with zeros to its width.
#[derive(Debug)]
struct Vectorizer {
    widths: Vec<usize>,
    total: usize,
}

fn build_vectorizer(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=usize::MAX, 1)?;
    for index in 0..definition.inputs.len() {
        if !is_plain_number(definition.tensor_type(index)?) {
            return Err(definition.unsupported_type(index));
        }
    }
    let widths = definition.attributes.integers("inputdimensions")?.unwrap_or_default();
    if widths.len() != definition.inputs.len() {
        return Err(Refusal::new(format!(
            "inputdimensions has {} values for {} inputs",
            widths.len(),
            definition.inputs.len()
        )));
    }
    let widths = widths
        .iter()
        .map(|width| usize::try_from(*width))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Refusal::new("a value of inputdimensions is negative"))?;
    let total = widths
        .iter()
        .try_fold(0_usize, |sum, width| sum.checked_add(*width))
        .ok_or_else(|| Refusal::new("the values of inputdimensions are too large for any machine"))?;
    Ok(Built::tensor(Vectorizer { widths, total }, ElementType::Float))
}

impl Operator for Vectorizer {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let mut joined: Option<(usize, Vec<f32>)> = None;
        let mut start = 0;
        for (index, width) in self.widths.iter().enumerate() {
            let tensor = operands.tensor(index)?;
            let (rows, columns) = match tensor.shape() {
                [] => return Err(OperatorError::inputs(format!("input {index} is a scalar"))),
                [columns] => (1, *columns),
                [rows, rest @ ..] => (*rows, volume(rest)),
            };
            let (expected, values) = match &mut joined {
                Some((rows, values)) => (*rows, values),
                empty => {
                    let count = context.reserve(ElementType::Float, &[rows, self.total])?;
                    let (rows, values) = empty.insert((rows, vec![0.0; count]));
                    (*rows, values)
                }
            };
            if rows != expected {
                return Err(OperatorError::inputs(format!(
                    "input {index} has {rows} rows and input 0 has {expected}"
                )));
            }
            let kept = columns.min(*width);
            if kept > 0 {
                let numbers = floats(tensor)?;
                for (row, to) in numbers.chunks_exact(columns).zip(values.chunks_exact_mut(self.total)) {
                    to[start..start + kept].copy_from_slice(&row[..kept]);
                }
            }
            start += width;
        }
        let (rows, values) = joined.ok_or_else(|| broken("no input"))?;
        Ok(vec![output([rows, self.total], values)?])
    }
}

/// Which column is 1 for a category.
#[derive(Debug)]
enum Categories {
    Integers(HashMap<i64, usize>),
    Texts(HashMap<Text, usize>),
}

#[derive(Debug)]
struct OneHot {
    categories: Categories,
    columns: usize,
    /// Whether a category that is not known has zeros only; otherwise it is an error.
    zeros: bool,
}

fn build_one_hot(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    let attributes = definition.attributes;
    let element_type = definition.tensor_type(0)?;
    let (categories, columns) = if element_type == ElementType::Text {
        let names = attributes.texts("cats_strings")?.unwrap_or_default();
        (Categories::Texts(names.iter().cloned().zip(0..).collect()), names.len())
    } else if is_plain_number(element_type) {
        let numbers = attributes.integers("cats_int64s")?.unwrap_or_default();
        (Categories::Integers(numbers.iter().copied().zip(0..).collect()), numbers.len())
    } else {
        return Err(definition.unsupported_type(0));
    };
    if columns == 0 {
        return Err(Refusal::new(format!(
            "no attribute has categories for an input of the type {element_type}"
        )));
    }
    let zeros = attributes.integer("zeros")?.unwrap_or(1) != 0;
    Ok(Built::tensor(OneHot { categories, columns, zeros }, ElementType::Float))
}

impl Operator for OneHot {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let mut shape = tensor.shape().to_vec();
        shape.push(self.columns);
        let mut encoded = vec![0.0_f32; context.reserve(ElementType::Float, &shape)?];
        let mut set = |index: usize, column: Option<&usize>| match column {
            Some(column) => {
                encoded[index * self.columns + column] = 1.0;
                Ok(())
            }
            None if self.zeros => Ok(()),
            None => {
                Err(OperatorError::inputs(format!("element {index} is not one of the model's categories")))
            }
        };
        match (&self.categories, tensor.elements()) {
            (Categories::Texts(columns), Elements::Text(names)) => {
                names.iter().enumerate().try_for_each(|(index, name)| set(index, columns.get(name)))
            }
            // A number with a fraction is cut to the whole number.
            (Categories::Integers(columns), Elements::Float(numbers)) => {
                numbers.iter().enumerate().try_for_each(|(index, x)| set(index, columns.get(&(*x as i64))))
            }
            (Categories::Integers(columns), Elements::Double(numbers)) => {
                numbers.iter().enumerate().try_for_each(|(index, x)| set(index, columns.get(&(*x as i64))))
            }
            (Categories::Integers(columns), Elements::Int64(numbers)) => {
                numbers.iter().enumerate().try_for_each(|(index, x)| set(index, columns.get(x)))
            }
            (Categories::Integers(columns), Elements::Int32(numbers)) => {
                numbers.iter().enumerate().try_for_each(|(index, x)| set(index, columns.get(&i64::from(*x))))
            }
            _ => Err(broken("a tensor is not of the type of the categories")),
        }?;
        Ok(vec![output(shape, encoded)?])
    }
}
