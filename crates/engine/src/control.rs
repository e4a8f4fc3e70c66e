//! Operators that run graphs: `If`, `Loop`, `Scan`, `SequenceMap`.
//!
//! Their graphs are programs of their own. After its own inputs such an operator gets the
//! values of outer graphs that its graphs use. What it gathers is charged to the run's budget,
//! and it ends between two turns if the run is cancelled.

mod branches;
mod gather;
mod repetition;
mod scan;
mod sequence_map;

pub(crate) use branches::Branches;
pub(crate) use repetition::{Carried, Loop};
pub(crate) use scan::{Scan, ScanInput, ScanOutput};
pub(crate) use sequence_map::SequenceMap;

use crate::{
    operators::OperatorError,
    program::ProgramError,
    tensor::{Tensor, Value},
};

/// An error of a graph as one of the node that runs it.
fn nested(error: ProgramError) -> OperatorError {
    match error.error {
        OperatorError::Inputs { reason } => {
            OperatorError::Inputs { reason: format!("in its graph, {}: {reason}", error.label) }
        }
        OperatorError::Engine { reason } => {
            OperatorError::Engine { reason: format!("in its graph, {}: {reason}", error.label) }
        }
        other => other,
    }
}

/// The captured values among a node's inputs, which come after its own.
fn captured(inputs: &mut Vec<Option<Value>>, captures: usize) -> Result<Vec<Value>, OperatorError> {
    let own = inputs.len().saturating_sub(captures);
    let values: Option<Vec<Value>> = inputs.split_off(own).into_iter().collect();
    values.ok_or_else(|| OperatorError::Engine { reason: "a captured value is missing".to_owned() })
}

/// The bool of a condition.
fn is_true(value: &Value) -> Result<bool, OperatorError> {
    value
        .tensor()
        .and_then(|tensor| tensor.values::<bool>())
        .and_then(|values| if let [value] = values { Some(*value) } else { None })
        .ok_or_else(|| OperatorError::inputs("the condition is not one bool"))
}

/// Checks that a value that goes from one turn to the next has as many dimensions as the plan says.
fn check_rank(value: &Value, expected: Option<usize>) -> Result<(), OperatorError> {
    let found = value.tensor().map(Tensor::rank);
    match (found, expected) {
        (Some(found), Some(expected)) if found != expected => Err(OperatorError::inputs(format!(
            "a value that goes from one turn to the next has {expected} dimensions before the turn and \
             {found} after it, against the declaration of the graph"
        ))),
        _ => Ok(()),
    }
}
