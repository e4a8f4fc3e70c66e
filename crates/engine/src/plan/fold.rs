//! Computes at load what depends on constants only, if it is small.

use crate::{
    onnx::model::Node,
    operators::{Cancellation, Context, Memory, Operator},
    tensor::{Tensor, Value},
};

/// Constants of more bytes are folded by light operators only: results made of weights may be larger than they.
const LARGEST_INPUT: usize = 1 << 20;

/// Weights of more bytes are not folded at all.
const LARGEST_WEIGHTS: usize = 64 << 20;

/// How often all bytes of the file may go through light operators, one after the other: exporters write ten of them
/// for a weight that is standardised.
const PASSES: usize = 16;

/// How often the bytes of the file the constants that were computed may take, while they are needed.
const HELD: usize = 2;

/// The most bytes that a folded node may give.
pub(super) const LARGEST_OUTPUT: usize = 1 << 22;

/// Whether an operator gives the same for the same inputs.
pub(super) fn is_deterministic(node: &Node) -> bool {
    !matches!(
        node.operator.as_str(),
        "RandomNormal"
            | "RandomNormalLike"
            | "RandomUniform"
            | "RandomUniformLike"
            | "Multinomial"
            | "Bernoulli"
            | "Dropout"
    )
}

/// Whether an operator takes no more time than it has numbers, so that it is worth folding with weights: exporters
/// normalize and turn them in the graph.
fn is_light(node: &Node) -> bool {
    let operators = [
        "Add",
        "BatchNormalization",
        "Div",
        "InstanceNormalization",
        "Mul",
        "Pow",
        "ReduceL2",
        "ReduceMean",
        "ReduceSum",
        "Reshape",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    ];
    node.domain.is_empty() && operators.contains(&node.operator.as_str())
}

/// What folding weights may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Bytes of the model's file.
    pub(super) file: usize,
    /// Bytes that went through operators so far.
    pub(super) folded: usize,
}

/// The most bytes that a node of constants of `bytes` bytes may give; `None` if they are not worth folding. Of weights no more
/// comes than went in (a number counts as 8 bytes). `held` tells the bytes of all constants in memory.
pub(super) fn largest_output(
    node: &Node,
    bytes: usize,
    budget: Budget,
    held: impl FnOnce() -> usize,
) -> Option<usize> {
    if bytes <= LARGEST_INPUT {
        return Some(LARGEST_OUTPUT);
    }
    let left = budget.file.saturating_mul(PASSES).saturating_sub(budget.folded);
    let is_worth_it = is_light(node)
        && bytes <= LARGEST_WEIGHTS.min(left)
        && held().saturating_add(bytes) <= budget.file.saturating_mul(HELD);
    is_worth_it.then_some(bytes)
}

/// The outputs of an operator of constants; `None` if they are larger than `largest` bytes, if they are not
/// tensors, or if the operator fails: then it fails when it runs, if it ever does.
pub(super) fn fold(
    operator: &dyn Operator,
    inputs: Vec<Option<Value>>,
    largest: usize,
) -> Option<Vec<Tensor>> {
    let memory = Memory::new(largest);
    let cancellation = Cancellation::default();
    let outputs = operator.run(inputs, &Context::new(&memory, &cancellation)).ok()?;
    let tensors: Option<Vec<Tensor>> = outputs.into_iter().map(Value::into_tensor).collect();
    tensors.filter(|tensors| tensors.iter().map(Tensor::bytes).fold(0, usize::saturating_add) <= largest)
}
