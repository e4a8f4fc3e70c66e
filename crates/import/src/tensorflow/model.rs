//! A SavedModel's graph with its functions, indexed by name.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message;

use super::{
    attributes::NodeView,
    budget,
    edges::{Port, Source},
    messages::{FILE, Node, OperatorDefinition, SavedModel, Signature},
};
use crate::{error::ImportError, limits::Limits};

/// The graph, or the body of a function.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) nodes: Vec<Node>,
    index: HashMap<String, usize>,
    /// A function's arguments, in order. The graph has none.
    pub(crate) arguments: Vec<String>,
    arguments_index: HashMap<String, usize>,
    /// A function's results, in order: where each comes from.
    pub(crate) results: Vec<String>,
}

impl Body {
    fn new(nodes: Vec<Node>, arguments: Vec<String>, results: Vec<String>) -> Self {
        let index = nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        let arguments_index = arguments.iter().cloned().zip(0..).collect();
        Self { nodes, index, arguments, arguments_index, results }
    }

    /// The node of a name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Reads an input such as `node`, `node:1`, `node:output:1`, `^node` or `argument`.
    pub(crate) fn source<'t>(&self, text: &'t str) -> Option<Source<'t>> {
        if let Some(name) = text.strip_prefix('^') {
            return Some(Source::Control(self.find(name)?));
        }
        let mut parts = text.split(':');
        let name = parts.next()?;
        let (second, third) = (parts.next(), parts.next());
        if second.is_none()
            && let Some(argument) = self.arguments_index.get(name)
        {
            return Some(Source::Argument(*argument));
        }
        let node = self.find(name)?;
        let port = match (second, third) {
            (None, _) => Port::Index(0),
            (Some(index), None) => Port::Index(index.parse().ok()?),
            (Some(output), Some(index)) => Port::Named(output, index.parse().ok()?),
        };
        Some(Source::Output(node, port))
    }
}

/// A SavedModel.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) graph: Body,
    pub(crate) functions: HashMap<String, Body>,
    /// The operators' definitions that the file has.
    operators: HashMap<String, OperatorDefinition>,
    pub(crate) signatures: BTreeMap<String, Signature>,
    /// Files of the directory `assets`, by the node that names them.
    pub(crate) assets: HashMap<String, String>,
    pub(crate) tags: Vec<String>,
    pub(crate) tensorflow_version: String,
}

impl Model {
    /// Reads `saved_model.pb`. Of several graphs, the one with the tag `serve` counts.
    pub(crate) fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, ImportError> {
        budget::check(&bytes, limits.records)?;
        let malformed = |reason: String| ImportError::malformed(FILE, reason);
        let saved = SavedModel::decode(bytes).map_err(|error| malformed(error.to_string()))?;
        let serves = |tags: &[String]| tags.iter().any(|tag| tag == "serve");
        let mut graphs = saved.meta_graphs;
        let chosen =
            graphs.iter().position(|meta| meta.information.as_ref().is_some_and(|info| serves(&info.tags)));
        if graphs.is_empty() {
            return Err(malformed("it holds no graph".to_owned()));
        }
        let meta = graphs.swap_remove(chosen.unwrap_or(0));
        let information = meta.information.unwrap_or_default();
        let operators = information.operators.unwrap_or_default().operators;
        let graph = meta.graph.unwrap_or_default();
        let mut functions = HashMap::new();
        for function in graph.library.unwrap_or_default().functions {
            let signature = function.signature.unwrap_or_default();
            let arguments = signature.inputs.iter().map(|argument| argument.name.clone()).collect();
            let mut results = Vec::new();
            for output in &signature.outputs {
                let source = function.results.get(&output.name);
                let reason = || format!("the function {} has no result {}", signature.name, output.name);
                results.push(source.ok_or_else(|| malformed(reason()))?.clone());
            }
            functions.insert(signature.name, Body::new(function.nodes, arguments, results));
        }
        let mut assets = HashMap::new();
        for asset in meta.assets {
            let tensor = asset.tensor.unwrap_or_default().name;
            let node = tensor.split(':').next().unwrap_or_default().to_owned();
            assets.insert(node, asset.file);
        }
        Ok(Self {
            graph: Body::new(graph.nodes, Vec::new(), Vec::new()),
            functions,
            operators: operators.into_iter().map(|operator| (operator.name.clone(), operator)).collect(),
            signatures: meta.signatures,
            assets,
            tags: information.tags,
            tensorflow_version: information.tensorflow_version,
        })
    }

    /// A node with the defaults of its operator.
    pub(crate) fn view<'m>(&'m self, node: &'m Node) -> NodeView<'m> {
        NodeView { node, definition: self.operators.get(&node.operator) }
    }

    /// The function that an attribute of a node names.
    pub(crate) fn function(&self, node: &Node, attribute: &str) -> Option<&Body> {
        self.functions.get(self.view(node).function(attribute)?)
    }
}
