//! The functions of a model (`FunctionProto`): operators that it defines by a graph.

use std::{collections::HashMap, ops::Range};

use super::{OnnxError, opsets::opsets};
use adytum_wire::{Fields, text};

/// Where a function's parts are.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) nodes: Vec<Range<usize>>,
    /// Attributes that have a default.
    pub(super) defaults: Vec<Range<usize>>,
    pub(super) opsets: Vec<(String, i64)>,
}

/// The functions of a model by domain, name and overload.
pub(super) type Functions = HashMap<(String, String, String), Function>;

/// Reads a `FunctionProto`.
pub(super) fn function(data: &[u8], range: Range<usize>, into: &mut Functions) -> Result<(), OnnxError> {
    let mut function = Function::default();
    let (mut domain, mut name, mut overload) = (String::new(), String::new(), String::new());
    for field in Fields::within(data, range) {
        let field = field?;
        match field.number {
            1 => name = text(data, &field),
            4 => function.inputs.push(text(data, &field)),
            5 => function.outputs.push(text(data, &field)),
            7 => function.nodes.push(field.bytes().unwrap_or_default()),
            9 => opsets(data, field.bytes().unwrap_or_default(), &mut function.opsets)?,
            10 => domain = text(data, &field),
            11 => function.defaults.push(field.bytes().unwrap_or_default()),
            13 => overload = text(data, &field),
            _ => {}
        }
    }
    if domain == "ai.onnx" {
        domain = String::new();
    }
    into.insert((domain, name, overload), function);
    Ok(())
}
