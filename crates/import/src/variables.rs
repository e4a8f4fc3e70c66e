//! The variables of a SavedModel, listed without the model.

use crate::{ElementType, error::ImportError, files::Files, limits::Limits, tensorflow::bundle::Bundle};

/// A saved variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its key in the index.
    pub name: String,
    /// The type of its elements.
    pub element_type: ElementType,
    /// The size of each axis, from the outermost.
    pub shape: Vec<usize>,
    /// The bytes that it occupies in its file.
    pub bytes: u64,
}

/// Reads all variables and checks their checksums. Those of types that no tensor
/// has, such as the graph of objects, are left out.
///
/// # Errors
/// See [`ImportError`].
pub fn read(files: &dyn Files, limits: &Limits) -> Result<Vec<Variable>, ImportError> {
    let bundle = Bundle::open(files, limits)?;
    let mut variables = Vec::new();
    for name in bundle.keys().filter(|key| !key.starts_with("_CHECKPOINTABLE_OBJECT_GRAPH")) {
        let tensor = bundle.read(name)?;
        let (element_type, shape) = (tensor.kind(), tensor.dimensions().to_vec());
        let bytes = tensor.content_length();
        variables.push(Variable { name: name.to_owned(), element_type, shape, bytes });
    }
    Ok(variables)
}
