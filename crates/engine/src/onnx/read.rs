//! Makes a [`Model`] of a file.

mod inline;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use super::{
    Limits, OnnxError,
    attribute::{Read, attribute},
    declaration::declaration,
    function::{Functions, function},
    in_file::{InFile, kept_in_file},
    model::{Constant, Graph, Model, Node, Place, Port, Stored, ValueId},
    opsets::{normal, opset, opsets},
    order::sort,
    scope::Scopes,
    tensor::constant,
};
use crate::{
    operators::{Attribute, Attributes},
    tensor::Tensor,
};
use adytum_wire::{Fields, text};

/// Reads an ONNX file.
pub fn read(file: Vec<u8>, limits: &Limits) -> Result<Model, OnnxError> {
    let (mut model, file) = parse(file, limits)?;
    InFile::new(file).move_out(model.constants.values_mut(), 0);
    Ok(model)
}

/// Reads an ONNX file. The weights of convolutions stay in the file, which is given back: they are packed straight
/// from there.
pub(crate) fn read_in_place(file: Vec<u8>, limits: &Limits) -> Result<(Model, InFile), OnnxError> {
    let (mut model, file) = parse(file, limits)?;
    let (kept, floor) = kept_in_file(&model.graph, &model.constants, file.len());
    let mut file = InFile::new(file);
    let others = model.constants.iter_mut().filter(|(value, _)| !kept.contains(value));
    file.move_out(others.map(|(_, constant)| constant), floor);
    file.cut(floor);
    Ok((model, file))
}

fn parse(file: Vec<u8>, limits: &Limits) -> Result<(Model, Vec<u8>), OnnxError> {
    let mut model = Model {
        ir_version: 0,
        producer: String::new(),
        opsets: Vec::new(),
        metadata: Vec::new(),
        graph: Graph::default(),
        names: Vec::new(),
        constants: HashMap::new(),
        size: file.len(),
    };
    let mut graph = None;
    let mut functions = Functions::new();
    for field in Fields::of(&file) {
        let field = field?;
        match field.number {
            1 => model.ir_version = field.varint().unwrap_or_default().cast_signed(),
            2 => model.producer = text(&file, &field),
            7 => graph = field.bytes(),
            8 => opsets(&file, field.bytes().unwrap_or_default(), &mut model.opsets)?,
            14 => model.metadata.push(entry(&file, field.bytes().unwrap_or_default())?),
            25 => function(&file, field.bytes().unwrap_or_default(), &mut functions)?,
            _ => {}
        }
    }
    let graph = graph.ok_or(OnnxError::NoGraph)?;
    // Before its third version a model imported no opsets: all operators were those of opset 1.
    if model.opsets.is_empty() && model.ir_version < 3 {
        model.opsets.push((String::new(), 1));
    }
    let mut reader = Reader {
        data: &file,
        limits,
        functions: &functions,
        scopes: Scopes::default(),
        constants: HashMap::new(),
        constant_bytes: 0,
        inside_bytes: 0,
        nodes: 0,
    };
    let surroundings = Surroundings { opsets: &model.opsets, arguments: None, depth: 0 };
    reader.scopes.enter();
    model.graph = reader.graph(graph, &surroundings)?;
    model.names = reader.scopes.values;
    model.constants = reader.constants;
    Ok((model, file))
}

fn entry(data: &[u8], range: Range<usize>) -> Result<(String, String), OnnxError> {
    let (mut key, mut value) = (String::new(), String::new());
    for field in Fields::within(data, range) {
        let field = field?;
        match field.number {
            1 => key = text(data, &field),
            2 => value = text(data, &field),
            _ => {}
        }
    }
    Ok((key, value))
}

/// What the nodes of a graph see around them.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    opsets: &'a [(String, i64)],
    /// The attributes of the function's call, in a function.
    arguments: Option<&'a BTreeMap<String, Argument>>,
    depth: usize,
}

/// An attribute of a function's call.
#[derive(Clone)]
enum Argument {
    Value(Attribute),
    Constant(Constant),
}

/// A node's own fields.
#[derive(Default)]
struct Header {
    name: String,
    operator: String,
    domain: String,
    overload: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<Range<usize>>,
}

/// A node that is called: its values and its attributes.
struct Call {
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<Option<ValueId>>,
    arguments: BTreeMap<String, Argument>,
    graphs: Vec<(String, Range<usize>)>,
}

