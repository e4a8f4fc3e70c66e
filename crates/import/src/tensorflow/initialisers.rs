//! The origin of the values of variables and lookup tables: the assignments of the
//! restore function (TensorFlow 2) or of the graph (TensorFlow 1), and the
//! initialisers of tables. Nothing is run: the assignments are read.

use std::collections::{BTreeMap, HashSet};

use super::{
    edges::{Port, Source},
    messages::Node,
    model::{Body, Model},
};

/// Where a table's contents come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TableSource<'m> {
    /// Keys and values: nodes of the graph.
    Nodes(Value<'m>, Value<'m>),
    /// A text file that a node of the graph names, read as this initialiser says.
    File(Value<'m>, &'m Node),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'m> {
    /// A node of the graph.
    Root(&'m str),
    /// A literal in a function.
    Literal(&'m Node),
    /// A tensor among the variables.
    Stored(String),
}

/// The origin of each value of a variable or a table.
#[derive(Debug, Default)]
pub(crate) struct Initialisers<'m> {
    /// The key among the variables, by the variable's node in the graph.
    pub(crate) variables: BTreeMap<&'m str, String>,
    /// By the table's node in the graph.
    pub(crate) tables: BTreeMap<&'m str, TableSource<'m>>,
}

/// How many nodes are looked at, over all calls of functions.
const MOST: usize = 4_000_000;

/// Reads all assignments.
pub(crate) fn read(model: &Model) -> Initialisers<'_> {
    let mut reader = Reader { model, found: Initialisers::default(), left: MOST, relevant: relevant(model) };
    let graph = &model.graph;
    reader.assignments(graph, &Vec::new(), 0);

    for node in &graph.nodes {
        reader.call(graph, node, &Vec::new(), 0);
    }
    reader.found
}

const ASSIGNMENTS: [&str; 7] = [
    "Assign",
    "AssignVariableOp",
    "InitializeTable",
    "InitializeTableV2",
    "InitializeTableFromTextFile",
    "InitializeTableFromTextFileV2",
    "LookupTableImportV2",
];

/// The functions that assign, or call one that does.
fn relevant(model: &Model) -> HashSet<&str> {
    let mut found: HashSet<&str> = HashSet::new();
    let assigns = |body: &Body| body.nodes.iter().any(|node| ASSIGNMENTS.contains(&node.operator.as_str()));
    found.extend(model.functions.iter().filter(|(_, body)| assigns(body)).map(|(name, _)| name.as_str()));
    loop {
        let calls = |body: &Body| {
            let mut names = body.nodes.iter().filter_map(|node| model.view(node).function("f"));
            names.any(|name| found.contains(name))
        };
        let more: Vec<&str> = model
            .functions
            .iter()
            .filter(|(name, body)| !found.contains(name.as_str()) && calls(body))
            .map(|(name, _)| name.as_str())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

struct Reader<'m> {
    model: &'m Model,
    found: Initialisers<'m>,
    left: usize,
    relevant: HashSet<&'m str>,
}

/// What a function's arguments are.
type Arguments<'m> = Vec<Option<Value<'m>>>;

impl<'m> Reader<'m> {
    fn call(&mut self, body: &'m Body, node: &'m Node, arguments: &Arguments<'m>, depth: usize) {
        if !matches!(node.operator.as_str(), "PartitionedCall" | "StatefulPartitionedCall") || depth > 16 {
            return;
        }
        let Some(name) = self.model.view(node).function("f").filter(|name| self.relevant.contains(name))
        else {
            return;
        };
        let Some(function) = self.model.functions.get(name) else { return };
        let inputs = node.inputs.iter().filter(|input| !input.starts_with('^'));
        let passed: Arguments<'m> = inputs.map(|input| self.value(body, input, arguments)).collect();
        self.assignments(function, &passed, depth + 1);
        for inner in &function.nodes {
            self.call(function, inner, &passed, depth + 1);
        }
    }

    fn assignments(&mut self, body: &'m Body, arguments: &Arguments<'m>, depth: usize) {
        self.left = self.left.saturating_sub(body.nodes.len());
        if self.left == 0 || depth > 16 {
            return;
        }
        for node in &body.nodes {
            if !ASSIGNMENTS.contains(&node.operator.as_str()) {
                continue;
            }
            let input = |index: usize| self.value(body, node.inputs.get(index)?, arguments);
            let Some(Value::Root(target)) = input(0) else { continue };
            match node.operator.as_str() {
                "Assign" | "AssignVariableOp" => {
                    if let Some(Value::Stored(key)) = input(1) {
                        self.found.variables.insert(target, key);
                    }
                }
                "InitializeTableFromTextFile" | "InitializeTableFromTextFileV2" => {
                    if let Some(file) = input(1) {
                        self.found.tables.insert(target, TableSource::File(file, node));
                    }
                }
                _ => {
                    if let (Some(keys), Some(values)) = (input(1), input(2)) {
                        // Saved values count more than those that the table began with.
                        let stored = matches!(keys, Value::Stored(_));
                        if stored || !self.found.tables.contains_key(target) {
                            self.found.tables.insert(target, TableSource::Nodes(keys, values));
                        }
                    }
                }
            }
        }
    }

    /// What a value is, through copies.
    fn value(&self, body: &'m Body, input: &'m str, arguments: &Arguments<'m>) -> Option<Value<'m>> {
        let mut input = input;
        for _ in 0..64 {
            let (index, port) = match body.source(input)? {
                Source::Argument(index) => return arguments.get(index).cloned().flatten(),
                Source::Output(index, port) => (index, port),
                Source::Control(_) => return None,
            };
            let node = body.nodes.get(index)?;
            match node.operator.as_str() {
                "Identity" => input = node.inputs.first()?,
                // A variable that holds a path: what it is first assigned.
                "ReadVariableOp" if std::ptr::eq(body, &self.model.graph) => {
                    let variable = node.inputs.first()?;
                    let assigned = body.nodes.iter().find(|other| {
                        other.operator == "AssignVariableOp" && other.inputs.first() == Some(variable)
                    });
                    input = assigned?.inputs.get(1)?;
                }
                "RestoreV2" => return self.restored(body, node, port, arguments).map(Value::Stored),
                _ if body.arguments.is_empty() && std::ptr::eq(body, &self.model.graph) => {
                    return Some(Value::Root(&node.name));
                }
                "Const" => return Some(Value::Literal(node)),
                _ => return None,
            }
        }
        None
    }

    /// The key that an output of `RestoreV2` is read from.
    fn restored(
        &self,
        body: &'m Body,
        node: &'m Node,
        port: Port<'_>,
        arguments: &Arguments<'m>,
    ) -> Option<String> {
        let names = match self.value(body, node.inputs.get(1)?, arguments)? {
            Value::Root(name) => self.model.graph.nodes.get(self.model.graph.find(name)?)?,
            Value::Literal(node) => node,
            Value::Stored(_) => return None,
        };
        let index = match port {
            Port::Index(index) | Port::Named(_, index) => index,
        };
        let strings = &self.model.view(names).tensor("value")?.strings;
        String::from_utf8(strings.get(index)?.to_vec()).ok()
    }
}
