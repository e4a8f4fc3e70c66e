//! Products with matrices of 4- and 8-bit numbers: with the accuracy of int8 where the model allows it, otherwise in
//! floats.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

mod fixture;

use adytum_engine::{
    engine::{LoadedModel, Run},
    operators::{Cancellation, Memory},
    tensor::{Tensor, Value},
    threads::Threads,
};
use fixture::{
    onnx::{Attribute, FLOAT, floats, initializer, model, node_of, put_bytes, put_number, value},
    runs::{load, run_within},
};
use half::f16;

const UINT8: u64 = 2;
const FLOAT16: u64 = 10;

fn numbers(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as u8
    })
    .take(count)
    .collect()
}

fn reals(count: usize, seed: u64) -> Vec<f32> {
    numbers(count, seed).iter().map(|byte| f32::from(*byte) / 64.0 - 2.0).collect()
}

/// The numbers of a product's constants.
struct Parts {
    matrix: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<u8>,
    float_zeros: Vec<f32>,
    bias: Vec<f32>,
}

/// A product with a matrix.
struct Case {
    depth: usize,
    columns: usize,
    block: usize,
    bits: usize,
    level: i64,
    has_zeros: bool,
    has_float_zeros: bool,
    has_bias: bool,
    is_half: bool,
}

impl Case {
    /// 4 bits by way of int8, zeros in the middle.
    fn new(depth: usize, columns: usize, block: usize) -> Self {
        Self {
            depth,
            columns,
            block,
            bits: 4,
            level: 4,
            has_zeros: false,
            has_float_zeros: false,
            has_bias: false,
            is_half: false,
        }
    }

    fn blocks(&self) -> usize {
        self.depth.div_ceil(self.block)
    }

    fn matrix(&self) -> Vec<u8> {
        numbers(self.columns * self.blocks() * self.block * self.bits / 8, 5)
    }

    fn scales(&self) -> Vec<f32> {
        numbers(self.columns * self.blocks(), 7).iter().map(|byte| f32::from(byte % 64) / 1024.0).collect()
    }

    fn zeros(&self) -> Vec<u8> {
        numbers(self.columns * self.bytes_of_zeros(), 9)
    }

    /// Those of a column.
    fn bytes_of_zeros(&self) -> usize {
        (self.blocks() * self.bits).div_ceil(8)
    }

    fn float_zeros(&self) -> Vec<f32> {
        numbers(self.columns * self.blocks(), 13).iter().map(|byte| f32::from(*byte) / 16.0).collect()
    }

    /// A number among packed ones.
    fn number(&self, bytes: &[u8], place: usize) -> f64 {
        let byte = bytes[place * self.bits / 8];
        f64::from(if self.bits == 8 { byte } else { byte >> (4 * (place % 2)) & 15 })
    }

    fn bias(&self) -> Vec<f32> {
        if self.has_bias { reals(self.columns, 11) } else { vec![0.0; self.columns] }
    }

    fn parts(&self) -> Parts {
        Parts {
            matrix: self.matrix(),
            scales: self.scales(),
            zeros: self.zeros(),
            float_zeros: self.float_zeros(),
            bias: self.bias(),
        }
    }

