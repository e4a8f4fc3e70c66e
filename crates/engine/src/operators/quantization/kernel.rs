//! Products of 16-bit integers, with the widest instructions of the processor.

/// How many columns are multiplied at once.
pub(super) const BLOCK: usize = 16;

/// The sums of one row, by column.
type Sums = [i32; BLOCK];

/// Multiplies rows, each of `depth` numbers, with a block of columns (`panel::Columns`).
/// `depth` is even. Each row's sums are handed to `write`.
pub(super) fn multiply(rows: &[i16], depth: usize, block: &[i16], write: impl FnMut(usize, &Sums)) {
    assert!(
        depth.is_multiple_of(2) && block.len() >= depth * BLOCK,
        "a block has as many numbers as its depth says"
    );
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            return by_tiles::<8>(rows, depth, block, x86::tile_avx512, x86::tile_avx512, write);
        }
        if is_x86_feature_detected!("avx2") {
            return by_tiles::<4>(rows, depth, block, x86::tile_avx2, x86::tile_avx2, write);
        }
    }
    by_tiles::<4>(rows, depth, block, tile, tile, write);
}

/// Multiplies `R` rows at a time, then one at a time. Each tile gets rows of `depth`.
fn by_tiles<const R: usize>(
    rows: &[i16],
    depth: usize,
    block: &[i16],
    many: impl Fn([&[i16]; R], &[i16]) -> [Sums; R],
    one: impl Fn([&[i16]; 1], &[i16]) -> [Sums; 1],
    mut write: impl FnMut(usize, &Sums),
) {
    let block = &block[..depth * BLOCK];
    let tiles = rows.chunks_exact(R * depth);
    let rest = tiles.remainder();
    let mut row = 0;
    for tile in tiles {
        let rows = std::array::from_fn(|index| &tile[index * depth..(index + 1) * depth]);
        for sums in &many(rows, block) {
            write(row, sums);
            row += 1;
        }
    }
    for last in rest.chunks_exact(depth) {
        let [sums] = one([last], block);
        write(row, &sums);
        row += 1;
    }
}

/// The sums of rows, on any processor.
fn tile<const R: usize>(rows: [&[i16]; R], block: &[i16]) -> [Sums; R] {
    rows.map(|row| {
        let mut sums = [0_i32; BLOCK];
        for (pair, columns) in row.chunks_exact(2).zip(block.chunks_exact(2 * BLOCK)) {
            let (first, second) = (i32::from(pair[0]), i32::from(pair[1]));
            for (sum, column) in sums.iter_mut().zip(columns.chunks_exact(2)) {
                *sum = sum.wrapping_add(first * i32::from(column[0]) + second * i32::from(column[1]));
            }
        }
        sums
    })
}

/// Kernels for x86-64, chosen when the program runs.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions that not every processor has")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
        _mm256_storeu_si256, _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_setzero_si512, _mm512_storeu_si512,
    };

    use super::{BLOCK, Sums};

    /// How many pairs all rows and the block have.
    fn pairs<const R: usize>(rows: &[&[i16]; R], block: &[i16]) -> usize {
        rows.iter().map(|row| row.len() / 2).min().unwrap_or(0).min(block.len() / (2 * BLOCK))
    }

    /// The sums of rows, on a processor of which the caller has found that it has AVX-512
    /// and its instructions for neural networks.
    pub(super) fn tile_avx512<const R: usize>(rows: [&[i16]; R], block: &[i16]) -> [Sums; R] {
        // SAFETY: the caller has found that the processor has the features.
        unsafe { sum_avx512(rows, block) }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn sum_avx512<const R: usize>(rows: [&[i16]; R], block: &[i16]) -> [Sums; R] {
        let mut sums = [_mm512_setzero_si512(); R];
        for pair in 0..pairs(&rows, block) {
            // SAFETY: the block has 32 numbers for each pair.
            let columns = unsafe { _mm512_loadu_si512(block.as_ptr().add(pair * 2 * BLOCK).cast()) };
            for (sum, row) in sums.iter_mut().zip(&rows) {
                // SAFETY: the row has two numbers for each pair.
                let both = unsafe { row.as_ptr().add(2 * pair).cast::<i32>().read_unaligned() };
                *sum = _mm512_dpwssd_epi32(*sum, _mm512_set1_epi32(both), columns);
            }
        }
        sums.map(|sum| {
            let mut stored = [0; BLOCK];
            // SAFETY: the array has the 64 bytes that are stored.
            unsafe { _mm512_storeu_si512(stored.as_mut_ptr().cast(), sum) };
            stored
        })
    }

    /// The sums of rows, on a processor of which the caller has found that it has AVX2.
    pub(super) fn tile_avx2<const R: usize>(rows: [&[i16]; R], block: &[i16]) -> [Sums; R] {
        // SAFETY: the caller has found that the processor has the feature.
        unsafe { sum_avx2(rows, block) }
    }

    #[target_feature(enable = "avx2")]
    fn sum_avx2<const R: usize>(rows: [&[i16]; R], block: &[i16]) -> [Sums; R] {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for pair in 0..pairs(&rows, block) {
            let columns = [0, 1].map(|half| {
                // SAFETY: the block has 32 numbers for each pair, 16 for each half.
                unsafe { _mm256_loadu_si256(block.as_ptr().add((pair * 2 + half) * BLOCK).cast()) }
            });
            for (sum, row) in sums.iter_mut().zip(&rows) {
                // SAFETY: the row has two numbers for each pair.
                let both =
                    _mm256_set1_epi32(unsafe { row.as_ptr().add(2 * pair).cast::<i32>().read_unaligned() });
                for (sum, columns) in sum.iter_mut().zip(columns) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(both, columns));
                }
            }
        }
        sums.map(|[low, high]| {
            let mut stored = [0; BLOCK];
            // SAFETY: the array has 32 bytes for each half.
            unsafe {
                _mm256_storeu_si256(stored.as_mut_ptr().cast(), low);
                _mm256_storeu_si256(stored.as_mut_ptr().add(BLOCK / 2).cast(), high);
            }
            stored
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_computes_the_same() {
        for (count, depth) in [(1, 2), (8, 64), (13, 38), (4, 254)] {
            let fill = |count: usize, seed: i32| -> Vec<i16> {
                (0..count as i32).map(|index| ((index * 7919 + seed) % 511 - 255) as i16).collect()
            };
            let (rows, block) = (fill(count * depth, 3), fill(depth * BLOCK, 11));
            let collect = |multiply: &dyn Fn(&mut dyn FnMut(usize, &Sums))| {
                let mut all = Vec::new();
                multiply(&mut |row, sums| all.push((row, *sums)));
                all
            };
            let expected = collect(&|write| by_tiles::<4>(&rows, depth, &block, tile, tile, write));
            assert_eq!(expected.len(), count);
            let sum: i32 =
                (0..depth).map(|k| i32::from(rows[k]) * i32::from(block[k / 2 * 32 + 10 + k % 2])).sum();
            assert_eq!(expected[0].1[5], sum);
            assert_eq!(collect(&|write| multiply(&rows, depth, &block, write)), expected);
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                let found = collect(&|write| {
                    by_tiles::<4>(&rows, depth, &block, x86::tile_avx2, x86::tile_avx2, write)
                });
                assert_eq!(found, expected);
            }
        }
    }
}
