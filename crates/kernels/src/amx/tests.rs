pub(crate) mod emulator;

use super::*;
use crate::bfloat::{dot_of_tiles, is_available, word};

/// A word of the left operand, and one of the right.
type Pair = ([u8; 4], [u8; 4]);

/// Numbers that look random.
fn bytes(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// The sums of three full steps and a last one, for two blocks.
fn sums(product: Product, sizes: Sizes, left: &[u8], right: &[u8]) -> Vec<[u8; 4]> {
    let mut stored = vec![[0_u8; 4]; sizes.rows * 2 * BLOCK];
    // SAFETY: the slices have a row of 64 bytes for each row and step, and room for all sums. The instructions are the
    // emulator's where the machine has none.
    unsafe {
        let tiles = Tiles::configure(product, sizes);
        for block in [0, 1] {
            tiles.load(block, stored.as_ptr().cast::<u8>().add(block * 64), 128);
        }
        for step in 0..4 {
            let (left, right) = (left[step * 64..].as_ptr(), right[step * 16 * 128..].as_ptr());
            tiles.step(2, Operands { left, left_step: 256, right, right_step: 128 }, step == 3);
        }
        for block in [0, 1] {
            tiles.store(block, stored.as_mut_ptr().cast::<u8>().add(block * 64), 128);
        }
    }
    stored
}

/// The words of a row of the left operand and of a column of the right one, in a step.
fn words(left: &[u8], right: &[u8], place: [usize; 3], count: usize) -> Vec<Pair> {
    let [row, column, step] = place;
    let four = |bytes: &[u8], place: usize| [0, 1, 2, 3].map(|byte| bytes[place + byte]);
    (0..count)
        .map(|word| {
            let right = four(right, (step * 16 + word) * 128 + column * 4);
            (four(left, row * 256 + step * 64 + word * 4), right)
        })
        .collect()
}

/// A sum, and the products of words with as many others.
type Sum = fn([u8; 4], &[Pair]) -> [u8; 4];

/// Checks sums of all sizes, in several threads at once, each of which has registers of its own.
fn check(product: Product, sum: Sum, is_bits: bool) {
    emulator::install();
    std::thread::scope(|scope| {
        for thread in 0..3_u32 {
            scope.spawn(move || {
                for (rows, last_words) in [(1, 1), (5, 16), (14, 3), (16, 7)] {
                    let sizes = Sizes { rows, words: 16, last_words };
                    let mut left = bytes(thread + 1, rows * 256);
                    let mut right = bytes(thread + 7, 4 * 16 * 128);
                    if is_bits {
                        // Exponents of floats that are neither large nor small.
                        for half in left.chunks_exact_mut(2).chain(right.chunks_exact_mut(2)) {
                            half[1] = half[1] & 0x81 | 0x3e;
                        }
                    }
                    let found = sums(product, sizes, &left, &right);
                    for row in 0..rows {
                        for column in 0..2 * BLOCK {
                            let mut expected = [0; 4];
                            for step in 0..4 {
                                let count = if step == 3 { last_words } else { 16 };
                                expected = sum(expected, &words(&left, &right, [row, column, step], count));
                            }
                            assert_eq!(found[row * 2 * BLOCK + column], expected, "{sizes:?} {row} {column}");
                        }
                    }
                    assert!(emulator::is_released());
                }
            });
        }
    });
}

#[test]
fn bytes_by_weights_are_exact() {
    let sum = |sum: [u8; 4], words: &[Pair]| {
        let pairs = words.iter().flat_map(|(left, right)| left.iter().zip(right));
        let added = pairs.fold(i32::from_le_bytes(sum), |sum, (left, right)| {
            sum.wrapping_add(i32::from(*left) * i32::from(right.cast_signed()))
        });
        added.to_le_bytes()
    };
    check(Product::Bytes, sum, false);
}

#[test]
fn floats_are_added_in_the_order_of_the_manual() {
    let sum = |sum: [u8; 4], words: &[Pair]| {
        let words = words.iter().map(|(left, right)| (f32::from_le_bytes(*left), f32::from_le_bytes(*right)));
        dot_of_tiles(f32::from_le_bytes(sum), words).to_le_bytes()
    };
    check(Product::Bfloats, sum, true);
    // The lower and the upper numbers have sums of their own.
    let large = 2.0_f32.powi(30);
    let pairs = [(word(large, 1.0), word(1.0, 1.0)), (word(-large, 0.0), word(1.0, 1.0))];
    assert_eq!(dot_of_tiles(0.0, pairs.into_iter()), 1.0);
    assert!(!is_available(crate::Level::Plain));
}
