//! From TensorFlow's graph to ONNX's operators. Each signature's outputs are
//! followed back to its inputs; functions are converted where they are called;
//! equal nodes become one, so that signatures share what they have in common.

pub(crate) mod bits;
pub(crate) mod branches;
pub(crate) mod call;
pub(crate) mod convolutions;
pub(crate) mod datum;
pub(crate) mod dilations;
pub(crate) mod elementwise;
pub(crate) mod examples;
pub(crate) mod inputs;
pub(crate) mod linear;
pub(crate) mod lists;
pub(crate) mod loops;
pub(crate) mod pools;
pub(crate) mod positions;
pub(crate) mod roles;
pub(crate) mod shapes;
pub(crate) mod signatures;
pub(crate) mod slices;
pub(crate) mod tables;
pub(crate) mod windows;

use std::collections::HashMap;

use call::{Call, Refusal, unsupported};
use datum::Datum;
use dilations::Dilations;
use examples::ParsedExamples;
use inputs::GraphInputs;
use tables::Lookup;

use crate::{
    error::{ImportError, UnsupportedOperators},
    graph::{Builder, Dimension, ValueId},
    limits::Limits,
    tensorflow::{
        attributes::NodeView, edges::Source, initialisers::Initialisers, lookup::Contents, messages::Node,
        model::Body,
    },
};

/// Operators that change a variable. An import answers without memory.
const CHANGES: [&str; 12] = [
    "Assign",
    "AssignAdd",
    "AssignAddVariableOp",
    "AssignSub",
    "AssignSubVariableOp",
    "AssignVariableOp",
    "ResourceScatterAdd",
    "ResourceScatterNdUpdate",
    "ResourceScatterUpdate",
    "ResourceApplyGradientDescent",
    "ScatterUpdate",
    "LookupTableInsertV2",
];

/// The graph or a function's body being converted: what its nodes gave so far.
pub(crate) struct Frame<'m> {
    body: &'m Body,
    arguments: Vec<Datum<'m>>,
    /// Outputs of nodes that a signature's inputs replace.
    fed: HashMap<(usize, usize), ValueId>,
    done: HashMap<usize, Vec<Datum<'m>>>,
}

impl<'m> Frame<'m> {
    /// A function's body, called with arguments.
    pub(crate) fn of(body: &'m Body, arguments: Vec<Datum<'m>>) -> Self {
        Self { body, arguments, fed: HashMap::new(), done: HashMap::new() }
    }
}

/// Converts a model.
pub(crate) struct Converter<'m> {
    pub(crate) contents: Contents<'m>,
    pub(crate) initialisers: Initialisers<'m>,
    pub(crate) builder: Builder,
    pub(crate) unsupported: UnsupportedOperators,
    pub(crate) inputs: GraphInputs,
    pub(crate) examples: Vec<ParsedExamples>,
    dilations: Dilations<'m>,
    variables: HashMap<&'m str, ValueId>,
    literals: HashMap<*const Node, ValueId>,
    converted: usize,
    limits: Limits,
}

impl<'m> Converter<'m> {
    pub(crate) fn new(contents: Contents<'m>, initialisers: Initialisers<'m>) -> Self {
        let limits = contents.limits;
        Self {
            contents,
            initialisers,
            builder: Builder::new(limits.nodes, limits.constant_bytes),
            unsupported: UnsupportedOperators::default(),
            inputs: GraphInputs::default(),
            examples: Vec::new(),
            dilations: Dilations::default(),
            variables: HashMap::new(),
            literals: HashMap::new(),
            converted: 0,
            limits,
        }
    }