    /// The model. `missing` bytes of the matrix are left out.
    fn file(&self, missing: usize) -> Vec<u8> {
        let blocks = self.blocks() as i64;
        let (columns, half) = (self.columns as i64, (self.block * self.bits / 8) as i64);
        let matrix = self.matrix();
        let matrix = &matrix[..matrix.len() - missing];
        let shape = if missing == 0 { vec![columns, blocks, half] } else { vec![matrix.len() as i64] };
        let real = |name: &str, shape: &[i64], values: &[f32]| {
            if !self.is_half {
                return floats(name, shape, values);
            }
            let bytes: Vec<u8> =
                values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
            initializer(name, FLOAT16, shape, &bytes)
        };
        let constants = [
            initializer("matrix", UINT8, &shape, matrix),
            real("scales", &[columns * blocks], &self.scales()),
            if self.has_float_zeros {
                real("zeros", &[columns * blocks], &self.float_zeros())
            } else {
                initializer("zeros", UINT8, &[self.zeros().len() as i64], &self.zeros())
            },
            real("bias", &[columns], &self.bias()),
        ];
        let attributes = [
            Attribute::Integer("K", self.depth as i64),
            Attribute::Integer("N", columns),
            Attribute::Integer("bits", self.bits as i64),
            Attribute::Integer("block_size", self.block as i64),
            Attribute::Integer("accuracy_level", self.level),
        ];
        let zeros = if self.has_zeros || self.has_float_zeros { "zeros" } else { "" };
        let bias = if self.has_bias { "bias" } else { "" };
        let inputs = ["x", "matrix", "scales", zeros, "", bias];
        let element_type = if self.is_half { FLOAT16 } else { FLOAT };
        let mut file = model(
            &[node_of("com.microsoft", "MatMulNBits", &inputs, &["y"], &attributes)],
            &[value("x", element_type, &[-1, -1, self.depth as i64])],
            &[value("y", element_type, &[-1, -1, columns])],
            &constants,
        );
        let mut domain = Vec::new();
        put_bytes(&mut domain, 1, b"com.microsoft");
        put_number(&mut domain, 2, 1);
        put_bytes(&mut file, 8, &domain);
        file
    }

    /// The product, the bound of what int8 may change, and the size of what is summed.
    fn expected(&self, parts: &Parts, row: &[f32], column: usize, is_int8: bool) -> (f64, f64, f64) {
        let Parts { matrix, scales, zeros, float_zeros, bias } = parts;
        let (mut sum, mut bound, mut size) = (f64::from(bias[column]), 0.0, 0.0);
        for (index, values) in row.chunks(self.block).enumerate() {
            let place = column * self.blocks() + index;
            let zero = if self.has_float_zeros {
                f64::from(float_zeros[place])
            } else if self.has_zeros {
                self.number(&zeros[column * self.bytes_of_zeros()..], index)
            } else {
                f64::from(1_u8 << (self.bits - 1))
            };
            let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let step = f64::from(largest / 127.0);
            for (at, value) in values.iter().enumerate() {
                let number = self.number(matrix, place * self.block + at);
                let weight = (number - zero) * f64::from(scales[place]);
                let value = if is_int8 {
                    f64::from((value * (127.0 / largest)).round_ties_even()) * step
                } else {
                    f64::from(*value)
                };
                sum += value * weight;
                bound += weight.abs() * step / 2.0;
                size += (value * weight).abs();
            }
        }
        (sum, bound, size)
    }
}

fn answer(model: &dyn LoadedModel, x: &Tensor, threads: usize) -> Tensor {
    let (threads, memory, cancellation) =
        (Threads::new(threads), Memory::new(1 << 30), Cancellation::default());
    let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
    let found = model.run(vec![Some(Value::Tensor(x.clone()))], &[0], run).unwrap();
    assert_eq!(memory.used(), 0, "all memory is given back");
    found.into_iter().next().unwrap().into_tensor().unwrap()
}

