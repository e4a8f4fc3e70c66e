//! Plans one graph.

use std::collections::{HashMap, HashSet};

use super::{
    Facts, Outcome, PlanError, Planner,
    constants::Taking,
    describe::{Line, Worker},
    fold::{fold, is_deterministic, is_small},
    partition::{Stages, Vertex},
};
use crate::{
    facts::{
        Fact, Inferred, Query, infer,
        size::{Size, Sizes},
    },
    island::{
        Operand, Translation,
        build::{BuildError, build},
        plot::{Member, Plot},
        rules::{Producers, View, translate},
    },
    onnx::model::{Graph, Node, ValueId},
    operators::{Built, Definition, Input, Operator, Refusal, find},
    program::{Label, Program, Source, Step},
    tensor::{ElementType, Tensor, Value, ValueType},
};

/// Bytes that rten may compute at load beyond eight times the file.
const FIXED: usize = 64 << 20;

/// How often islands are formed again when some were dissolved.
const LIGHT_ROUNDS: usize = 4;

/// Who computes a node.
enum Placement {
    Own(Box<dyn Operator>),
    Island(Translation),
}

/// A node that somebody computes at a run.
struct Placed {
    node: Node,
    placement: Placement,
    stage: usize,
    /// The node's line in the description of the plan.
    line: usize,
}

