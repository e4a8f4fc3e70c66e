//! What a model's tensors must be.

use super::{
    TensorError,
    error::{describe_found, describe_shape},
};
use adytum_engine::{
    engine::{self, Specification},
    onnx::model::Dimension,
    tensor::ElementType,
};

/// TensorFlow's own limit (`TensorShape::MaxDimensions`).
pub(super) const MAXIMUM_RANK: usize = 254;

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

impl TensorSpecification {
    /// The shape of a tensor, as the model takes it.
    ///
    /// A missing last dimension of size 1 is added: TensorFlow runs most models of one number for
    /// each example, [?,1], on [?] too, and clients send that.
    pub fn fit(&self, mut shape: Vec<usize>) -> Result<Fitted, TensorError> {
        let Some(wanted) = &self.shape else { return Ok(Fitted { shape, extended: false }) };
        let fits = |shape: &[usize]| {
            wanted.len() == shape.len()
                && wanted.iter().zip(shape).all(|(wanted, size)| wanted.is_none_or(|wanted| wanted == *size))
        };
        if fits(&shape) {
            return Ok(Fitted { shape, extended: false });
        }
        if !shape.is_empty() && wanted.last() == Some(&Some(1)) {
            shape.push(1);
            if fits(&shape) {
                return Ok(Fitted { shape, extended: true });
            }
            shape.pop();
        }
        let found: Vec<i64> = shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        Err(TensorError::WrongShape {
            expected: describe_shape(self.shape.as_deref()),
            found: describe_found(&found),
        })
    }

    /// Whether a tensor may have this type and shape, as they came in a request, and gives the
    /// shape. A tensor of more than `limit` bytes of elements is refused.
    pub fn check_all(
        &self,
        element_type: ElementType,
        sizes: &[i64],
        limit: usize,
    ) -> Result<Fitted, TensorError> {
        let expected = self.element_type;
        if element_type != expected {
            return Err(TensorError::WrongType { expected, found: element_type });
        }
        let expected = || describe_shape(self.shape.as_deref());
        let found = || describe_found(sizes);
        let invalid = |reason| TensorError::InvalidShape { expected: expected(), found: found(), reason };
        if sizes.len() > MAXIMUM_RANK {
            return Err(invalid("it has more than 254 dimensions"));
        }
        let shape = sizes
            .iter()
            .map(|size| usize::try_from(*size))
            .collect::<Result<Vec<usize>, _>>()
            .map_err(|_| invalid("a size is negative"))?;
        let fitted = self.fit(shape)?;
        // Without the zeros, so that [0, 2^40] does not pass and then overflow
        // where strides are computed.
        let bytes = fitted
            .shape
            .iter()
            .filter(|size| **size != 0)
            .try_fold(element_type.size(), |product, size| product.checked_mul(*size))
            .filter(|bytes| *bytes <= limit);
        if bytes.is_none() {
            return Err(TensorError::TooLarge { expected: expected(), found: found(), limit });
        }
        Ok(fitted)
    }
}

/// A shape that a model takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    pub shape: Vec<usize>,
    /// Whether a last dimension of size 1 was added. Then answers are without theirs.
    pub extended: bool,
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
