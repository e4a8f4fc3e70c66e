//! What rten's optimizer makes of some groups of nodes is not what they are: its patterns do
//! not look at the ranks of constants, at `keepdims` or at axes. Nodes that would complete such a
//! group wrongly stay outside islands.

use super::View;
use crate::{facts::Fact, onnx::model::Node};

/// Whether rten may take an arithmetic node of two inputs for something else than it is.
pub(super) fn is_arithmetic_mistaken(view: &View<'_>) -> bool {
    [(0, 1), (1, 0)].into_iter().any(|(constant, other)| {
        let (Some(fact), Some(value)) = (view.input(constant), view.input(other)) else { return false };
        fact.is_constant && is_mistaken(view, fact, value, other)
    })
}

fn is_mistaken(view: &View<'_>, constant: &Fact, value: &Fact, other: usize) -> bool {
    let Some(shape) = constant.known_shape() else { return true };
    let rank = value.rank();
    // One number of any rank is taken for a scalar (`x + [[0]]` for `x`), though the result may
    // have more dimensions than the value.
    let is_one = shape.iter().all(|size| *size == 1);
    if is_one && !shape.is_empty() && rank.is_none_or(|rank| rank < shape.len()) {
        return true;
    }
    let last = rank.and_then(|rank| rank.checked_sub(1)).and_then(|last| value.dimension(last));
    let maker = view.maker(other);
    let fits_last = |length: usize| is_one || last.is_some_and(|last| usize::try_from(last) == Ok(length));
    match view.operator() {
        // A vector that is added to a product of matrices becomes its bias, one number a column.
        "Add" if maker.is_some_and(|maker| maker.operator == "MatMul") && shape.len() == 1 => {
            // One number is no bias of several columns.
            let [length] = shape.as_slice() else { return true };
            !last.is_some_and(|last| usize::try_from(last) == Ok(*length))
        }
        // The scale and the bias of a normalisation must be scalars or vectors of the last dimension.
        "Mul" | "Add" if maker.is_some_and(|maker| ends_normalization(view, maker)) => match shape.as_slice()
        {
            [] => false,
            [length] => !fits_last(*length),
            _ => !is_one,
        },
        _ => false,
    }
}

/// Whether a node may be the last but one or the last but two of a normalisation that is
/// written out: a quotient by a square root, or its product with a scale.
fn ends_normalization(view: &View<'_>, maker: &Node) -> bool {
    let is = |node: Option<&Node>, operators: &[&str]| {
        node.is_some_and(|node| operators.contains(&node.operator.as_str()))
    };
    let divides = |node: &Node| {
        node.operator == "Div" && is(view.producers.of(node, 1), &["Sqrt"])
            || node.operator == "Mul"
                && [0, 1].into_iter().any(|index| is(view.producers.of(node, index), &["Reciprocal", "Div"]))
    };
    divides(maker)
        || maker.operator == "Mul"
            && [0, 1].into_iter().any(|index| view.producers.of(maker, index).is_some_and(divides))
}

/// Whether rten takes a `Reshape` of an `Expand` of an `Unsqueeze` for a repetition of each
/// element, though it repeats the whole.
pub(super) fn is_repetition_mistaken(view: &View<'_>) -> bool {
    let Some(expand) = view.maker(0).filter(|maker| maker.operator == "Expand") else { return false };
    let Some(unsqueeze) = view.producers.of(expand, 0).filter(|maker| maker.operator == "Unsqueeze") else {
        return false;
    };
    // Right only if the new dimension is behind the one that grows. The one that grows is not
    // known here, so all but the common form of attention (five dimensions, the third one new) is left out.
    let axes = unsqueeze.attributes.integers("axes").ok().flatten().map(<[i64]>::to_vec);
    let axes = axes.or_else(|| {
        let axes = unsqueeze.inputs.get(1).copied().flatten()?;
        (view.fact)(axes)?.known_integers()
    });
    view.input(0).and_then(Fact::rank) != Some(5) || axes.as_deref() != Some(&[2])
}
