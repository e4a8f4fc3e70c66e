//! `If`.

use super::{captured, is_true, nested};
use crate::{
    operators::{Context, Operator, OperatorError},
    program::Program,
    tensor::Value,
};

/// `If`: runs one of two graphs.
#[derive(Debug)]
pub(crate) struct Branches {
    pub(crate) yes: Program,
    pub(crate) no: Program,
    /// How many values it captures.
    pub(crate) captures: usize,
}

impl Operator for Branches {
    fn run(
        &self,
        mut inputs: Vec<Option<Value>>,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let values = captured(&mut inputs, self.captures)?;
        let condition = inputs.into_iter().next().flatten();
        let condition = condition.ok_or_else(|| OperatorError::inputs("the condition is missing"))?;
        let branch = if is_true(&condition)? { &self.yes } else { &self.no };
        branch.run(values, None, context).map_err(nested)
    }
}
