//! LSTM: c' = f c + i g, h' = o tanh(c'), with i, f, o the sigmoids and g the
//! tanh of the columns of one sum x W + h R + b.

use super::{Layer, Weights, body::Body};
use crate::graph::{Attributes, Operator, ValueId};

/// The cell, if the body is one.
pub(super) fn find(body: &Body<'_>) -> Option<Layer> {
    [(0, 1), (1, 0)].into_iter().find_map(|(hidden, cell)| with(body, hidden, cell))
}

fn with(body: &Body<'_>, hidden: usize, cell: usize) -> Option<Layer> {
    let &[_, _] = body.states() else { return None };
    let (h, c) = (*body.states().get(hidden)?, *body.states().get(cell)?);
    let (next_h, next_c) = (body.next(hidden)?, body.next(cell)?);
    let output = body.pairs(next_h, Operator::Mul).into_iter().find_map(|(gate, tanh)| {
        let same = body.input(tanh, Operator::Tanh)? == next_c;
        same.then(|| body.input(gate, Operator::Sigmoid))?
    })?;
    let (forget, input, candidate) = body
        .pairs(next_c, Operator::Add)
        .into_iter()
        .find_map(|(kept, added)| cell_parts(body, kept, added, c))?;
    let parts = [input, output, forget, candidate].map(|gate| body.part(gate));
    let [Some(first), ..] = parts else { return None };
    let units = usize::try_from(first.length).ok().filter(|units| *units > 0)?;
    let mut gates = Vec::new();
    for part in parts {
        let part = part?;
        if part.of != first.of || part.length != first.length || part.start % part.length != 0 {
            return None;
        }
        gates.push(usize::try_from(part.start / part.length).ok()?);
    }
    let mut order = gates.clone();
    order.sort_unstable();
    if order != [0, 1, 2, 3] {
        return None;
    }
    let sum = body.sum(first.of)?;
    let &[a, b] = sum.products.as_slice() else { return None };
    let (x, r) = if b.value == h { (a, b) } else { (b, a) };
    (r.value == h).then_some(())?;
    let weights = Weights {
        input: x.matrix,
        recurrent: vec![r.matrix],
        biases: sum.constants,
        recurrent_biases: Vec::new(),
    };
    Some(Layer {
        operator: Operator::LSTM,
        sequence: body.step_of(x.value)?,
        units,
        weights,
        gates,
        states: vec![hidden, cell],
        hidden: next_h,
        attributes: Attributes::none(),
    })
}

/// The gates' sums: forget, input, candidate.
fn cell_parts(
    body: &Body<'_>,
    kept: ValueId,
    added: ValueId,
    cell: ValueId,
) -> Option<(ValueId, ValueId, ValueId)> {
    let forget = body
        .pairs(kept, Operator::Mul)
        .into_iter()
        .find_map(|(gate, state)| (state == cell).then(|| body.input(gate, Operator::Sigmoid))?)?;
    let (input, candidate) = body.pairs(added, Operator::Mul).into_iter().find_map(|(gate, value)| {
        Some((body.input(gate, Operator::Sigmoid)?, body.input(value, Operator::Tanh)?))
    })?;
    Some((forget, input, candidate))
}
