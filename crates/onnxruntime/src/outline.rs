//! What a file says of its graph, as far as it must be known before ONNX Runtime reads it: inputs,
//! outputs, which node needs what, and where data lies in other files.
//!
//! The file is untrusted: the parts have the limits that the static engine has.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use adytum_engine::onnx::{Limits, OnnxError, declaration::declaration, model::Declaration};
use adytum_wire::{Field, Fields, text};

/// The domain of classical models.
const MACHINE_LEARNING: &str = "ai.onnx.ml";

/// A name of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NameId(u32);

impl NameId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An input or output, and its place.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) name: NameId,
    pub(crate) declaration: Declaration,
    pub(crate) place: Range<usize>,
}

/// A constant of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Initializer {
    pub(crate) name: NameId,
    pub(crate) place: Range<usize>,
    /// Its data is in another file.
    pub(crate) is_external: bool,
}

/// A node of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Range<usize>,
    /// What it uses, its graphs included.
    pub(crate) uses: Vec<NameId>,
    pub(crate) outputs: Vec<NameId>,
    /// It makes maps of labels and scores of a matrix of scores.
    pub(crate) is_zip_map: bool,
    /// A tensor in it has its data in another file.
    pub(crate) has_external: bool,
}

/// What a file says.
#[derive(Debug)]
pub(crate) struct Outline {
    pub(crate) file: Vec<u8>,
    pub(crate) graph: Range<usize>,
    pub(crate) metadata: Vec<(String, String)>,
    /// The file imports ONNX's own operators.
    pub(crate) has_own_operators: bool,
    /// A function has a tensor whose data is in another file.
    pub(crate) has_external_function: bool,
    pub(crate) nodes: Vec<Node>,
    pub(crate) initializers: Vec<Initializer>,
    /// Those without a constant value.
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    /// The names, with their numbers.
    pub(crate) numbers: HashMap<String, NameId>,
}

impl Outline {
    pub(crate) fn read(file: Vec<u8>, limits: &Limits) -> Result<Self, OnnxError> {
        let mut outline = Self {
            graph: 0..0,
            metadata: Vec::new(),
            has_own_operators: false,
            has_external_function: false,
            nodes: Vec::new(),
            initializers: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            numbers: HashMap::new(),
            file: Vec::new(),
        };
        let mut reader = Reader { data: &file, limits, names: HashMap::new(), nodes: 0 };
        let mut graph: Option<Range<usize>> = None;
        for field in Fields::of(&file) {
            let field = field?;
            match field.number {
                7 => {
                    // Readers of protocol buffers would merge two of them.
                    if graph.is_some() {
                        return Err(OnnxError::TooMany { what: "graphs", found: 2, limit: 1 });
                    }
                    graph = field.bytes();
                }
                8 => outline.has_own_operators |= is_own(&file, &field)?,
                14 => outline.metadata.push(reader.entry(&field)?),
                25 => {
                    let function = field.bytes().unwrap_or_default();
                    outline.has_external_function |= reader.function_has_external(function)?;
                }
                _ => {}
            }
        }
        let graph = graph.ok_or(OnnxError::NoGraph)?;
        reader.graph(graph.clone(), &mut outline)?;
        outline.graph = graph;
        outline.numbers = reader.names;
        outline.file = file;
        Ok(outline)
    }
}