#[test]
fn level_four_is_int8_and_others_are_floats() {
    for (depth, columns, block, rows) in
        [(70, 40, 32, 5), (64, 33, 16, 1), (300, 20, 128, 30), (96, 7, 256, 3)]
    {
        for kind in 0..4 {
            let (has_zeros, has_bias) = (kind % 2 > 0, kind / 2 > 0);
            let left = reals(rows * depth, 3);
            let x = Tensor::from_vec(vec![1, rows, depth], left.clone()).unwrap();
            for level in [0, 1, 4] {
                let case = Case { level, has_zeros, has_bias, ..Case::new(depth, columns, block) };
                let (model, parts) = (load(case.file(0)).unwrap(), case.parts());
                let found = answer(model.as_ref(), &x, 1);
                assert_eq!(found.shape(), [1, rows, columns]);
                for (place, found) in found.values::<f32>().unwrap().iter().enumerate() {
                    let row = &left[place / columns * depth..][..depth];
                    let (exact, bound, size) = case.expected(&parts, row, place % columns, false);
                    let (near, ..) = case.expected(&parts, row, place % columns, true);
                    let found = f64::from(*found);
                    let expected = if level == 4 { near } else { exact };
                    assert!((found - expected).abs() <= 1e-5 * (size + 1.0), "{level} {found} {expected}");
                    assert!((found - exact).abs() <= bound + 1e-5 * (size + 1.0), "{level} {found} {exact}");
                }
                // Threads and other rows change nothing, to the last bit.
                assert_eq!(answer(model.as_ref(), &x, 3), found);
                let last = Tensor::from_vec(vec![1, 1, depth], left[(rows - 1) * depth..].to_vec()).unwrap();
                assert_eq!(
                    answer(model.as_ref(), &last, 1).values::<f32>().unwrap(),
                    &found.values::<f32>().unwrap()[(rows - 1) * columns..]
                );
            }
        }
    }
}

#[test]
fn eight_bits_and_zeros_that_are_floats_are_computed_in_floats() {
    for (depth, columns, block, rows) in [(70, 40, 32, 5), (64, 33, 16, 1), (900, 20, 128, 30)] {
        for (bits, has_zeros, has_float_zeros) in
            [(8, false, false), (8, true, false), (8, false, true), (4, false, true)]
        {
            let sizes = Case::new(depth, columns, block);
            let case = Case { bits, has_zeros, has_float_zeros, has_bias: true, ..sizes };
            let (model, parts) = (load(case.file(0)).unwrap(), case.parts());
            let left = reals(rows * depth, 3);
            let x = Tensor::from_vec(vec![1, rows, depth], left.clone()).unwrap();
            let found = answer(model.as_ref(), &x, 1);
            for (place, found) in found.values::<f32>().unwrap().iter().enumerate() {
                let row = &left[place / columns * depth..][..depth];
                let (expected, _, size) = case.expected(&parts, row, place % columns, false);
                let found = f64::from(*found);
                assert!((found - expected).abs() <= 1e-5 * (size + 1.0), "{bits} {found} {expected}");
            }
            assert_eq!(answer(model.as_ref(), &x, 3), found);
        }
    }
}

#[test]
fn sixteen_bits_are_computed_in_floats_and_rounded_once() {
    let case = Case { has_zeros: true, has_bias: true, is_half: true, ..Case::new(64, 20, 32) };
    let left = reals(3 * 64, 3);
    let halves: Vec<f16> = left.iter().map(|value| f16::from_f32(*value)).collect();
    let found =
        answer(load(case.file(0)).unwrap().as_ref(), &Tensor::from_vec(vec![1, 3, 64], halves).unwrap(), 1);
    let parts = case.parts();
    for (place, found) in found.values::<f16>().unwrap().iter().enumerate() {
        let (expected, _, size) = case.expected(&parts, &left[place / 20 * 64..][..64], place % 20, true);
        assert!(
            (found.to_f64() - expected).abs() <= 1e-3 * (expected.abs() + size / 100.0),
            "{found} {expected}"
        );
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let case = Case::new(64, 20, 32);
    let run = |file: Vec<u8>, shape: [usize; 3]| {
        let count = shape.iter().product();
        let x = Tensor::from_vec(shape.to_vec(), vec![1.0_f32; count]).unwrap();
        match load(file) {
            Err(error) => Some(error.to_string()),
            Ok(model) => run_within(model.as_ref(), vec![x], 1 << 30).err().map(|error| error.to_string()),
        }
    };
    assert_eq!(run(case.file(0), [2, 3, 64]), None);
    assert_eq!(run(case.file(0), [2, 0, 64]), None);
    assert!(run(case.file(0), [2, 3, 63]).is_some());
    for bits in [4, 8] {
        let case = Case { bits, ..Case::new(64, 20, 32) };
        for missing in [1, 16, 320] {
            assert!(run(case.file(missing), [2, 3, 64]).is_some());
        }
    }
}
