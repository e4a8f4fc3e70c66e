//! Loops. A loop that counts to a limit becomes an ONNX `Loop` with that number
//! of turns, whose counters are its turn's number; the lists that it fills become
//! what the turns append.

use super::{
    Converter, Frame,
    call::{Refusal, unsupported},
    datum::{Datum, List},
    lists,
    roles::{Role, counts, limits, origin},
};
use crate::{
    graph::{Attributes, Dimension, Operator, Shape, Subgraph, ValueId},
    tensor::{ElementType, Tensor},
    tensorflow::{attributes::NodeView, edges::Source, model::Body},
};

/// Assumptions of shapes that are tried.
const ATTEMPTS: usize = 8;

/// A state at the start of every turn.
#[derive(Debug, Clone)]
struct State {
    initial: ValueId,
    kind: ElementType,
    shape: Shape,
}

/// A loop being converted.
struct Plan<'c, 'm> {
    node: NodeView<'m>,
    condition: &'m Body,
    body: &'m Body,
    inputs: &'c [Datum<'m>],
    roles: Vec<Role>,
    /// The types of the lists that the turns fill.
    filled: Vec<ElementType>,
    /// How many turns there are, if that is known before the first: a scalar.
    turns: Option<ValueId>,
    depth: usize,
}

/// The outcome of converting a body.
enum Turn {
    /// The states' shapes were assumed too narrow.
    Widened(Vec<State>),
    Done(Converted),
}

/// A converted body.
struct Converted {
    arguments: Vec<ValueId>,
    results: Vec<ValueId>,
    /// What a turn appends to the lists.
    elements: Vec<ValueId>,
}

impl Plan<'_, '_> {
    /// In a loop whose end is computed, the counters are states too: each with its argument's place.
    fn counters(&self) -> Vec<(usize, i64, ElementType)> {
        if self.turns.is_some() {
            return Vec::new();
        }
        let counters = self.roles.iter().enumerate();
        let counters = counters.filter_map(|(index, role)| match role {
            Role::Counter(start, kind) => Some((index, *start, *kind)),
            _ => None,
        });
        counters.collect()
    }
}

impl<'m> Converter<'m> {
    /// `While` and `StatelessWhile`.
    pub(crate) fn while_loop(
        &mut self,
        node: NodeView<'m>,
        inputs: &[Datum<'m>],
        depth: usize,
    ) -> Result<Vec<Datum<'m>>, Refusal> {
        let model = self.contents.model;
        let functions = (model.function(node.node, "cond"), model.function(node.node, "body"));
        let (Some(condition), Some(body)) = functions else {
            return unsupported("its functions are missing");
        };
        let count = inputs.len();
        let arguments = (body.results.len(), body.arguments.len(), condition.arguments.len());
        if arguments != (count, count, count) {
            return unsupported("its functions don't fit its inputs");
        }
        let (roles, mut states, filled) = self.roles(body, inputs)?;
        let mut plan = Plan { node, condition, body, inputs, roles, filled, turns: None, depth };
        if let Some(limits) = limits(condition, &plan.roles) {
            plan.turns = Some(self.turns(&plan, &limits)?);
        }
        for (index, _, kind) in plan.counters() {
            if let Some(Datum::Tensor(initial)) = inputs.get(index) {
                states.push(State { initial: *initial, kind, shape: Some(Vec::new()) });
            }
        }
        let refused = self.unsupported.clone();
        for _ in 0..ATTEMPTS {
            self.unsupported = refused.clone();
            self.builder.open();
            let turn = self.turn(&plan, &states);
            let (arguments, results) = match &turn {
                Ok(Turn::Done(done)) => (done.arguments.clone(), done.results.clone()),
                _ => (Vec::new(), Vec::new()),
            };
            let graph = self.builder.close(arguments, results);
            match turn? {
                Turn::Widened(wider) => states = wider,
                Turn::Done(done) => return self.finish(&plan, &states, graph, &done.elements),
            }
        }
        unsupported("the shapes of its variables don't settle")
    }

