//! How large the parts of a model may be.

/// How large the parts of a model may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes, those of all nested graphs and inlined functions included.
    pub nodes: usize,
    /// Graphs in the attributes of nodes of graphs, and functions in functions.
    pub depth: usize,
    /// Bytes of a name.
    pub name: usize,
    /// Dimensions of a tensor.
    pub rank: usize,
    /// Inputs, outputs or attributes of one node.
    pub node_parts: usize,
    /// Bytes of all constants, those of functions counted once a call.
    pub constants: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 400_000, depth: 16, name: 16 * 1024, rank: 64, node_parts: 65_536, constants: 1 << 40 }
    }
}
