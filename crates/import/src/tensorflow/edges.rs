//! The edges of TensorFlow's graph: the origin of a node's input.

/// One output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port<'t> {
    Index(usize),
    /// In functions: an output of the operator's definition, and an index in it.
    Named(&'t str, usize),
}

/// Where an input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source<'t> {
    Argument(usize),
    Output(usize, Port<'t>),
    /// Only the order counts.
    Control(usize),
}
