//! `Loop`.

use super::{
    captured, check_rank,
    gather::{Gathered, stack},
    is_true, nested,
};
use crate::{
    operators::{Context, Operator, OperatorError},
    program::Program,
    tensor::{ElementType, Tensor, Value},
};

/// What a loop gathers: the type and, for loops that never turn, the shape of one part.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) element_type: ElementType,
    pub(crate) shape: Vec<usize>,
}

/// `Loop`: runs a graph until a condition fails, or a number of times.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) body: Program,
    /// For each value that goes from one turn to the next, whether it is an optional inside the
    /// graph and what that holds outside.
    pub(crate) wrapped: Vec<bool>,
    /// For each of these values, its number of dimensions, if the plan relies on it.
    pub(crate) ranks: Vec<Option<usize>>,
    pub(crate) scanned: Vec<Carried>,
    /// How many values it captures.
    pub(crate) captures: usize,
}

impl Operator for Loop {
    fn run(
        &self,
        mut inputs: Vec<Option<Value>>,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let outer = captured(&mut inputs, self.captures)?;
        let mut inputs = inputs.into_iter();
        let count = inputs.next().flatten().map(|value| whole(&value)).transpose()?;
        let mut go = inputs.next().flatten().map(|value| is_true(&value)).transpose()?.unwrap_or(true);
        let mut carried: Vec<Value> = inputs
            .map(|value| {
                value.ok_or_else(|| OperatorError::inputs("a value that the loop carries is missing"))
            })
            .collect::<Result<_, _>>()?;
        let mut scanned: Vec<Gathered<'_>> =
            self.scanned.iter().map(|_| Gathered::new(context.budget())).collect();
        let mut turn = 0_i64;
        while go && count.is_none_or(|count| turn < count) {
            context.check()?;
            let mut values = vec![Value::Tensor(Tensor::scalar(turn)), Value::Tensor(Tensor::scalar(go))];
            for (value, wrapped) in carried.drain(..).zip(&self.wrapped) {
                values.push(match value {
                    value @ Value::Optional(_) => value,
                    value if *wrapped => Value::Optional(Some(Box::new(value))),
                    value => value,
                });
            }
            values.extend(outer.iter().cloned());
            let mut outputs = self.body.run(values, None, context).map_err(nested)?.into_iter();
            let missing = || OperatorError::Engine { reason: "the graph gave too few outputs".to_owned() };
            go = is_true(&outputs.next().ok_or_else(missing)?)?;
            carried.extend(outputs.by_ref().take(self.wrapped.len()));
            carried.iter().zip(&self.ranks).try_for_each(|(value, rank)| check_rank(value, *rank))?;
            for (gathered, value) in scanned.iter_mut().zip(outputs) {
                gathered.push(value.into_tensor().ok_or_else(missing)?)?;
            }
            turn += 1;
        }
        let mut outputs = Vec::with_capacity(carried.len() + scanned.len());
        for (value, wrapped) in carried.into_iter().zip(&self.wrapped) {
            outputs.push(match value {
                Value::Optional(None) if *wrapped => {
                    return Err(OperatorError::inputs(
                        "the loop never turned and gives an optional that is empty",
                    ));
                }
                Value::Optional(Some(value)) if *wrapped => *value,
                value => value,
            });
        }
        for (gathered, kind) in scanned.into_iter().zip(&self.scanned) {
            outputs.push(Value::Tensor(stack(&gathered.tensors, kind.element_type, &kind.shape, 0)?));
        }
        Ok(outputs)
    }
}

fn whole(value: &Value) -> Result<i64, OperatorError> {
    value
        .tensor()
        .and_then(|tensor| tensor.values::<i64>())
        .and_then(|values| if let [value] = values { Some(*value) } else { None })
        .ok_or_else(|| OperatorError::inputs("the number of turns is not one whole number"))
}
