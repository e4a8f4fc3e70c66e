//! Products with a matrix of 4-bit numbers in blocks, each of which has a scale and a zero.
//!
//! The kernel reads the matrix as models store it, column after column, so nothing is packed or kept
//! twice. For a few rows each number is unpacked where it is used. For many rows four columns are
//! unpacked into a panel in the nearest cache, which all rows then take. Both sum in one order, so an answer
//! does not depend on the rows that come with it. Sixteen bytes hold the numbers of
//! 32 rows of the matrix, the even ones in the lower halves; the left rows are put in the same order first.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::{
    Level, Unfit,
    isa::{Isa, Task, dispatch},
};

/// Numbers that 16 bytes hold.
const UNIT: usize = 32;

/// Columns that are unpacked together.
const COLUMNS: usize = 4;

/// Rows from which on columns are unpacked into a panel.
const MANY: usize = 4;

/// Numbers of a column that a panel holds.
const PANEL: usize = 2048;

/// The zeros of the blocks.
#[derive(Clone, Copy, Debug)]
pub enum Zeros<'a> {
    /// 8, in the middle.
    Middle,
    /// Numbers of 4 bits, each column's in bytes of its own.
    Packed(&'a [u8]),
    /// One for each block.
    Plain(&'a [f32]),
}

/// A matrix of 4-bit numbers.
#[derive(Clone, Copy, Debug)]
pub struct Nibbles<'a> {
    pub numbers: &'a [u8],
    pub scales: &'a [f32],
    pub zeros: Zeros<'a>,
    /// The matrix has `depth` rows and `columns` columns.
    pub depth: usize,
    pub columns: usize,
    /// How many numbers of a column share a scale.
    pub block: usize,
}

impl Nibbles<'_> {
    fn blocks(&self) -> usize {
        self.depth.div_ceil(self.block)
    }

    /// The length of a column with all that its last block has room for.
    fn padded(&self) -> usize {
        self.blocks() * self.block
    }

    /// Whether the kernel takes blocks of this length.
    pub fn takes(block: usize) -> bool {
        block > 0 && block.is_multiple_of(UNIT)
    }

    /// How many floats [`Nibbles::multiply`] needs for this many rows.
    pub fn scratch(&self, rows: usize) -> Option<usize> {
        rows.checked_mul(self.padded())?.checked_add(COLUMNS * PANEL)
    }

    /// The product of `rows` (each of `depth`) and this matrix.
    ///
    /// # Errors
    /// Buffers that do not fit.
    pub fn multiply(
        &self,
        level: Level,
        rows: &[f32],
        scratch: &mut [f32],
        output: &mut [f32],
    ) -> Result<(), Unfit> {
        const WRONG: Unfit = Unfit("a product of 4-bit numbers");
        if self.depth == 0 || self.columns == 0 || !Self::takes(self.block) {
            return Err(WRONG);
        }
        let (count, blocks, padded) = (rows.len() / self.depth, self.blocks(), self.padded());
        let places = self.columns.checked_mul(blocks).ok_or(WRONG)?;
        let zeros = match self.zeros {
            Zeros::Middle => true,
            Zeros::Packed(zeros) => zeros.len() == self.columns * blocks.div_ceil(2),
            Zeros::Plain(zeros) => zeros.len() == places,
        };
        let fits = zeros
            && self.scales.len() == places
            && Some(self.numbers.len()) == places.checked_mul(self.block / 2)
            && rows.len() == count * self.depth
            && Some(output.len()) == count.checked_mul(self.columns)
            && self.scratch(count).is_some_and(|needed| scratch.len() >= needed);
        if !fits {
            return Err(WRONG);
        }
        let (arranged, panel) = scratch.split_at_mut(count * padded);
        for (row, target) in rows.chunks_exact(self.depth).zip(arranged.chunks_exact_mut(padded)) {
            let units = row.chunks(UNIT);
            let filled = units.len();
            for (unit, target) in units.zip(target.chunks_exact_mut(UNIT)) {
                let (even, odd) = target.split_at_mut(UNIT / 2);
                even.fill(0.0);
                odd.fill(0.0);
                for (pair, (even, odd)) in unit.chunks(2).zip(even.iter_mut().zip(odd)) {
                    *even = pair[0];
                    *odd = pair.get(1).copied().unwrap_or(0.0);
                }
            }
            target[filled * UNIT..].fill(0.0);
        }
        let panel = &mut panel[..COLUMNS * PANEL];
        dispatch(level, Product { matrix: self, level, rows: arranged, panel, output });
        Ok(())
    }

    /// The scale and the zero of a block of a column.
    #[inline(always)]
    fn scale_and_zero(&self, column: usize, block: usize) -> (f32, f32) {
        let blocks = self.blocks();
        let place = column * blocks + block;
        let zero = match self.zeros {
            Zeros::Middle => 8.0,
            Zeros::Plain(zeros) => zeros[place],
            Zeros::Packed(zeros) => {
                f32::from((zeros[column * blocks.div_ceil(2) + block / 2] >> (4 * (block % 2))) & 15)
            }
        };
        (self.scales[place], zero)
    }
}