/// Whether an imported opset is that of ONNX's own operators.
fn is_own(data: &[u8], import: &Field) -> Result<bool, OnnxError> {
    for field in Fields::within(data, import.bytes().unwrap_or_default()) {
        let field = field?;
        if field.number == 1 && !matches!(text(data, &field).as_str(), "" | "ai.onnx") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a `TensorProto` has its data in another file (`data_location` 14).
pub(crate) fn is_external(data: &[u8], tensor: Range<usize>) -> Result<bool, OnnxError> {
    let mut external = false;
    for field in Fields::within(data, tensor) {
        let field = field?;
        if field.number == 14 {
            external = field.varint() == Some(1);
        }
    }
    Ok(external)
}

struct Reader<'a> {
    data: &'a [u8],
    limits: &'a Limits,
    names: HashMap<String, NameId>,
    nodes: usize,
}

/// What a node and all graphs in it use.
#[derive(Default)]
struct Parts {
    uses: Vec<NameId>,
    outputs: Vec<NameId>,
    operator: String,
    domain: String,
    has_external: bool,
}

impl Reader<'_> {
    fn within(&self, what: &'static str, found: usize, limit: usize) -> Result<(), OnnxError> {
        if found > limit { Err(OnnxError::TooMany { what, found, limit }) } else { Ok(()) }
    }

    fn name(&mut self, name: String) -> Result<NameId, OnnxError> {
        self.within("bytes in a name", name.len(), self.limits.name)?;
        let next = NameId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        Ok(*self.names.entry(name).or_insert(next))
    }

    fn entry(&self, field: &Field) -> Result<(String, String), OnnxError> {
        let (mut key, mut value) = (String::new(), String::new());
        for part in Fields::within(self.data, field.bytes().unwrap_or_default()) {
            let part = part?;
            match part.number {
                1 => key = text(self.data, &part),
                2 => value = text(self.data, &part),
                _ => {}
            }
        }
        Ok((key, value))
    }

    fn graph(&mut self, range: Range<usize>, outline: &mut Outline) -> Result<(), OnnxError> {
        let mut inputs = Vec::new();
        for field in Fields::within(self.data, range) {
            let field = field?;
            let place = field.bytes().unwrap_or_default();
            match field.number {
                1 => {
                    let mut parts = Parts::default();
                    self.node(place.clone(), 0, &mut parts)?;
                    parts.uses.sort_unstable();
                    parts.uses.dedup();
                    outline.nodes.push(Node {
                        place,
                        uses: parts.uses,
                        outputs: parts.outputs,
                        is_zip_map: parts.operator == "ZipMap" && parts.domain == MACHINE_LEARNING,
                        has_external: parts.has_external,
                    });
                }
                5 => {
                    let name = self.tensor_name(place.clone())?;
                    let is_external = is_external(self.data, place.clone())?;
                    outline.initializers.push(Initializer { name, place, is_external });
                }
                11 => inputs.push(self.port(place)?),
                12 => outline.outputs.push(self.port(place)?),
                _ => {}
            }
            let ports = inputs.len().max(outline.outputs.len());
            self.within("inputs or outputs", ports, self.limits.node_parts)?;
        }
        let constants: HashSet<NameId> = outline.initializers.iter().map(|constant| constant.name).collect();
        // Before version 4 of the format all initializers were inputs, too.
        outline.inputs.extend(inputs.into_iter().filter(|input| !constants.contains(&input.name)));
        Ok(())
    }

    fn port(&mut self, place: Range<usize>) -> Result<Port, OnnxError> {
        let declaration = declaration(self.data, place.clone())?;
        Ok(Port { name: self.name(declaration.name.clone())?, declaration, place })
    }

    fn tensor_name(&mut self, place: Range<usize>) -> Result<NameId, OnnxError> {
        let mut name = String::new();
        for field in Fields::within(self.data, place) {
            let field = field?;
            if field.number == 8 {
                name = text(self.data, &field);
            }
        }
        self.name(name)
    }

    /// Reads a `NodeProto`: of the model's graph, of a graph in a node, or of a function.
    fn node(&mut self, place: Range<usize>, depth: usize, into: &mut Parts) -> Result<(), OnnxError> {
        self.within("levels of nesting", depth, self.limits.depth)?;
        self.nodes += 1;
        self.within("nodes", self.nodes, self.limits.nodes)?;
        let mut parts = 0_usize;
        for field in Fields::within(self.data, place) {
            let field = field?;
            match field.number {
                1 | 2 => {
                    parts += 1;
                    let name = text(self.data, &field);
                    if !name.is_empty() {
                        let name = self.name(name)?;
                        // What a graph inside makes is nothing that its node gives.
                        let list = if field.number == 1 { &mut into.uses } else { &mut into.outputs };
                        if field.number == 1 || depth == 0 {
                            list.push(name);
                        }
                    }
                }
                4 if depth == 0 => into.operator = text(self.data, &field),
                7 if depth == 0 => into.domain = text(self.data, &field),
                5 => {
                    parts += 1;
                    self.attribute(field.bytes().unwrap_or_default(), depth, into)?;
                }
                _ => {}
            }
        }
        self.within("inputs, outputs or attributes of one node", parts, self.limits.node_parts)
    }

    /// Reads an `AttributeProto`: t 5, g 6, tensors 10, graphs 11, sparse_tensor 22,
    /// sparse_tensors 23.
    fn attribute(&mut self, place: Range<usize>, depth: usize, into: &mut Parts) -> Result<(), OnnxError> {
        for field in Fields::within(self.data, place) {
            let field = field?;
            let part = field.bytes().unwrap_or_default();
            match field.number {
                5 | 10 => into.has_external |= is_external(self.data, part)?,
                6 | 11 => self.inner_graph(part, depth + 1, into)?,
                22 | 23 => into.has_external |= self.sparse_has_external(part)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a `GraphProto` in a node: what its nodes use and what it gives may be of the graph
    /// around it.
    fn inner_graph(&mut self, place: Range<usize>, depth: usize, into: &mut Parts) -> Result<(), OnnxError> {
        for field in Fields::within(self.data, place) {
            let field = field?;
            let part = field.bytes().unwrap_or_default();
            match field.number {
                1 => self.node(part, depth, into)?,
                5 => into.has_external |= is_external(self.data, part)?,
                12 => {
                    let output = self.value_name(part)?;
                    into.uses.push(output);
                }
                15 => into.has_external |= self.sparse_has_external(part)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn value_name(&mut self, place: Range<usize>) -> Result<NameId, OnnxError> {
        let mut name = String::new();
        for field in Fields::within(self.data, place) {
            let field = field?;
            if field.number == 1 {
                name = text(self.data, &field);
            }
        }
        self.name(name)
    }

    /// A `SparseTensorProto` has two tensors: values 1, indices 2.
    fn sparse_has_external(&self, place: Range<usize>) -> Result<bool, OnnxError> {
        let mut external = false;
        for field in Fields::within(self.data, place) {
            let field = field?;
            if let (1 | 2, Some(tensor)) = (field.number, field.bytes()) {
                external |= is_external(self.data, tensor)?;
            }
        }
        Ok(external)
    }

    /// A `FunctionProto`: its nodes are 7.
    fn function_has_external(&mut self, place: Range<usize>) -> Result<bool, OnnxError> {
        let mut parts = Parts::default();
        for field in Fields::within(self.data, place) {
            let field = field?;
            if field.number == 7 {
                self.node(field.bytes().unwrap_or_default(), 1, &mut parts)?;
            }
        }
        Ok(parts.has_external)
    }
}
