//! Maps, which tensors replace.
//!
//! The last node of most exported classifiers, `ZipMap`, makes of each row of scores a
//! map from class to score. A map can't be sent as a tensor, so the matrix of scores is
//! passed on as it is: its columns are the classes in the order of the node's
//! `classlabels_int64s` or `classlabels_strings`.
//!
//! `DictVectorizer` and `CastMap` read maps that a caller would have to send. They are
//! refused: export the model with a tensor of columns in place of the map.

use super::DOMAIN;
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        definition::Builder,
        operands::{Operands, check_arity},
    },
    tensor::{ElementType, Value},
};

pub(in crate::operators) const OPERATORS: &[(&str, &str, Builder)] = &[
    (DOMAIN, "ZipMap", build_zip_map),
    (DOMAIN, "DictVectorizer", refuse_map),
    (DOMAIN, "CastMap", refuse_map),
];

/// The scores as they are.
#[derive(Debug)]
struct Scores;

fn build_zip_map(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    match definition.tensor_type(0)? {
        ElementType::Float => Ok(Built::tensor(Scores, ElementType::Float)),
        _ => Err(definition.unsupported_type(0)),
    }
}

fn refuse_map(definition: &Definition<'_>) -> Result<Built, Refusal> {
    Err(Refusal::new(format!(
        "{} reads a map, which can't be sent as a tensor; export the model with a tensor of columns in its place",
        definition.operator
    )))
}

impl Operator for Scores {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        Ok(vec![Operands::new(inputs).value(0)?])
    }
}
