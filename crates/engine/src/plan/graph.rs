//! Plans one graph.

use std::collections::{HashMap, HashSet};

use super::{
    Facts, Outcome, PlanError, Planner,
    describe::{Line, Worker},
    placement::{Placed, stage},
};
use crate::{
    facts::{Fact, size::Sizes},
    island::rules::Producers,
    onnx::model::{Graph, Node, ValueId},
    outside::Outside,
    tensor::ValueType,
};

impl Planner<'_> {
    /// Plans a graph whose inputs, and the values that it captures, are `entry`, in the order in
    /// which the program takes them.
    pub(super) fn graph(
        &mut self,
        graph: Graph,
        entry: Vec<(ValueId, Fact)>,
        mut sizes: Sizes,
    ) -> Result<Outcome, PlanError> {
        let Graph { nodes, outputs, .. } = graph;
        let entries: Vec<ValueId> = entry.iter().map(|(value, _)| *value).collect();
        let mut facts: Facts = entry.into_iter().collect();
        let nodes = self.fuse_quantised(nodes, &outputs)?;
        let nodes = self.expand_contributed(nodes)?;
        let nodes = self.live(nodes, outputs.iter().map(|port| port.value));
        let mut placed = Vec::new();
        let mut nodes = nodes;
        let mut origins: HashMap<ValueId, usize> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for output in node.outputs.iter().flatten() {
                origins.insert(*output, index);
            }
        }
        let mut placements = Vec::with_capacity(nodes.len());
        for index in 0..nodes.len() {
            // Constants are constants in nested graphs, too, those that were folded included.
            if let Some(node) = nodes.get_mut(index) {
                node.captures.retain(|value| !self.constants.contains(*value));
            }
            let Some(node) = nodes.get(index) else { break };
            let producers = Producers { nodes: &nodes, origins: &origins };
            let placement = self.place(node, producers, &mut facts, &mut sizes)?;
            let worker = if placement.is_some() { Worker::Own } else { Worker::Folded };
            placements.push((placement, self.describe(node, &facts, &sizes, worker)));
        }
        for (node, (placement, line)) in nodes.into_iter().zip(placements) {
            placed.extend(placement.map(|placement| Placed { node, placement, stage: 0, line }));
        }
        let placed = self.compile_quantised_regions(placed, &facts, &outputs)?;
        let placed = self.pack_products(placed, &facts)?;
        let placed = self.pack_blocks(placed, &facts)?;
        let placed = self.leave_out_expansions(placed, &facts, &outputs)?;
        let placed = self.fuse_functions(placed, &facts, &outputs)?;
        let placed = self.compile_regions(placed, &facts, &outputs)?;
        let placed = self.pack_convolutions(placed, &facts)?;
        let placed = self.pack_volumes(placed, &facts)?;
        let mut placed = self.fuse(placed, &facts, &outputs)?;
        // Those who pack weights straight from the file have done so.
        self.constants.close_file();
        stage(&mut placed);
        self.take_light_islands(&mut placed, &facts)?;

        let program = self.emit(placed, &facts, &sizes, &entries, &outputs)?;
        let mut output_facts = Vec::new();
        for port in &outputs {
            output_facts.push(self.fact(&facts, port.value).unwrap_or_default());
        }
        let ports = outputs.into_iter().map(|port| port.declaration).collect();
        Ok(Outcome { program, outputs: output_facts, ports })
    }

    pub(super) fn fact(&self, facts: &Facts, value: ValueId) -> Option<Fact> {
        facts.get(&value).cloned().or_else(|| self.constants.fact(value))
    }

    /// The nodes that the outputs need.
    fn live(&mut self, nodes: Vec<Node>, outputs: impl Iterator<Item = ValueId>) -> Vec<Node> {
        let mut needed: HashSet<ValueId> = outputs.collect();
        let mut kept = Vec::with_capacity(nodes.len());
        for node in nodes.into_iter().rev() {
            if node.outputs.iter().flatten().any(|output| needed.contains(output)) {
                needed.extend(node.inputs.iter().flatten());
                needed.extend(&node.captures);
                kept.push(node);
            } else {
                self.constants.forget(&node);
            }
        }
        kept.reverse();
        kept
    }

    fn describe(&mut self, node: &Node, facts: &Facts, sizes: &Sizes, worker: Worker) -> usize {
        let outputs = node
            .outputs
            .iter()
            .flatten()
            .map(|output| {
                let fact = self.fact(facts, *output).unwrap_or_default();
                let value_type =
                    fact.value_type.as_ref().map_or_else(|| "?".to_owned(), ValueType::to_string);
                let shape = fact.shape.as_ref().map_or_else(
                    || "?".to_owned(),
                    |shape| shape.iter().map(|size| sizes.write(size)).collect::<Vec<_>>().join(","),
                );
                format!("{value_type}[{shape}]")
            })
            .collect();
        let line = Line {
            depth: self.plan.depth,
            node: self.line_name(node),
            operator: node.operator.clone(),
            worker,
            outside: if node.graphs.is_empty() { Outside::Operator } else { Outside::Graphs },
            outputs,
        };
        self.plan.lines.push(line);
        self.plan.lines.len() - 1
    }

    fn line_name(&self, node: &Node) -> String {
        let first = node.outputs.iter().flatten().next();
        first.and_then(|output| self.names.get(output.index())).cloned().unwrap_or_else(|| node.name.clone())
    }
}
