//! Why a SavedModel was not imported.

use std::fmt;

/// Why a SavedModel was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory holds no `saved_model.pb`.
    #[error("there is no saved_model.pb in the directory; {0}")]
    NotASavedModel(String),
    /// A file can't be read.
    #[error("{file} can't be read: {source}; check that the directory is complete and readable")]
    File {
        /// The file's path inside the SavedModel.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{file} is malformed: {reason}; export the model again")]
    Malformed {
        /// The file's path inside the SavedModel.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A limit was reached.
    #[error(
        "{what}: at most {limit} are allowed, the model needs {needed}; raise the limit if the model is trusted"
    )]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What the model needs, as far as it was counted.
        needed: u64,
    },
    /// The model has no signature that can be called.
    #[error("the model has no signature with outputs{0}; export it with a serving signature")]
    NoSignature(String),
    /// A variable has no value.
    #[error(
        "the variable {variable} has no value in variables/variables.index{reason}; save the model with its variables"
    )]
    NoValue {
        /// The variable's name.
        variable: String,
        /// More, if it is known.
        reason: String,
    },
    /// The graph contradicts itself.
    #[error("the graph is invalid at node {node}: {reason}; export the model again")]
    InvalidGraph {
        /// The node's name.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// Some operators have no conversion. All are listed.
    #[error("the model needs what can't be converted to ONNX: {0}; export it without them or as ONNX")]
    Unsupported(UnsupportedOperators),
}

impl ImportError {
    /// The stable code of this kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotASavedModel(_) => "not_a_saved_model",
            Self::File { .. } => "saved_model_file",
            Self::Malformed { .. } => "saved_model_malformed",
            Self::TooLarge { .. } => "saved_model_too_large",
            Self::NoSignature(_) => "saved_model_no_signature",
            Self::NoValue { .. } => "saved_model_no_value",
            Self::InvalidGraph { .. } => "saved_model_invalid_graph",
            Self::Unsupported(_) => "saved_model_unsupported",
        }
    }

    pub(crate) fn malformed(file: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), reason: reason.into() }
    }
}

/// An operator that has no conversion, or a use of one that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedOperator {
    /// TensorFlow's name of the operator.
    pub operator: String,
    /// The first node that needs it.
    pub node: String,
    /// How many nodes need it, for this reason.
    pub count: usize,
    /// What about it can't be converted.
    pub reason: String,
}

/// Every operator of a model that has no conversion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnsupportedOperators(pub Vec<UnsupportedOperator>);

impl UnsupportedOperators {
    /// Counts one node more.
    pub(crate) fn add(&mut self, operator: &str, node: &str, reason: String) {
        let same = self.0.iter_mut().find(|known| known.operator == operator && known.reason == reason);
        match same {
            Some(known) => known.count += 1,
            None => self.0.push(UnsupportedOperator {
                operator: operator.to_owned(),
                node: node.to_owned(),
                count: 1,
                reason,
            }),
        }
    }
}

impl fmt::Display for UnsupportedOperators {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, operator) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            let UnsupportedOperator { operator, node, count, reason } = operator;
            write!(formatter, "{operator} ({count} times, first at {node}: {reason})")?;
        }
        Ok(())
    }
}
