//! What an import may cost: a SavedModel comes from outside.

/// The limits of one import. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest `saved_model.pb`.
    pub definition_bytes: u64,
    /// The largest index of variables.
    pub index_bytes: u64,
    /// All constants together: variables, literals and what is folded from them.
    pub constant_bytes: u64,
    /// Nodes, attributes and list entries in `saved_model.pb`.
    pub records: usize,
    /// Nodes that are converted and nodes that are written, each: functions are inlined where they are called.
    pub nodes: usize,
    /// Functions that call functions, loops and branches inside each other.
    pub depth: usize,
    /// The largest file of a directory `assets`.
    pub asset_bytes: u64,
}

impl Default for Limits {
    /// 1 GiB of definition, 64 MiB of index, 8 GiB of constants, 4 million records,
    /// 500 000 nodes, 32 levels, 256 MiB an asset.
    fn default() -> Self {
        Self {
            definition_bytes: 1 << 30,
            index_bytes: 64 << 20,
            constant_bytes: 8 << 30,
            records: 4_000_000,
            nodes: 500_000,
            depth: 32,
            asset_bytes: 256 << 20,
        }
    }
}