struct Product<'a> {
    matrix: &'a Nibbles<'a>,
    level: Level,
    /// Rows in the order of the units, padded.
    rows: &'a [f32],
    panel: &'a mut [f32],
    output: &'a mut [f32],
}

/// The sum of 16 numbers, by halves.
#[inline(always)]
fn total<I: Isa>(isa: I, sum: I::V) -> f32 {
    let mut lanes = [0.0; 16];
    // SAFETY: the array has 16 floats.
    unsafe { isa.store(sum, lanes.as_mut_ptr()) };
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

impl Product<'_> {
    /// The products of `R` rows from `first` on with `C` columns, summed in the order of [`Self::tile`].
    #[inline(always)]
    fn few<I: Isa, const R: usize, const C: usize>(&mut self, isa: I, column: usize, first: usize) {
        let matrix = self.matrix;
        let (block, padded) = (matrix.block, matrix.padded());
        let numbers = &matrix.numbers[column * padded / 2..][..C * padded / 2];
        let rows = &self.rows[first * padded..][..R * padded];
        let mut totals = [[0.0; C]; R];
        for start in (0..padded).step_by(PANEL) {
            let mut sums = [[isa.splat(0.0); C]; R];
            for unit in (start..(start + PANEL).min(padded)).step_by(UNIT) {
                for place in 0..C {
                    let (scale, zero) = matrix.scale_and_zero(column + place, unit / block);
                    let (scale, zero) = (isa.splat(scale), isa.splat(zero));
                    // SAFETY: the unit is within the column, whose numbers are two to a byte.
                    let [even, odd] =
                        unsafe { isa.nibbles(numbers.as_ptr().add((place * padded + unit) / 2)) };
                    let even = isa.multiply(isa.subtract(even, zero), scale);
                    let odd = isa.multiply(isa.subtract(odd, zero), scale);
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the unit is within the row, which is as long as the column.
                        let (first, second) = unsafe {
                            let from = rows.as_ptr().add(row * padded + unit);
                            (isa.load(from), isa.load(from.add(UNIT / 2)))
                        };
                        sums[place] = isa.multiply_add(first, even, sums[place]);
                        sums[place] = isa.multiply_add(second, odd, sums[place]);
                    }
                }
            }
            for (totals, sums) in totals.iter_mut().zip(sums) {
                for (own, sum) in totals.iter_mut().zip(sums) {
                    *own += total(isa, sum);
                }
            }
        }
        for (row, totals) in totals.into_iter().enumerate() {
            self.output[(first + row) * matrix.columns + column..][..C].copy_from_slice(&totals);
        }
    }

    /// [`Self::few`] for all rows, of which there are fewer than [`MANY`].
    #[inline(always)]
    fn few_rows<I: Isa, const C: usize>(&mut self, isa: I, column: usize, count: usize) {
        match count {
            1 => self.few::<I, 1, C>(isa, column, 0),
            2 => self.few::<I, 2, C>(isa, column, 0),
            _ => self.few::<I, 3, C>(isa, column, 0),
        }
    }

    /// Unpacks numbers of a column, in units.
    #[inline(always)]
    fn unpack<I: Isa>(&mut self, isa: I, column: usize, place: usize, from: usize, count: usize) {
        let matrix = self.matrix;
        let padded = matrix.padded();
        let numbers = &matrix.numbers[column * padded / 2..][..padded / 2][from / 2..][..count / 2];
        let target = &mut self.panel[place * PANEL..][..count];
        for unit in (0..count).step_by(UNIT) {
            let (scale, zero) = matrix.scale_and_zero(column, (from + unit) / matrix.block);
            let (scale, zero) = (isa.splat(scale), isa.splat(zero));
            // SAFETY: the unit is within the slices; its numbers are two to a byte.
            unsafe {
                let [even, odd] = isa.nibbles(numbers.as_ptr().add(unit / 2));
                let to = target.as_mut_ptr().add(unit);
                isa.store(isa.multiply(isa.subtract(even, zero), scale), to);
                isa.store(isa.multiply(isa.subtract(odd, zero), scale), to.add(UNIT / 2));
            }
        }
    }

    /// Adds the products of `R` rows and `C` columns of the panel.
    #[inline(always)]
    fn tile<I: Isa, const R: usize, const C: usize>(
        &mut self,
        isa: I,
        (row, column, place): (usize, usize, usize),
        (from, count): (usize, usize),
    ) {
        let padded = self.matrix.padded();
        let rows = &self.rows[row * padded..][..R * padded];
        let panel = &self.panel[place * PANEL..][..(C - 1) * PANEL + count];
        let mut sums = [[isa.splat(0.0); C]; R];
        for step in (0..count).step_by(16) {
            let mut right = [isa.splat(0.0); C];
            for (column, right) in right.iter_mut().enumerate() {
                // SAFETY: `count` is a multiple of 16, and each column of the panel has as many.
                *right = unsafe { isa.load(panel.as_ptr().add(column * PANEL + step)) };
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `from` and `count` are within the row.
                let left = unsafe { isa.load(rows.as_ptr().add(row * padded + from + step)) };
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = isa.multiply_add(left, right, *sum);
                }
            }
        }
        // As `total`, but all at once: one alone waits for its own stores.
        let mut lanes = [[[0.0; 16]; C]; R];
        for (lanes, sums) in lanes.iter_mut().zip(sums) {
            for (lanes, sum) in lanes.iter_mut().zip(sums) {
                // SAFETY: the array has 16 floats.
                unsafe { isa.store(sum, lanes.as_mut_ptr()) };
            }
        }
        halve::<8>(lanes.as_flattened_mut());
        halve::<4>(lanes.as_flattened_mut());
        halve::<2>(lanes.as_flattened_mut());
        halve::<1>(lanes.as_flattened_mut());
        for (own, lanes) in lanes.iter().enumerate() {
            let output = &mut self.output[(row + own) * self.matrix.columns + column..][..C];
            for (output, lanes) in output.iter_mut().zip(lanes) {
                *output += lanes[0];
            }
        }
    }
}

