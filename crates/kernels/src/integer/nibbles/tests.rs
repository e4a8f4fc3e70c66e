use proptest::prelude::*;

use super::*;
use crate::tests::plain::bytes;

fn floats(count: usize, seed: u64) -> Vec<f32> {
    let bytes = bytes(2 * count, seed);
    bytes.chunks(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 9000.0).collect()
}

/// A matrix of any kind, with what it is made of.
struct Case {
    depth: usize,
    columns: usize,
    block: usize,
    numbers: Vec<u8>,
    scales: Vec<f32>,
    zeros: Option<Vec<u8>>,
    bias: Option<Vec<f32>>,
}

impl Case {
    fn new((depth, columns, block): (usize, usize, usize), seed: u64) -> Self {
        let blocks = depth.div_ceil(block);
        Self {
            depth,
            columns,
            block,
            numbers: bytes(columns * blocks * block / 2, seed),
            scales: floats(columns * blocks, seed ^ 1),
            zeros: (!seed.is_multiple_of(3)).then(|| bytes(columns * blocks.div_ceil(2), seed ^ 2)),
            bias: (!seed.is_multiple_of(2)).then(|| floats(columns, seed ^ 3)),
        }
    }

    fn source(&self) -> Source<'_> {
        Source {
            numbers: &self.numbers,
            bits: 4,
            scales: &self.scales,
            zeros: self.zeros.as_deref().map_or(Zeros::Middle, Zeros::Packed),
            depth: self.depth,
            columns: self.columns,
            block: self.block,
        }
    }

    fn matrix(&self, instructions: Instructions) -> Matrix {
        Matrix::new(instructions, &mut Arena::default(), &self.source(), self.bias.as_deref()).unwrap()
    }

    /// The product of one row and one column, in the order that the kernel promises.
    fn product(&self, row: &[f32], column: usize) -> f32 {
        let blocks = self.depth.div_ceil(self.block);
        let mut total = 0.0_f32;
        for (index, values) in row.chunks(self.block).enumerate() {
            let place = column * blocks + index;
            let zero = self.zeros.as_ref().map_or(8, |zeros| {
                i32::from(zeros[column * blocks.div_ceil(2) + index / 2] >> (4 * (index % 2)) & 15)
            });
            let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let inverse = if (127.0 / largest).is_finite() { 127.0 / largest } else { 0.0 };
            let mut sum = 0;
            for (step, value) in values.iter().enumerate() {
                let byte = self.numbers[place * self.block / 2 + step / 2];
                let number = i32::from(if step % 2 == 0 { byte & 15 } else { byte >> 4 });
                sum += (number - zero) * (value * inverse).round_ties_even() as i32;
            }
            let scale = if inverse == 0.0 { 0.0 } else { largest / 127.0 };
            total = (sum as f32).mul_add(self.scales[place] * scale, total);
        }
        total + self.bias.as_ref().map_or(0.0, |bias| bias[column])
    }
}

fn multiply(matrix: &Matrix, rows: &[f32], threads: usize) -> Vec<f32> {
    let count = rows.len() / matrix.depth();
    let mut arranged = vec![0xaa; count * matrix.row_bytes()];
    let mut output = vec![f32::NAN; count * matrix.columns()];
    for index in 0..threads {
        matrix.arrange(rows, Shared::new(&mut arranged), Part { index, count: threads }).unwrap();
    }
    for index in 0..threads {
        matrix.multiply(&arranged, Shared::new(&mut output), Part { index, count: threads }).unwrap();
    }
    output
}

fn all() -> impl Iterator<Item = Instructions> {
    Instructions::ALL.into_iter().filter(|set| set.is_available())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_those_of_plain_loops(
        (depth, columns, rows) in (1..300_usize, 1..70_usize, 0..16_usize),
        block in prop::sample::select(vec![16_usize, 32, 48, 64, 128, 256]),
        (threads, seed) in (1..4_usize, any::<u64>()),
    ) {
        let case = Case::new((depth, columns, block), seed);
        let left = floats(rows * depth, seed ^ 9);
        for instructions in all() {
            let found = multiply(&case.matrix(instructions), &left, threads);
            for (place, found) in found.iter().enumerate() {
                let (row, column) = (place / columns, place % columns);
                let expected = case.product(&left[row * depth..][..depth], column);
                prop_assert_eq!(*found, expected, "{:?} {} {}", instructions, row, column);
            }
        }
    }
}