impl Placed {
    /// The values that it takes; `None` for an input that is left out.
    fn inputs(&self) -> impl Iterator<Item = Option<ValueId>> {
        self.node.inputs.iter().copied().chain(self.node.captures.iter().copied().map(Some))
    }
}

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

    /// Decides who computes a node; `None` if it was computed.
    fn place(
        &mut self,
        node: &Node,
        producers: Producers<'_>,
        facts: &mut Facts,
        sizes: &mut Sizes,
    ) -> Result<Option<Placement>, PlanError> {
        let mut inputs: Vec<Option<Fact>> = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(match input {
                None => None,
                Some(value) => Some(
                    self.fact(facts, *value)
                        .ok_or_else(|| self.refusal(node, "the type of an input is not known"))?,
                ),
            });
        }
        if !node.graphs.is_empty() {
            let (operator, output_facts) = self.control(node, facts, sizes)?;
            for (output, fact) in node.outputs.iter().zip(output_facts) {
                if let Some(output) = output {
                    facts.insert(*output, fact);
                }
            }
            return Ok(Some(Placement::Own(operator)));
        }

        let present: Vec<&Fact> = inputs.iter().flatten().collect();
        let all_constant = present.iter().all(|fact| fact.is_constant);
        let sizes_of = present.iter().map(|fact| match (&fact.constant, fact.known_shape()) {
            (Some(constant), _) => constant.bytes(),
            (None, Some(shape)) => shape.iter().copied().fold(8, usize::saturating_mul),
            (None, None) => usize::MAX,
        });
        if all_constant && is_deterministic(node) && is_small(sizes_of) && self.fold(node)? {
            return Ok(None);
        }

        let references: Vec<Option<&Fact>> = inputs.iter().map(Option::as_ref).collect();
        let fact = |value: ValueId| self.fact(facts, value);
        let view = View { node, inputs: &references, sizes, producers, fact: &fact };
        let translation = if self.is_rounded(&references) { None } else { translate(&view) };
        let inferred = infer(&Query { node, inputs: &references }, sizes);
        // rten computes at load what depends on constants only, and asks nobody for the memory.
        let is_fixed = references.iter().flatten().all(|fact| fact.is_fixed);
        let fixed = if is_fixed { known_bytes(&inferred) } else { Some(0) };
        let translation = match fixed.and_then(|bytes| self.fixed_bytes.checked_add(bytes)) {
            Some(total) if total <= self.plan.file.saturating_mul(8).saturating_add(FIXED) => {
                self.fixed_bytes = total;
                translation
            }
            _ => None,
        };
        let in_island = translation.is_some();
        let (placement, types) = match translation {
            Some(translation) => {
                let types = translation.types.clone();
                (Placement::Island(translation), types)
            }
            None => {
                let built = self.own(node, facts)?;
                (Placement::Own(built.operator), built.types)
            }
        };
        if let Some(values) = known_outputs(node, &types, &inferred) {
            for (output, tensor) in node.outputs.iter().zip(values) {
                if let Some(output) = output {
                    self.constants.insert(*output, tensor);
                }
            }
            self.constants.forget(node);
            return Ok(None);
        }
        let mut inferred = inferred.into_iter();
        for (index, output) in node.outputs.iter().enumerate() {
            let found = inferred.next().unwrap_or_default();
            let Some(output) = output else { continue };
            let value_type = types.get(index).cloned().ok_or_else(|| {
                self.refusal(node, format!("it has no output {index}, which the model takes"))
            })?;
            let is_tensor = matches!(value_type, ValueType::Tensor(_));
            let mut fact = Fact::typed(value_type);
            fact.is_fixed = is_fixed && in_island;
            if is_tensor {
                fact.shape = found.shape;
                fact.range = found.range;
                fact = fact.with_contents(found.contents);
            }
            facts.insert(*output, fact);
        }
        Ok(Some(placement))
    }

    /// Whether a node's numbers are rounded to a narrow type after each operator, which islands do
    /// not: they compute in 32 bits, as other runtimes do for models with weights of 16 bits.
    /// Without such weights there is no speed to win.
    fn is_rounded(&self, inputs: &[Option<&Fact>]) -> bool {
        !self.has_half_weights
            && inputs
                .iter()
                .flatten()
                .any(|fact| matches!(fact.element_type(), Some(ElementType::Half | ElementType::Bfloat16)))
    }

    /// Computes a node of constants. False if that can't be done, or is not worth it.
    fn fold(&mut self, node: &Node) -> Result<bool, PlanError> {
        let Ok(Ok(built)) = self.build(node, &Facts::new()) else { return Ok(false) };
        let mut inputs = Vec::new();
        for input in &node.inputs {
            inputs.push(match input {
                None => None,
                Some(value) => self.constants.tensor(*value, self.files)?.map(Value::Tensor),
            });
        }
        let Some(outputs) = fold(built.operator.as_ref(), inputs) else { return Ok(false) };
        if outputs.len() < node.outputs.len() {
            return Ok(false);
        }
        for (output, tensor) in node.outputs.iter().zip(outputs) {
            if let Some(output) = output {
                self.constants.insert(*output, tensor);
            }
        }
        self.constants.forget(node);
        Ok(true)
    }

    /// Our own operator of a node.
    fn own(&mut self, node: &Node, facts: &Facts) -> Result<Built, PlanError> {
        match self.build(node, facts)? {
            Ok(built) => Ok(built),
            Err(Some(refusal)) => Err(self.refusal(node, refusal.reason)),
            Err(None) => Err(self.refusal(
                node,
                "no operator here computes it; export the model without it, or use another engine",
            )),
        }
    }

    /// Our own operator of a node. The inner error is why not; `None` if there is none.
    fn build(&mut self, node: &Node, facts: &Facts) -> Result<Result<Built, Option<Refusal>>, PlanError> {
        let Some(builder) = find(&node.domain, &node.operator) else { return Ok(Err(None)) };
        let mut known: Vec<Option<(ValueType, Option<Tensor>)>> = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            known.push(match input {
                None => None,
                Some(value) => match self.constants.tensor(*value, self.files)? {
                    Some(tensor) => Some((ValueType::Tensor(tensor.element_type()), Some(tensor))),
                    None => {
                        facts.get(value).and_then(|fact| fact.value_type.clone()).map(|known| (known, None))
                    }
                },
            });
        }
        let inputs: Vec<Option<Input<'_>>> = known
            .iter()
            .map(|known| {
                known.as_ref().map(|(value_type, constant)| Input { value_type, constant: constant.as_ref() })
            })
            .collect();
        let definition = Definition {
            operator: &node.operator,
            opset: node.opset,
            attributes: &node.attributes,
            inputs: &inputs,
            outputs: node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1),
        };
        Ok(builder(&definition).map_err(Some))
    }

    /// Islands without heavy nodes are computed by our own operators where we have them all:
    /// to hand values over costs more than they do.
    fn take_light_islands(&mut self, placed: &mut [Placed], facts: &Facts) -> Result<(), PlanError> {
        for _ in 0..LIGHT_ROUNDS {
            let mut islands: HashMap<usize, (bool, Vec<usize>)> = HashMap::new();
            for (index, entry) in placed.iter().enumerate() {
                if let Placement::Island(translation) = &entry.placement {
                    let island = islands.entry(entry.stage).or_default();
                    island.0 |= translation.heavy;
                    island.1.push(index);
                }
            }
            let mut changed = false;
            for (_, members) in islands.into_values().filter(|(heavy, _)| !heavy) {
                let mut operators = Vec::with_capacity(members.len());
                for index in &members {
                    let Some(entry) = placed.get(*index) else { break };
                    match self.build(&entry.node, facts)? {
                        Ok(built) => operators.push(built.operator),
                        Err(_) => break,
                    }
                }
                if operators.len() < members.len() {
                    continue;
                }
                for (index, operator) in members.into_iter().zip(operators) {
                    if let Some(entry) = placed.get_mut(index) {
                        entry.placement = Placement::Own(operator);
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
            stage(placed);
        }
        Ok(())
    }

    /// The program of nodes that have their places.
    fn emit(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        sizes: &Sizes,
        entries: &[ValueId],
        outputs: &[crate::onnx::model::Port],
    ) -> Result<Program, PlanError> {
        let mut slots: HashMap<ValueId, usize> = HashMap::new();
        for value in entries {
            let next = slots.len();
            slots.entry(*value).or_insert(next);
        }
        let mut steps: Vec<Step> = Vec::new();
        let leaving = leaving(&placed, outputs.iter().map(|port| port.value));
        let last = placed.iter().map(|entry| entry.stage).max().unwrap_or(0);
        let mut by_stage: Vec<(Vec<Placed>, Vec<Placed>)> = Vec::new();
        by_stage.resize_with(last + 1, Default::default);
        for entry in placed {
            if let Some((islands, own)) = by_stage.get_mut(entry.stage) {
                match entry.placement {
                    Placement::Island(_) => islands.push(entry),
                    Placement::Own(_) => own.push(entry),
                }
            }
        }
        for index in 0..by_stage.len() {
            let Some((islands, own)) = by_stage.get_mut(index).map(std::mem::take) else { continue };
            if !islands.is_empty() {
                steps.push(self.island(islands, &leaving, facts, sizes, &mut slots)?);
            }
            for entry in own {
                steps.push(self.step(entry, &mut slots)?);
            }
        }
        let mut sources = Vec::new();
        for port in outputs {
            sources.push(self.source(port.value, &mut slots)?);
        }
        let inputs = entries.iter().filter_map(|value| slots.get(value).copied()).collect();
        Ok(Program::new(steps, slots.len(), inputs, sources))
    }

    fn source(&mut self, value: ValueId, slots: &mut HashMap<ValueId, usize>) -> Result<Source, PlanError> {
        if let Some(tensor) = self.constants.tensor(value, self.files)? {
            return Ok(Source::Constant(Value::Tensor(tensor)));
        }
        let next = slots.len();
        Ok(Source::Slot(*slots.entry(value).or_insert(next)))
    }

    fn step(&mut self, entry: Placed, slots: &mut HashMap<ValueId, usize>) -> Result<Step, PlanError> {
        let mut inputs = Vec::new();
        for value in entry.inputs() {
            inputs.push(match value {
                None => None,
                Some(value) => Some(self.source(value, slots)?),
            });
        }
        let Placed { node, placement, .. } = entry;
        let Placement::Own(operator) = placement else {
            return Err(self.refusal(&node, "it was given to nobody"));
        };
        for value in node.inputs.iter().flatten() {
            self.constants.release(*value, 1);
        }
        let outputs = node
            .outputs
            .iter()
            .map(|output| {
                output.map(|value| {
                    let next = slots.len();
                    *slots.entry(value).or_insert(next)
                })
            })
            .collect();
        let label = Label { name: node.name, operator: node.operator };
        Ok(Step { operator, inputs, outputs, label })
    }

    fn island(
        &mut self,
        entries: Vec<Placed>,
        used: &HashSet<ValueId>,
        facts: &Facts,
        sizes: &Sizes,
        slots: &mut HashMap<ValueId, usize>,
    ) -> Result<Step, PlanError> {
        let name = entries.first().map(|entry| entry.node.name.clone()).unwrap_or_default();
        let label = Label { name, operator: format!("and {} more nodes", entries.len().saturating_sub(1)) };
        let number = self.plan.islands;
        self.plan.islands += 1;
        let mut counts: HashMap<ValueId, usize> = HashMap::new();
        let mut members = Vec::with_capacity(entries.len());
        for entry in entries {
            for value in entry.node.inputs.iter().flatten() {
                *counts.entry(*value).or_insert(0) += 1;
            }
            if let Some(line) = self.plan.lines.get_mut(entry.line) {
                line.worker = Worker::Island(number);
            }
            let Placement::Island(translation) = entry.placement else { continue };
            members.push(Member { translation, outputs: entry.node.outputs });
        }
        let mut leaving: Vec<ValueId> =
            members.iter().flat_map(|member| member.outputs.iter().flatten()).copied().collect();
        leaving.retain(|value| used.contains(value));
        // Facts of constants are in the store.
        let mut known: Facts = Facts::new();
        for member in &members {
            for operand in member.translation.nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
                if let Operand::Value(value) = operand
                    && let Some(fact) = self.fact(facts, *value)
                {
                    known.insert(*value, fact);
                }
            }
        }
        for value in members.iter().flat_map(|member| member.outputs.iter().flatten()) {
            if let Some(fact) = facts.get(value) {
                known.insert(*value, fact.clone());
            }
        }
        let plot = Plot { members: &members, outputs: leaving.clone(), facts: &known, sizes };
        let mut taking = Taking { store: &mut self.constants, counts: counts.clone() };
        let built = build(&plot, &mut taking, self.files).map_err(|error| match error {
            BuildError::Onnx(error) => PlanError::Onnx(error),
            BuildError::Engine(reason) => PlanError::Engine { reason },
        })?;
        for (value, count) in counts {
            self.constants.release(value, count);
        }
        let mut slot = |value: &ValueId| {
            let next = slots.len();
            *slots.entry(*value).or_insert(next)
        };
        let inputs = built.inputs.iter().map(|value| Some(Source::Slot(slot(value)))).collect();
        let outputs = leaving.iter().map(|value| Some(slot(value))).collect();
        Ok(Step { operator: Box::new(built.island), inputs, outputs, label })
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

/// The bytes of outputs, if their shapes are known.
fn known_bytes(outputs: &[Inferred]) -> Option<usize> {
    if outputs.is_empty() {
        return None;
    }
    outputs.iter().try_fold(0_usize, |sum, output| {
        let shape = output.shape.as_ref()?;
        let bytes = shape
            .iter()
            .try_fold(4_usize, |product, size| product.checked_mul(usize::try_from(size.value()?).ok()?))?;
        sum.checked_add(bytes)
    })
}

/// The outputs of a node, if their numbers follow from what is known of shapes.
fn known_outputs(node: &Node, types: &[ValueType], inferred: &[Inferred]) -> Option<Vec<Tensor>> {
    if node.outputs.is_empty() || inferred.len() < node.outputs.len() {
        return None;
    }
    let known = |(value_type, inferred): (&ValueType, &Inferred)| {
        let shape = inferred.shape.as_ref()?;
        let shape: Option<Vec<usize>> =
            shape.iter().map(|size| usize::try_from(size.value()?).ok()).collect();
        let numbers: Option<Vec<i64>> = inferred.contents.as_ref()?.iter().map(Size::value).collect();
        match value_type.tensor()? {
            ElementType::Int64 => Tensor::from_vec(shape?, numbers?),
            ElementType::Int32 => {
                let numbers: Option<Vec<i32>> =
                    numbers?.into_iter().map(|number| i32::try_from(number).ok()).collect();
                Tensor::from_vec(shape?, numbers?)
            }
            _ => None,
        }
    };
    types.iter().zip(inferred).take(node.outputs.len()).map(known).collect()
}

/// The values that leave the islands that make them.
fn leaving(placed: &[Placed], outputs: impl Iterator<Item = ValueId>) -> HashSet<ValueId> {
    let island = |entry: &Placed| matches!(entry.placement, Placement::Island(_)).then_some(entry.stage);
    let mut origin: HashMap<ValueId, Option<usize>> = HashMap::new();
    let mut leaving: HashSet<ValueId> = outputs.collect();
    for entry in placed {
        for input in entry.inputs().flatten() {
            if origin.get(&input).is_some_and(|maker| *maker != island(entry)) {
                leaving.insert(input);
            }
        }
        for output in entry.node.outputs.iter().flatten() {
            origin.insert(*output, island(entry));
        }
    }
    leaving
}

/// Gives all nodes their stages.
fn stage(placed: &mut [Placed]) {
    let mut stages = Stages::default();
    for entry in placed {
        let island_nodes = match &entry.placement {
            Placement::Island(translation) => Some(translation.nodes.len()),
            Placement::Own(_) => None,
        };
        entry.stage = stages.next(Vertex {
            inputs: &mut entry.node.inputs.iter().flatten().chain(&entry.node.captures).copied(),
            outputs: &mut entry.node.outputs.iter().flatten().copied(),
            island_nodes,
        });
    }
}