/// Adds the second `H` numbers of each sum to the first.
#[inline(always)]
fn halve<const H: usize>(sums: &mut [[f32; 16]]) {
    for lanes in sums {
        for lane in 0..H {
            lanes[lane] += lanes[lane + H];
        }
    }
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let (columns, padded) = (self.matrix.columns, self.matrix.padded());
        let count = self.rows.len() / padded;
        if count == 0 {
            return;
        }
        if count < MANY {
            let mut column = 0;
            while column + COLUMNS <= columns {
                self.few_rows::<I, COLUMNS>(isa, column, count);
                column += COLUMNS;
            }
            for column in column..columns {
                self.few_rows::<I, 1>(isa, column, count);
            }
            return;
        }
        self.output.fill(0.0);
        let wide = self.level == Level::Avx512;
        for from in (0..padded).step_by(PANEL) {
            let part = (from, PANEL.min(padded - from));
            for column in (0..columns).step_by(COLUMNS) {
                let width = COLUMNS.min(columns - column);
                for place in 0..width {
                    self.unpack(isa, column + place, place, from, part.1);
                }
                let mut row = 0;
                if wide && width == COLUMNS {
                    while row + 6 <= count {
                        self.tile::<I, 6, COLUMNS>(isa, (row, column, 0), part);
                        row += 6;
                    }
                }
                while row + 2 <= count {
                    let mut place = 0;
                    while place + 2 <= width {
                        self.tile::<I, 2, 2>(isa, (row, column + place, place), part);
                        place += 2;
                    }
                    if place < width {
                        self.tile::<I, 2, 1>(isa, (row, column + place, place), part);
                    }
                    row += 2;
                }
                if row < count {
                    for place in 0..width {
                        self.tile::<I, 1, 1>(isa, (row, column + place, place), part);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(count: usize, seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 16
        })
        .take(count)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn products_are_near_to_those_of_doubles(
            (depth, columns, rows) in (1..300_usize, 1..14_usize, 1..16_usize),
            long in any::<bool>(),
            block in prop::sample::select(vec![32_usize, 64, 96, 128]),
            (kind, seed) in (0..3_usize, any::<u64>()),
        ) {
            let depth = if long { depth + PANEL } else { depth };
            let blocks = depth.div_ceil(block);
            let bytes = |count, seed| numbers(count, seed).map(|number| number as u8).collect::<Vec<u8>>();
            let floats = |count, seed| -> Vec<f32> {
                numbers(count, seed).map(|number| (number % 2001) as f32 / 1000.0 - 1.0).collect()
            };
            let packed = bytes(columns * blocks.div_ceil(2), seed ^ 1);
            let plain: Vec<f32> = floats(columns * blocks, seed ^ 2).iter().map(|zero| 8.0 + zero).collect();
            let (values, scales) = (bytes(columns * blocks * block / 2, seed), floats(columns * blocks, seed ^ 3));
            let zeros = [Zeros::Middle, Zeros::Packed(&packed), Zeros::Plain(&plain)][kind];
            let matrix = Nibbles { numbers: &values, scales: &scales, zeros, depth, columns, block };
            let left = floats(rows * depth, seed ^ 4);
            for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
                let mut scratch = vec![f32::NAN; matrix.scratch(rows).unwrap()];
                let mut output = vec![f32::NAN; rows * columns];
                matrix.multiply(level, &left, &mut scratch, &mut output).unwrap();
                for (place, found) in output.iter().enumerate() {
                    let (row, column) = (place / columns, place % columns);
                    let (mut expected, mut size) = (0.0_f64, 0.0_f64);
                    for step in 0..depth {
                        let own = column * blocks + step / block;
                        let byte = values[own * block / 2 + step % block / 2];
                        let number = if step % 2 == 0 { byte & 15 } else { byte >> 4 };
                        let zero = match kind {
                            0 => 8.0,
                            1 => {
                                let part = step / block;
                                let byte = packed[column * blocks.div_ceil(2) + part / 2];
                                f64::from(if part % 2 == 0 { byte & 15 } else { byte >> 4 })
                            }
                            _ => f64::from(plain[own]),
                        };
                        let weight = (f64::from(number) - zero) * f64::from(scales[own]);
                        let product = weight * f64::from(left[row * depth + step]);
                        expected += product;
                        size += product.abs();
                    }
                    // Sums of 16 lanes: each term is rounded at most once for each 16 terms, and a few times more.
                    let bound = size * f64::from(f32::EPSILON) * (depth as f64 / 16.0 + 16.0);
                    prop_assert!(
                        (f64::from(*found) - expected).abs() <= bound,
                        "{level:?} {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_product_alone_and_with_others() {
        let (depth, columns, block) = (2 * PANEL + 100, 7, 64);
        let places = columns * depth.div_ceil(block);
        let values: Vec<u8> = numbers(places * block / 2, 3).map(|number| number as u8).collect();
        let scales: Vec<f32> = numbers(places, 4).map(|number| (number % 999) as f32 / 999.0).collect();
        let zeros = Zeros::Middle;
        let matrix = Nibbles { numbers: &values, scales: &scales, zeros, depth, columns, block };
        let left: Vec<f32> = numbers(15 * depth, 5).map(|number| (number % 77) as f32 / 7.0 - 5.0).collect();
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            let product = |left: &[f32]| {
                let rows = left.len() / depth;
                let mut output = vec![0.0; rows * columns];
                let mut scratch = vec![0.0; matrix.scratch(rows).unwrap()];
                matrix.multiply(level, left, &mut scratch, &mut output).unwrap();
                output
            };
            let together = product(&left);
            for rows in 1..4 {
                let some = product(&left[..rows * depth]);
                assert_eq!(some, together[..rows * columns], "{level:?} {rows}");
            }
            let last = product(&left[14 * depth..]);
            assert_eq!(last, together[14 * columns..], "{level:?}");
        }
    }

    #[test]
    fn buffers_that_do_not_fit_are_errors() {
        let (values, scales) = ([0_u8; 32], [1.0_f32; 2]);
        let matrix = Nibbles {
            numbers: &values,
            scales: &scales,
            zeros: Zeros::Middle,
            depth: 32,
            columns: 2,
            block: 32,
        };
        let multiply = |matrix: Nibbles<'_>, rows: usize, scratch: usize, output: usize| {
            matrix.multiply(Level::Plain, &vec![1.0; rows], &mut vec![0.0; scratch], &mut vec![0.0; output])
        };
        let enough = matrix.scratch(3).unwrap();
        assert!(multiply(matrix, 96, enough, 6).is_ok());
        assert!(multiply(matrix, 97, enough, 6).is_err());
        assert!(multiply(matrix, 96, enough - 1, 6).is_err());
        assert!(multiply(matrix, 96, enough, 5).is_err());
        assert!(multiply(Nibbles { numbers: &values[1..], ..matrix }, 96, enough, 6).is_err());
        assert!(multiply(Nibbles { scales: &scales[1..], ..matrix }, 96, enough, 6).is_err());
        assert!(multiply(Nibbles { zeros: Zeros::Packed(&[0]), ..matrix }, 96, enough, 6).is_err());
        assert!(multiply(Nibbles { block: 16, ..matrix }, 96, enough, 6).is_err());
    }
}