struct Reader<'a> {
    data: &'a [u8],
    limits: &'a Limits,
    functions: &'a Functions,
    scopes: Scopes,
    constants: HashMap<ValueId, Constant>,
    constant_bytes: usize,
    inside_bytes: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    /// Reads a `GraphProto` into the scope that is open.
    fn graph(&mut self, range: Range<usize>, surroundings: &Surroundings<'_>) -> Result<Graph, OnnxError> {
        self.check_depth(surroundings.depth)?;
        let mut graph = Graph::default();
        let (mut headers, mut inputs, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        for field in Fields::within(self.data, range) {
            let field = field?;
            let part = field.bytes().unwrap_or_default();
            match field.number {
                1 => headers.push(self.header(part)?),
                5 => {
                    let (name, value) = constant(self.data, part, self.limits)?;
                    self.check_name(&name)?;
                    let id = self.scopes.define(&name)?;
                    self.constant(id, value)?;
                }
                11 => inputs.push(declaration(self.data, part)?),
                12 => outputs.push(declaration(self.data, part)?),
                15 => {
                    return Err(OnnxError::Tensor {
                        name: "sparse_initializer".to_owned(),
                        reason: "sparse tensors are not computed; save the model with dense ones".to_owned(),
                    });
                }
                _ => {}
            }
        }
        for declaration in inputs {
            self.check_name(&declaration.name)?;
            // Before version 4 of the format all initializers were inputs, too.
            if self.scopes.own(&declaration.name).is_none() {
                let value = self.scopes.define(&declaration.name)?;
                graph.inputs.push(Port { value, declaration });
            }
        }
        self.define_outputs(&headers)?;
        for header in headers {
            self.node(header, surroundings, &mut graph.nodes)?;
        }
        graph.nodes = sort(graph.nodes)?;
        for declaration in outputs {
            let found = self.scopes.find(&declaration.name, || "the graph's output".to_owned())?;
            let value = found.ok_or_else(|| OnnxError::Unknown {
                user: "the graph's output".to_owned(),
                name: declaration.name.clone(),
            })?;
            graph.outputs.push(Port { value, declaration });
        }
        Ok(graph)
    }

    fn constant(&mut self, id: ValueId, value: Constant) -> Result<(), OnnxError> {
        let bytes = match &value {
            Constant::Tensor(tensor) => tensor.bytes(),
            Constant::Stored(stored) => stored.bytes,
        };
        self.constant_bytes = self.constant_bytes.saturating_add(bytes);
        // A function that is called often must not make a small file large.
        let beside = matches!(&value, Constant::Stored(Stored { place: Place::Beside { .. }, .. }));
        let allowed = self.data.len().saturating_mul(4).saturating_add(64 << 20);
        self.inside_bytes = self.inside_bytes.saturating_add(if beside { 0 } else { bytes });
        if self.constant_bytes > self.limits.constants || self.inside_bytes > allowed {
            return Err(OnnxError::TooMany {
                what: "bytes of constants",
                found: self.constant_bytes,
                limit: self.limits.constants.min(allowed),
            });
        }
        self.constants.insert(id, value);
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), OnnxError> {
        if depth > self.limits.depth {
            return Err(OnnxError::TooMany {
                what: "levels of nesting",
                found: depth,
                limit: self.limits.depth,
            });
        }
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), OnnxError> {
        if name.len() > self.limits.name {
            return Err(OnnxError::TooMany {
                what: "bytes in a name",
                found: name.len(),
                limit: self.limits.name,
            });
        }
        Ok(())
    }

    /// Gives the outputs of the nodes their names in the open scope, before any node is read:
    /// a file may have its nodes in any order.
    fn define_outputs(&mut self, headers: &[Header]) -> Result<(), OnnxError> {
        for output in headers.iter().flat_map(|header| &header.outputs) {
            if !output.is_empty() {
                self.check_name(output)?;
                self.scopes.define(output)?;
            }
        }
        Ok(())
    }

    fn header(&mut self, range: Range<usize>) -> Result<Header, OnnxError> {
        let mut header = Header::default();
        for field in Fields::within(self.data, range) {
            let field = field?;
            match field.number {
                1 => header.inputs.push(text(self.data, &field)),
                2 => header.outputs.push(text(self.data, &field)),
                3 => header.name = text(self.data, &field),
                4 => header.operator = text(self.data, &field),
                5 => header.attributes.push(field.bytes().unwrap_or_default()),
                7 => header.domain = normal(text(self.data, &field)),
                8 => header.overload = text(self.data, &field),
                _ => {}
            }
        }
        self.nodes += 1;
        let parts = header.inputs.len().max(header.outputs.len()).max(header.attributes.len());
        for (what, found, limit) in [
            ("nodes", self.nodes, self.limits.nodes),
            ("inputs, outputs or attributes of one node", parts, self.limits.node_parts),
        ] {
            if found > limit {
                return Err(OnnxError::TooMany { what, found, limit });
            }
        }
        for name in [&header.name, &header.operator, &header.domain] {
            self.check_name(name)?;
        }
        Ok(header)
    }

    fn node(
        &mut self,
        header: Header,
        surroundings: &Surroundings<'_>,
        into: &mut Vec<Node>,
    ) -> Result<(), OnnxError> {
        let call = self.call(&header, surroundings)?;
        let key = (header.domain.clone(), header.operator.clone(), header.overload.clone());
        if let Some(function) = self.functions.get(&key) {
            return self.inline(&header, function, call, surroundings, into);
        }
        if header.domain.is_empty()
            && header.operator == "Constant"
            && let [Some(output)] = call.outputs.as_slice()
            && let Some(value) = constant_of_node(&call.arguments)
        {
            return self.constant(*output, value);
        }

        let opset = opset(surroundings.opsets, &header.domain)?;
        let mut attributes = Attributes::default();
        for (name, argument) in call.arguments {
            match argument {
                Argument::Value(value) => attributes.set(&name, value),
                Argument::Constant(Constant::Tensor(tensor)) => {
                    attributes.set(&name, Attribute::Tensor(tensor))
                }
                Argument::Constant(Constant::Stored(stored)) => {
                    // Only tables of ai.onnx.ml have tensors of any size in attributes.
                    let tensor = stored.tensor(self.data, &super::files::NoFiles)?;
                    attributes.set(&name, Attribute::Tensor(tensor));
                }
            }
        }
        let mut graphs = Vec::new();
        let mut captures = Vec::new();
        for (name, range) in call.graphs {
            self.scopes.enter();
            let inner = Surroundings { depth: surroundings.depth + 1, ..*surroundings };
            graphs.push((name, self.graph(range, &inner)?));
            captures.extend(self.scopes.leave());
        }
        captures.sort_unstable();
        captures.dedup();
        into.push(Node {
            name: header.name,
            domain: header.domain,
            operator: header.operator,
            opset,
            inputs: call.inputs,
            outputs: call.outputs,
            attributes,
            graphs,
            captures,
        });
        Ok(())
    }

    /// Finds the values of a node and reads its attributes.
    fn call(&mut self, header: &Header, surroundings: &Surroundings<'_>) -> Result<Call, OnnxError> {
        let failed = |reason: String| OnnxError::Node {
            node: header.name.clone(),
            operator: header.operator.clone(),
            reason,
        };
        let mut call = Call {
            inputs: Vec::with_capacity(header.inputs.len()),
            outputs: Vec::with_capacity(header.outputs.len()),
            arguments: BTreeMap::new(),
            graphs: Vec::new(),
        };
        for name in &header.inputs {
            let value = match name.as_str() {
                "" => None,
                name => {
                    self.scopes.find(name, || format!("the node {:?} ({})", header.name, header.operator))?
                }
            };
            call.inputs.push(value);
        }
        for name in &header.outputs {
            call.outputs.push(if name.is_empty() { None } else { self.scopes.own(name) });
        }
        for range in &header.attributes {
            let (name, read) = attribute(self.data, range.clone(), self.limits)?;
            let read = read.map_err(|reason| failed(format!("the attribute {name:?}: {reason}")))?;
            let argument = match read {
                Read::Value(value) => Argument::Value(value),
                Read::Constant(value) => Argument::Constant(value),
                Read::Graph(graph) => {
                    call.graphs.push((name, graph));
                    continue;
                }
                Read::Reference(reference) => {
                    match surroundings.arguments.and_then(|arguments| arguments.get(&reference)) {
                        Some(argument) => argument.clone(),
                        None => continue,
                    }
                }
                Read::Unusable(what) => {
                    return Err(failed(format!("the attribute {name:?} is {what}, which is not computed")));
                }
            };
            if call.arguments.insert(name.clone(), argument).is_some() {
                return Err(failed(format!("the attribute {name:?} is given twice")));
            }
        }
        Ok(call)
    }
}

/// The value of a node `Constant`; `None` for a form that its builder must judge.
fn constant_of_node(arguments: &BTreeMap<String, Argument>) -> Option<Constant> {
    let mut arguments = arguments.iter();
    let (Some((name, argument)), None) = (arguments.next(), arguments.next()) else { return None };
    let tensor = match (name.as_str(), argument) {
        ("value", Argument::Constant(constant)) => return Some(constant.clone()),
        ("value_float", Argument::Value(Attribute::Float(value))) => Tensor::scalar(*value),
        ("value_floats", Argument::Value(Attribute::Floats(values))) => Tensor::vector(values.clone()),
        ("value_int", Argument::Value(Attribute::Integer(value))) => Tensor::scalar(*value),
        ("value_ints", Argument::Value(Attribute::Integers(values))) => Tensor::vector(values.clone()),
        ("value_string", Argument::Value(Attribute::Text(value))) => Tensor::scalar(value.clone()),
        ("value_strings", Argument::Value(Attribute::Texts(values))) => Tensor::vector(values.clone()),
        _ => return None,
    };
    Some(Constant::Tensor(tensor))
}