#[test]
fn the_largest_sums_of_a_block_are_exact() {
    for seed in [0, 1] {
        let mut case = Case::new((512, 33, 256), seed);
        case.numbers.fill(0xff);
        for row in [[1.0_f32; 512], [-1.0; 512]] {
            for instructions in all() {
                let found = multiply(&case.matrix(instructions), &row, 1);
                for (column, found) in found.into_iter().enumerate() {
                    assert_eq!(found, case.product(&row, column), "{instructions:?}");
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_product_alone_and_with_others() {
    let case = Case::new((200, 40, 32), 7);
    let left = floats(2 * ROWS * 200 + 600, 8);
    for instructions in all() {
        let matrix = case.matrix(instructions);
        let together = multiply(&matrix, &left, 1);
        for row in [0, 1, ROWS, 2 * ROWS + 2] {
            let alone = multiply(&matrix, &left[row * 200..][..200], 1);
            assert_eq!(alone, together[row * 40..][..40], "{instructions:?} {row}");
        }
        assert_eq!(multiply(&matrix, &left, 2), together);
        assert_eq!(multiply(&matrix, &left, 5), together);
    }
}

#[test]
fn numbers_that_are_not_finite_or_very_small() {
    let case = Case::new((70, 20, 32), 6);
    for instructions in all() {
        let matrix = case.matrix(instructions);
        for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut left = floats(3 * 70, 8);
            let before = multiply(&matrix, &left, 1);
            left[70 + 69] = number;
            let found = multiply(&matrix, &left, 1);
            assert!(found[20..40].iter().all(|value| value.is_nan()), "{instructions:?} {number}");
            assert_eq!(found[..20], before[..20]);
            assert_eq!(found[40..], before[40..]);
        }
        assert_eq!(multiply(&matrix, &[f32::MIN_POSITIVE / 4.0; 70], 1), [0.0; 20]);
        assert_eq!(multiply(&matrix, &[0.0; 70], 1), [0.0; 20]);
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let case = Case::new((64, 3, 32), 1);
    let new = |source: &Source<'_>, bias: Option<&[f32]>| {
        Matrix::new(Instructions::Plain, &mut Arena::default(), source, bias)
    };
    let source = case.source();
    assert!(new(&source, None).is_some());
    assert!(new(&source, Some(&[1.0; 2])).is_none());
    assert!(new(&Source { numbers: &case.numbers[1..], ..source }, None).is_none());
    assert!(new(&Source { scales: &case.scales[1..], ..source }, None).is_none());
    assert!(new(&Source { zeros: Zeros::Packed(&[0; 2]), ..source }, None).is_none());
    assert!(new(&Source { zeros: Zeros::Plain(&[0.0; 6]), ..source }, None).is_none());
    assert!(new(&Source { columns: usize::MAX, ..source }, None).is_none());
    for block in [0, 8, 24, 512] {
        assert!(new(&Source { block, ..source }, None).is_none());
    }
    let matrix = new(&source, None).unwrap();
    let mut bytes = vec![0; 2 * matrix.row_bytes()];
    let mut arrange =
        |rows: &[f32], room: usize| matrix.arrange(rows, Shared::new(&mut bytes[..room]), Part::WHOLE);
    assert!(arrange(&[1.0; 128], 2 * matrix.row_bytes()).is_ok());
    assert!(arrange(&[1.0; 127], 2 * matrix.row_bytes()).is_err());
    assert!(arrange(&[1.0; 128], 2 * matrix.row_bytes() - 1).is_err());
    let mut output = [0.0; 6];
    assert!(matrix.multiply(&bytes, Shared::new(&mut output), Part::WHOLE).is_ok());
    assert!(matrix.multiply(&bytes[1..], Shared::new(&mut output), Part::WHOLE).is_err());
    assert!(matrix.multiply(&bytes, Shared::new(&mut output[1..]), Part::WHOLE).is_err());
}
