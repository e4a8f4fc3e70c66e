//! Branches: ONNX's `If`, or the branch itself if the condition is a constant.

use super::{
    Converter,
    call::{Call, Refusal, unsupported},
    datum::Datum,
};
use crate::{
    graph::{Attributes, Operator, Shape, ValueId},
    tensor::{ElementType, Tensor},
    tensorflow::{attributes::NodeView, model::Body},
};

impl<'m> Converter<'m> {
    /// Emits for a node whose inputs are not needed.
    pub(crate) fn for_node<'c>(&'c mut self, node: NodeView<'m>) -> Call<'c, 'm> {
        Call { node, inputs: &[], builder: &mut self.builder }
    }

    /// `If` and `StatelessIf`.
    pub(crate) fn branch(
        &mut self,
        node: NodeView<'m>,
        inputs: &[Datum<'m>],
        depth: usize,
    ) -> Result<Vec<Datum<'m>>, Refusal> {
        let model = self.contents.model;
        let functions = (model.function(node.node, "then_branch"), model.function(node.node, "else_branch"));
        let (Some(yes), Some(no)) = functions else { return unsupported("its functions are missing") };
        let Some((Datum::Tensor(condition), arguments)) = inputs.split_first() else {
            return unsupported("its condition is no tensor");
        };
        let known = self.builder.constant_of(*condition).and_then(Tensor::single);
        if let Some(value) = known {
            let chosen = if value != 0.0 { yes } else { no };
            return Ok(self.call_function(chosen, arguments.to_vec(), depth + 1)?);
        }
        let mut graphs = Vec::new();
        let mut described: Vec<(ElementType, Shape)> = Vec::new();
        for function in [yes, no] {
            self.builder.open();
            let results = self.branch_inside(function, arguments, depth);
            let graph = self.builder.close(Vec::new(), results.as_ref().map_or(Vec::new(), Clone::clone));
            let results = results?;
            for (index, id) in results.iter().enumerate() {
                let value = self.builder.value(*id);
                let (kind, shape) = (value.kind, value.shape.clone());
                match described.get(index).cloned() {
                    None => described.push((kind, shape)),
                    Some((other, _)) if other != kind => return unsupported("its branches differ in type"),
                    Some((_, before)) => {
                        let both = before.zip(shape).filter(|(a, b)| a.len() == b.len());
                        let merged = both.map(|(a, b)| {
                            let pairs = a.iter().zip(&b);
                            pairs.map(|(a, b)| if a == b { *a } else { self.builder.fresh() }).collect()
                        });
                        if let Some(slot) = described.get_mut(index) {
                            slot.1 = merged;
                        }
                    }
                }
            }
            graphs.push(graph);
        }
        let condition = self.for_node(node).cast(*condition, ElementType::Bool)?;
        let (Some(no), Some(yes)) = (graphs.pop(), graphs.pop()) else { return unsupported("its branches") };
        if yes.outputs.len() != no.outputs.len() {
            return unsupported("its branches differ in their results");
        }
        let attributes = Attributes::none().with("then_branch", yes).with("else_branch", no);
        let outputs =
            self.builder.emit_many(Operator::If, vec![Some(condition)], attributes, described.len())?;
        for (output, (kind, shape)) in outputs.iter().zip(described) {
            self.builder.describe(*output, kind, shape);
        }
        Ok(outputs.into_iter().map(Datum::Tensor).collect())
    }

    fn branch_inside(
        &mut self,
        function: &'m Body,
        arguments: &[Datum<'m>],
        depth: usize,
    ) -> Result<Vec<ValueId>, Refusal> {
        let mut outputs = Vec::new();
        for result in self.call_function(function, arguments.to_vec(), depth + 1)? {
            match result {
                Datum::Tensor(id) => outputs.push(self.builder.copy(id)?),
                Datum::Failed => return unsupported("a branch can't be converted"),
                _ => return unsupported("a branch results in a handle or a list"),
            }
        }
        Ok(outputs)
    }
}
