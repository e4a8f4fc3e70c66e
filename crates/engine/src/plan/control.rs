//! Plans nodes that have graphs: `If`, `Loop`, `Scan`, `SequenceMap`.

use super::{Facts, Outcome, PlanError, Planner};
use crate::{
    control::{Branches, Carried, Loop, Scan, ScanInput, ScanOutput, SequenceMap},
    facts::{
        Fact,
        size::{LARGEST_DIMENSION, Size, Sizes},
    },
    onnx::model::{Graph, Node, ValueId},
    operators::Operator,
    tensor::{ElementType, ValueType},
};

impl Planner<'_> {
    /// The operator of a node that has graphs, and what is known of its outputs.
    pub(super) fn control(
        &mut self,
        node: &Node,
        facts: &Facts,
        sizes: &mut Sizes,
    ) -> Result<(Box<dyn Operator>, Vec<Fact>), PlanError> {
        if !node.domain.is_empty() {
            return Err(self.refusal(node, "operators with graphs are computed only of ONNX's own domain"));
        }
        self.plan.depth += 1;
        let planned = match node.operator.as_str() {
            "If" => self.branches(node, facts, sizes),
            "Loop" => self.repetition(node, facts, sizes),
            "Scan" => self.scan(node, facts, sizes),
            "SequenceMap" => self.sequence_map(node, facts, sizes),
            _ => Err(self.refusal(
                node,
                "no operator here computes it; export the model without it, or use another engine",
            )),
        };
        self.plan.depth -= 1;
        planned
    }

    fn body(&self, node: &Node, name: &str) -> Result<Graph, PlanError> {
        let found = node.graphs.iter().find(|(known, _)| known == name);
        found
            .map(|(_, graph)| graph.clone())
            .ok_or_else(|| self.refusal(node, format!("it has no graph {name}")))
    }

    /// What a nested graph may know of the values that it captures.
    fn captured(&self, node: &Node, facts: &Facts, outer: &Sizes) -> Vec<(ValueId, Fact)> {
        node.captures
            .iter()
            .map(|value| {
                let fact = self.fact(facts, *value).unwrap_or_default();
                let range = fact.bounds(outer);
                let mut inner = fact.value_type.map(Fact::typed).unwrap_or_default();
                inner.range = range;
                // Inside, a size that is not known gets a symbol of the nested program.
                inner.shape = fact.shape;
                (*value, inner)
            })
            .collect()
    }

    /// Plans a nested graph whose own inputs are of these facts.
    fn nested(
        &mut self,
        node: &Node,
        graph: Graph,
        inputs: Vec<Fact>,
        captured: Vec<(ValueId, Fact)>,
    ) -> Result<Outcome, PlanError> {
        if graph.inputs.len() != inputs.len() {
            return Err(self.refusal(
                node,
                format!("its graph has {} inputs; the node gives it {}", graph.inputs.len(), inputs.len()),
            ));
        }
        let mut entry: Vec<(ValueId, Fact)> =
            graph.inputs.iter().map(|port| port.value).zip(inputs).collect();
        entry.extend(captured);
        let mut sizes = Sizes::default();
        for (index, (_, fact)) in entry.iter_mut().enumerate() {
            // No limit of requests holds for the values of an outer program.
            sizes.input(index, &[]);
            fact.shape = fact.shape.as_ref().map(|shape| alike(shape, &mut sizes));
        }
        self.graph(graph, entry, sizes)
    }

    fn branches(
        &mut self,
        node: &Node,
        facts: &Facts,
        sizes: &mut Sizes,
    ) -> Result<(Box<dyn Operator>, Vec<Fact>), PlanError> {
        let captured = self.captured(node, facts, sizes);
        let yes = self.body(node, "then_branch")?;
        let yes = self.nested(node, yes, Vec::new(), captured.clone())?;
        let no = self.body(node, "else_branch")?;
        let no = self.nested(node, no, Vec::new(), captured)?;
        if yes.outputs.len() != no.outputs.len() || yes.outputs.len() < node.outputs.len() {
            return Err(self.refusal(node, "its branches have other numbers of outputs than it"));
        }
        let mut outputs = Vec::new();
        for (yes, no) in yes.outputs.iter().zip(&no.outputs) {
            if yes.value_type != no.value_type {
                return Err(self.refusal(node, "its branches give outputs of different types"));
            }
            let mut fact = yes.value_type.clone().map(Fact::typed).unwrap_or_default();
            fact.shape = either(yes.shape.as_deref(), no.shape.as_deref(), sizes);
            outputs.push(fact);
        }
        Ok((Box::new(Branches { yes: yes.program, no: no.program, captures: node.captures.len() }), outputs))
    }

    fn input_fact(&self, node: &Node, facts: &Facts, index: usize) -> Option<Fact> {
        node.inputs.get(index).copied().flatten().and_then(|value| self.fact(facts, value))
    }

    fn repetition(
        &mut self,
        node: &Node,
        facts: &Facts,
        sizes: &mut Sizes,
    ) -> Result<(Box<dyn Operator>, Vec<Fact>), PlanError> {
        let body = self.body(node, "body")?;
        let captured = self.captured(node, facts, sizes);
        let carried = node.inputs.len().saturating_sub(2);
        let mut scalar = Fact::typed(ValueType::Tensor(ElementType::Int64));
        // How often a loop runs is not known: the number may be anything that is counted.
        scalar.range = Some((0, i128::from(i64::MAX)));
        scalar.shape = Some(Vec::new());
        let mut condition = Fact::typed(ValueType::Tensor(ElementType::Bool));
        condition.shape = Some(Vec::new());
        let mut inputs = vec![scalar, condition];
        let mut types = Vec::new();
        let mut ranks = Vec::new();
        for index in 0..carried {
            let fact = self.input_fact(node, facts, index + 2).unwrap_or_default();
            let rank = fact.rank();
            let value_type = fact.value_type.ok_or_else(|| {
                self.refusal(node, format!("the type of its input {} is not known", index + 2))
            })?;
            types.push(value_type.clone());
            // A value may change its shape from one turn to the next. If the graph declares how many
            // dimensions it has, they stay as many, and each run checks that.
            let declared = body.inputs.get(index + 2).and_then(|port| port.declaration.shape.as_ref());
            let rank = rank.filter(|rank| declared.is_some_and(|declared| declared.len() == *rank));
            let mut inner = Fact::typed(value_type);
            inner.shape = rank.map(|rank| of_rank(rank, sizes));
            ranks.push(rank);
            inputs.push(inner);
        }
        let outcome = self.nested(node, body, inputs, captured)?;
        let scans = outcome.outputs.len().checked_sub(carried + 1).ok_or_else(|| {
            self.refusal(node, "its graph has too few outputs: a condition, and each value that it carries")
        })?;
        if node.outputs.len() > carried + scans {
            return Err(self.refusal(node, "it has more outputs than its graph"));
        }
        let mut outputs = Vec::new();
        let mut wrapped = Vec::new();
        for (index, value_type) in types.iter().enumerate() {
            let given = outcome.outputs.get(index + 1).and_then(|fact| fact.value_type.as_ref());
            let joined = join(value_type, given);
            let Some(joined) = joined else {
                return Err(
                    self.refusal(node, format!("the value {index} changes its type from turn to turn"))
                );
            };
            wrapped.push(joined != *value_type);
            let mut fact = Fact::typed(joined);
            fact.shape = ranks.get(index).copied().flatten().map(|rank| of_rank(rank, sizes));
            outputs.push(fact);
        }
        let mut scanned = Vec::new();
        for (index, fact) in outcome.outputs.iter().enumerate().skip(carried + 1) {
            let Some(element_type) = fact.element_type() else {
                return Err(self.refusal(node, "it gathers values that are not tensors"));
            };
            let shape = outcome.shape_unrun(index);
            let mut gathered = Fact::typed(ValueType::Tensor(element_type));
            gathered.shape = fact.rank().map(|rank| of_rank(rank + 1, sizes));
            outputs.push(gathered);
            scanned.push(Carried { element_type, shape });
        }
        let operator = Loop { body: outcome.program, wrapped, ranks, scanned, captures: node.captures.len() };
        Ok((Box::new(operator), outputs))
    }

    fn scan(
        &mut self,
        node: &Node,
        facts: &Facts,
        sizes: &mut Sizes,
    ) -> Result<(Box<dyn Operator>, Vec<Fact>), PlanError> {
        let body = self.body(node, "body")?;
        let captured = self.captured(node, facts, sizes);
        let batched = node.opset < 9;
        let first = usize::from(batched);
        let integers = |name: &str| {
            node.attributes.integers(name).map(|values| values.map(<[i64]>::to_vec).unwrap_or_default())
        };
        let read = || {
            Ok::<_, crate::operators::AttributeError>((
                node.attributes.integer("num_scan_inputs")?.unwrap_or(0),
                integers("scan_input_axes")?,
                integers("scan_output_axes")?,
                integers(if batched { "directions" } else { "scan_input_directions" })?,
                integers("scan_output_directions")?,
            ))
        };
        let (count, input_axes, output_axes, input_directions, output_directions) =
            read().map_err(|error| self.refusal(node, error.to_string()))?;
        let given = node.inputs.len().saturating_sub(first);
        let count =
            usize::try_from(count).ok().filter(|count| (1..=given).contains(count)).ok_or_else(|| {
                self.refusal(node, format!("num_scan_inputs is {count}; it has {given} inputs"))
            })?;
        if batched && node.inputs.first().copied().flatten().is_some() {
            return Err(self.refusal(node, "sequence_lens is not computed; use opset 9 or later"));
        }
        let states = given - count;
        let mut inputs = Vec::new();
        let mut scan_inputs = Vec::new();
        for index in 0..given {
            let fact = self.input_fact(node, facts, index + first).unwrap_or_default();
            let Some(element_type) = fact.element_type() else {
                return Err(self.refusal(node, format!("its input {} is not a tensor", index + first)));
            };
            let mut inner = Fact::typed(ValueType::Tensor(element_type));
            if index < states && !batched {
                // Each turn gives a state as many dimensions as it had, and each run checks that.
                inner.shape = fact.rank().map(|rank| of_rank(rank, sizes));
            }
            if let Some(scan) = index.checked_sub(states) {
                let axis = input_axes.get(scan).copied().unwrap_or(0);
                scan_inputs.push(ScanInput {
                    axis,
                    backwards: input_directions.get(scan).copied().unwrap_or(0) == 1,
                });
                inner.shape = fact.shape.as_ref().filter(|_| !batched).and_then(|shape| {
                    let position =
                        usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
                    let mut shape = shape.clone();
                    (position < shape.len()).then(|| shape.remove(position))?;
                    Some(shape)
                });
            }
            inputs.push(inner);
        }
        let outcome = self.nested(node, body, inputs.clone(), captured)?;
        let scans = outcome
            .outputs
            .len()
            .checked_sub(states)
            .ok_or_else(|| self.refusal(node, "its graph has fewer outputs than states"))?;
        let mut outputs = Vec::new();
        let mut scan_outputs = Vec::new();
        for (index, fact) in outcome.outputs.iter().enumerate() {
            let Some(element_type) = fact.element_type() else {
                return Err(self.refusal(node, format!("its output {index} is not a tensor")));
            };
            let mut found = Fact::typed(ValueType::Tensor(element_type));
            if !batched {
                let rank = match index.checked_sub(states) {
                    Some(_) => fact.rank().map(|rank| rank + 1),
                    None => inputs.get(index).and_then(Fact::rank),
                };
                found.shape = rank.map(|rank| of_rank(rank, sizes));
            }
            outputs.push(found);
            if let Some(scan) = index.checked_sub(states) {
                scan_outputs.push(ScanOutput {
                    element_type,
                    shape: outcome.shape_unrun(index),
                    axis: output_axes.get(scan).copied().unwrap_or(0),
                    backwards: output_directions.get(scan).copied().unwrap_or(0) == 1,
                });
            } else if inputs.get(index).and_then(Fact::element_type) != Some(element_type) {
                return Err(
                    self.refusal(node, format!("the state {index} changes its type from turn to turn"))
                );
            }
        }
        debug_assert_eq!(scan_outputs.len(), scans);
        let ranks = inputs.iter().take(states).map(Fact::rank).collect();
        let operator = Scan {
            body: outcome.program,
            states,
            ranks,
            inputs: scan_inputs,
            outputs: scan_outputs,
            batched,
            captures: node.captures.len(),
        };
        Ok((Box::new(operator), outputs))
    }

    fn sequence_map(
        &mut self,
        node: &Node,
        facts: &Facts,
        sizes: &mut Sizes,
    ) -> Result<(Box<dyn Operator>, Vec<Fact>), PlanError> {
        let body = self.body(node, "body")?;
        let captured = self.captured(node, facts, sizes);
        let mut inputs = Vec::new();
        let mut is_sequence = Vec::new();
        for index in 0..node.inputs.len() {
            let value_type = self.input_fact(node, facts, index).and_then(|fact| fact.value_type);
            let (inner, sequence) = match value_type {
                Some(ValueType::Sequence(element_type)) => (ValueType::Tensor(element_type), true),
                Some(other) => (other, false),
                None => return Err(self.refusal(node, format!("the type of its input {index} is not known"))),
            };
            inputs.push(Fact::typed(inner));
            is_sequence.push(sequence);
        }
        if is_sequence.first() != Some(&true) {
            return Err(self.refusal(node, "its first input is not a sequence"));
        }
        let outcome = self.nested(node, body, inputs, captured)?;
        let mut outputs = Vec::new();
        let mut types = Vec::new();
        for fact in &outcome.outputs {
            let Some(element_type) = fact.element_type() else {
                return Err(self.refusal(node, "its graph gives values that are not tensors"));
            };
            outputs.push(Fact::typed(ValueType::Sequence(element_type)));
            types.push(element_type);
        }
        Ok((
            Box::new(SequenceMap {
                body: outcome.program,
                is_sequence,
                types,
                captures: node.captures.len(),
            }),
            outputs,
        ))
    }
}

