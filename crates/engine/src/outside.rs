//! Why a node is outside of all regions and fused operators.

use std::fmt;

/// Why a node stays with an operator of its own, or with rten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Neither regions nor fused operators have its operator.
    Operator,
    /// Fused operators have its operator as a part of a pattern, and it is no part of one.
    Pattern,
    /// It is an LSTM or a GRU whose weights are no constants, or with something that its kernel does not have: lengths,
    /// peepholes, clips, other functions or another layout.
    Cell,
    /// Its opset is older than 7: how shapes are matched was an attribute then.
    Opset,
    /// It has graphs of its own, of which each is planned by itself.
    Graphs,
    /// This input, counted from 0, is not what kernels take: an image of 32-bit floats with a known number of channels,
    /// in four dimensions, or a line in three.
    Image(usize),
    /// This input, counted from 0, is not rows of 32-bit floats that are computed at a run.
    Rows(usize),
    /// This input, counted from 0, is not an image or a matrix of bytes with a known number of channels.
    Bytes(usize),
    /// This input, counted from 0, is not a constant of a type and a shape that kernels take.
    Constant(usize),
    /// This input, counted from 0, is a constant that another node takes, too.
    Shared(usize),
    /// Kernels do not compute with the value of this attribute.
    Attribute(&'static str),
    /// A group of its channels is not made of whole blocks of 16.
    Groups,
    /// Its images have sizes that kernels do not combine.
    Sizes,
    /// Not exactly one of its outputs is taken, or its type is another one.
    Outputs,
    /// Its constant matrix is too small to be worth an operator.
    Small,
    /// Its constant matrix is most of the model, and would be held twice while it is packed.
    Large,
    /// It has a place in regions, but what it takes comes from none, and no region begins with it.
    Alone,
    /// It is an operator of its own whose matrix or weights are in the order of the kernels.
    Packed,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("regions and fused operators have no such operator"),
            Self::Pattern => f.write_str("it is no part of a pattern that is fused"),
            Self::Cell => {
                f.write_str("its weights are no constants, or its kernel does not have all that it asks for")
            }
            Self::Opset => f.write_str("its opset is older than 7"),
            Self::Graphs => f.write_str("it has graphs of its own"),
            Self::Image(index) => {
                write!(f, "input {index} is no f32 image or line with known channels")
            }
            Self::Bytes(index) => {
                write!(f, "input {index} is no image or matrix of bytes with known channels")
            }
            Self::Rows(index) => write!(f, "input {index} is not f32 that a run computes"),
            Self::Constant(index) => {
                write!(f, "input {index} is no constant of a type and a shape that kernels take")
            }
            Self::Shared(index) => write!(f, "the constant of input {index} is taken by other nodes, too"),
            Self::Attribute(name) => write!(f, "kernels do not have this {name}"),
            Self::Groups => f.write_str("a group of channels is not made of whole blocks of 16"),
            Self::Sizes => f.write_str("its images have sizes that kernels do not combine"),
            Self::Outputs => f.write_str("not exactly one of its outputs is taken, or it has another type"),
            Self::Small => f.write_str("its matrix is small"),
            Self::Large => f.write_str("its matrix is most of the model"),
            Self::Alone => f.write_str("its inputs come from no region, and no region begins with it"),
            Self::Packed => f.write_str("an operator with its own kernel"),
        }
    }
}
