//! com.microsoft's MatMulNBits: a product with a matrix of 4- or 8-bit numbers in blocks,
//! each of which has a scale.
//!
//! The matrix stays packed: in floats it would be eight times as large. A run unpacks a few
//! columns at a time, which then stay in the processor's cache while all rows take them. Where the matrix is constant,
//! `plan/packed_blocks` puts another operator in the place of this one.

use super::kernel::{dot, four_dots};
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, unfit, values_of},
        broadcast::combine,
        definition::Builder,
        number::Real,
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
                let matrix = Packed::<T>::new(&plan, &arguments)?;
                let result = matrix.after(arguments.tensor(0)?, context)?;
                add_bias::<T>(&plan, result, &arguments, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn add_bias<T: Real>(
    plan: &Plan,
    result: Tensor,
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    match arguments.optional(5) {
        Some(bias) if bias.shape() == [plan.columns] => combine::<T>(result, bias.clone(), context, T::plus),
        Some(bias) => unfit(format!("the bias has the shape {:?}", bias.shape())),
        None => Ok(result),
    }
}

/// The zeros of the blocks.
#[derive(Clone, Copy)]
enum ZeroPoints<'a, T> {
    Middle(T),
    Packed(&'a [u8]),
    Plain(&'a [T]),
}

/// The matrix in blocks, column after column.
struct Packed<'a, T> {
    plan: Plan,
    /// How many blocks a column has.
    blocks: usize,
    numbers: &'a [u8],
    scales: &'a [T],
    zeros: ZeroPoints<'a, T>,
    /// Each value that a byte may have.
    values: Vec<T>,
}

/// How many columns are unpacked together.
const COLUMNS: usize = 4;

impl<'a, T: Real> Packed<'a, T> {
    fn new(plan: &Plan, arguments: &'a Arguments) -> Result<Self, OperatorError> {
        let zeros = match plan.zeros {
            Zeros::Middle => ZeroPoints::Middle(T::from_i64(1 << (plan.bits - 1))),
            Zeros::Packed => ZeroPoints::Packed(arguments.values::<u8>(3)?),
            Zeros::Plain => ZeroPoints::Plain(arguments.values::<T>(3)?),
        };
        Self::of(*plan, arguments.values::<u8>(1)?, arguments.values::<T>(2)?, zeros)
    }

    fn of(
        plan: Plan,
        numbers: &'a [u8],
        scales: &'a [T],
        zeros: ZeroPoints<'a, T>,
    ) -> Result<Self, OperatorError> {
        let blocks = plan.depth.div_ceil(plan.block);
        let count = plan.columns.checked_mul(blocks);
        if count.and_then(|count| count.checked_mul(plan.bytes(plan.block))) != Some(numbers.len())
            || count != Some(scales.len())
        {
            return unfit(format!(
                "{} bytes and {} scales are not {} by {} numbers",
                numbers.len(),
                scales.len(),
                plan.depth,
                plan.columns
            ));
        }
        let fits = match zeros {
            ZeroPoints::Middle(_) => true,
            ZeroPoints::Packed(zeros) => zeros.len() == plan.columns * plan.bytes(blocks),
            ZeroPoints::Plain(zeros) => Some(zeros.len()) == count,
        };
        if !fits {
            return unfit("the zeros of MatMulNBits are not one for each block");
        }
        let values = (0..=u8::MAX).map(|value| T::from_i64(value.into())).collect();
        Ok(Self { plan, blocks, numbers, scales, zeros, values })
    }

    /// The zero of a block of a column.
    fn zero(&self, column: usize, block: usize) -> T {
        match self.zeros {
            ZeroPoints::Middle(zero) => zero,
            ZeroPoints::Plain(zeros) => zeros[column * self.blocks + block],
            ZeroPoints::Packed(zeros) if self.plan.bits == 8 => {
                self.values[usize::from(zeros[column * self.blocks + block])]
            }
            ZeroPoints::Packed(zeros) => {
                let byte = zeros[column * self.plan.bytes(self.blocks) + block / 2];
                self.values[usize::from((byte >> (4 * (block % 2))) & 15)]
            }
        }
    }

    /// Writes the numbers of a column.
    fn unpack(&self, column: usize, target: &mut [T]) {
        let bytes_of_block = self.plan.bytes(self.plan.block);
        for (block, target) in target.chunks_mut(self.plan.block).enumerate() {
            let place = column * self.blocks + block;
            let (zero, scale) = (self.zero(column, block), self.scales[place]);
            let bytes = &self.numbers[place * bytes_of_block..(place + 1) * bytes_of_block];
            if self.plan.bits == 8 {
                for (target, byte) in target.iter_mut().zip(bytes) {
                    *target = self.values[usize::from(*byte)].minus(zero).times(scale);
                }
                continue;
            }
            let mut levels = [T::ZERO; 16];
            for (level, value) in levels.iter_mut().zip(&self.values) {
                *level = value.minus(zero).times(scale);
            }
            for (pair, byte) in target.chunks_mut(2).zip(bytes) {
                pair[0] = levels[usize::from(byte & 15)];
                if let Some(second) = pair.get_mut(1) {
                    *second = levels[usize::from(byte >> 4)];
                }
            }
        }
    }

    /// The product of a matrix, or of a stack of them, and this one.
    fn after(&self, left: &Tensor, context: &Context<'_>) -> Result<Tensor, OperatorError> {
        let Plan { depth, columns, .. } = self.plan;
        let shape = self.plan.shape_after(left)?;
        let rows = values_of::<T>(left)?;
        let scratch = context.reserve(T::TYPE, &[COLUMNS, depth])?;
        let count = context.reserve(T::TYPE, &shape)?;
        let mut result = vec![T::ZERO; count];
        let mut panel = vec![T::ZERO; scratch];
        for first in (0..columns).step_by(COLUMNS) {
            context.check()?;
            let width = COLUMNS.min(columns - first);
            for (own, target) in panel.chunks_exact_mut(depth).take(width).enumerate() {
                self.unpack(first + own, target);
            }
            for (row, target) in rows.chunks_exact(depth).zip(result.chunks_exact_mut(columns)) {
                let target = &mut target[first..first + width];
                if width == COLUMNS {
                    target.copy_from_slice(&four_dots(row, &panel));
                } else {
                    for (target, column) in target.iter_mut().zip(panel.chunks_exact(depth)) {
                        *target = dot(row, column);
                    }
                }
            }
        }
        tensor_of(shape, result)
    }
}

impl Plan {
    /// The shape of a product of `left` and the matrix.
    fn shape_after(&self, left: &Tensor) -> Result<Vec<usize>, OperatorError> {
        let mut shape = left.shape().to_vec();
        match shape.last_mut() {
            Some(last) if *last == self.depth => *last = self.columns,
            _ => {
                return unfit(format!(
                    "a tensor of the shape {:?} can't be multiplied with a matrix of {} rows",
                    left.shape(),
                    self.depth
                ));
            }
        }
        Ok(shape)
    }

    /// The bytes that `numbers` of them take, where the first begins at a byte.
    fn bytes(&self, numbers: usize) -> usize {
        numbers.div_ceil(8 / self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::{Cancellation, Memory};

    #[test]
    fn a_packed_matrix_is_the_sum_of_its_blocks() {
        for (bits, depth, columns, block, rows) in [
            (4, 37, 6, 16, 3),
            (8, 37, 7, 16, 1),
            (4, 64, 9, 32, 5),
            (4, 70, 5, 32, 1),
            (4, 40, 3, 64, 250),
            (8, 5, 3, 16, 2),
        ] {
            for zeros in [Zeros::Middle, Zeros::Packed, Zeros::Plain] {
                check(Plan { depth, columns, bits, block, zeros }, rows);
            }
        }
    }

    fn check(plan: Plan, rows: usize) {
        let Plan { depth, columns, bits, block, zeros } = plan;
        let blocks = depth.div_ceil(block);
        let bytes = |count: usize, seed: usize| -> Vec<u8> {
            (0..count).map(|place| (place * 73 + seed * place % 11 + 19) as u8).collect()
        };
        let numbers = bytes(columns * blocks * plan.bytes(block), 3);
        let packed = bytes(columns * plan.bytes(blocks), 5);
        let scales: Vec<f32> = (0..columns * blocks).map(|place| 0.01 * (place % 7 + 1) as f32).collect();
        let plain: Vec<f32> = (0..columns * blocks).map(|place| 3.5 + (place % 5) as f32).collect();
        let points = match zeros {
            Zeros::Middle => ZeroPoints::Middle((1 << (bits - 1)) as f32),
            Zeros::Packed => ZeroPoints::Packed(&packed),
            Zeros::Plain => ZeroPoints::Plain(&plain),
        };
        let left: Vec<f32> = (0..rows * depth).map(|place| (place % 17) as f32 - 8.0).collect();
        let matrix = Packed::of(plan, &numbers, &scales, points).unwrap();
        let (memory, cancellation) = (Memory::new(1 << 20), Cancellation::default());
        let context = Context::new(&memory, &cancellation);
        let tensor = Tensor::from_vec([1, rows, depth], left.clone()).unwrap();
        let found = matrix.after(&tensor, &context).unwrap();
        assert_eq!(found.shape(), [1, rows, columns]);
        let number = |bytes: &[u8], place: usize| -> f64 {
            let byte = bytes[place * bits / 8];
            f64::from(if bits == 8 { byte } else { (byte >> (place % 2 * 4)) & 15 })
        };
        for (place, found) in found.values::<f32>().unwrap().iter().enumerate() {
            let (row, column) = (place / columns, place % columns);
            let mut expected = 0.0;
            for step in 0..depth {
                let (part, own) = (step / block, step % block);
                let zero = match zeros {
                    Zeros::Middle => f64::from(1 << (bits - 1)),
                    Zeros::Packed => number(&packed[column * plan.bytes(blocks)..], part),
                    Zeros::Plain => f64::from(plain[column * blocks + part]),
                };
                let from = (column * blocks + part) * plan.bytes(block);
                let weight =
                    (number(&numbers[from..], own) - zero) * f64::from(scales[column * blocks + part]);
                expected += weight * f64::from(left[row * depth + step]);
            }
            assert!((f64::from(*found) - expected).abs() < 1e-3, "{found}, expected {expected}: {plan:?}");
        }
    }
}
