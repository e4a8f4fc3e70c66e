//! LSTM and GRU whose weights are constants.

use std::collections::HashSet;

use adytum_kernels::{
    Level,
    bfloat::Form,
    products::{Matrix, Order},
    weights::Numbers,
};

use super::{
    super::{Facts, PlanError, Planner, placement::Placed},
    Fusion,
    links::plain,
};
use crate::{
    fused::recurrent::{Direction, Kind, RecurrentLayer},
    onnx::model::{Node, ValueId},
    outside::Outside,
    tensor::ElementType,
};

/// A layer that was found.
struct Found {
    kind: Kind,
    /// Of each direction, whether it goes from the end.
    reversed: Vec<bool>,
    hidden: usize,
    /// Numbers of a step of a sequence.
    depth: usize,
    inputs: Vec<Option<ValueId>>,
    weights: ValueId,
    recurrence: ValueId,
    /// Those of the inputs and of the recurrence, for each direction; empty for none.
    biases: Vec<f32>,
}

impl Planner<'_> {
    pub(super) fn fuse_recurrent(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        wanted: &HashSet<ValueId>,
    ) -> Result<Vec<Placed>, PlanError> {
        let mut placed: Vec<Option<Placed>> = placed.into_iter().map(Some).collect();
        let first = self.plan.fusions.len();
        for index in (0..placed.len()).rev() {
            let Some(node) = plain(&placed, index) else { continue };
            let is_cell = matches!(node.operator.as_str(), "LSTM" | "GRU");
            let Some(found) = self.layer(&node.clone(), facts)? else {
                if is_cell {
                    self.explain(&placed, index, Outside::Cell);
                }
                continue;
            };
            let (count, gates) = (found.reversed.len(), found.kind.gates() * found.hidden);
            let (mut of_input, mut of_state) = (Vec::new(), Vec::new());
            for direction in 0..count {
                let biases = found.biases.chunks_exact(gates).skip(2 * direction);
                let biases: Vec<&[f32]> = biases.take(2).collect();
                let [first, second] = biases_of(found.kind, found.hidden, &biases);
                of_input.push(first);
                of_state.push(second);
            }
            // The recurrence is behind the other weights in the file, mostly.
            let recurrence = self.pack_directions(found.recurrence, [found.hidden, gates], &of_state)?;
            let weights = self.pack_directions(found.weights, [found.depth, gates], &of_input)?;
            let directions = weights.into_iter().zip(recurrence).zip(&found.reversed);
            let directions = directions
                .map(|((input, recurrence), is_reversed)| Direction {
                    is_reversed: *is_reversed,
                    input,
                    recurrence,
                })
                .collect();
            let layer =
                RecurrentLayer { level: Level::best(), kind: found.kind, hidden: found.hidden, directions };
            let description = layer.describe();
            let fusion = Fusion { operator: Box::new(layer), inputs: found.inputs, description };
            self.replace(&mut placed, index, &[index], fusion);
        }
        self.plan.reverse_fusions(first);
        Ok(self.sweep(placed, wanted))
    }

    /// The layer of a node, if kernels compute it.
    fn layer(&mut self, node: &Node, facts: &Facts) -> Result<Option<Found>, PlanError> {
        let kind = match node.operator.as_str() {
            "LSTM" => Kind::Lstm,
            "GRU" => Kind::Gru,
            _ => return Ok(None),
        };
        let attributes = &node.attributes;
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let reversed = match attributes.text("direction") {
            Ok(None | Some("forward")) => vec![false],
            Ok(Some("reverse")) => vec![true],
            Ok(Some("bidirectional")) => vec![false, true],
            _ => return Ok(None),
        };
        let is_zero = |name: &str| matches!(attributes.integer(name), Ok(None | Some(0)));
        let resets_late = matches!(attributes.integer("linear_before_reset"), Ok(Some(1)));
        let names = ["activations", "activation_alpha", "activation_beta", "clip"];
        let is_plain = node.opset >= 7
            && !names.iter().any(|name| attributes.contains(name))
            && is_zero("layout")
            && is_zero("input_forget")
            && (kind == Kind::Lstm || resets_late)
            && input(4).is_none()
            && input(7).is_none();
        let (Some(sequences), Some(weights), Some(recurrence)) = (input(0), input(1), input(2)) else {
            return Ok(None);
        };
        let is_float = |value| {
            self.fact(facts, value).is_some_and(|fact| fact.element_type() == Some(ElementType::Float))
        };
        let states = [input(5), input(6).filter(|_| kind == Kind::Lstm)];
        let are_floats = std::iter::once(sequences).chain(states.into_iter().flatten()).all(is_float);
        let own = self.constants.is_own_float(weights) && self.constants.is_own_float(recurrence);
        if !is_plain || !are_floats || !own || weights == recurrence || self.constants.contains(sequences) {
            return Ok(None);
        }
        let shape = |value| self.constants.fact(value).and_then(|fact| fact.known_shape());
        let (Some(of_input), Some(of_state)) = (shape(weights), shape(recurrence)) else { return Ok(None) };
        let (&[count, gates, depth], &[other, rows, hidden]) = (of_input.as_slice(), of_state.as_slice())
        else {
            return Ok(None);
        };
        let named = attributes.integer("hidden_size").ok().flatten();
        let fits = (count, gates) == (other, rows)
            && count == reversed.len()
            && hidden.checked_mul(kind.gates()) == Some(gates)
            && named.is_none_or(|named| usize::try_from(named) == Ok(hidden))
            && hidden > 0
            && depth > 0;
        if !fits {
            return Ok(None);
        }
        let biases = match input(3) {
            None => Vec::new(),
            Some(bias) if shape(bias).as_deref() == Some(&[count, 2 * gates][..]) => {
                let tensor = self.constants.tensor(bias, self.files)?;
                match tensor.as_ref().and_then(|tensor| tensor.values::<f32>()) {
                    Some(values) => values.to_vec(),
                    None => return Ok(None),
                }
            }
            Some(_) => return Ok(None),
        };
        let inputs = vec![Some(sequences), states[0], states[1]];
        Ok(Some(Found { kind, reversed, hidden, depth, inputs, weights, recurrence, biases }))
    }

    /// The matrices `[column][depth]` of each direction, packed.
    fn pack_directions(
        &mut self,
        value: ValueId,
        [depth, columns]: [usize; 2],
        biases: &[Option<Vec<f32>>],
    ) -> Result<Vec<Matrix>, PlanError> {
        let arena = &mut self.arena;
        let size = depth * columns;
        let packed = self.constants.take_floats(value, self.files, arena, |numbers, arena| {
            let part = |number: usize| {
                let place = number * size..(number + 1) * size;
                Some(match numbers {
                    Numbers::Floats(values) => Numbers::Floats(values.get(place)?),
                    Numbers::Bytes(values) => Numbers::Bytes(values.get(place)?),
                })
            };
            let words = (Level::best(), Form::Single);
            let mut matrices = Vec::with_capacity(biases.len());
            for (number, bias) in biases.iter().enumerate() {
                let (values, bias) = (part(number)?, bias.as_deref());
                matrices.push(Matrix::pack(
                    words,
                    values,
                    [depth, columns],
                    Order::Columns,
                    None,
                    bias,
                    arena,
                )?);
            }
            Some(matrices)
        })?;
        // The node that had it gives it back once more.
        self.constants.keep(value);
        packed.flatten().ok_or_else(|| PlanError::Engine {
            reason: format!("there is no memory for a matrix of {depth} by {columns}"),
        })
    }
}

/// The biases of the product with the inputs, and of that with the state. Only those of a GRU's candidate stay apart, as its
/// recurrence is multiplied first.
fn biases_of(kind: Kind, hidden: usize, biases: &[&[f32]]) -> [Option<Vec<f32>>; 2] {
    let &[input, state] = biases else { return [None, None] };
    let together = if kind == Kind::Gru { 2 * hidden } else { state.len() };
    let sums = input.iter().zip(state).enumerate();
    let first = sums.map(|(place, (input, state))| if place < together { input + state } else { *input });
    let second = state.iter().enumerate().map(|(place, state)| if place < together { 0.0 } else { *state });
    [Some(first.collect()), (kind == Kind::Gru).then(|| second.collect())]
}
