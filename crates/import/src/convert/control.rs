//! Branches and loops. A loop that counts to a limit becomes an ONNX `Loop` with
//! that number of turns, whose counters are its turn's number; the lists that it
//! fills become what the turns append.

use super::{
    Converter, Frame,
    call::{Call, Datum, Refusal, unsupported},
    lists::{self, List},
};
use crate::{
    graph::{Attributes, Dimension, Operator, Shape, ValueId},
    tensor::{ElementType, Tensor},
    tensorflow::{
        attributes::NodeView,
        model::{Body, Source},
    },
};

/// What a variable of a loop is.
#[derive(Debug, Clone, PartialEq)]
enum Role {
    /// The same in every turn.
    Invariant,
    /// An integer that grows by 1, from a constant.
    Counter(i64, ElementType),
    /// A list that the turns fill, with its length.
    Filled(usize, ValueId),
    /// A tensor that each turn computes from the last.
    State(usize),
}

/// Follows copies in a function's body.
fn origin<'b>(body: &'b Body, text: &'b str) -> Option<Source<'b>> {
    let mut text = text;
    for _ in 0..64 {
        let source = body.source(text)?;
        let Source::Output(node, _) = source else { return Some(source) };
        let node = body.nodes.get(node)?;
        if node.operator != "Identity" {
            return Some(source);
        }
        text = node.inputs.first()?;
    }
    None
}

/// Whether a result is an argument plus 1.
fn counts(converter: &Converter<'_>, body: &Body, result: &str, argument: usize) -> bool {
    let Some(Source::Output(node, _)) = origin(body, result) else { return false };
    let Some(node) = body.nodes.get(node).filter(|node| matches!(node.operator.as_str(), "Add" | "AddV2"))
    else {
        return false;
    };
    let is_one = |text: &String| match origin(body, text) {
        Some(Source::Output(constant, _)) => body.nodes.get(constant).is_some_and(|constant| {
            let literal = converter.contents.model.view(constant).tensor("value");
            let tensor = literal.and_then(|l| crate::tensorflow::tensors::tensor(l, 64).ok());
            constant.operator == "Const" && tensor.and_then(|t| t.integers()) == Some(vec![1])
        }),
        _ => false,
    };
    let is_argument = |text: &String| origin(body, text) == Some(Source::Argument(argument));
    match node.inputs.as_slice() {
        [a, b] | [a, b, ..] => (is_argument(a) && is_one(b)) || (is_argument(b) && is_one(a)),
        _ => false,
    }
}

/// The limits of counters that a loop's condition is a conjunction of: pairs of
/// a counter's argument and where the limit comes from.
fn limits<'b>(body: &'b Body, roles: &[Role]) -> Option<Vec<(usize, &'b str)>> {
    let mut found = Vec::new();
    let mut open = vec![body.results.first()?.as_str()];
    while let Some(text) = open.pop() {
        if found.len() + open.len() > 16 {
            return None;
        }
        let Source::Output(node, _) = origin(body, text)? else { return None };
        let node = body.nodes.get(node)?;
        let (a, b) = (node.inputs.first()?, node.inputs.get(1)?);
        match node.operator.as_str() {
            "LogicalAnd" => open.extend([a.as_str(), b.as_str()]),
            "Less" => {
                let Source::Argument(counter) = origin(body, a)? else { return None };
                if !matches!(roles.get(counter), Some(Role::Counter(..))) {
                    return None;
                }
                let fixed = match origin(body, b)? {
                    Source::Argument(limit) => roles.get(limit) == Some(&Role::Invariant),
                    Source::Output(limit, _) => body.nodes.get(limit)?.operator == "Const",
                    Source::Control(_) => false,
                };
                if !fixed {
                    return None;
                }
                found.push((counter, b.as_str()));
            }
            _ => return None,
        }
    }
    Some(found)
}

/// What is known of a state at the start of every turn.
#[derive(Debug, Clone)]
struct State {
    initial: ValueId,
    kind: ElementType,
    shape: Shape,
}

