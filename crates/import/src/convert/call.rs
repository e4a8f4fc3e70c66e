//! One node being converted: its attributes, its inputs, and the graph it is written to.

use bytes::Bytes;

use super::datum::Datum;
use crate::{
    error::ImportError,
    graph::{Attributes, Builder, Dimension, Operator, ValueId, fold::axis_of, type_codes::code_of_type},
    tensor::{ElementType, Tensor},
    tensorflow::attributes::NodeView,
};

/// Why a node is not converted.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The import fails, and this node is in the list of what is not supported.
    Unsupported(String),
    /// The import ends here.
    Import(ImportError),
}

impl From<ImportError> for Refusal {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

/// A refusal with a reason.
pub(crate) fn unsupported<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Unsupported(reason.into()))
}

/// A node being converted.
pub(crate) struct Call<'c, 'm> {
    pub(crate) node: NodeView<'m>,
    pub(crate) inputs: &'c [Datum<'m>],
    pub(crate) builder: &'c mut Builder,
}

impl Call<'_, '_> {
    pub(crate) fn operator(&self) -> &str {
        self.node.operator()
    }

    /// The tensor at an input.
    pub(crate) fn tensor(&self, index: usize) -> Result<ValueId, Refusal> {
        match self.inputs.get(index) {
            Some(Datum::Tensor(id)) => Ok(*id),
            Some(_) => unsupported(format!("input {index} is a handle, not a tensor")),
            None => unsupported(format!("input {index} is missing")),
        }
    }

    /// The tensors from an input on.
    pub(crate) fn tensors(&self, range: std::ops::Range<usize>) -> Result<Vec<ValueId>, Refusal> {
        range.map(|index| self.tensor(index)).collect()
    }

    /// All inputs.
    pub(crate) fn all(&self) -> Result<Vec<ValueId>, Refusal> {
        self.tensors(0..self.inputs.len())
    }

    /// The constant at an input.
    pub(crate) fn constant(&self, index: usize) -> Result<&Tensor, Refusal> {
        let id = self.tensor(index)?;
        match self.builder.constant_of(id) {
            Some(tensor) => Ok(tensor),
            None => unsupported(format!("input {index} is not a constant")),
        }
    }

    /// The constant integers at an input.
    pub(crate) fn integers(&self, index: usize) -> Result<Vec<i64>, Refusal> {
        match self.constant(index)?.integers() {
            Some(values) => Ok(values),
            None => unsupported(format!("input {index} does not hold integers")),
        }
    }

    /// The integers of a constant.
    pub(crate) fn integers_of(&self, id: ValueId) -> Result<Vec<i64>, Refusal> {
        match self.builder.constant_of(id).and_then(Tensor::integers) {
            Some(values) => Ok(values),
            None => unsupported("an input is not a constant of integers"),
        }
    }

