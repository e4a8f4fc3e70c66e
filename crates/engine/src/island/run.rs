//! An island that is loaded: an operator that rten runs.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rten::{Model, NodeId, RunErrorKind, RunOptions, ValueOrView};

use super::{
    convert::{from_engine, to_engine},
    parts::Parts,
    sketch::Sketch,
};
use crate::{
    facts::size::LARGEST_DIMENSION,
    operators::{Context, Divisible, Operator, OperatorError},
    tensor::{ElementType, Elements, Value},
};

/// A part of a graph that rten runs.
pub(crate) struct Island {
    pub(super) model: Model,
    pub(super) inputs: Vec<NodeId>,
    pub(super) outputs: Vec<(NodeId, ElementType)>,
    pub(super) sketch: Sketch,
    pub(super) parts: Parts,
    pub(super) nodes: usize,
}

impl fmt::Debug for Island {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Island").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// The shape and the elements of an input.
type Given = (Vec<usize>, Elements);

impl Operator for Island {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut given = Vec::with_capacity(inputs.len());
        for (node, input) in self.inputs.iter().zip(inputs) {
            let missing = || OperatorError::Engine { reason: "an input of an island is missing".to_owned() };
            given.push((*node, tensor(input.ok_or_else(missing)?)?));
        }
        let shapes: Vec<Vec<usize>> = given.iter().map(|(_, (shape, _))| shape.clone()).collect();
        self.within(self.sketch.peak(&shapes), given, &self.outputs, context)
    }

    fn divisible(&self) -> Option<&dyn Divisible> {
        Some(self)
    }
}

impl Divisible for Island {
    fn needed_inputs(&self, wanted: &[bool]) -> Vec<bool> {
        self.parts.needed(wanted).inputs
    }

    fn run_partly(
        &self,
        inputs: Vec<Option<Value>>,
        wanted: &[bool],
        context: &Context<'_>,
    ) -> Result<Vec<Option<Value>>, OperatorError> {
        let mut given = Vec::with_capacity(inputs.len());
        let mut shapes = Vec::with_capacity(inputs.len());
        for (node, input) in self.inputs.iter().zip(inputs) {
            let input = input.map(tensor).transpose()?;
            shapes.push(input.as_ref().map(|(shape, _)| shape.clone()));
            given.extend(input.map(|input| (*node, input)));
        }
        let is_wanted = |index: usize| wanted.get(index).copied().unwrap_or(false);
        let outputs: Vec<(NodeId, ElementType)> = self
            .outputs
            .iter()
            .enumerate()
            .filter(|(index, _)| is_wanted(*index))
            .map(|(_, output)| *output)
            .collect();
        let peak = self.sketch.peak_of(&shapes, &self.parts.needed(wanted).members);
        let mut answers = self.within(peak, given, &outputs, context)?.into_iter();
        Ok((0..self.outputs.len())
            .map(|index| if is_wanted(index) { answers.next() } else { None })
            .collect())
    }
}

/// The parts of an input.
fn tensor(input: Value) -> Result<Given, OperatorError> {
    let tensor = input.into_tensor().ok_or_else(|| OperatorError::Engine {
        reason: "an input of an island is not a tensor".to_owned(),
    })?;
    if tensor.shape().iter().any(|size| *size as i64 > LARGEST_DIMENSION || *size > i64::MAX as usize) {
        return Err(OperatorError::TooLarge { shape: tensor.shape().to_vec() });
    }
    Ok(tensor.into_parts())
}

impl Island {
    /// Computes outputs, and charges what is alive meanwhile, if that is known.
    fn within(
        &self,
        peak: Option<usize>,
        given: Vec<(NodeId, Given)>,
        outputs: &[(NodeId, ElementType)],
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let Some(peak) = peak else { return self.compute(given, outputs, context) };
        context.budget().charge(peak)?;
        let result = self.compute(given, outputs, context);
        context.budget().release(peak);
        result
    }

    fn compute(
        &self,
        mut given: Vec<(NodeId, Given)>,
        outputs: &[(NodeId, ElementType)],
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let mut values: Vec<(NodeId, ValueOrView<'_>)> = Vec::with_capacity(given.len());
        for (node, (shape, elements)) in &mut given {
            values.push((*node, to_engine(shape, elements)?));
        }
        let wanted: Vec<NodeId> = outputs.iter().map(|(node, _)| *node).collect();
        let pool = context.threads().map(crate::threads::Threads::pool);
        let options = RunOptions::default().with_thread_pool(pool);
        // rten has states that it takes for impossible.
        let answers = catch_unwind(AssertUnwindSafe(|| self.model.run(values, &wanted, Some(options))))
            .map_err(|_| OperatorError::inputs("rten panicked; the inputs do not fit the model"))?
            .map_err(|error| {
                let reason = error.to_string();
                match error.kind() {
                    RunErrorKind::InvalidInput | RunErrorKind::OperatorError => OperatorError::inputs(reason),
                    _ => OperatorError::Engine { reason },
                }
            })?;
        answers
            .into_iter()
            .zip(outputs)
            .map(|(value, (_, element_type))| from_engine(value, *element_type).map(Value::Tensor))
            .collect()
    }
}
