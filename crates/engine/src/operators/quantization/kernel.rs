//! Products of rows of 16-bit integers, with the widest instructions of the processor.

/// Depths are multiples of this: the 16-bit integers of the widest vector.
pub(super) const WIDTH: usize = 32;

/// Rows of equal depth, one after another.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// All rows.
    pub(super) values: &'a [i16],
    /// How many values a row has: a multiple of [`WIDTH`].
    pub(super) depth: usize,
}

impl<'a> Rows<'a> {
    fn count(self) -> usize {
        self.values.len() / self.depth
    }

    fn row(self, index: usize) -> &'a [i16] {
        &self.values[index * self.depth..(index + 1) * self.depth]
    }
}

/// Multiplies each row of `left` with each of `right`, which has the same depth.
pub(super) fn multiply(left: Rows<'_>, right: Rows<'_>, products: &mut [i32], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if x86::multiply(left, right, products, stride) {
        return;
    }
    multiply_portably(left, right, products, stride);
}

fn multiply_portably(left: Rows<'_>, right: Rows<'_>, products: &mut [i32], stride: usize) {
    for i in 0..left.count() {
        let row = left.row(i);
        for j in 0..right.count() {
            let pairs = row.iter().zip(right.row(j));
            products[i * stride + j] =
                pairs.fold(0_i32, |sum, (a, b)| sum.wrapping_add(i32::from(*a) * i32::from(*b)));
        }
    }
}

/// Kernels for x86-64, chosen when the program runs.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions that not every processor has")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_setzero_si256, _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_reduce_add_epi32,
        _mm512_setzero_si512,
    };

    use super::{Rows, WIDTH};

    /// Multiplies, if the processor has one of the instruction sets.
    pub(super) fn multiply(left: Rows<'_>, right: Rows<'_>, products: &mut [i32], stride: usize) -> bool {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the processor has the features that the function is compiled for.
            unsafe { multiply_avx512(left, right, products, stride) };
            return true;
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            unsafe { multiply_avx2(left, right, products, stride) };
            return true;
        }
        false
    }

    /// Multiplies in tiles of `R` by `C` rows, and what is left in tiles of one.
    macro_rules! in_tiles {
        ($left:ident, $right:ident, $products:ident, $stride:ident, $tile:ident, $rows:literal, $columns:literal) => {
            let (rows, columns) = ($left.count(), $right.count());
            let (full_rows, full_columns) = (rows / $rows * $rows, columns / $columns * $columns);
            for j in (0..full_columns).step_by($columns) {
                let right: [&[i16]; $columns] = std::array::from_fn(|index| $right.row(j + index));
                for i in (0..full_rows).step_by($rows) {
                    let left: [&[i16]; $rows] = std::array::from_fn(|index| $left.row(i + index));
                    for (row, sums) in $tile(left, right).iter().enumerate() {
                        let start = (i + row) * $stride + j;
                        $products[start..start + $columns].copy_from_slice(sums);
                    }
                }
                for i in full_rows..rows {
                    let start = i * $stride + j;
                    $products[start..start + $columns].copy_from_slice(&$tile([$left.row(i)], right)[0]);
                }
            }
            for j in full_columns..columns {
                for i in 0..rows {
                    $products[i * $stride + j] = $tile([$left.row(i)], [$right.row(j)])[0][0];
                }
            }
        };
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn multiply_avx512(left: Rows<'_>, right: Rows<'_>, products: &mut [i32], stride: usize) {
        in_tiles!(left, right, products, stride, tile_avx512, 4, 4);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn tile_avx512<const R: usize, const C: usize>(left: [&[i16]; R], right: [&[i16]; C]) -> [[i32; C]; R] {
        let depth = left.iter().chain(&right).map(|row| row.len()).min().unwrap_or(0);
        let mut sums = [[_mm512_setzero_si512(); C]; R];
        for start in (0..depth / WIDTH).map(|step| step * WIDTH) {
            let load = |row: &[i16]| -> __m512i {
                // SAFETY: `start + 32` is at most the length of every row.
                unsafe { _mm512_loadu_si512(row.as_ptr().add(start).cast()) }
            };
            let columns: [__m512i; C] = std::array::from_fn(|j| load(right[j]));
            for i in 0..R {
                let row = load(left[i]);
                for j in 0..C {
                    sums[i][j] = _mm512_dpwssd_epi32(sums[i][j], row, columns[j]);
                }
            }
        }
        std::array::from_fn(|i| std::array::from_fn(|j| _mm512_reduce_add_epi32(sums[i][j])))
    }

    #[target_feature(enable = "avx2")]
    fn multiply_avx2(left: Rows<'_>, right: Rows<'_>, products: &mut [i32], stride: usize) {
        in_tiles!(left, right, products, stride, tile_avx2, 4, 2);
    }

    #[target_feature(enable = "avx2")]
    fn tile_avx2<const R: usize, const C: usize>(left: [&[i16]; R], right: [&[i16]; C]) -> [[i32; C]; R] {
        const HALF: usize = WIDTH / 2;
        let depth = left.iter().chain(&right).map(|row| row.len()).min().unwrap_or(0);
        let mut sums = [[_mm256_setzero_si256(); C]; R];
        for start in (0..depth / HALF).map(|step| step * HALF) {
            let load = |row: &[i16]| -> __m256i {
                // SAFETY: `start + 16` is at most the length of every row.
                unsafe { _mm256_loadu_si256(row.as_ptr().add(start).cast()) }
            };
            let columns: [__m256i; C] = std::array::from_fn(|j| load(right[j]));
            for i in 0..R {
                let row = load(left[i]);
                for j in 0..C {
                    sums[i][j] = _mm256_add_epi32(sums[i][j], _mm256_madd_epi16(row, columns[j]));
                }
            }
        }
        std::array::from_fn(|i| std::array::from_fn(|j| sum_avx2(sums[i][j])))
    }

    #[target_feature(enable = "avx2")]
    fn sum_avx2(sums: __m256i) -> i32 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b00_00_00_01>(two)))
    }

    #[cfg(test)]
    mod tests {
        use super::{super::multiply_portably, *};

        #[test]
        fn every_kernel_computes_the_same() {
            let depth = 3 * WIDTH;
            let fill = |count: usize, seed: i32| -> Vec<i16> {
                (0..(count * depth) as i32).map(|index| ((index * 7919 + seed) % 511 - 255) as i16).collect()
            };
            for (rows, columns) in [(1, 1), (4, 4), (7, 9), (5, 3)] {
                let (left, right) = (fill(rows, 3), fill(columns, 11));
                let left = Rows { values: &left, depth };
                let right = Rows { values: &right, depth };
                let mut expected = vec![0; rows * columns];
                multiply_portably(left, right, &mut expected, columns);
                let mut products = vec![0; rows * columns];
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has the feature.
                    unsafe { multiply_avx2(left, right, &mut products, columns) };
                    assert_eq!(products, expected);
                }
                products.fill(0);
                if multiply(left, right, &mut products, columns) {
                    assert_eq!(products, expected);
                }
            }
        }
    }
}
