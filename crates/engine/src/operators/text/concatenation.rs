//! `StringConcat`.

use super::{check_texts, total_length};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, values},
        pairing::Pairing,
    },
    tensor::{ElementType, Text, Value},
};

/// The texts of two tensors, one behind the other.
#[derive(Debug)]
struct Concatenation;

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 2..=2, 1)?;
    check_texts(definition, 0)?;
    check_texts(definition, 1)?;
    Ok(Built::tensor(Concatenation, ElementType::Text))
}

impl Operator for Concatenation {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (first, second) = (operands.tensor(0)?, operands.tensor(1)?);
        let pairing = Pairing::new(first.shape(), second.shape())?;
        let count = context.reserve(ElementType::Text, pairing.shape())?;
        let (first, second) = (values::<Text>(&first)?, values::<Text>(&second)?);
        let mut length = 0_usize;
        pairing
            .for_each(|left, right| length = length.saturating_add(first[left].len() + second[right].len()));
        if length > total_length(first.iter()).saturating_add(total_length(second.iter())) {
            // Broadcasting repeats letters.
            context.reserve(ElementType::Uint8, &[length])?;
        }
        let mut joined = Vec::with_capacity(count);
        pairing
            .for_each(|left, right| joined.push(Text::from([&first[left][..], &second[right][..]].concat())));
        Ok(vec![output(pairing.shape(), joined)?])
    }
}
