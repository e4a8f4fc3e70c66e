//! Calls of functions that the file defines: their nodes take the call's place.

use super::{Argument, Call, Header, Reader, Surroundings};
use crate::{
    onnx::{
        OnnxError,
        attribute::{Read, attribute},
        function::Function,
        model::Node,
        opsets::opset,
    },
    operators::Attributes,
};

impl<'a> Reader<'a> {
    /// Puts the nodes of a function in the place of its call.
    pub(super) fn inline(
        &mut self,
        header: &Header,
        function: &'a Function,
        mut call: Call,
        surroundings: &Surroundings<'_>,
        into: &mut Vec<Node>,
    ) -> Result<(), OnnxError> {
        self.check_depth(surroundings.depth + 1)?;
        let failed = |reason: &str| OnnxError::Node {
            node: header.name.clone(),
            operator: header.operator.clone(),
            reason: reason.to_owned(),
        };
        if !call.graphs.is_empty() {
            return Err(failed("a function with a graph among its attributes is not computed"));
        }
        if call.inputs.len() > function.inputs.len() || call.outputs.len() > function.outputs.len() {
            return Err(failed("it has more inputs or outputs than its function"));
        }
        for default in &function.defaults {
            let (name, read) = attribute(self.data, default.clone(), self.limits)?;
            let argument = match read {
                Ok(Read::Value(value)) => Argument::Value(value),
                Ok(Read::Constant(value)) => Argument::Constant(value),
                _ => return Err(failed("its function has a default that is not computed")),
            };
            call.arguments.entry(name).or_insert(argument);
        }
        let visible = self.scopes.enter_function();
        for (index, name) in function.inputs.iter().enumerate() {
            self.scopes.bind(name, call.inputs.get(index).copied().flatten())?;
        }
        let mut passed = Vec::new();
        for (index, name) in function.outputs.iter().enumerate() {
            let output = call.outputs.get(index).copied().flatten();
            match self.scopes.own(name) {
                // An output of a function that is an input of it, too.
                Some(input) => passed.extend(output.map(|output| (input, output))),
                None => {
                    if let Some(output) = output {
                        self.scopes.bind(name, Some(output))?;
                    }
                }
            }
        }
        let mut headers = Vec::with_capacity(function.nodes.len());
        for range in &function.nodes {
            headers.push(self.header(range.clone())?);
        }
        for output in headers.iter().flat_map(|header| &header.outputs) {
            if !output.is_empty() && !function.outputs.contains(output)
                || self.scopes.own(output).is_none() && !output.is_empty()
            {
                self.scopes.define(output)?;
            }
        }
        let inner = Surroundings {
            opsets: if function.opsets.is_empty() { surroundings.opsets } else { &function.opsets },
            arguments: Some(&call.arguments),
            depth: surroundings.depth + 1,
        };
        for mut inner_header in headers {
            if inner_header.name.is_empty() {
                inner_header.name.clone_from(&header.name);
            }
            self.node(inner_header, &inner, into)?;
        }
        self.scopes.leave_function(visible);
        for (input, output) in passed {
            into.push(Node {
                name: header.name.clone(),
                domain: String::new(),
                operator: "Identity".to_owned(),
                opset: opset(surroundings.opsets, "")?,
                inputs: vec![Some(input)],
                outputs: vec![Some(output)],
                attributes: Attributes::default(),
                graphs: Vec::new(),
                captures: Vec::new(),
            });
        }
        Ok(())
    }
}
