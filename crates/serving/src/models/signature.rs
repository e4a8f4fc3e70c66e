//! The signatures of a loaded model, by the names that requests use.
//!
//! An imported SavedModel carries a table of them in its metadata
//! ([`adytum_import::signature`]). Any other model has one signature, its graph's
//! inputs and outputs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

use adytum_engine::{
    engine::LoadedModel,
    tensor::{Tensor, Value},
};
use adytum_import::signature::{Binding, Examples, METADATA_KEY, Method, Signature as Written};

use super::error::ServableError;
use crate::{
    error::RequestError,
    limits::MemoryEstimate,
    scheduler::CostEstimate,
    tensor::{Signature as GraphSignature, TensorSpecification},
};

/// The signature of requests that name none.
pub const DEFAULT_SIGNATURE: &str = "serving_default";

/// A signature that requests can ask for.
#[derive(Debug)]
pub struct ServedSignature {
    /// Its name, such as `serving_default`.
    pub name: String,
    /// The call that it answers.
    pub method: Method,
    /// What a request gives, by the names that requests use. Neither the input of
    /// [`Self::examples`] nor the features are among them.
    pub inputs: Vec<TensorSpecification>,
    /// What an answer holds, by the names that answers use.
    pub outputs: Vec<TensorSpecification>,
    /// If an input takes serialised `tf.Example`s: how they become [`Self::features`].
    pub examples: Option<Examples>,
    /// The tensors that examples are parsed into, in the order of
    /// `examples.features`, under the features' names: [batch, shape...].
    pub features: Vec<TensorSpecification>,
    /// The graph's inputs: those of `inputs`, then those of `features`.
    pub(super) graph_inputs: Vec<usize>,
    /// The graph's outputs: those of `outputs`.
    pub(super) graph_outputs: Vec<usize>,
    pub(super) cost: CostEstimate,
    pub(super) memory: MemoryEstimate,
    /// Whether it was seen that requests may be run in one batch.
    pub(super) batchable: AtomicBool,
}

impl ServedSignature {
    /// The names of the inputs that a request gives.
    pub fn input_names(&self) -> BTreeSet<String> {
        self.inputs.iter().map(|input| input.name.clone()).collect()
    }

    /// The names of the outputs.
    pub fn output_names(&self) -> BTreeSet<String> {
        self.outputs.iter().map(|output| output.name.clone()).collect()
    }

    /// The estimated cost of a run.
    pub fn cost(&self) -> &CostEstimate {
        &self.cost
    }

    /// Whether requests may be run in one batch.
    pub(crate) fn is_batchable(&self) -> bool {
        self.batchable.load(Ordering::Relaxed)
    }

    /// The run of the graph that gives all outputs: an entry for each of the graph's `count` inputs, from a tensor for each
    /// input and then for each feature, and indices of the graph's outputs.
    pub(crate) fn run_of(&self, count: usize, tensors: Vec<Tensor>) -> (Vec<Option<Value>>, Vec<usize>) {
        let mut wanted: Vec<usize> = self.graph_outputs.clone();
        wanted.sort_unstable();
        wanted.dedup();
        (self.given(count, tensors), wanted)
    }

    /// An entry for each of the graph's `count` inputs.
    pub(super) fn given(&self, count: usize, tensors: Vec<Tensor>) -> Vec<Option<Value>> {
        let mut given: Vec<Option<Value>> = vec![None; count];
        for (index, tensor) in self.graph_inputs.iter().zip(tensors) {
            if let Some(slot) = given.get_mut(*index) {
                *slot = Some(Value::from(tensor));
            }
        }
        given
    }

    /// What a run takes: the inputs, then the features.
    pub(super) fn run_inputs(&self) -> impl Iterator<Item = &TensorSpecification> {
        self.inputs.iter().chain(&self.features)
    }
}

/// Signatures by name.
pub(crate) type Signatures = BTreeMap<String, ServedSignature>;

/// A signature; the empty name means [`DEFAULT_SIGNATURE`].
pub(crate) fn find_signature<'s>(
    signatures: &'s Signatures,
    name: &str,
) -> Result<&'s ServedSignature, RequestError> {
    let wanted = if name.is_empty() { DEFAULT_SIGNATURE } else { name };
    signatures.get(wanted).ok_or_else(|| RequestError::SignatureNotFound {
        name: wanted.to_owned(),
        expected: signatures.keys().cloned().collect(),
    })
}

