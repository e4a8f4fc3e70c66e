//! Plans: who computes each node of a model, our own operator or rten, and the program
//! that runs.
//!
//! A plan is made from the inputs forwards. Of each value its type is known, and of its
//! shape and its numbers as much as follows ([`crate::facts`]). Small constants are folded.
//! Each node goes to rten if [`crate::island::rules`] knows that it is computed right there,
//! otherwise to our own operator; a node that neither computes is a refusal.

mod constants;
mod contributed;
mod control;
mod describe;
mod dynamic_convolutions;
mod emit;
mod expansions;
mod fold;
mod fusions;
mod graph;
mod packed_blocks;
mod packed_convolutions;
mod packed_products;
mod packed_volumes;
mod partition;
mod place;
mod placement;
mod quantised;
mod quantised_regions;
mod quantised_tables;
mod regions;
mod turns;

use std::collections::HashMap;

pub use describe::{Line, Plan, Worker};

use crate::{
    facts::{
        Fact,
        size::{Size, Sizes},
    },
    onnx::{
        OnnxError,
        files::DataFiles,
        in_file::InFile,
        model::{Declaration, Dimension, Graph, Model, Node},
    },
    precision::Precision,
    program::Program,
    tensor::ValueType,
};

use adytum_kernels::arena::Arena;
use constants::ConstantStore;

/// The reason that a model can't be computed rightly.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file can't be read as a model.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A node has an operator, a type or an attribute that is not computed.
    ///
    /// Do: follow the message, or export the model with other operators or another opset.
    #[error("the node {node:?} ({operator}, opset {opset}) can't be computed: {reason}")]
    Node {
        /// The node's name, or that of its first output.
        node: String,
        /// Its operator, with its domain unless that is ONNX's own.
        operator: String,
        /// The version of its domain that the model imports.
        opset: i64,
        /// Why, and what to do.
        reason: String,
    },
    /// The type of an input or output of the model is not known.
    ///
    /// Do: declare the type in the model, and export it again.
    #[error("the {kind} {name:?} can't be used: {reason}")]
    Port {
        /// The word `input` or `output`.
        kind: &'static str,
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The engine rten refuses a part of the model that it should take.
    ///
    /// Do: report the message with the model's operators; another opset may help.
    #[error("a part of the model can't be loaded: {reason}")]
    Engine {
        /// The message of rten.
        reason: String,
    },
}

impl PlanError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Onnx(error) => error.code(),
            Self::Node { .. } => "plan-node",
            Self::Port { .. } => "plan-port",
            Self::Engine { .. } => "plan-engine",
        }
    }
}

/// A model that can run.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) program: Program,
    /// The types of the outputs.
    pub(crate) types: Vec<ValueType>,
    /// The shapes of the outputs, as far as they are known.
    pub(crate) shapes: Vec<Option<Vec<Option<usize>>>>,
    pub(crate) plan: Plan,
}

/// Constants of 16-bit floats are weights from this number of bytes on.
const HALF_WEIGHTS: usize = 64 * 1024;

/// What the parts of a plan share.
struct Planner<'a> {
    names: &'a [String],
    constants: ConstantStore,
    files: &'a dyn DataFiles,
    /// The floats in which convolutions and products are computed.
    precision: Precision,
    plan: Plan,
    /// Whether the model has weights of 16 bits.
    has_half_weights: bool,
    /// Bytes of what rten computes at load.
    fixed_bytes: usize,
    /// Bytes of weights that went into others at load.
    folded: usize,
    /// Memory of packed weights.
    arena: Arena,
    /// The number of the next value that a pass makes.
    next_value: u32,
}

