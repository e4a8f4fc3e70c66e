//! Gemm: a product of two matrices, and a third that is added.

use super::kernel::add_product;
use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit, values_of},
        broadcast::repeat_to,
        definition::Builder,
        elementwise::arithmetic::common_type,
        layout::View,
        number::Number,
        types::for_types,
        widen::in_float,
    },
    tensor::{Element, ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "Gemm", gemm)];

fn gemm(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = common_type(definition)?;
        let attributes = definition.attributes;
        let transposed = [attributes.flag("transA", false)?, attributes.flag("transB", false)?];
        let (alpha, beta) =
            (attributes.float("alpha")?.unwrap_or(1.0), attributes.float("beta")?.unwrap_or(1.0));
        if definition.has_input(2) && definition.tensor_type(2)? != element_type {
            return Err(definition.unsupported_type(2));
        }
        let whole = !matches!(element_type, ElementType::Float | ElementType::Double);
        if whole && (alpha.fract() != 0.0 || beta.fract() != 0.0) {
            return Err(Refusal::new(format!("alpha is {alpha} and beta {beta}, of whole numbers")));
        }
        for_types!(
            element_type,
            [f32, f64, i32, i64, u32, u64],
            T => {
                let (alpha, beta) = (T::from_f64(alpha.into()), T::from_f64(beta.into()));
                single(definition, element_type, move |mut arguments, context| {
                    let left = matrix(arguments.take(0)?, transposed[0], context)?;
                    let right = matrix(arguments.take(1)?, transposed[1], context)?;
                    let ([rows, depth], [found, columns]) = (left.shape(), right.shape()) else {
                        return unfit("Gemm takes matrices");
                    };
                    if depth != found {
                        return unfit(format!(
                            "matrices of the shapes {:?} and {:?} can't be multiplied",
                            left.shape(),
                            right.shape()
                        ));
                    }
                    let shape = [*rows, *columns];
                    let count = context.reserve(T::TYPE, &shape)?;
                    let mut result = vec![T::ZERO; count];
                    add_product(values_of(&left)?, values_of(&right)?, &mut result, *rows, *depth, *columns);
                    if alpha != T::ONE {
                        result.iter_mut().for_each(|value| *value = value.times(alpha));
                    }
                    if let Some(added) = arguments.optional(2) {
                        let added: Vec<T> = repeat_to(added, &shape, context)?;
                        for (value, added) in result.iter_mut().zip(added) {
                            *value = value.plus(beta.times(added));
                        }
                    }
                    tensor_of(shape, result)
                })
            },
            Err(definition.unsupported_type(0))
        )
    })
}

fn matrix(tensor: Tensor, transposed: bool, context: &Context<'_>) -> Result<Tensor, OperatorError> {
    if tensor.rank() != 2 {
        return unfit(format!("Gemm takes matrices; found the shape {:?}", tensor.shape()));
    }
    if transposed { View::transposed(tensor.shape(), &[1, 0]).copy(&tensor, context) } else { Ok(tensor) }
}
