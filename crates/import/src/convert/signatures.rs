//! Signatures: their inputs are fed, their outputs are wanted.

use super::{Converter, Frame, datum::Datum, examples::ParsedExamples, inputs::unique};
use crate::{
    error::ImportError,
    graph::{Dimension, ValueId},
    signature::{Binding, Examples, Method, Signature},
    tensorflow::{
        edges::Source,
        messages::{self, TensorInformation},
        tensors::element_type,
    },
};

/// TensorFlow's own signatures, which no request calls.
const INTERNAL: [&str; 2] = ["__saved_model_init_op", "__saved_model_train_op"];

/// The outputs of the graph: name, the value it is, the value that has the name.
#[derive(Debug, Default)]
pub(crate) struct GraphOutputs(Vec<(String, ValueId, ValueId)>);

impl GraphOutputs {
    /// Names and values.
    pub(crate) fn all(&self) -> Vec<(String, ValueId)> {
        self.0.iter().map(|(name, _, named)| (name.clone(), *named)).collect()
    }
}

/// The names of a model's signatures that requests can call.
pub(crate) fn callable(model: &crate::tensorflow::model::Model) -> Vec<&str> {
    let named = model
        .signatures
        .iter()
        .filter(|(name, signature)| !INTERNAL.contains(&name.as_str()) && !signature.outputs.is_empty());
    named.map(|(name, _)| name.as_str()).collect()
}

/// The sizes of a declared tensor.
fn declared(information: &TensorInformation) -> Option<Vec<Option<u64>>> {
    let shape = information.shape.as_ref().filter(|shape| !shape.unknown_rank)?;
    Some(shape.dimensions.iter().map(|dimension| u64::try_from(dimension.size).ok()).collect())
}

impl<'m> Converter<'m> {
    /// Converts a signature. Operators without a conversion are noted in
    /// `unsupported`, and then the result counts for nothing.
    pub(crate) fn signature(
        &mut self,
        name: &str,
        signature: &'m messages::Signature,
        outputs: &mut GraphOutputs,
    ) -> Result<Option<Signature>, ImportError> {
        let model = self.contents.model;
        let mut frame = Frame::of(&model.graph, Vec::new());
        let mut inputs = Vec::new();
        let mut fed: Vec<(String, ValueId)> = Vec::new();
        for (key, information) in &signature.inputs {
            let invalid = |reason: &str| ImportError::InvalidGraph {
                node: format!("{name}/{key}"),
                reason: reason.to_owned(),
            };
            let Some(kind) = element_type(information.kind) else {
                self.unsupported.add(
                    "Placeholder",
                    key,
                    format!("an input of type number {}", information.kind),
                );
                return Ok(None);
            };
            let Some(Source::Output(node, port)) = model.graph.source(&information.name) else {
                self.unsupported.add("Placeholder", key, "an input that is not one tensor".to_owned());
                return Ok(None);
            };
            let view = model.graph.nodes.get(node).map(|node| model.view(node));
            let index = view.and_then(|view| view.port(port)).ok_or_else(|| invalid("no such output"))?;
            let shape = declared(information);
            let (tensor, id) = self.graph_input(key, kind, shape.clone());
            frame.fed.insert((node, index), id);
            fed.push((key.clone(), id));
            inputs.push(Binding { name: key.clone(), tensor, element_type: kind, shape });
        }
        self.examples.clear();
        self.changes(&signature.outputs.values().map(|output| output.name.as_str()).collect::<Vec<_>>());
        let wanted: Vec<&'m str> = signature.outputs.values().map(|output| output.name.as_str()).collect();
        let results = self.evaluate(&mut frame, &wanted, 0)?;
        let mut bound = Vec::new();
        for ((key, information), result) in signature.outputs.iter().zip(results) {
            let id = match result {
                Datum::Tensor(id) => id,
                Datum::Failed => return Ok(None),
                _ => {
                    self.unsupported.add("Identity", key, "an output that is not a tensor".to_owned());
                    return Ok(None);
                }
            };
            if self.builder.rank(id).is_none()
                && let Some(sizes) = declared(information)
            {
                let known = |size: Option<u64>| size.and_then(|size| i64::try_from(size).ok());
                let size = |size| known(size).map_or_else(|| self.builder.fresh(), Dimension::Known);
                let shape = sizes.into_iter().map(size).collect();
                let kind = self.builder.kind(id);
                self.builder.describe(id, kind, Some(shape));
            }
            let tensor = self.output(key, id, outputs)?;
            let element_type = self.builder.kind(id);
            bound.push(Binding { name: key.clone(), tensor, element_type, shape: declared(information) });
        }
        let examples = self.parsed(&fed);
        if let Some(examples) = &examples {
            inputs.retain(|input| input.name != examples.input);
        }
        let method = Method::parse(&signature.method);
        Ok(Some(Signature { name: name.to_owned(), method, inputs, outputs: bound, examples }))
    }

    /// How the signature's examples are parsed, if it takes some.
    fn parsed(&mut self, fed: &[(String, ValueId)]) -> Option<Examples> {
        let ParsedExamples { serialized, features } = self.examples.pop()?;
        let (input, _) = fed.iter().find(|(_, id)| *id == serialized)?;
        Some(Examples { input: input.clone(), features })
    }

    /// Gives a value a name among the graph's outputs.
    fn output(&mut self, key: &str, id: ValueId, outputs: &mut GraphOutputs) -> Result<String, ImportError> {
        let same = |(name, source, _): &&(String, ValueId, ValueId)| {
            *source == id && (name == key || name.starts_with(&format!("{key}_")))
        };
        if let Some((name, ..)) = outputs.0.iter().find(same) {
            return Ok(name.clone());
        }
        let taken = |name: &str| self.inputs.named(name) || outputs.0.iter().any(|(known, ..)| known == name);
        let name = unique(key, taken);
        let free = self.builder.constant_of(id).is_none()
            && !self.inputs.contains(id)
            && outputs.0.iter().all(|(_, _, named)| *named != id);
        let named = if free { id } else { self.builder.copy(id)? };
        outputs.0.push((name.clone(), id, named));
        Ok(name)
    }

    /// Notes the nodes of the graph that change a variable before the outputs are there.
    fn changes(&mut self, wanted: &[&str]) {
        let graph = &self.contents.model.graph;
        let node_of = |text: &str| match graph.source(text) {
            Some(Source::Output(node, _) | Source::Control(node)) => Some(node),
            _ => None,
        };
        let mut seen = vec![false; graph.nodes.len()];
        let mut open: Vec<usize> = wanted.iter().filter_map(|text| node_of(text)).collect();
        while let Some(index) = open.pop() {
            let (Some(node), Some(seen)) = (graph.nodes.get(index), seen.get_mut(index)) else { continue };
            if std::mem::replace(seen, true) {
                continue;
            }
            if super::CHANGES.contains(&node.operator.as_str()) {
                self.unsupported.add(&node.operator, &node.name, "it changes a variable".to_owned());
            }
            open.extend(node.inputs.iter().filter_map(|text| node_of(text)));
        }
    }
}
