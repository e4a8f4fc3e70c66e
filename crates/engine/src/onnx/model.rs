//! A model as it was read: its graph, with numbers for names.

use std::{collections::HashMap, ops::Range};

use super::files::FileName;
use crate::{
    operators::Attributes,
    tensor::{ElementType, Tensor, ValueType},
};

/// A value of a model: of its graph or of any graph nested in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// Its place in lists of all values.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A dimension as a file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Of this size.
    Fixed(usize),
    /// Of any size; dimensions of one name have one size.
    Named(String),
    /// Of any size.
    Any,
}

/// What a file says about an input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    pub name: String,
    /// Its type, if the file says it.
    pub value_type: Option<ValueType>,
    /// Its dimensions, if the file says how many there are.
    pub shape: Option<Vec<Dimension>>,
}

/// An input or an output of a graph.
#[derive(Clone, Debug)]
pub struct Port {
    pub value: ValueId,
    /// What the file says about it.
    pub declaration: Declaration,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name, for messages; may be empty.
    pub name: String,
    /// The domain of its operator; empty for ONNX's own.
    pub domain: String,
    pub operator: String,
    /// The version of the domain's operators.
    pub opset: i64,
    /// Its inputs; `None` for one that is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Its outputs; `None` for one that nobody asked for.
    pub outputs: Vec<Option<ValueId>>,
    /// Its attributes, those that are graphs excepted.
    pub attributes: Attributes,
    /// Its attributes that are graphs.
    pub graphs: Vec<(String, Graph)>,
    /// The values of outer graphs that its graphs use.
    pub captures: Vec<ValueId>,
}

/// A graph, its nodes in an order in which they can be computed.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// Its inputs, without those that have a constant value.
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// Where the bytes of a large constant are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the model's file: only while that is read.
    File(Range<usize>),
    /// In memory, moved out of the file.
    Memory(Vec<u8>),
    /// In another file of the model's directory.
    Beside {
        file: FileName,
        /// Where its first byte is.
        offset: u64,
    },
}

/// A constant whose bytes are not decoded yet: little-endian, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name, for messages.
    pub name: String,
    /// The type of its elements.
    pub element_type: ElementType,
    pub shape: Vec<usize>,
    /// The number of its bytes.
    pub bytes: usize,
    /// The place of these bytes.
    pub place: Place,
}

/// A constant.
#[derive(Clone, Debug)]
pub enum Constant {
    /// In memory.
    Tensor(Tensor),
    /// Where the file has it.
    Stored(Stored),
}

impl Constant {
    /// The type of its elements.
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::Tensor(tensor) => tensor.element_type(),
            Self::Stored(stored) => stored.element_type,
        }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.shape(),
            Self::Stored(stored) => &stored.shape,
        }
    }
}

/// A model.
#[derive(Debug)]
pub struct Model {
    /// The version of the format.
    pub ir_version: i64,
    /// Which library wrote the file.
    pub producer: String,
    /// The version of each domain's operators.
    pub opsets: Vec<(String, i64)>,
    /// Entries that the model's author wrote.
    pub metadata: Vec<(String, String)>,
    pub graph: Graph,
    /// The names of all values, by number, for messages.
    pub names: Vec<String>,
    /// The constants of all graphs.
    pub constants: HashMap<ValueId, Constant>,
    /// Bytes of the file.
    pub size: usize,
}

impl Model {
    /// The name of a value.
    pub fn name(&self, value: ValueId) -> &str {
        self.names.get(value.index()).map_or("", String::as_str)
    }
}