/// Plans a model. Some of its constants are still in its file.
pub(crate) fn plan(
    model: Model,
    file: InFile,
    files: &dyn DataFiles,
    precision: Precision,
) -> Result<Planned, PlanError> {
    let Model { graph, names, constants, size, .. } = model;
    let store = ConstantStore::new(constants, &graph, file);
    let has_half_weights = store.half_bytes() >= HALF_WEIGHTS;
    let mut planner = Planner {
        names: &names,
        arena: Arena::new(store.parameters().saturating_mul(size_of::<f32>())),
        constants: store,
        files,
        precision,
        plan: Plan::new(size),
        has_half_weights,
        fixed_bytes: 0,
        folded: 0,
        next_value: u32::try_from(names.len()).unwrap_or(u32::MAX),
    };
    planner.plan.parameters = planner.constants.parameters();
    let mut sizes = Sizes::default();
    let mut entry = Vec::new();
    for (index, port) in graph.inputs.iter().enumerate() {
        let declaration = &port.declaration;
        let value_type = declaration.value_type.clone().ok_or_else(|| PlanError::Port {
            kind: "input",
            name: declaration.name.clone(),
            reason: "the file does not say its type".to_owned(),
        })?;
        let mut fact = Fact::typed(value_type);
        match &declaration.shape {
            Some(shape) => {
                let known: Vec<Option<usize>> = shape
                    .iter()
                    .map(|dimension| match dimension {
                        Dimension::Fixed(size) => Some(*size),
                        Dimension::Named(_) | Dimension::Any => None,
                    })
                    .collect();
                fact.shape = Some(sizes.input(index, &known));
            }
            None => {
                sizes.input(index, &[]);
            }
        }
        entry.push((port.value, fact));
    }
    let outcome = planner.graph(graph, entry, sizes)?;
    let shapes = outcome
        .outputs
        .iter()
        .map(|fact| {
            let shape = fact.shape.as_ref()?;
            Some(shape.iter().map(|size| size.value().and_then(|size| usize::try_from(size).ok())).collect())
        })
        .collect();
    let mut types = Vec::new();
    for (fact, port) in outcome.outputs.iter().zip(&outcome.ports) {
        types.push(fact.value_type.clone().ok_or_else(|| PlanError::Port {
            kind: "output",
            name: port.name.clone(),
            reason: "its type is not known".to_owned(),
        })?);
    }
    planner.plan.depth = 0;
    Ok(Planned { program: outcome.program, types, shapes, plan: planner.plan })
}

/// A graph that was planned.
struct Outcome {
    program: Program,
    /// Facts about its outputs.
    outputs: Vec<Fact>,
    /// What the file says of its outputs.
    ports: Vec<Declaration>,
}

impl Outcome {
    /// The shape of an output of a graph that never ran. A dimension that is not known is as the
    /// file declares it, or 0.
    fn shape_unrun(&self, index: usize) -> Vec<usize> {
        let declared: Option<Vec<Option<usize>>> = self.ports.get(index).and_then(|port| {
            let size = |dimension: &Dimension| match dimension {
                Dimension::Fixed(size) => Some(*size),
                Dimension::Named(_) | Dimension::Any => None,
            };
            Some(port.shape.as_ref()?.iter().map(size).collect())
        });
        let declared = declared.unwrap_or_default();
        let Some(found) = self.outputs.get(index).and_then(|fact| fact.shape.as_ref()) else {
            return declared.into_iter().map(Option::unwrap_or_default).collect();
        };
        let known = |size: &Size| size.value().and_then(|size| usize::try_from(size).ok());
        let size = |(axis, size)| known(size).or_else(|| *declared.get(axis)?).unwrap_or(0);
        found.iter().enumerate().map(size).collect()
    }
}

/// Facts of values of the program that is planned.
type Facts = HashMap<crate::onnx::model::ValueId, Fact>;

impl Planner<'_> {
    fn refusal(&self, node: &Node, reason: impl Into<String>) -> PlanError {
        let first = node.outputs.iter().flatten().next();
        let name = if node.name.is_empty() {
            first.and_then(|output| self.names.get(output.index())).cloned().unwrap_or_default()
        } else {
            node.name.clone()
        };
        let operator = if node.domain.is_empty() {
            node.operator.clone()
        } else {
            format!("{}.{}", node.domain, node.operator)
        };
        PlanError::Node { node: name, operator, opset: node.opset, reason: reason.into() }
    }
}

/// The values that nodes of a graph take, those of nested graphs included.
fn visit_references(graph: &Graph, visitor: &mut dyn FnMut(crate::onnx::model::ValueId)) {
    for node in &graph.nodes {
        visit_node(node, visitor);
    }
    for port in &graph.outputs {
        visitor(port.value);
    }
}

fn visit_node(node: &Node, visitor: &mut dyn FnMut(crate::onnx::model::ValueId)) {
    for input in node.inputs.iter().flatten() {
        visitor(*input);
    }
    for (_, graph) in &node.graphs {
        visit_references(graph, visitor);
    }
}