/// The signatures of a model: those of its table, or else the graph as
/// [`DEFAULT_SIGNATURE`].
pub(crate) fn signatures(model: &dyn LoadedModel) -> Result<Signatures, ServableError> {
    let graph = GraphSignature::of(model.signature())?;
    let Some((_, table)) = model.metadata().iter().find(|(key, _)| key == METADATA_KEY) else {
        let whole = ServedSignature {
            name: DEFAULT_SIGNATURE.to_owned(),
            method: Method::Predict,
            graph_inputs: (0..graph.inputs.len()).collect(),
            graph_outputs: (0..graph.outputs.len()).collect(),
            inputs: graph.inputs,
            outputs: graph.outputs,
            examples: None,
            features: Vec::new(),
            cost: CostEstimate::default(),
            memory: MemoryEstimate::default(),
            batchable: AtomicBool::default(),
        };
        return Ok([(whole.name.clone(), whole)].into());
    };
    let malformed = |reason: String| ServableError::SignatureTable { reason };
    let table: Vec<Written> =
        serde_json::from_str(table).map_err(|error| malformed(format!("it is not read as JSON: {error}")))?;
    let mut served = Signatures::new();
    for written in table {
        let name = written.name.clone();
        let signature = bind(written, &graph, model)
            .map_err(|reason| malformed(format!("signature {name:?}: {reason}")))?;
        if served.insert(name.clone(), signature).is_some() {
            return Err(malformed(format!("two signatures are named {name:?}")));
        }
    }
    if served.is_empty() {
        return Err(malformed("it is empty".to_owned()));
    }
    Ok(served)
}

/// Finds a signature's tensors in the graph.
fn bind(
    written: Written,
    graph: &GraphSignature,
    model: &dyn LoadedModel,
) -> Result<ServedSignature, String> {
    let (inputs, mut graph_inputs) = find_all(&written.inputs, &graph.inputs)?;
    let (outputs, graph_outputs) = find_all(&written.outputs, &graph.outputs)?;
    let mut features = Vec::new();
    for feature in written.examples.iter().flat_map(|examples| &examples.features) {
        let (specification, index) = find(&feature.name, &feature.tensor, &graph.inputs)?;
        features.push(specification);
        graph_inputs.push(index);
    }
    let distinct: BTreeSet<usize> = graph_inputs.iter().copied().collect();
    if distinct.len() != graph_inputs.len() {
        return Err("two of its inputs are one tensor of the graph".to_owned());
    }
    if outputs.is_empty() {
        return Err("it has no outputs".to_owned());
    }
    let needed = model.needed_inputs(&graph_outputs);
    let missing = needed.iter().enumerate().find(|(index, needed)| **needed && !distinct.contains(index));
    if let Some(missing) = missing.and_then(|(index, _)| graph.inputs.get(index)) {
        return Err(format!("its outputs need the graph's input {:?}, which it does not have", missing.name));
    }
    Ok(ServedSignature {
        name: written.name,
        method: written.method,
        inputs,
        outputs,
        examples: written.examples,
        features,
        graph_inputs,
        graph_outputs,
        cost: CostEstimate::default(),
        memory: MemoryEstimate::default(),
        batchable: AtomicBool::default(),
    })
}

fn find_all(
    bindings: &[Binding],
    tensors: &[TensorSpecification],
) -> Result<(Vec<TensorSpecification>, Vec<usize>), String> {
    let mut names = BTreeSet::new();
    bindings
        .iter()
        .map(|binding| {
            if !names.insert(&binding.name) {
                return Err(format!("the name {:?} is there twice", binding.name));
            }
            find(&binding.name, &binding.tensor, tensors)
        })
        .collect::<Result<Vec<_>, _>>()
        .map(|found| found.into_iter().unzip())
}

/// The tensor of the graph, under the name that requests use, and its index.
fn find(
    name: &str,
    tensor: &str,
    tensors: &[TensorSpecification],
) -> Result<(TensorSpecification, usize), String> {
    let found = tensors.iter().enumerate().find(|(_, specification)| specification.name == tensor);
    let (index, specification) = found.ok_or_else(|| format!("the graph has no tensor {tensor:?}"))?;
    Ok((TensorSpecification { name: name.to_owned(), ..specification.clone() }, index))
}