    #[expect(clippy::type_complexity, reason = "the three parts have no meaning together")]
    fn roles(
        &mut self,
        body: &Body,
        inputs: &[Datum<'m>],
    ) -> Result<(Vec<Role>, Vec<State>, Vec<ElementType>), Refusal> {
        let (mut roles, mut states, mut filled) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (input, result)) in inputs.iter().zip(&body.results).enumerate() {
            if origin(body, result) == Some(Source::Argument(index)) {
                roles.push(Role::Invariant);
                continue;
            }
            roles.push(match input {
                Datum::List(List::Reserved(length, kind)) => {
                    filled.push(*kind);
                    Role::Filled(filled.len() - 1, *length)
                }
                Datum::Tensor(id) => {
                    let start = self.builder.constant_of(*id).filter(|tensor| tensor.dimensions().is_empty());
                    let kind = self.builder.kind(*id);
                    let start = start.filter(|_| kind.is_integer()).and_then(Tensor::integers);
                    match start.as_deref() {
                        Some([start]) if counts(self, body, result, index) => Role::Counter(*start, kind),
                        _ => {
                            let shape = self.builder.value(*id).shape.clone();
                            states.push(State { initial: *id, kind, shape });
                            Role::State(states.len() - 1)
                        }
                    }
                }
                _ => return unsupported("a turn changes a handle or a whole list"),
            });
        }
        Ok((roles, states, filled))
    }

