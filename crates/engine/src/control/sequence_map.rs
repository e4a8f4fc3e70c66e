//! `SequenceMap`.

use super::{captured, gather::Gathered, nested};
use crate::{
    operators::{Context, Operator, OperatorError},
    program::Program,
    tensor::{ElementType, Value},
};

/// `SequenceMap`: runs a graph for each tensor of a sequence.
#[derive(Debug)]
pub(crate) struct SequenceMap {
    pub(crate) body: Program,
    /// Which inputs are gone through; the others are the same for each tensor.
    pub(crate) is_sequence: Vec<bool>,
    /// The element types of the outputs.
    pub(crate) types: Vec<ElementType>,
    /// How many values it captures.
    pub(crate) captures: usize,
}

impl Operator for SequenceMap {
    fn run(
        &self,
        mut inputs: Vec<Option<Value>>,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let outer = captured(&mut inputs, self.captures)?;
        let inputs: Option<Vec<Value>> = inputs.into_iter().collect();
        let inputs = inputs.ok_or_else(|| OperatorError::inputs("an input is missing"))?;
        let Some(Value::Sequence(_, first)) = inputs.first() else {
            return Err(OperatorError::inputs("the first input is not a sequence"));
        };
        let length = first.len();
        let mut gathered: Vec<Gathered<'_>> =
            self.types.iter().map(|_| Gathered::new(context.budget())).collect();
        for index in 0..length {
            context.check()?;
            let mut values = Vec::with_capacity(inputs.len() + outer.len());
            for (input, is_sequence) in inputs.iter().zip(&self.is_sequence) {
                values.push(match input {
                    Value::Sequence(_, tensors) if *is_sequence => {
                        let tensor = tensors.get(index).filter(|_| tensors.len() == length);
                        let tensor = tensor
                            .ok_or_else(|| OperatorError::inputs("the sequences have different lengths"))?;
                        Value::Tensor(tensor.clone())
                    }
                    other => other.clone(),
                });
            }
            values.extend(outer.iter().cloned());
            let outputs = self.body.run(values, None, context).map_err(nested)?;
            for (gathered, value) in gathered.iter_mut().zip(outputs) {
                let tensor = value.into_tensor();
                gathered.push(tensor.ok_or_else(|| OperatorError::inputs("an output is not a tensor"))?)?;
            }
        }
        Ok(gathered
            .into_iter()
            .zip(&self.types)
            .map(|(mut gathered, element_type)| {
                Value::Sequence(*element_type, std::mem::take(&mut gathered.tensors))
            })
            .collect())
    }
}
