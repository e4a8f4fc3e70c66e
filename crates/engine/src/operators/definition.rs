//! A node as its operator sees it at load, and what is made of it.

use std::fmt;

use super::{Attributes, Context, OperatorError, Refusal};
use crate::tensor::{ElementType, Tensor, Value, ValueType};

/// An input of a node, as far as it is known at load.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub value_type: &'a ValueType,
    /// Its value, if it is a constant.
    pub constant: Option<&'a Tensor>,
}

/// A node at load.
#[derive(Clone, Debug)]
pub struct Definition<'a> {
    /// The operator's name, such as `Softmax`.
    pub operator: &'a str,
    /// The version of the operator's domain that the model imports (its opset).
    pub opset: i64,
    /// The attributes as the model has them: defaults of that opset are not filled in.
    pub attributes: &'a Attributes,
    /// The inputs; `None` for an optional one that is left out. Trailing ones may be missing.
    pub inputs: &'a [Option<Input<'a>>],
    /// How many outputs the node names (the last one named, plus one).
    pub outputs: usize,
}

/// Makes an operator of a node.
pub type Builder = fn(&Definition<'_>) -> Result<Built, Refusal>;

/// An operator that is ready to run, and the types of its outputs.
#[derive(Debug)]
pub struct Built {
    pub operator: Box<dyn Operator>,
    /// The type of each output, at least as many as the node names.
    pub types: Vec<ValueType>,
}

/// An operator, ready to run by many threads at once.
pub trait Operator: fmt::Debug + Send + Sync {
    /// Computes the outputs. `inputs` are those of the definition: as many, each of the
    /// type that it said. An input that no other node needs is not shared, so its
    /// memory may be used again.
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError>;

    /// The operator as one that can compute some of its outputs from some of its inputs; `None` for
    /// one whose outputs all need all inputs.
    fn divisible(&self) -> Option<&dyn Divisible> {
        None
    }
}

/// An operator of many nodes, some of whose outputs need some of its inputs only.
pub trait Divisible {
    /// For each input: whether the wanted outputs need it. `wanted` has an entry for each output.
    fn needed_inputs(&self, wanted: &[bool]) -> Vec<bool>;

    /// Computes the wanted outputs; the others are `None`. Inputs that they don't need may be `None`.
    fn run_partly(
        &self,
        inputs: Vec<Option<Value>>,
        wanted: &[bool],
        context: &Context<'_>,
    ) -> Result<Vec<Option<Value>>, OperatorError>;
}

impl<'a> Definition<'a> {
    /// Whether the input is there.
    pub fn has_input(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(Option::is_some)
    }

    /// The type of an input, if it is there.
    pub fn input_type(&self, index: usize) -> Option<&'a ValueType> {
        self.inputs.get(index).copied().flatten().map(|input| input.value_type)
    }

    /// The element type of an input that must be there and be a tensor.
    pub fn tensor_type(&self, index: usize) -> Result<ElementType, Refusal> {
        match self.input_type(index) {
            Some(ValueType::Tensor(element_type)) => Ok(*element_type),
            Some(_) => Err(Refusal::new(format!("input {index} is not a tensor"))),
            None => Err(Refusal::new(format!("input {index} is missing"))),
        }
    }

    /// The value of an input that is a constant.
    pub fn constant(&self, index: usize) -> Option<&'a Tensor> {
        self.inputs.get(index).copied().flatten().and_then(|input| input.constant)
    }

    /// A refusal because the operator does not take this type.
    pub fn unsupported_type(&self, index: usize) -> Refusal {
        let found = match self.input_type(index) {
            Some(ValueType::Tensor(element_type)) => element_type.to_string(),
            Some(ValueType::Sequence(element_type)) => format!("sequence of {element_type}"),
            Some(ValueType::Optional(_)) => "optional".to_owned(),
            None => "missing".to_owned(),
        };
        Refusal::new(format!("input {index} is {found}, which {} does not take here", self.operator))
    }
}

impl Built {
    /// One output, a tensor.
    pub fn tensor(operator: impl Operator + 'static, element_type: ElementType) -> Self {
        Self { operator: Box::new(operator), types: vec![ValueType::Tensor(element_type)] }
    }
}