    /// How many turns a counted loop takes: a scalar.
    fn turns(&mut self, plan: &Plan<'_, 'm>, limits: &[(usize, &'m str)]) -> Result<ValueId, Refusal> {
        let mut frame = Frame::of(plan.condition, plan.inputs.to_vec());
        let mut least: Option<ValueId> = None;
        for (counter, limit) in limits {
            let Some(Role::Counter(start, _)) = plan.roles.get(*counter) else { continue };
            let mut found = self.evaluate(&mut frame, &[limit], plan.depth + 1)?;
            let Some(Datum::Tensor(limit)) = found.pop() else {
                return unsupported("its limit is no tensor");
            };
            let mut call = self.for_node(plan.node);
            let mut turns = call.cast(limit, ElementType::Int64)?;
            if *start != 0 {
                let start = call.builder.constant(Tensor::integer(*start))?;
                turns = call.apply(Operator::Sub, &[turns, start])?;
            }
            let same = |other: ValueId| {
                let elements = call.builder.elements(turns);
                elements.is_some() && elements == call.builder.elements(other)
            };
            least = Some(match least {
                None => turns,
                Some(other) if other == turns || same(other) => other,
                Some(other) => call.apply(Operator::Min, &[other, turns])?,
            });
        }
        match least {
            Some(turns) => Ok(turns),
            None => unsupported("it has no limit"),
        }
    }

    /// Converts the body once, with what is assumed of the states.
    fn turn(&mut self, plan: &Plan<'_, 'm>, states: &[State]) -> Result<Turn, Refusal> {
        let number = self.builder.input(ElementType::Int64, Some(Vec::new()));
        let going_on = self.builder.input(ElementType::Bool, Some(Vec::new()));
        let variables: Vec<ValueId> =
            states.iter().map(|state| self.builder.input(state.kind, state.shape.clone())).collect();
        let mut arguments = Vec::with_capacity(plan.inputs.len());
        for (role, input) in plan.roles.iter().zip(plan.inputs) {
            arguments.push(match role {
                Role::Invariant => input.clone(),
                Role::Filled(list, _) => Datum::List(List::Open(*list)),
                Role::Counter(start, kind) => Datum::Tensor(self.counter(plan.node, number, *start, *kind)?),
                Role::State(index) => variables.get(*index).map_or(Datum::Failed, |id| Datum::Tensor(*id)),
            });
        }
        let results = self.call_function(plan.body, arguments, plan.depth + 1)?;
        if results.contains(&Datum::Failed) {
            return unsupported("its body can't be converted");
        }
        let (mut next, elements) = self.results(plan, number, &results)?;
        let mut wider = states.to_vec();
        for ((state, id), wide) in states.iter().zip(&next).zip(&mut wider) {
            if self.builder.kind(*id) != state.kind {
                return unsupported("a variable of a loop changes its type");
            }
            wide.shape = self.wider(&state.shape, *id, state.initial);
        }
        if wider.iter().zip(states).any(|(wide, state)| wide.shape != state.shape) {
            return Ok(Turn::Widened(wider));
        }
        for (_, start, kind) in plan.counters() {
            next.push(self.counter(plan.node, number, start.wrapping_add(1), kind)?);
        }
        let on = match plan.turns {
            Some(_) => going_on,
            None => self.condition(plan, results)?,
        };
        let mut outputs = Vec::new();
        for id in std::iter::once(on).chain(next).chain(elements.iter().copied()) {
            outputs.push(self.builder.copy(id)?);
        }
        let arguments = [number, going_on].into_iter().chain(variables).collect();
        Ok(Turn::Done(Converted { arguments, results: outputs, elements }))
    }

    /// The states that a turn computes, and what it appends to each list.
    fn results(
        &mut self,
        plan: &Plan<'_, 'm>,
        number: ValueId,
        results: &[Datum<'m>],
    ) -> Result<(Vec<ValueId>, Vec<ValueId>), Refusal> {
        let mut next = Vec::new();
        let mut elements: Vec<Option<ValueId>> = vec![None; plan.filled.len()];
        for (role, result) in plan.roles.iter().zip(results) {
            match (role, result) {
                (Role::State(_), Datum::Tensor(id)) => next.push(*id),
                (
                    Role::Filled(list, length),
                    Datum::List(List::Written { list: written, index, element }),
                ) if list == written => {
                    self.check_index(plan.node, number, *index, *length)?;
                    if let Some(slot) = elements.get_mut(*list) {
                        *slot = Some(*element);
                    }
                }
                (Role::Invariant | Role::Counter(..), _) => {}
                _ => return unsupported("a turn of a loop leaves a list or a variable unset"),
            }
        }
        match elements.into_iter().collect::<Option<Vec<_>>>() {
            Some(elements) => Ok((next, elements)),
            None => unsupported("a loop leaves a list unset"),
        }
    }

    fn condition(&mut self, plan: &Plan<'_, 'm>, arguments: Vec<Datum<'m>>) -> Result<ValueId, Refusal> {
        match self.call_function(plan.condition, arguments, plan.depth + 1)?.pop() {
            Some(Datum::Tensor(id)) => Ok(id),
            _ => unsupported("its condition can't be converted"),
        }
    }

    /// A counter's value in a turn.
    fn counter(
        &mut self,
        node: NodeView<'m>,
        number: ValueId,
        start: i64,
        kind: ElementType,
    ) -> Result<ValueId, Refusal> {
        let mut call = self.for_node(node);
        let value = call.cast(number, kind)?;
        if start == 0 {
            return Ok(value);
        }
        let start = call.scalar(kind, start as f64)?;
        call.apply(Operator::Add, &[value, start])
    }

    /// Turns append to a list in their order; a list of one element keeps the last.
    fn check_index(
        &mut self,
        node: NodeView<'m>,
        number: ValueId,
        index: ValueId,
        length: ValueId,
    ) -> Result<(), Refusal> {
        let kind = self.builder.kind(index);
        if self.counter(node, number, 0, kind)? == index {
            return Ok(());
        }
        let zero = self.builder.constant_of(index).and_then(Tensor::integers) == Some(vec![0]);
        match zero && self.is_one(length) {
            true => Ok(()),
            false => unsupported("a turn writes another element than its own"),
        }
    }

    fn is_one(&self, length: ValueId) -> bool {
        self.builder.constant_of(length).and_then(Tensor::integers) == Some(vec![1])
    }

    /// A shape that fits the start of every turn: sizes that a turn changes are unknown.
    fn wider(&mut self, shape: &Shape, result: ValueId, initial: ValueId) -> Shape {
        let shape = shape.clone()?;
        let result = self.builder.shape(result)?.to_vec();
        if shape.len() != result.len() {
            return None;
        }
        let first = self.builder.shape(initial).map(<[Dimension]>::to_vec).unwrap_or_default();
        let widened = shape.iter().zip(&result).enumerate().map(|(axis, (size, new))| {
            // A size that is already unknown may change.
            let open = matches!(size, Dimension::Symbol(_)) && first.get(axis) != Some(size);
            if size == new || open { *size } else { self.builder.fresh() }
        });
        Some(widened.collect())
    }

    /// The loop's node, and what it results in.
    fn finish(
        &mut self,
        plan: &Plan<'_, 'm>,
        states: &[State],
        graph: Subgraph,
        elements: &[ValueId],
    ) -> Result<Vec<Datum<'m>>, Refusal> {
        let start = match plan.turns {
            Some(_) => None,
            None => Some(self.condition(plan, plan.inputs.to_vec())?),
        };
        let mut arguments = vec![plan.turns, start];
        arguments.extend(states.iter().map(|state| Some(state.initial)));
        let attributes = Attributes::none().with("body", graph);
        let count = states.len() + plan.filled.len();
        let outputs = self.builder.emit_many(Operator::Loop, arguments, attributes, count)?;
        for (output, state) in outputs.iter().zip(states) {
            self.builder.describe(*output, state.kind, state.shape.clone());
        }
        let length = plan.turns.and_then(|turns| self.builder.elements(turns)?.first().copied());
        let appended = outputs.get(states.len()..).unwrap_or_default();
        for ((output, kind), element) in appended.iter().zip(&plan.filled).zip(elements) {
            let length = length.unwrap_or_else(|| self.builder.fresh());
            let shape = self.builder.shape(*element);
            let shape = shape.map(|shape| [&[length], shape].concat());
            self.builder.describe(*output, *kind, shape);
        }
        let counters = plan.counters();
        let mut results = Vec::with_capacity(plan.inputs.len());
        for (index, (role, input)) in plan.roles.iter().zip(plan.inputs).enumerate() {
            let output = match role {
                Role::Invariant => {
                    results.push(input.clone());
                    continue;
                }
                Role::State(state) => outputs.get(*state).copied(),
                Role::Filled(list, length) => {
                    let written = appended.get(*list).copied();
                    let Some(written) = written else { return unsupported("a list is lost") };
                    let list = self.list_after(plan, written, *length)?;
                    results.push(Datum::List(List::Stacked(list)));
                    continue;
                }
                Role::Counter(first, kind) => match plan.turns {
                    Some(turns) => Some(self.last_count(plan.node, turns, *first, *kind)?),
                    None => {
                        let place = counters.iter().position(|(counter, ..)| *counter == index);
                        let first = states.len().saturating_sub(counters.len());
                        place.and_then(|place| outputs.get(first + place).copied())
                    }
                },
            };
            results.push(output.map_or(Datum::Failed, Datum::Tensor));
        }
        Ok(results)
    }

    /// A counter after the loop.
    fn last_count(
        &mut self,
        node: NodeView<'m>,
        turns: ValueId,
        first: i64,
        kind: ElementType,
    ) -> Result<ValueId, Refusal> {
        let mut call = self.for_node(node);
        let zero = call.builder.constant(Tensor::integer(0))?;
        let turns = call.apply(Operator::Max, &[turns, zero])?;
        let first = call.builder.constant(Tensor::integer(first))?;
        let last = call.apply(Operator::Add, &[turns, first])?;
        call.cast(last, kind)
    }

    /// A list that a loop filled.
    fn list_after(
        &mut self,
        plan: &Plan<'_, 'm>,
        written: ValueId,
        length: ValueId,
    ) -> Result<ValueId, Refusal> {
        let single = self.is_one(length);
        let mut call = self.for_node(plan.node);
        if single {
            return call.slice(written, &[-1], &[i64::MAX], &[0], &[1]);
        }
        let wanted = call.builder.elements(length);
        let taken = plan.turns.and_then(|turns| call.builder.elements(turns));
        if wanted.is_some() && wanted == taken {
            return Ok(written);
        }
        lists::filled_up(&mut call, written, length)
    }
}