    /// Calls a function: all its results.
    pub(crate) fn call_function(
        &mut self,
        body: &'m Body,
        arguments: Vec<Datum<'m>>,
        depth: usize,
    ) -> Result<Vec<Datum<'m>>, ImportError> {
        if depth > self.limits.depth {
            return Err(ImportError::TooLarge {
                what: "functions inside each other",
                limit: self.limits.depth as u64,
                needed: depth as u64,
            });
        }
        // All of a function is run, also what no result needs.
        for node in &body.nodes {
            if CHANGES.contains(&node.operator.as_str()) {
                self.unsupported.add(&node.operator, &node.name, "it changes a variable".to_owned());
            }
        }
        let mut frame = Frame::of(body, arguments);
        let wanted: Vec<&'m str> = body.results.iter().map(String::as_str).collect();
        self.evaluate(&mut frame, &wanted, depth)
    }

    /// What the wanted edges carry. Nodes are converted after those they need.
    pub(crate) fn evaluate(
        &mut self,
        frame: &mut Frame<'m>,
        wanted: &[&'m str],
        depth: usize,
    ) -> Result<Vec<Datum<'m>>, ImportError> {
        /// A node on the way: how many of its inputs are looked at.
        struct Pending {
            node: usize,
            input: usize,
        }
        let mut on_the_way: HashMap<usize, ()> = HashMap::new();
        let mut results = Vec::with_capacity(wanted.len());
        for edge in wanted {
            let mut stack = Vec::new();
            stack.extend(self.missing(frame, edge)?.map(|node| Pending { node, input: 0 }));
            while let Some(Pending { node: index, input }) = stack.pop() {
                let Some(node) = frame.body.nodes.get(index) else { continue };
                if input == 0 {
                    on_the_way.insert(index, ());
                }
                let next = node.inputs.iter().enumerate().skip(input);
                let mut needed = None;
                for (position, text) in next {
                    if text.starts_with('^') {
                        continue;
                    }
                    if let Some(missing) = self.missing(frame, text)? {
                        needed = Some((position, missing));
                        break;
                    }
                }
                match needed {
                    Some((position, missing)) => {
                        if on_the_way.contains_key(&missing) {
                            return Err(ImportError::InvalidGraph {
                                node: node.name.clone(),
                                reason: "it depends on itself (a loop of TensorFlow 1 has no conversion)"
                                    .to_owned(),
                            });
                        }
                        stack.push(Pending { node: index, input: position });
                        stack.push(Pending { node: missing, input: 0 });
                    }
                    None => {
                        on_the_way.remove(&index);
                        let outputs = self.convert(frame, node, depth)?;
                        frame.done.insert(index, outputs);
                    }
                }
            }
            results.push(self.resolve(frame, edge)?);
        }
        Ok(results)
    }

    /// The node that must be converted before an edge carries something.
    fn missing(&self, frame: &Frame<'m>, edge: &str) -> Result<Option<usize>, ImportError> {
        match frame.body.source(edge) {
            Some(Source::Output(node, port)) => {
                if frame.done.contains_key(&node) {
                    return Ok(None);
                }
                let fed = match frame.fed.is_empty() {
                    true => false,
                    false => {
                        let view = frame.body.nodes.get(node).map(|node| self.contents.model.view(node));
                        let index = view.and_then(|view| view.port(port));
                        index.is_some_and(|index| frame.fed.contains_key(&(node, index)))
                    }
                };
                Ok((!fed).then_some(node))
            }
            Some(_) => Ok(None),
            None => Err(ImportError::InvalidGraph {
                node: edge.to_owned(),
                reason: "there is no such node".to_owned(),
            }),
        }
    }

    /// What an edge carries.
    fn resolve(&self, frame: &Frame<'m>, edge: &str) -> Result<Datum<'m>, ImportError> {
        let invalid = |reason: &str| ImportError::InvalidGraph {
            node: edge.chars().take(200).collect(),
            reason: reason.to_owned(),
        };
        match frame.body.source(edge) {
            Some(Source::Argument(index)) => {
                frame.arguments.get(index).cloned().ok_or_else(|| invalid("the function has fewer arguments"))
            }
            Some(Source::Output(node, port)) => {
                let view = frame.body.nodes.get(node).map(|node| self.contents.model.view(node));
                let index = view.and_then(|view| view.port(port));
                let index = index.ok_or_else(|| invalid("there is no such output"))?;
                if let Some(id) = frame.fed.get(&(node, index)) {
                    return Ok(Datum::Tensor(*id));
                }
                match frame.done.get(&node).map(Vec::as_slice) {
                    Some([Datum::Failed]) => Ok(Datum::Failed),
                    Some(outputs) => {
                        outputs.get(index).cloned().ok_or_else(|| invalid("the node has fewer outputs"))
                    }
                    None => Err(invalid("it depends on itself")),
                }
            }
            _ => Err(invalid("there is no such node")),
        }
    }

    /// Converts one node whose inputs are there.
    fn convert(
        &mut self,
        frame: &Frame<'m>,
        node: &'m Node,
        depth: usize,
    ) -> Result<Vec<Datum<'m>>, ImportError> {
        self.converted += 1;
        if self.converted > self.limits.nodes {
            return Err(ImportError::TooLarge {
                what: "nodes of the model, with its functions inlined",
                limit: self.limits.nodes as u64,
                needed: self.converted as u64,
            });
        }
        let edges = node.inputs.iter().filter(|text| !text.starts_with('^'));
        let inputs = edges.map(|text| self.resolve(frame, text)).collect::<Result<Vec<_>, _>>()?;
        let view = self.contents.model.view(node);
        // A node that needs another without a conversion is not itself at fault. A call may not need it at all.
        let call =
            matches!(node.operator.as_str(), "PartitionedCall" | "StatefulPartitionedCall" | "IdentityN");
        if !call && inputs.contains(&Datum::Failed) {
            return Ok(vec![Datum::Failed]);
        }
        let root = std::ptr::eq(frame.body, &self.contents.model.graph);
        match self.dispatch(view, &inputs, root, depth) {
            Ok(outputs) => Ok(outputs),
            Err(Refusal::Import(error)) => Err(error),
            Err(Refusal::Unsupported(reason)) => {
                self.unsupported.add(&node.operator, &node.name, reason);
                Ok(vec![Datum::Failed])
            }
        }
    }

    fn dispatch(
        &mut self,
        view: NodeView<'m>,
        inputs: &[Datum<'m>],
        root: bool,
        depth: usize,
    ) -> Result<Vec<Datum<'m>>, Refusal> {
        let model = self.contents.model;
        let node: &'m Node = view.node;
        let one = |datum| Ok(vec![datum]);
        match node.operator.as_str() {
            "Const" => {
                let key = std::ptr::from_ref(node);
                if let Some(known) = self.literals.get(&key) {
                    return one(Datum::Tensor(*known));
                }
            }
            "PartitionedCall" | "StatefulPartitionedCall" => {
                let Some(function) = model.function(node, "f") else {
                    return unsupported("its function is missing");
                };
                return Ok(self.call_function(function, inputs.to_vec(), depth + 1)?);
            }
            "While" | "StatelessWhile" => return self.while_loop(view, inputs, depth),
            "If" | "StatelessIf" => return self.branch(view, inputs, depth),
            "Placeholder" => {
                return unsupported("a result depends on it, but it is no input of the signature");
            }
            "PlaceholderWithDefault" | "Identity" => {
                return inputs.first().cloned().map_or_else(|| unsupported("it has no input"), one);
            }
            "VarHandleOp" if root => return one(Datum::Variable(&node.name)),
            "VariableV2" | "Variable" if root => return one(Datum::Tensor(self.variable(&node.name)?)),
            "HashTableV2" | "HashTable" | "MutableHashTableV2" | "MutableHashTable" if root => {
                return one(Datum::Table(&node.name));
            }
            "ReadVariableOp" => {
                return match inputs.first() {
                    Some(Datum::Variable(name)) => one(Datum::Tensor(self.variable(name)?)),
                    _ => unsupported("its input is not a variable"),
                };
            }
            "ParseExample" | "ParseExampleV2" => return examples::convert(self, view, inputs),
            "LookupTableSize" | "LookupTableSizeV2" => {
                return match inputs.first() {
                    Some(Datum::Table(name)) => one(Datum::Tensor(tables::size(self, name)?)),
                    _ => unsupported("its input is not a table"),
                };
            }
            "LookupTableFind" | "LookupTableFindV2" => {
                let call = Call { node: view, inputs, builder: &mut self.builder };
                let lookup = Lookup::of(&call)?;
                return one(Datum::Tensor(tables::find(self, lookup)?));
            }
            "ResourceGather" => {
                let Some(Datum::Variable(name)) = inputs.first() else {
                    return unsupported("its input is not a variable");
                };
                let from = self.variable(name)?;
                let mut call = Call { node: view, inputs, builder: &mut self.builder };
                let batch = view.integer("batch_dims").unwrap_or(0);
                return one(Datum::Tensor(slices::gather(&mut call, from, batch)?));
            }
            // Older files call functions by their name.
            name if model.functions.contains_key(name) => {
                if let Some(function) = model.functions.get(name) {
                    return Ok(self.call_function(function, inputs.to_vec(), depth + 1)?);
                }
            }
            _ => {}
        }
        let mut call = Call { node: view, inputs, builder: &mut self.builder };
        if node.operator == "BatchToSpaceND"
            && let Some(whole) = self.dilations.complete(&mut call)?
        {
            return one(Datum::Tensor(whole));
        }
        let outputs = operators(&mut call)?;
        if let [Datum::Tensor(output)] = outputs.as_slice() {
            self.dilations.note(&mut call, *output)?;
        }
        if let ("Const", [Datum::Tensor(id)]) = (node.operator.as_str(), outputs.as_slice()) {
            self.literals.insert(std::ptr::from_ref(node), *id);
        }
        Ok(outputs)
    }

    /// The value of a variable.
    fn variable(&mut self, name: &'m str) -> Result<ValueId, Refusal> {
        if let Some(known) = self.variables.get(name) {
            return Ok(*known);
        }
        let model = self.contents.model;
        let bundle = self.contents.bundle;
        let node = model.graph.find(name).and_then(|index| model.graph.nodes.get(index));
        let view = node.map(|node| model.view(node));
        let missing = |reason: &str| {
            Refusal::Import(ImportError::NoValue { variable: name.to_owned(), reason: reason.to_owned() })
        };
        // A variable that nothing restores may still be saved under its own name.
        let shared = view.and_then(|view| view.text("shared_name"));
        let shared = shared.and_then(|text| String::from_utf8(text.to_vec()).ok());
        let named = [shared, Some(name.to_owned())].into_iter().flatten().find(|key| bundle.contains(key));
        let Some(key) = self.initialisers.variables.get(name).cloned().or(named) else {
            return Err(missing(""));
        };
        let tensor = bundle.read(&key)?;
        let kind = view.and_then(|view| view.kind("dtype"));
        if kind.is_some_and(|kind| kind != tensor.kind()) {
            return Err(missing(": what is saved is of another type"));
        }
        let declared = view.and_then(|view| crate::tensorflow::tensors::dimensions(view.shape("shape")));
        let declared = declared.filter(|_| view.is_some_and(|view| view.shape("shape").is_some()));
        if declared.is_some_and(|declared| declared != tensor.dimensions()) {
            return Err(missing(": what is saved is of another shape"));
        }
        let id = self.builder.constant(tensor)?;
        self.variables.insert(name, id);
        Ok(id)
    }

    /// An input of the graph: one that is there already, if it has the same name, type and shape.
    pub(crate) fn graph_input(
        &mut self,
        name: &str,
        kind: crate::tensor::ElementType,
        shape: Option<Vec<Option<u64>>>,
    ) -> (String, ValueId) {
        let builder = &mut self.builder;
        self.inputs.add(name, kind, shape, |shape| {
            let dimension = |size: &Option<u64>, builder: &mut Builder| match size {
                Some(size) => Dimension::Known(i64::try_from(*size).unwrap_or(i64::MAX)),
                None => builder.fresh(),
            };
            let shape: crate::graph::Shape =
                shape.as_ref().map(|shape| shape.iter().map(|size| dimension(size, builder)).collect());
            (builder.input(kind, shape.clone()), shape)
        })
    }

    /// Notes a feature that is read from an input of examples.
    pub(crate) fn add_feature(&mut self, serialized: ValueId, feature: crate::signature::Feature) {
        let known = self.examples.iter_mut().find(|known| known.serialized == serialized);
        match known {
            Some(known) if known.features.contains(&feature) => {}
            Some(known) => known.features.push(feature),
            None => self.examples.push(ParsedExamples { serialized, features: vec![feature] }),
        }
    }
}

/// The operators that need nothing but their inputs.
fn operators<'m>(call: &mut Call<'_, 'm>) -> Result<Vec<Datum<'m>>, Refusal> {
    let single = |result: Result<ValueId, Refusal>| result.map(|id| vec![Datum::Tensor(id)]);
    match call.operator() {
        "Bitcast" => return bits::cast(call).map(|datum| vec![datum]),
        "BitwiseAnd" => return single(bits::and(call)),
        _ => {}
    }
    if let Some(result) = elementwise::convert(call) {
        return single(result);
    }
    if let Some(result) = shapes::convert(call) {
        return result;
    }
    if let Some(result) = slices::convert(call) {
        return single(result);
    }
    if let Some(result) = positions::convert(call) {
        return single(result);
    }
    if let Some(result) = linear::convert(call) {
        return result;
    }
    if let Some(result) = convolutions::convert(call) {
        return result;
    }
    if let Some(result) = pools::convert(call) {
        return result;
    }
    match lists::convert(call) {
        Some(result) => result.map(|datum| vec![datum]),
        None => unsupported("there is no conversion"),
    }
}
