//! MatMul, and com.microsoft's FusedMatMul.

use super::kernel::add_product;
use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        arguments::{owned_values, reshaped, single, tensor_of, unfit, values_of},
        axes::product,
        broadcast::{Walk, broadcast_shape},
        definition::Builder,
        elementwise::arithmetic::common_type,
        layout::View,
        number::Number,
        types::{for_reals, for_types},
        widen::in_float,
    },
    tensor::Tensor,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "MatMul", matmul),
    ("com.microsoft", "FusedMatMul", fused_matmul),
    ("com.microsoft", "TransposeMatMul", fused_matmul),
];

fn matmul(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = common_type(definition)?;
        for_types!(
            element_type,
            [f32, f64, i32, i64, u32, u64, i8, i16, u8, u16],
            T => single(definition, element_type, |arguments, context| {
                multiply::<T>(arguments.tensor(0)?, arguments.tensor(1)?, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// The products of matrices of two tensors, as NumPy's `matmul` pairs them.
pub(crate) fn multiply<T: Number>(
    left: &Tensor,
    right: &Tensor,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let misfit = || {
        unfit(format!(
            "tensors of the shapes {:?} and {:?} can't be multiplied as matrices",
            left.shape(),
            right.shape()
        ))
    };
    // A vector is a row on the left and a column on the right; its dimension is dropped after.
    let (left_batch, rows, depth) = match left.shape() {
        [] => return misfit(),
        [depth] => (&[][..], 1, *depth),
        [batch @ .., rows, depth] => (batch, *rows, *depth),
    };
    let (right_batch, right_depth, columns) = match right.shape() {
        [] => return misfit(),
        [depth] => (&[][..], *depth, 1),
        [batch @ .., depth, columns] => (batch, *depth, *columns),
    };
    if depth != right_depth {
        return misfit();
    }
    let batch = broadcast_shape(&[left_batch, right_batch])?;
    let mut shape = batch.clone();
    if left.rank() > 1 {
        shape.push(rows);
    }
    if right.rank() > 1 {
        shape.push(columns);
    }
    let count = context.reserve(T::TYPE, &shape)?;
    let mut result = vec![T::ZERO; count];
    let (first, second) = (values_of::<T>(left)?, values_of::<T>(right)?);
    if count > 0 && right_batch.iter().all(|size| *size == 1) {
        // One matrix on the right: the left ones are one tall matrix.
        add_product(first, second, &mut result, product(&batch) * rows, depth, columns);
    } else if count > 0 {
        let walk = Walk::new(&batch, [left_batch, right_batch]);
        let mut targets = result.chunks_exact_mut(rows * columns);
        walk.rows(|[at, to]| {
            for step in 0..walk.length {
                context.check()?;
                let (a, b) = (at + step * walk.steps[0], to + step * walk.steps[1]);
                let Some(target) = targets.next() else { return Ok(()) };
                add_product(
                    &first[a * rows * depth..(a + 1) * rows * depth],
                    &second[b * depth * columns..(b + 1) * depth * columns],
                    target,
                    rows,
                    depth,
                    columns,
                );
            }
            Ok(())
        })?;
    }
    tensor_of(shape, result)
}

/// MatMul of tensors whose last two dimensions, or whose batch, may be transposed first.
fn fused_matmul(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = common_type(definition)?;
        let attributes = definition.attributes;
        let flags = [
            (attributes.flag("transA", false)?, attributes.flag("transBatchA", false)?),
            (attributes.flag("transB", false)?, attributes.flag("transBatchB", false)?),
        ];
        let alpha = attributes.float("alpha")?.unwrap_or(1.0);
        for_reals!(
            element_type,
            T => single(definition, element_type, move |mut arguments, context| {
                let left = turned(arguments.take(0)?, flags[0], context)?;
                let right = turned(arguments.take(1)?, flags[1], context)?;
                let result = multiply::<T>(&left, &right, context)?;
                if alpha == 1.0 {
                    return Ok(result);
                }
                let shape = result.shape().to_vec();
                let mut values = owned_values::<T>(result)?;
                values.iter_mut().for_each(|value| *value *= T::from_f64(alpha.into()));
                tensor_of(shape, values)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn turned(
    tensor: Tensor,
    (matrix, batch): (bool, bool),
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let rank = tensor.rank();
    if rank < 2 || (!matrix && !batch) {
        return Ok(tensor);
    }
    let mut order: Vec<usize> = (0..rank).collect();
    if batch {
        // The dimension before the columns goes to the front of the others.
        order[..rank - 1].rotate_left(1);
    }
    if matrix {
        order.swap(rank - 2, rank - 1);
    }
    if order.is_sorted() {
        let shape = tensor.shape().to_vec();
        return reshaped(tensor, shape);
    }
    View::transposed(tensor.shape(), &order).copy(&tensor, context)
}
