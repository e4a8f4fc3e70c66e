//! Operators of com.microsoft that models of language have.

use super::{Inferred, Query, matmul};
use crate::facts::size::{Size, Sizes};

/// The facts about the outputs of an operator that is known here.
pub(super) fn infer(query: &Query<'_>, sizes: &mut Sizes) -> Option<Vec<Inferred>> {
    Some(match query.node.operator.as_str() {
        "MatMulNBits" => vec![with_last(query, query.integer("N", 0).map(Size::from))],
        "MultiHeadAttention" => vec![attention(query)],
        "GroupQueryAttention" => {
            // Without keys, queries, keys and values are in one tensor.
            let shape = query.shape(1).and_then(|_| query.shape(0)).cloned();
            vec![Inferred::shape(shape)]
        }
        "EmbedLayerNormalization" => {
            let width = query.shape(2).and_then(|table| table.get(1)).cloned();
            let shape = query.shape(0).cloned().zip(width).map(|(mut shape, width)| {
                shape.push(width);
                shape
            });
            vec![Inferred::shape(shape.filter(|shape| shape.len() == 3))]
        }
        "FusedMatMul" => {
            let flags = ["transA", "transB", "transBatchA", "transBatchB"].map(|name| query.integer(name, 0));
            if flags == [Some(0); 4] {
                vec![matmul(query, 0, 1, sizes)]
            } else {
                turned(query, flags).unwrap_or_default()
            }
        }
        _ => return None,
    })
}

/// The shape of the first input, with another last dimension.
fn with_last(query: &Query<'_>, size: Option<Size>) -> Inferred {
    let shape = query.shape(0).cloned().zip(size).and_then(|(mut shape, size)| {
        *shape.last_mut()? = size;
        Some(shape)
    });
    Inferred::shape(shape)
}

/// Attention of queries, keys and values whose heads are side by side.
fn attention(query: &Query<'_>) -> Inferred {
    match (query.shape(0), query.shape(2)) {
        (Some(queries), Some(values)) if queries.len() == 3 && values.len() == 3 => {
            with_last(query, values.last().cloned())
        }
        _ => Inferred::default(),
    }
}

/// A product whose matrices are turned: of stacks of the same size, or with one matrix on the right.
fn turned(query: &Query<'_>, flags: [Option<i64>; 4]) -> Option<Vec<Inferred>> {
    let [Some(left), Some(right), Some(0), Some(0)] = flags else { return None };
    let (first, second) = (query.shape(0)?, query.shape(1)?);
    let (batch, other) = (first.len().checked_sub(2)?, second.len().checked_sub(2)?);
    if other != 0 && first.get(..batch) != second.get(..other) {
        return None;
    }
    let mut shape = first.get(..batch)?.to_vec();
    shape.push(first.get(if left == 0 { batch } else { batch + 1 })?.clone());
    shape.push(second.get(if right == 0 { other + 1 } else { other })?.clone());
    Some(vec![Inferred::shape(Some(shape))])
}
