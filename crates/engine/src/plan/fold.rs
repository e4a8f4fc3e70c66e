//! Computes at load what depends on constants only, if it is small.

use crate::{
    onnx::model::Node,
    operators::{Cancellation, Context, Memory, Operator},
    tensor::{Tensor, Value},
};

/// Constants of more bytes are not folded: results made of weights may be larger than they.
const LARGEST_INPUT: usize = 1 << 20;

/// The most bytes that a folded node may give.
const LARGEST_OUTPUT: usize = 1 << 22;

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

/// Whether constants of these bytes are worth folding.
pub(super) fn is_small(bytes: impl Iterator<Item = usize>) -> bool {
    bytes.fold(0, usize::saturating_add) <= LARGEST_INPUT
}

/// The outputs of an operator of constants; `None` if they are too large, if they are not
/// tensors, or if the operator fails: then it fails when it runs, if it ever does.
pub(super) fn fold(operator: &dyn Operator, inputs: Vec<Option<Value>>) -> Option<Vec<Tensor>> {
    let memory = Memory::new(LARGEST_OUTPUT);
    let cancellation = Cancellation::default();
    let outputs = operator.run(inputs, &Context::new(&memory, &cancellation)).ok()?;
    let tensors: Option<Vec<Tensor>> = outputs.into_iter().map(Value::into_tensor).collect();
    tensors
        .filter(|tensors| tensors.iter().map(Tensor::bytes).fold(0, usize::saturating_add) <= LARGEST_OUTPUT)
}