    /// The one constant integer at an input.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, Refusal> {
        match self.integers(index)?.as_slice() {
            [value] => Ok(*value),
            values => unsupported(format!("input {index} holds {} integers, not one", values.len())),
        }
    }

    /// The rank of a value.
    pub(crate) fn rank(&self, id: ValueId) -> Result<usize, Refusal> {
        match self.builder.rank(id) {
            Some(rank) => Ok(rank),
            None => unsupported("the rank of its input is unknown"),
        }
    }

    /// An axis of a value, from 0.
    pub(crate) fn axis(&self, axis: i64, id: ValueId) -> Result<usize, Refusal> {
        if axis >= 0 && self.builder.rank(id).is_none() {
            return usize::try_from(axis).or_else(|_| unsupported("the axis is too large"));
        }
        let rank = self.rank(id)?;
        match axis_of(axis, rank) {
            Some(axis) => Ok(axis),
            None => unsupported(format!("axis {axis} of a tensor of rank {rank}")),
        }
    }

    pub(crate) fn kind(&self, id: ValueId) -> ElementType {
        self.builder.kind(id)
    }

    pub(crate) fn attribute(&self, name: &str) -> Result<i64, Refusal> {
        match self.node.integer(name) {
            Some(value) => Ok(value),
            None => unsupported(format!("the attribute {name} is missing")),
        }
    }

    pub(crate) fn type_attribute(&self, name: &str) -> Result<ElementType, Refusal> {
        match self.node.kind(name) {
            Some(kind) => Ok(kind),
            None => unsupported(format!("the type of the attribute {name}")),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Bytes {
        self.node.text(name).unwrap_or_default()
    }

    /// A node with one output.
    pub(crate) fn emit(
        &mut self,
        operator: Operator,
        inputs: &[ValueId],
        attributes: Attributes,
    ) -> Result<ValueId, Refusal> {
        Ok(self.builder.emit(operator, inputs, attributes)?)
    }

    /// A node with one output and no attributes.
    pub(crate) fn apply(&mut self, operator: Operator, inputs: &[ValueId]) -> Result<ValueId, Refusal> {
        self.emit(operator, inputs, Attributes::none())
    }

    /// A constant vector of 64-bit integers.
    pub(crate) fn vector(&mut self, values: &[i64]) -> Result<ValueId, Refusal> {
        Ok(self.builder.constant(Tensor::vector(values))?)
    }

    /// A constant scalar.
    pub(crate) fn scalar(&mut self, kind: ElementType, value: f64) -> Result<ValueId, Refusal> {
        match Tensor::scalar(kind, value) {
            Some(tensor) => Ok(self.builder.constant(tensor)?),
            None => unsupported(format!("a number of the type {kind:?}")),
        }
    }

    pub(crate) fn cast(&mut self, id: ValueId, kind: ElementType) -> Result<ValueId, Refusal> {
        self.emit(Operator::Cast, &[id], Attributes::none().with("to", code_of_type(kind)))
    }

    pub(crate) fn transpose(&mut self, id: ValueId, permutation: Vec<i64>) -> Result<ValueId, Refusal> {
        self.emit(Operator::Transpose, &[id], Attributes::none().with("perm", permutation))
    }

    /// The shape as a vector of 64-bit integers.
    pub(crate) fn shape_of(&mut self, id: ValueId) -> Result<ValueId, Refusal> {
        self.apply(Operator::Shape, &[id])
    }

    /// One size as a vector of one 64-bit integer.
    pub(crate) fn size_of(&mut self, id: ValueId, axis: usize) -> Result<ValueId, Refusal> {
        let shape = self.shape_of(id)?;
        let index = self.vector(&[axis as i64])?;
        self.emit(Operator::Gather, &[shape, index], Attributes::none().with("axis", 0))
    }

    /// Reshapes to a target of 64-bit integers. A target of which at most one size
    /// is open is written as a constant.
    pub(crate) fn reshape(&mut self, id: ValueId, target: ValueId) -> Result<ValueId, Refusal> {
        let target = self.cast(target, ElementType::Int64)?;
        let Some(elements) = self.builder.elements(target) else {
            return self.apply(Operator::Reshape, &[id, target]);
        };
        let from = self.builder.shape(id).map(<[Dimension]>::to_vec).unwrap_or_default();
        let mut sizes = Vec::with_capacity(elements.len());
        let mut open = elements.contains(&Dimension::Known(-1));
        for (index, element) in elements.iter().enumerate() {
            match element {
                // In TensorFlow 0 is an empty dimension; in ONNX it copies one, which must be as empty.
                Dimension::Known(0) if from.get(index) != Some(&Dimension::Known(0)) => {
                    return unsupported("it makes an empty tensor");
                }
                Dimension::Known(size) => sizes.push(*size),
                symbol
                    if from.get(index) == Some(symbol)
                        && (open || elements.iter().filter(|e| e.known().is_none()).count() > 1) =>
                {
                    sizes.push(0);
                }
                Dimension::Symbol(_) if !open => {
                    open = true;
                    sizes.push(-1);
                }
                Dimension::Symbol(_) => return self.apply(Operator::Reshape, &[id, target]),
            }
        }
        let described: Vec<Dimension> = elements;
        let target = self.vector(&sizes)?;
        let result = self.apply(Operator::Reshape, &[id, target])?;
        // The symbols are better known here than from the constant.
        if !described.contains(&Dimension::Known(-1)) && self.builder.constant_of(result).is_none() {
            let kind = self.kind(result);
            self.builder.describe(result, kind, Some(described));
        }
        Ok(result)
    }

    /// Reshapes to sizes of which one may be -1.
    pub(crate) fn reshape_to(&mut self, id: ValueId, sizes: &[i64]) -> Result<ValueId, Refusal> {
        let target = self.vector(sizes)?;
        self.apply(Operator::Reshape, &[id, target])
    }

    pub(crate) fn unsqueeze(&mut self, id: ValueId, axes: &[i64]) -> Result<ValueId, Refusal> {
        let axes = self.vector(axes)?;
        self.apply(Operator::Unsqueeze, &[id, axes])
    }

    pub(crate) fn squeeze(&mut self, id: ValueId, axes: &[i64]) -> Result<ValueId, Refusal> {
        let axes = self.vector(axes)?;
        self.apply(Operator::Squeeze, &[id, axes])
    }

    pub(crate) fn concat(&mut self, parts: &[ValueId], axis: i64) -> Result<ValueId, Refusal> {
        self.emit(Operator::Concat, parts, Attributes::none().with("axis", axis))
    }

    pub(crate) fn gather(&mut self, id: ValueId, index: ValueId, axis: i64) -> Result<ValueId, Refusal> {
        self.emit(Operator::Gather, &[id, index], Attributes::none().with("axis", axis))
    }

    /// A slice along some axes: starts, ends and steps, of 64-bit integers.
    pub(crate) fn slice(
        &mut self,
        id: ValueId,
        starts: &[i64],
        ends: &[i64],
        axes: &[i64],
        steps: &[i64],
    ) -> Result<ValueId, Refusal> {
        let inputs = [id, self.vector(starts)?, self.vector(ends)?, self.vector(axes)?, self.vector(steps)?];
        self.apply(Operator::Slice, &inputs)
    }

    /// A scalar tensor broadcast to the shape of a value.
    pub(crate) fn filled_like(&mut self, scalar: ValueId, like: ValueId) -> Result<ValueId, Refusal> {
        let shape = self.shape_of(like)?;
        self.apply(Operator::Expand, &[scalar, shape])
    }
}
