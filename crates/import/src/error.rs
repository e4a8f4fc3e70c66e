//! The causes for which a SavedModel is not imported.

use std::fmt;

/// The cause for which a SavedModel is not imported.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory holds no `saved_model.pb`.
    ///
    /// Do: name the directory that holds `saved_model.pb`; with several versions, the one of a version.
    #[error("there is no saved_model.pb in the directory; {0}")]
    NotASavedModel(String),
    /// A file of the SavedModel can't be read.
    ///
    /// Do: check that the directory is complete and that its files may be read.
    #[error("{file} can't be read: {source}; check that the directory is complete and readable")]
    File {
        /// The file's path inside the SavedModel.
        file: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file of the SavedModel does not have the format that its name promises.
    ///
    /// Do: copy the directory again, or export the model again.
    #[error("{file} is malformed: {reason}; export the model again")]
    Malformed {
        /// The file's path inside the SavedModel.
        file: String,
        /// The fault that the reader of the file found.
        reason: String,
    },
    /// The model needs more than a limit of the import allows.
    ///
    /// Do: raise the limit that the message names if the model is trusted.
    #[error(
        "{what}: at most {limit} are allowed, the model needs {needed}; raise the limit if the model is trusted"
    )]
    TooLarge {
        /// The items that the limit counts, with their unit.
        what: &'static str,
        /// The largest number that is allowed, in the unit of `what`.
        limit: u64,
        /// The number that the model needs, as far as it was counted.
        needed: u64,
    },
    /// The model has no signature that can be called.
    ///
    /// Do: export the model with a serving signature.
    #[error("the model has no signature with outputs{0}; export it with a serving signature")]
    NoSignature(String),
    /// A variable of the model has no value in the directory.
    ///
    /// Do: save the model with its variables.
    #[error(
        "the variable {variable} has no value in variables/variables.index{reason}; save the model with its variables"
    )]
    NoValue {
        /// The name of the variable's node in the graph.
        variable: String,
        /// More, if it is known.
        reason: String,
    },
    /// The graph of the model contradicts itself.
    ///
    /// Do: export the model again.
    #[error("the graph is invalid at node {node}: {reason}; export the model again")]
    InvalidGraph {
        /// The name of the node in TensorFlow's graph.
        node: String,
        /// The contradiction that the conversion found.
        reason: String,
    },
    /// Some operators have no conversion to ONNX. The message lists all.
    ///
    /// Do: export the model without the listed operators, or as ONNX.
    #[error("the model needs what can't be converted to ONNX: {0}; export it without them or as ONNX")]
    Unsupported(UnsupportedOperators),
}

impl ImportError {
    /// The stable code of this kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotASavedModel(_) => "saved-model-missing",
            Self::File { .. } => "saved-model-file-unreadable",
            Self::Malformed { .. } => "saved-model-malformed",
            Self::TooLarge { .. } => "saved-model-too-large",
            Self::NoSignature(_) => "saved-model-no-signature",
            Self::NoValue { .. } => "saved-model-no-value",
            Self::InvalidGraph { .. } => "saved-model-invalid-graph",
            Self::Unsupported(_) => "saved-model-unsupported",
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
    /// The property that can't be converted.
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
