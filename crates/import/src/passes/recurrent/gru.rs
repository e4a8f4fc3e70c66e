//! GRU: h' = z h + (1 - z) tanh(n), with z and r sigmoids of sums of columns. With
//! the reset after the product, n is x W + b + r (h R + c); before it, n is
//! x W + b + (r h) R.

use super::{
    Layer, Weights,
    body::{Body, Part, Sum},
};
use crate::graph::{Attributes, Operator, ValueId};

/// Keras' and ONNX's order: update, reset, new.
const UPDATE: i64 = 0;
const RESET: i64 = 1;
const NEW: i64 = 2;

/// The cell, if the body is one.
pub(super) fn find(body: &Body<'_>) -> Option<Layer> {
    let &[h] = body.states() else { return None };
    let next = body.next(0)?;
    let (update, candidate) = body.pairs(next, Operator::Add).into_iter().find_map(|(kept, added)| {
        let (gate, _) = body.pairs(kept, Operator::Mul).into_iter().find(|(_, state)| *state == h)?;
        let candidate = body.pairs(added, Operator::Mul).into_iter().find_map(|(rest, candidate)| {
            let rest = body.node(rest, Operator::Sub)?;
            let right = body.is_one(rest.input(0)?) && body.same(rest.input(1)?, gate);
            right.then(|| body.input(candidate, Operator::Tanh))?
        })?;
        Some((body.input(gate, Operator::Sigmoid)?, candidate))
    })?;
    after(body, h, next, update, candidate).or_else(|| before(body, h, next, update, candidate))
}

/// Whether a part holds the columns of a gate.
fn is_gate(part: Part, gate: i64) -> bool {
    part.start == gate * part.length
}

/// A sum of two columns of a gate: of the inputs' product, and of the states'.
fn gate_of(body: &Body<'_>, sum: ValueId, gate: i64) -> Option<(Part, Part)> {
    body.pairs(sum, Operator::Add).into_iter().find_map(|(a, b)| {
        let (a, b) = (body.part(a)?, body.part(b)?);
        let of_input = body.sum(a.of)?.products.first().is_some_and(|p| body.step_of(p.value).is_some());
        (of_input && a.length == b.length && is_gate(a, gate) && is_gate(b, gate)).then_some((a, b))
    })
}

/// A sum of one product and constants.
fn single(body: &Body<'_>, of: ValueId, value: Option<ValueId>) -> Option<Sum> {
    let sum = body.sum(of)?;
    let &[product] = sum.products.as_slice() else { return None };
    let right = match value {
        Some(value) => product.value == value,
        None => body.step_of(product.value).is_some(),
    };
    right.then_some(sum)
}

fn layer(
    body: &Body<'_>,
    next: ValueId,
    units: i64,
    input: Sum,
    recurrent: Vec<ValueId>,
    recurrent_biases: Vec<ValueId>,
    reset_after: bool,
) -> Option<Layer> {
    let product = *input.products.first()?;
    let attributes = Attributes::none().with("linear_before_reset", i64::from(reset_after));
    Some(Layer {
        operator: Operator::GRU,
        sequence: body.step_of(product.value)?,
        units: usize::try_from(units).ok().filter(|units| *units > 0)?,
        weights: Weights { input: product.matrix, recurrent, biases: input.constants, recurrent_biases },
        gates: vec![0, 1, 2],
        states: vec![0],
        hidden: next,
        attributes,
    })
}

fn after(body: &Body<'_>, h: ValueId, next: ValueId, update: ValueId, candidate: ValueId) -> Option<Layer> {
    let (x, r) = gate_of(body, update, UPDATE)?;
    let (new, reset) = body.pairs(candidate, Operator::Add).into_iter().find_map(|(new, scaled)| {
        let new = body.part(new).filter(|part| part.of == x.of && is_gate(*part, NEW))?;
        let reset = body.pairs(scaled, Operator::Mul).into_iter().find_map(|(gate, inner)| {
            let inner = body.part(inner)?;
            let right = inner.of == r.of && is_gate(inner, NEW) && inner.length == r.length;
            right.then(|| body.input(gate, Operator::Sigmoid))?
        })?;
        Some((new, reset))
    })?;
    let (reset_x, reset_r) = gate_of(body, reset, RESET)?;
    if (reset_x.of, reset_r.of) != (x.of, r.of) || new.length != x.length || reset_x.length != x.length {
        return None;
    }
    let (input, inner) = (single(body, x.of, None)?, single(body, r.of, Some(h))?);
    let matrix = inner.products.first()?.matrix;
    layer(body, next, x.length, input, vec![matrix], inner.constants, true)
}

fn before(body: &Body<'_>, h: ValueId, next: ValueId, update: ValueId, candidate: ValueId) -> Option<Layer> {
    let (x, r) = gate_of(body, update, UPDATE)?;
    let (new, scaled, matrix) =
        body.pairs(candidate, Operator::Add).into_iter().find_map(|(new, product)| {
            let new = body.part(new).filter(|part| part.of == x.of && is_gate(*part, NEW))?;
            let sum = body.sum(product)?;
            let (&[product], true) = (sum.products.as_slice(), sum.constants.is_empty()) else { return None };
            Some((new, product.value, product.matrix))
        })?;
    let reset = body
        .pairs(scaled, Operator::Mul)
        .into_iter()
        .find_map(|(gate, state)| (state == h).then(|| body.input(gate, Operator::Sigmoid))?)?;
    let (reset_x, reset_r) = gate_of(body, reset, RESET)?;
    if (reset_x.of, reset_r.of) != (x.of, r.of) || new.length != x.length || reset_x.length != x.length {
        return None;
    }
    let (input, inner) = (single(body, x.of, None)?, single(body, r.of, Some(h))?);
    inner.constants.is_empty().then_some(())?;
    let gates = inner.products.first()?.matrix;
    layer(body, next, x.length, input, vec![gates, matrix], Vec::new(), false)
}