impl<'m> Converter<'m> {
    /// Emits without a node of TensorFlow at hand.
    fn helper<'c>(&'c mut self, node: NodeView<'m>) -> Call<'c, 'm> {
        Call { node, inputs: &[], builder: &mut self.builder }
    }

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
        if body.results.len() != count || body.arguments.len() != count || condition.arguments.len() != count
        {
            return unsupported("its functions don't fit its inputs");
        }
        let (roles, mut states, filled) = self.roles(body, inputs)?;
        let limits = limits(condition, &roles);
        let turns = match &limits {
            Some(limits) => Some(self.turns(node, condition, inputs, &roles, limits, depth)?),
            None => None,
        };
        // A counted loop needs no state for its counters.
        let mut counters = Vec::new();
        if turns.is_none() {
            for (index, role) in roles.iter().enumerate() {
                if let (Role::Counter(start, kind), Some(Datum::Tensor(initial))) = (role, inputs.get(index))
                {
                    counters.push((index, *start));
                    states.push(State { initial: *initial, kind: *kind, shape: Some(Vec::new()) });
                }
            }
        }
        let refused = self.unsupported.clone();
        for _ in 0..8 {
            self.unsupported = refused.clone();
            let turn = self.turn(
                node,
                (condition, body),
                inputs,
                &roles,
                &states,
                filled.len(),
                &counters,
                turns,
                depth,
            )?;
            match turn {
                Turn::Widened(wider) => states = wider,
                Turn::Done(graph, elements) => {
                    return self.finish_loop(
                        node,
                        inputs,
                        &roles,
                        &states,
                        &filled,
                        &counters,
                        (condition, turns),
                        graph,
                        &elements,
                        depth,
                    );
                }
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
    fn turns(
        &mut self,
        node: NodeView<'m>,
        condition: &'m Body,
        inputs: &[Datum<'m>],
        roles: &[Role],
        limits: &[(usize, &'m str)],
        depth: usize,
    ) -> Result<ValueId, Refusal> {
        let mut frame = Frame::of(condition, inputs.to_vec());
        let mut least: Option<ValueId> = None;
        for (counter, limit) in limits {
            let Some(Role::Counter(start, _)) = roles.get(*counter) else { continue };
            let mut found = self.evaluate(&mut frame, &[limit], depth + 1)?;
            let Some(Datum::Tensor(limit)) = found.pop() else {
                return unsupported("its limit is no tensor");
            };
            let mut call = self.helper(node);
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
    #[expect(clippy::too_many_arguments, reason = "all are parts of one loop")]
    fn turn(
        &mut self,
        node: NodeView<'m>,
        (condition, body): (&'m Body, &'m Body),
        inputs: &[Datum<'m>],
        roles: &[Role],
        states: &[State],
        lists: usize,
        counters: &[(usize, i64)],
        turns: Option<ValueId>,
        depth: usize,
    ) -> Result<Turn, Refusal> {
        self.builder.open();
        let result =
            self.turn_inside(node, (condition, body), inputs, roles, states, lists, counters, turns, depth);
        match result {
            Ok(Inside::Widened(states)) => {
                self.builder.close(Vec::new(), Vec::new());
                Ok(Turn::Widened(states))
            }
            Ok(Inside::Done { arguments, results, elements }) => {
                let graph = self.builder.close(arguments, results);
                Ok(Turn::Done(graph, elements))
            }
            Err(refusal) => {
                self.builder.close(Vec::new(), Vec::new());
                Err(refusal)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all are parts of one loop")]
    fn turn_inside(
        &mut self,
        node: NodeView<'m>,
        (condition, body): (&'m Body, &'m Body),
        inputs: &[Datum<'m>],
        roles: &[Role],
        states: &[State],
        lists: usize,
        counters: &[(usize, i64)],
        turns: Option<ValueId>,
        depth: usize,
    ) -> Result<Inside, Refusal> {
        let number = self.builder.input(ElementType::Int64, Some(Vec::new()));
        let going_on = self.builder.input(ElementType::Bool, Some(Vec::new()));
        let variables: Vec<ValueId> =
            states.iter().map(|state| self.builder.input(state.kind, state.shape.clone())).collect();
        let mut arguments = Vec::with_capacity(inputs.len());
        for (role, input) in roles.iter().zip(inputs) {
            arguments.push(match role {
                Role::Invariant => input.clone(),
                Role::Filled(list, _) => Datum::List(List::Open(*list)),
                Role::Counter(start, kind) => Datum::Tensor(self.counter(node, number, *start, *kind)?),
                Role::State(index) => match variables.get(*index) {
                    Some(id) => Datum::Tensor(*id),
                    None => Datum::Failed,
                },
            });
        }
        let results = self.call_function(body, arguments, depth + 1)?;
        if results.contains(&Datum::Failed) {
            return unsupported("its body can't be converted");
        }
        let mut next = Vec::with_capacity(states.len());
        let mut elements: Vec<Option<ValueId>> = vec![None; lists];
        for (role, result) in roles.iter().zip(&results) {
            match (role, result) {
                (Role::State(_), Datum::Tensor(id)) => next.push(*id),
                (Role::Filled(list, _), Datum::List(List::Written { list: written, index, element }))
                    if list == written =>
                {
                    self.check_index(node, number, *index, roles, *list)?;
                    if let Some(slot) = elements.get_mut(*list) {
                        *slot = Some(*element);
                    }
                }
                (Role::Invariant | Role::Counter(..), _) => {}
                _ => return unsupported("a turn of a loop leaves a list or a variable unset"),
            }
        }
        let mut wider = states.to_vec();
        for ((state, id), wide) in states.iter().zip(&next).zip(&mut wider) {
            if self.builder.kind(*id) != state.kind {
                return unsupported("a variable of a loop changes its type");
            }
            wide.shape = self.wider(&state.shape, *id, state.initial);
        }
        let changed = wider.iter().zip(states).any(|(wide, state)| wide.shape != state.shape);
        if changed {
            return Ok(Inside::Widened(wider));
        }
        for (index, start) in counters {
            if let Some(Role::Counter(_, kind)) = roles.get(*index) {
                next.push(self.counter(node, number, start + 1, *kind)?);
            }
        }
        let on = match turns {
            Some(_) => going_on,
            None => {
                let mut results = self.call_function(condition, results, depth + 1)?;
                match results.pop() {
                    Some(Datum::Tensor(id)) => id,
                    _ => return unsupported("its condition can't be converted"),
                }
            }
        };
        let elements = elements.into_iter().collect::<Option<Vec<_>>>();
        let Some(elements) = elements else { return unsupported("a loop leaves a list unset") };
        let mut outputs = Vec::new();
        for id in std::iter::once(on).chain(next).chain(elements.iter().copied()) {
            outputs.push(self.builder.copy(id)?);
        }
        let arguments = [number, going_on].into_iter().chain(variables).collect();
        Ok(Inside::Done { arguments, results: outputs, elements })
    }

    /// A counter's value in a turn.
    fn counter(
        &mut self,
        node: NodeView<'m>,
        number: ValueId,
        start: i64,
        kind: ElementType,
    ) -> Result<ValueId, Refusal> {
        let mut call = self.helper(node);
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
        roles: &[Role],
        list: usize,
    ) -> Result<(), Refusal> {
        let kind = self.builder.kind(index);
        let turn = self.counter(node, number, 0, kind)?;
        if turn == index {
            return Ok(());
        }
        let zero = self.builder.constant_of(index).and_then(Tensor::integers) == Some(vec![0]);
        let length = roles.iter().find_map(|role| match role {
            Role::Filled(other, length) if *other == list => Some(*length),
            _ => None,
        });
        let single = length.is_some_and(|length| self.is_one(length));
        if zero && single { Ok(()) } else { unsupported("a turn writes another element than its own") }
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

    #[expect(clippy::too_many_arguments, reason = "all are parts of one loop")]
    fn finish_loop(
        &mut self,
        node: NodeView<'m>,
        inputs: &[Datum<'m>],
        roles: &[Role],
        states: &[State],
        filled: &[ElementType],
        counters: &[(usize, i64)],
        (condition, turns): (&'m Body, Option<ValueId>),
        graph: crate::graph::Subgraph,
        elements: &[ValueId],
        depth: usize,
    ) -> Result<Vec<Datum<'m>>, Refusal> {
        let start = match turns {
            Some(_) => None,
            None => match self.call_function(condition, inputs.to_vec(), depth + 1)?.pop() {
                Some(Datum::Tensor(id)) => Some(id),
                _ => return unsupported("its condition can't be converted"),
            },
        };
        let mut arguments = vec![turns, start];
        arguments.extend(states.iter().map(|state| Some(state.initial)));
        let attributes = Attributes::none().with("body", graph);
        let count = states.len() + filled.len();
        let outputs = self.builder.emit_many(Operator::Loop, arguments, attributes, count)?;
        for (output, state) in outputs.iter().zip(states) {
            self.builder.describe(*output, state.kind, state.shape.clone());
        }
        let length = turns.and_then(|turns| self.builder.elements(turns)?.first().copied());
        for ((output, kind), element) in outputs.iter().skip(states.len()).zip(filled).zip(elements) {
            let length = length.unwrap_or_else(|| self.builder.fresh());
            let shape = self.builder.shape(*element);
            let shape = shape.map(|shape| [&[length], shape].concat());
            self.builder.describe(*output, *kind, shape);
        }
        let state_of = |index: usize| outputs.get(index).copied();
        let mut results = Vec::with_capacity(inputs.len());
        for (index, (role, input)) in roles.iter().zip(inputs).enumerate() {
            results.push(match role {
                Role::Invariant => input.clone(),
                Role::State(state) => state_of(*state).map_or(Datum::Failed, Datum::Tensor),
                Role::Filled(list, length) => match state_of(states.len() + list) {
                    Some(output) => {
                        Datum::List(List::Stacked(self.list_after(node, output, *length, turns)?))
                    }
                    None => Datum::Failed,
                },
                Role::Counter(first, kind) => match turns {
                    Some(turns) => {
                        let mut call = self.helper(node);
                        let zero = call.builder.constant(Tensor::integer(0))?;
                        let turns = call.apply(Operator::Max, &[turns, zero])?;
                        let first = call.builder.constant(Tensor::integer(*first))?;
                        let last = call.apply(Operator::Add, &[turns, first])?;
                        Datum::Tensor(call.cast(last, *kind)?)
                    }
                    None => {
                        let place = counters.iter().position(|(counter, _)| *counter == index);
                        let first = states.len() - counters.len();
                        place.and_then(|place| state_of(first + place)).map_or(Datum::Failed, Datum::Tensor)
                    }
                },
            });
        }
        Ok(results)
    }

    /// A list that a loop filled.
    fn list_after(
        &mut self,
        node: NodeView<'m>,
        written: ValueId,
        length: ValueId,
        turns: Option<ValueId>,
    ) -> Result<ValueId, Refusal> {
        let single = self.is_one(length);
        let mut call = self.helper(node);
        if single {
            return call.slice(written, &[-1], &[i64::MAX], &[0], &[1]);
        }
        let wanted = call.builder.elements(length);
        let taken = turns.and_then(|turns| call.builder.elements(turns));
        if wanted.is_some() && wanted == taken {
            return Ok(written);
        }
        lists::filled_up(&mut call, written, length)
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
        let condition = self.helper(node).cast(*condition, ElementType::Bool)?;
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

/// What came of converting a body.
enum Turn {
    /// The states' shapes were assumed too narrow.
    Widened(Vec<State>),
    /// The body, and the elements that a turn appends to the lists.
    Done(crate::graph::Subgraph, Vec<ValueId>),
}

enum Inside {
    Widened(Vec<State>),
    Done { arguments: Vec<ValueId>, results: Vec<ValueId>, elements: Vec<ValueId> },
}
