//! `Scan`.

use super::{
    captured, check_rank,
    gather::{Gathered, resolve, slice, stack},
    nested,
};
use crate::{
    operators::{Context, Operator, OperatorError},
    program::Program,
    tensor::{ElementType, Tensor, Value},
};

/// How a scan goes over an input.
#[derive(Debug)]
pub(crate) struct ScanInput {
    pub(crate) axis: i64,
    pub(crate) backwards: bool,
}

/// How a scan puts an output together.
#[derive(Debug)]
pub(crate) struct ScanOutput {
    pub(crate) element_type: ElementType,
    /// The shape of one part, for scans that never turn.
    pub(crate) shape: Vec<usize>,
    pub(crate) axis: i64,
    pub(crate) backwards: bool,
}

/// `Scan`: runs a graph for each slice of its inputs.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) body: Program,
    /// How many values go from one turn to the next.
    pub(crate) states: usize,
    /// The number of dimensions of each of them, if the plan relies on it.
    pub(crate) ranks: Vec<Option<usize>>,
    pub(crate) inputs: Vec<ScanInput>,
    pub(crate) outputs: Vec<ScanOutput>,
    /// Whether the inputs have a batch before all other dimensions (opset 8).
    pub(crate) batched: bool,
    /// How many values it captures.
    pub(crate) captures: usize,
}

impl Operator for Scan {
    fn run(
        &self,
        mut inputs: Vec<Option<Value>>,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let outer = captured(&mut inputs, self.captures)?;
        let tensors: Vec<Tensor> = inputs
            .into_iter()
            .skip(usize::from(self.batched))
            .map(|value| {
                value
                    .and_then(Value::into_tensor)
                    .ok_or_else(|| OperatorError::inputs("an input is not a tensor"))
            })
            .collect::<Result<_, _>>()?;
        if !self.batched {
            return self
                .scan(tensors, &outer, context)
                .map(|outputs| outputs.into_iter().map(Value::Tensor).collect());
        }
        let batch = tensors.first().and_then(|tensor| tensor.shape().first().copied()).unwrap_or(0);
        if tensors.iter().any(|tensor| tensor.shape().first() != Some(&batch)) {
            return Err(OperatorError::inputs("the inputs have different batch sizes"));
        }
        let count = self.states + self.outputs.len();
        let mut gathered: Vec<Gathered<'_>> = (0..count).map(|_| Gathered::new(context.budget())).collect();
        for index in 0..batch {
            let item = tensors.iter().map(|tensor| slice(tensor, 0, index)).collect::<Result<Vec<_>, _>>()?;
            for (gathered, output) in gathered.iter_mut().zip(self.scan(item, &outer, context)?) {
                gathered.push(output)?;
            }
        }
        let mut outputs = Vec::with_capacity(count);
        for gathered in gathered {
            let element_type = gathered.tensors.first().map_or(ElementType::Float, Tensor::element_type);
            outputs.push(Value::Tensor(stack(&gathered.tensors, element_type, &[], 0)?));
        }
        Ok(outputs)
    }
}

impl Scan {
    fn scan(
        &self,
        mut tensors: Vec<Tensor>,
        outer: &[Value],
        context: &Context<'_>,
    ) -> Result<Vec<Tensor>, OperatorError> {
        let scanned = tensors.split_off(self.states.min(tensors.len()));
        let mut turns = None;
        let mut axes = Vec::with_capacity(scanned.len());
        for (tensor, input) in scanned.iter().zip(&self.inputs) {
            let axis = resolve(input.axis, tensor.rank())?;
            let length = tensor.shape().get(axis).copied().unwrap_or(0);
            if *turns.get_or_insert(length) != length {
                return Err(OperatorError::inputs(
                    "the inputs have different lengths along the axes that are scanned",
                ));
            }
            axes.push(axis);
        }
        let turns = turns.unwrap_or(0);
        let mut states: Vec<Value> = tensors.into_iter().map(Value::Tensor).collect();
        let mut gathered: Vec<Gathered<'_>> =
            self.outputs.iter().map(|_| Gathered::new(context.budget())).collect();
        for turn in 0..turns {
            context.check()?;
            let mut values = std::mem::take(&mut states);
            for ((tensor, input), axis) in scanned.iter().zip(&self.inputs).zip(&axes) {
                let index = if input.backwards { turns - 1 - turn } else { turn };
                values.push(Value::Tensor(slice(tensor, *axis, index)?));
            }
            values.extend(outer.iter().cloned());
            let mut outputs = self.body.run(values, None, context).map_err(nested)?.into_iter();
            states.extend(outputs.by_ref().take(self.states));
            states.iter().zip(&self.ranks).try_for_each(|(value, rank)| check_rank(value, *rank))?;
            for (gathered, value) in gathered.iter_mut().zip(outputs) {
                let tensor = value.into_tensor();
                gathered.push(tensor.ok_or_else(|| OperatorError::inputs("an output is not a tensor"))?)?;
            }
        }
        let mut outputs = Vec::with_capacity(self.states + self.outputs.len());
        for state in states {
            outputs
                .push(state.into_tensor().ok_or_else(|| OperatorError::inputs("a state is not a tensor"))?);
        }
        for (mut gathered, output) in gathered.into_iter().zip(&self.outputs) {
            if output.backwards {
                gathered.tensors.reverse();
            }
            outputs.push(stack(&gathered.tensors, output.element_type, &output.shape, output.axis)?);
        }
        Ok(outputs)
    }
}
