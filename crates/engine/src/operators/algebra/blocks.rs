//! com.microsoft's MatMulNBits: a product with a matrix of 4- or 8-bit numbers in blocks,
//! each of which has a scale.

use super::matmul::multiply;
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit},
        broadcast::combine,
        definition::Builder,
        number::{Number, Real},
        types::for_reals,
        widen::in_float,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("com.microsoft", "MatMulNBits", build)];

#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Rows and columns of the matrix before it was turned and cut in blocks.
    depth: usize,
    columns: usize,
    bits: usize,
    block: usize,
    zeros: Zeros,
}

/// Where the zero of each block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zeros {
    /// In the middle.
    Middle,
    /// In packed numbers.
    Packed,
    /// In floating point numbers.
    Plain,
}

fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let size = |name: &str, default: i64| -> Result<usize, Refusal> {
            let value = definition.attributes.integer(name)?.unwrap_or(default);
            usize::try_from(value)
                .ok()
                .filter(|size| *size > 0 && *size < 1 << 30)
                .ok_or_else(|| Refusal::new(format!("{name} is {value}; expected 1 or more")))
        };
        let bits = size("bits", 4)?;
        if bits != 4 && bits != 8 {
            return Err(Refusal::new(format!(
                "numbers of {bits} bits are not computed here; expected 4 or 8"
            )));
        }
        let zeros = match definition.has_input(3) {
            false => Zeros::Middle,
            true if definition.tensor_type(3)? == ElementType::Uint8 => Zeros::Packed,
            true if definition.tensor_type(3)? == element_type => Zeros::Plain,
            true => return Err(definition.unsupported_type(3)),
        };
        let plan =
            Plan { depth: size("K", 0)?, columns: size("N", 0)?, bits, block: size("block_size", 0)?, zeros };
        if definition.has_input(4) {
            return Err(Refusal::new("MatMulNBits with an order of groups (g_idx) is not computed here"));
        }
        if definition.tensor_type(1)? != ElementType::Uint8 {
            return Err(definition.unsupported_type(1));
        }
        for index in [2, 5] {
            if (index == 2 || definition.has_input(index)) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let matrix = unpacked::<T>(&plan, &arguments, context)?;
                let result = multiply::<T>(arguments.tensor(0)?, &matrix, context)?;
                match arguments.optional(5) {
                    Some(bias) if bias.shape() == [plan.columns] => {
                        combine::<T>(result, bias.clone(), context, T::plus)
                    }
                    Some(bias) => unfit(format!("the bias has the shape {:?}", bias.shape())),
                    None => Ok(result),
                }
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// The matrix as numbers: depth by columns.
fn unpacked<T: Real>(
    plan: &Plan,
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let Plan { depth, columns, bits, block, .. } = *plan;
    let blocks = depth.div_ceil(block);
    let per_byte = 8 / bits;
    let bytes_of_block = block.div_ceil(per_byte);
    let bytes_of_zeros = blocks.div_ceil(per_byte);
    let packed = arguments.values::<u8>(1)?;
    let scales = arguments.values::<T>(2)?;
    let expected = columns.checked_mul(blocks).and_then(|count| count.checked_mul(bytes_of_block));
    if Some(packed.len()) != expected || scales.len() != columns * blocks {
        return unfit(format!(
            "{} bytes and {} scales are not {depth} by {columns} numbers",
            packed.len(),
            scales.len()
        ));
    }
    let packed_zeros = if plan.zeros == Zeros::Packed { Some(arguments.values::<u8>(3)?) } else { None };
    let plain_zeros = if plan.zeros == Zeros::Plain { Some(arguments.values::<T>(3)?) } else { None };
    if packed_zeros.is_some_and(|zeros| zeros.len() != columns * bytes_of_zeros)
        || plain_zeros.is_some_and(|zeros| zeros.len() != columns * blocks)
    {
        return unfit("the zeros of MatMulNBits are not one for each block");
    }
    let number = |bytes: &[u8], place: usize| -> T {
        let byte = bytes[place / per_byte];
        let value = if bits == 8 { byte } else { (byte >> (4 * (place % 2))) & 15 };
        T::from_f64(value.into())
    };
    let count = context.reserve(T::TYPE, &[depth, columns])?;
    let mut values = vec![T::ZERO; count];
    for column in 0..columns {
        for part in 0..blocks {
            let place = column * blocks + part;
            let zero = match (packed_zeros, plain_zeros) {
                (Some(zeros), _) => number(&zeros[column * bytes_of_zeros..], part),
                (_, Some(zeros)) => zeros[place],
                _ => T::from_i64(1 << (bits - 1)),
            };
            let bytes = &packed[place * bytes_of_block..(place + 1) * bytes_of_block];
            for step in 0..block.min(depth - part * block) {
                values[(part * block + step) * columns + column] =
                    (number(bytes, step) - zero) * scales[place];
            }
        }
    }
    tensor_of([depth, columns], values)
}
