use proptest::prelude::*;

use super::*;
use crate::tests::plain::bytes;

fn floats(count: usize, seed: u64) -> Vec<f32> {
    bytes(count, seed).into_iter().map(|byte| f32::from(byte) / 128.0 - 1.0).collect()
}

/// A matrix of any kind.
struct Case {
    depth: usize,
    columns: usize,
    block: usize,
    bits: usize,
    /// Of the zeros: in the middle, packed, floats.
    kind: usize,
    numbers: Vec<u8>,
    scales: Vec<f32>,
    packed: Vec<u8>,
    plain: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Case {
    fn new([depth, columns, block]: [usize; 3], bits: usize, kind: usize, seed: u64) -> Self {
        let blocks = depth.div_ceil(block);
        Self {
            depth,
            columns,
            block,
            bits,
            kind,
            numbers: bytes(columns * blocks * block * bits / 8, seed),
            scales: floats(columns * blocks, seed ^ 1),
            packed: bytes(columns * (blocks * bits).div_ceil(8), seed ^ 2),
            plain: floats(columns * blocks, seed ^ 3).iter().map(|zero| 8.0 + zero).collect(),
            bias: (!seed.is_multiple_of(2)).then(|| floats(columns, seed ^ 4)),
        }
    }

    fn source(&self) -> Source<'_> {
        Source {
            numbers: &self.numbers,
            bits: self.bits,
            scales: &self.scales,
            zeros: [Zeros::Middle, Zeros::Packed(&self.packed), Zeros::Plain(&self.plain)][self.kind],
            depth: self.depth,
            columns: self.columns,
            block: self.block,
        }
    }

    fn matrix(&self, level: Level) -> Matrix {
        Matrix::new(level, &mut Arena::default(), &self.source(), self.bias.as_deref()).unwrap()
    }

    /// A number among packed ones.
    fn number(&self, bytes: &[u8], place: usize) -> f32 {
        let byte = bytes[place * self.bits / 8];
        f32::from(if self.bits == 8 { byte } else { byte >> (4 * (place % 2)) & 15 })
    }

    fn weight(&self, column: usize, step: usize) -> f32 {
        let blocks = self.depth.div_ceil(self.block);
        let place = column * blocks + step / self.block;
        let number = self.number(&self.numbers, place * self.block + step % self.block);
        let zero = match self.kind {
            0 => f32::from(1_u8 << (self.bits - 1)),
            1 => {
                let own = (blocks * self.bits).div_ceil(8);
                self.number(&self.packed[column * own..], step / self.block)
            }
            _ => self.plain[place],
        };
        (number - zero) * self.scales[place]
    }
}

fn multiply(matrix: &Matrix, rows: &[f32], threads: usize) -> Vec<f32> {
    let mut output = vec![f32::NAN; rows.len() / matrix.depth() * matrix.columns()];
    for index in 0..threads {
        matrix.multiply(rows, Shared::new(&mut output), Part { index, count: threads }).unwrap();
    }
    output
}

fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.is_available())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_near_to_those_of_doubles(
        (depth, columns, rows) in (1..300_usize, 1..100_usize, 0..20_usize),
        is_long in any::<bool>(),
        block in prop::sample::select(vec![2_usize, 16, 32, 48, 128, 1 << 20]),
        (bits, kind) in (prop::sample::select(vec![4_usize, 8]), 0..3_usize),
        (threads, seed) in (1..4_usize, any::<u64>()),
    ) {
        // More than what is unpacked at once, for few columns.
        let (depth, columns) = if is_long { (depth + DEPTH, columns % 40 + 1) } else { (depth, columns) };
        let block = block.min(depth.next_multiple_of(2));
        let case = Case::new([depth, columns, block], bits, kind, seed);
        let left = floats(rows * depth, seed ^ 9);
        for level in levels() {
            let found = multiply(&case.matrix(level), &left, threads);
            for (place, found) in found.into_iter().enumerate() {
                let (row, column) = (place / columns, place % columns);
                let bias = case.bias.as_ref().map_or(0.0, |bias| bias[column]);
                let (mut expected, mut size) = (f64::from(bias), f64::from(bias.abs()));
                for step in 0..depth {
                    let product = f64::from(case.weight(column, step)) * f64::from(left[row * depth + step]);
                    expected += product;
                    size += product.abs();
                }
                // Each sum is rounded, and so is each product where the processor does not do both at once.
                let bound = size * f64::from(f32::EPSILON) * depth as f64;
                prop_assert!((f64::from(found) - expected).abs() <= bound, "{:?} {} {}", level, found, expected);
            }
        }
    }
}

#[test]
fn a_row_has_the_same_product_alone_and_with_others() {
    for bits in [4, 8] {
        let depth = DEPTH + 101;
        let case = Case::new([depth, 40, 32], bits, 1, 7);
        let left = floats((ROWS + 2) * depth, 8);
        for level in levels() {
            let matrix = case.matrix(level);
            let together = multiply(&matrix, &left, 1);
            assert_eq!(multiply(&matrix, &left, 3), together, "{level:?}");
            for rows in 1..6 {
                let some = multiply(&matrix, &left[..rows * depth], 2);
                assert_eq!(some, together[..rows * 40], "{level:?} {rows}");
            }
            let last = multiply(&matrix, &left[(ROWS + 1) * depth..], 1);
            assert_eq!(last, together[(ROWS + 1) * 40..], "{level:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let case = Case::new([64, 3, 32], 4, 1, 1);
    let new = |source: Source<'_>, bias: Option<&[f32]>| {
        Matrix::new(Level::Plain, &mut Arena::default(), &source, bias)
    };
    let source = case.source();
    let matrix = new(source, None).unwrap();
    assert!(new(source, Some(&[1.0; 2])).is_none());
    assert!(new(Source { numbers: &case.numbers[1..], ..source }, None).is_none());
    assert!(new(Source { scales: &case.scales[1..], ..source }, None).is_none());
    assert!(new(Source { zeros: Zeros::Packed(&[0; 2]), ..source }, None).is_none());
    assert!(new(Source { zeros: Zeros::Plain(&[0.0; 5]), ..source }, None).is_none());
    assert!(new(Source { columns: usize::MAX, ..source }, None).is_none());
    assert!(new(Source { depth: usize::MAX, ..source }, None).is_none());
    for block in [0, 31, usize::MAX - 1] {
        assert!(new(Source { block, ..source }, None).is_none());
    }
    for bits in [0, 2, 8] {
        assert!(new(Source { bits, ..source }, None).is_none());
    }
    let mut output = [0.0; 6];
    assert!(matrix.multiply(&[1.0; 128], Shared::new(&mut output), Part::WHOLE).is_ok());
    assert!(matrix.multiply(&[1.0; 127], Shared::new(&mut output), Part::WHOLE).is_err());
    assert!(matrix.multiply(&[1.0; 128], Shared::new(&mut output[1..]), Part::WHOLE).is_err());
}
