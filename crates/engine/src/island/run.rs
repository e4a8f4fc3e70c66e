//! An island that is loaded: an operator that rten runs.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rten::{Model, NodeId, RunErrorKind, RunOptions, ValueOrView};

use super::convert::{from_engine, to_engine};
use crate::{
    facts::size::{LARGEST_DIMENSION, Size, Sizes, value_of},
    operators::{Context, Operator, OperatorError},
    tensor::{ElementType, Elements, Value},
};

/// What the values of an island take, in the order of its nodes.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    pub(super) sizes: Sizes,
    /// For each step of the computation: how many bytes are alive then, if that is known.
    pub(super) alive: Vec<Size>,
}

/// A part of a graph that rten runs.
pub(crate) struct Island {
    pub(super) model: Model,
    pub(super) inputs: Vec<NodeId>,
    pub(super) outputs: Vec<(NodeId, ElementType)>,
    pub(super) sketch: Sketch,
    pub(super) nodes: usize,
}

impl fmt::Debug for Island {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Island").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl Island {
    /// The most bytes that are alive at once, as far as the shapes of the inputs tell.
    fn peak(&self, shapes: &[Vec<usize>]) -> Option<usize> {
        let values = self.sketch.sizes.evaluate(shapes);
        let mut peak = 0;
        for size in &self.sketch.alive {
            peak = peak.max(usize::try_from(value_of(size, &values)?).ok()?);
        }
        Some(peak)
    }
}

impl Operator for Island {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut given: Vec<(Vec<usize>, Elements)> = Vec::with_capacity(inputs.len());
        for input in inputs {
            let tensor = input.and_then(Value::into_tensor).ok_or_else(|| OperatorError::Engine {
                reason: "an input of an island is not a tensor".to_owned(),
            })?;
            if tensor.shape().iter().any(|size| *size as i64 > LARGEST_DIMENSION || *size > i64::MAX as usize)
            {
                return Err(OperatorError::TooLarge { shape: tensor.shape().to_vec() });
            }
            given.push(tensor.into_parts());
        }
        let shapes: Vec<Vec<usize>> = given.iter().map(|(shape, _)| shape.clone()).collect();
        if let Some(peak) = self.peak(&shapes) {
            context.budget().charge(peak)?;
            let result = self.compute(given, context);
            context.budget().release(peak);
            return result;
        }
        self.compute(given, context)
    }
}

impl Island {
    fn compute(
        &self,
        mut given: Vec<(Vec<usize>, Elements)>,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OperatorError> {
        let mut values: Vec<(NodeId, ValueOrView<'_>)> = Vec::with_capacity(given.len());
        for (node, (shape, elements)) in self.inputs.iter().zip(&mut given) {
            values.push((*node, to_engine(shape, elements)?));
        }
        let outputs: Vec<NodeId> = self.outputs.iter().map(|(node, _)| *node).collect();
        let pool = context.threads().map(crate::threads::Threads::pool);
        let options = RunOptions::default().with_thread_pool(pool);
        // rten has states that it takes for impossible.
        let answers = catch_unwind(AssertUnwindSafe(|| self.model.run(values, &outputs, Some(options))))
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
            .zip(&self.outputs)
            .map(|(value, (_, element_type))| from_engine(value, *element_type).map(Value::Tensor))
            .collect()
    }
}
