//! `RegexFullMatch`.

use super::{check_texts, pattern::Pattern};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, values},
    },
    tensor::{ElementType, Text, Value},
};

/// Whether a pattern matches the whole of each text.
#[derive(Debug)]
struct FullMatch(Pattern);

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 1)?;
    check_texts(definition, 0)?;
    let pattern = definition
        .attributes
        .text("pattern")?
        .ok_or_else(|| Refusal::new("the attribute pattern is missing"))?;
    Ok(Built::tensor(FullMatch(Pattern::whole(pattern)?), ElementType::Bool))
}

impl Operator for FullMatch {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let mut matches = Vec::with_capacity(tensor.len());
        for text in values::<Text>(&tensor)? {
            context.check()?;
            matches.push(self.0.is_match(text));
        }
        Ok(vec![output(tensor.shape(), matches)?])
    }
}
