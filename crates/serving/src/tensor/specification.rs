//! What a model's tensors must be.

use adytum_engine::{
    engine::{self, Specification},
    onnx::model::Dimension,
    tensor::ElementType,
};

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpecification {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements.
    pub element_type: ElementType,
    /// Its dimensions, `None` for one that may vary; `None` when even their
    /// number is unknown.
    pub shape: Option<Vec<Option<usize>>>,
}

/// All inputs and outputs of a model, in the graph's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Inputs that a request must give.
    pub inputs: Vec<TensorSpecification>,
    /// Outputs that it may ask for.
    pub outputs: Vec<TensorSpecification>,
}

/// A model with an input or output that the API can't carry.
///
/// Do: export the model with tensors as its inputs and outputs.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} {name:?} is {found}; requests and answers carry tensors only")]
pub struct NotATensor {
    /// `"input"` or `"output"`.
    pub kind: &'static str,
    pub name: String,
    pub found: String,
}

impl Signature {
    /// What the engine says of a model, if it has tensors only.
    pub fn of(signature: &engine::Signature) -> Result<Self, NotATensor> {
        Ok(Self {
            inputs: tensors(&signature.inputs, "input")?,
            outputs: tensors(&signature.outputs, "output")?,
        })
    }
}

fn tensors(
    specifications: &[Specification],
    kind: &'static str,
) -> Result<Vec<TensorSpecification>, NotATensor> {
    specifications
        .iter()
        .map(|specification| {
            let element_type = specification.element_type().ok_or_else(|| NotATensor {
                kind,
                name: specification.name.clone(),
                found: specification.value_type.to_string(),
            })?;
            let shape = specification.shape.as_ref().map(|shape| {
                shape
                    .iter()
                    .map(|dimension| match dimension {
                        Dimension::Fixed(size) => Some(*size),
                        Dimension::Named(_) | Dimension::Any => None,
                    })
                    .collect()
            });
            Ok(TensorSpecification { name: specification.name.clone(), element_type, shape })
        })
        .collect()
}