/// The type of a value that is first of one type and then of another. An optional may begin
/// as what it holds.
fn join(first: &ValueType, later: Option<&ValueType>) -> Option<ValueType> {
    match (first, later) {
        (first, Some(later)) if first == later => Some(first.clone()),
        (ValueType::Optional(inner), Some(later)) if inner.as_ref() == later => Some(later.clone()),
        _ => None,
    }
}

/// A dimension of which nothing is known.
fn any(sizes: &mut Sizes) -> Size {
    sizes.unknown(0, LARGEST_DIMENSION)
}

/// A shape of which the number of dimensions is known.
fn of_rank(rank: usize, sizes: &mut Sizes) -> Vec<Size> {
    (0..rank).map(|_| any(sizes)).collect()
}

/// A shape of another program: known dimensions are the same.
fn alike(shape: &[Size], sizes: &mut Sizes) -> Vec<Size> {
    shape.iter().map(|size| if size.value().is_some() { size.clone() } else { any(sizes) }).collect()
}

/// A shape that is one of two, of other programs.
fn either(left: Option<&[Size]>, right: Option<&[Size]>, sizes: &mut Sizes) -> Option<Vec<Size>> {
    let (left, right) = (left?, right?);
    let join = |(left, right): (&Size, &Size)| match (left.value(), right.value()) {
        (Some(known), Some(other)) if known == other => left.clone(),
        _ => any(sizes),
    };
    (left.len() == right.len()).then(|| left.iter().zip(right).map(join).collect())
}
