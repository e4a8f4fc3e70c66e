//! Operators done on values whose axes are in another order.

use super::put_off::{Pass, PutOff};
use crate::graph::{Attribute, Attributes, Family, Node, Operator, ValueId, fold::axis_of};

/// A node that works on the sources, and how its results wait.
pub(crate) struct Rewritten {
    pub(crate) node: Node,
    pub(crate) permutation: Vec<i64>,
}

/// The node on the sources of values that wait as `put_off` does, or `None` if
/// the operator can't do its work in another order.
pub(crate) fn rewrite(pass: &mut Pass<'_>, node: &Node, put_off: &PutOff) -> Option<Rewritten> {
    let permutation = put_off.permutation.clone();
    let rank = permutation.len();
    let moved = |axis: usize| permutation.get(axis).copied();
    let output = *node.outputs.first()?;
    if is_broadcast(node.operator) {
        if pass.graph.rank(output) != Some(rank) {
            return None;
        }
        let inputs = adapted(pass, node, put_off, true)?;
        return Some(Rewritten { node: Node { inputs, ..node.clone() }, permutation });
    }
    // All others have one input that counts, the first.
    let first = pass.waiting(node.input(0)?);
    if node.operator != Operator::Concat && first != Some(put_off) {
        return None;
    }
    let source = Some(put_off.source);
    let with_source = || {
        let mut inputs = node.inputs.clone();
        if let Some(first) = inputs.first_mut() {
            *first = source;
        }
        inputs
    };
    let keep = |node: Node, permutation: Vec<i64>| Some(Rewritten { node, permutation });
    if node.operator.family() == Family::Unary {
        return keep(Node { inputs: with_source(), ..node.clone() }, permutation);
    }
    match node.operator {
        operator if operator.family() == Family::Reduction => reduction(pass, node, put_off, with_source()),
        Operator::Concat => {
            let waiting = node.inputs.iter().flatten().filter(|id| pass.waiting(**id).is_some()).count();
            if waiting * 2 < node.inputs.len() || pass.graph.rank(output) != Some(rank) {
                return None;
            }
            let along = moved(axis(node, "axis", 0, rank)?)?;
            let inputs = adapted(pass, node, put_off, false)?;
            let attributes = replaced(&node.attributes, "axis", along);
            keep(Node { inputs, attributes, ..node.clone() }, permutation)
        }
        Operator::Split => {
            let along = moved(axis(node, "axis", 0, rank)?)?;
            let attributes = replaced(&node.attributes, "axis", along);
            keep(Node { inputs: with_source(), attributes, ..node.clone() }, permutation)
        }
        Operator::Softmax | Operator::LogSoftmax => {
            let along = moved(axis(node, "axis", -1, rank)?)?;
            let attributes = replaced(&node.attributes, "axis", along);
            keep(Node { inputs: with_source(), attributes, ..node.clone() }, permutation)
        }
        Operator::Pad => {
            let pads = pass.integers(node, 1)?;
            if pads.len() != 2 * rank {
                return None;
            }
            let mut turned = vec![0; pads.len()];
            for (index, pad) in pads.iter().enumerate() {
                let place = usize::try_from(moved(index % rank)?).ok()? + index / rank * rank;
                *turned.get_mut(place)? = *pad;
            }
            let mut inputs = with_source();
            *inputs.get_mut(1)? = Some(pass.vector(&turned));
            keep(Node { inputs, ..node.clone() }, permutation)
        }
        Operator::Slice => {
            let axes = axes(&pass.integers(node, 3)?, rank)?;
            let axes = axes.into_iter().map(moved).collect::<Option<Vec<_>>>()?;
            let mut inputs = with_source();
            *inputs.get_mut(3)? = Some(pass.vector(&axes));
            keep(Node { inputs, ..node.clone() }, permutation)
        }
        Operator::Squeeze => {
            let axes = axes(&pass.integers(node, 1)?, rank)?;
            let turned = axes.iter().map(|axis| moved(*axis)).collect::<Option<Vec<_>>>()?;
            let left = without(&permutation, &axes);
            let mut inputs = with_source();
            *inputs.get_mut(1)? = Some(pass.vector(&turned));
            keep(Node { inputs, ..node.clone() }, left)
        }
        Operator::Shape => {
            // The sizes in the order of the value, of those in the order of its source.
            let sizes = pass.emit(Operator::Shape, vec![put_off.source], Attributes::none(), output);
            let order = pass.vector(&permutation);
            let node = Node {
                operator: Operator::Gather,
                inputs: vec![Some(sizes), Some(order)],
                outputs: node.outputs.clone(),
                attributes: Attributes::none().with("axis", 0),
            };
            keep(node, vec![0])
        }
        _ => None,
    }
}

fn adapted(
    pass: &mut Pass<'_>,
    node: &Node,
    put_off: &PutOff,
    broadcast: bool,
) -> Option<Vec<Option<ValueId>>> {
    // All or nothing: an input that can't be adapted must be found before anything is emitted.
    for input in node.inputs.iter().flatten() {
        let rank = pass.graph.rank(*input)?;
        if rank > put_off.permutation.len() || (!broadcast && rank != put_off.permutation.len()) {
            return None;
        }
    }
    node.inputs.iter().map(|input| pass.adapt((*input)?, put_off, broadcast).map(Some)).collect()
}

fn axes(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    axes.iter().map(|axis| axis_of(*axis, rank)).collect()
}

/// The permutation of the axes that are left when some vanish.
fn without(permutation: &[i64], axes: &[usize]) -> Vec<i64> {
    let left: Vec<i64> =
        permutation.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, to)| *to).collect();
    let mut order = left.clone();
    order.sort_unstable();
    left.iter().map(|axis| order.iter().position(|other| other == axis).unwrap_or(0) as i64).collect()
}

fn reduction(
    pass: &mut Pass<'_>,
    node: &Node,
    put_off: &PutOff,
    mut inputs: Vec<Option<ValueId>>,
) -> Option<Rewritten> {
    let permutation = &put_off.permutation;
    let rank = permutation.len();
    let (listed, as_input) = match node.attributes.integers("axes") {
        Some(axes) => (axes.to_vec(), false),
        None => (pass.integers(node, 1)?, true),
    };
    let axes = axes(&listed, rank)?;
    let mut turned = axes.iter().map(|axis| permutation.get(*axis).copied()).collect::<Option<Vec<_>>>()?;
    turned.sort_unstable();
    let mut attributes = node.attributes.clone();
    if as_input {
        *inputs.get_mut(1)? = Some(pass.vector(&turned));
    } else {
        attributes.set("axes", turned);
    }
    let permutation = match node.attributes.integer("keepdims") {
        Some(0) => without(permutation, &axes),
        _ => permutation.clone(),
    };
    Some(Rewritten { node: Node { inputs, attributes, ..node.clone() }, permutation })
}

/// An attribute of an axis, from 0.
fn axis(node: &Node, name: &str, default: i64, rank: usize) -> Option<usize> {
    axis_of(node.attributes.integer(name).unwrap_or(default), rank)
}

/// Whether elements are combined in pairs.
fn is_broadcast(operator: Operator) -> bool {
    matches!(operator.family(), Family::Broadcast | Family::Comparison)
}

/// A copy of the attributes with one replaced.
fn replaced(attributes: &Attributes, name: &'static str, value: impl Into<Attribute>) -> Attributes {
    let mut copy = attributes.clone();
    copy.set(name, value);
    copy
}
