use proptest::prelude::*;

use super::*;

/// What the instructions of this processor do with one word; `None` if it has none.
fn instruction(sum: f32, left: f32, right: f32) -> Option<f32> {
    struct Dot<'a>([f32; 3], &'a mut f32);
    impl PairTask for Dot<'_> {
        #[expect(unsafe_code, reason = "stores into an array")]
        #[inline(always)]
        fn run<W: Words>(self, words: W) {
            let [sum, left, right] = self.0.map(|value| words.isa().splat(value));
            let mut values = [0.0_f32; BLOCK];
            // SAFETY: the array has 16 floats.
            unsafe { words.store(words.multiply_add(left, right, sum), values.as_mut_ptr(), false) };
            *self.1 = values[3];
        }
    }
    let mut result = 0.0;
    is_available(Level::Avx512).then(|| dispatch(Level::Avx512, Dot([sum, left, right], &mut result)))?;
    Some(result)
}

/// The same bits, or both not a number.
fn is_same(left: f32, right: f32) -> bool {
    left.to_bits() == right.to_bits() || left.is_nan() && right.is_nan()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn plain_dots_are_those_of_the_processor(bits in any::<[u32; 3]>(), kind in 0..3) {
        // Any bits; numbers near to 1, whose sums round; numbers near to the smallest ones.
        let [sum, left, right] = match kind {
            0 => bits,
            1 => bits.map(|bits| bits & 0x807f_ffff | 0x3f00_3f00),
            _ => [bits[0] & 0x80ff_ffff, bits[1] & 0x9fff_9fff, bits[2] & 0xbfff_bfff],
        }
        .map(f32::from_bits);
        if let Some(found) = instruction(sum, left, right) {
            prop_assert!(is_same(found, dot(sum, left, right)), "{found:e} {:e}", dot(sum, left, right));
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest(bits in any::<u32>()) {
        let value = f32::from_bits(bits);
        let found = round(value);
        if value.is_nan() {
            prop_assert!(widen(found).is_nan());
        } else if value.is_subnormal() {
            prop_assert_eq!(widen(found), 0.0);
        } else if widen(found).is_finite() {
            let distance = |half: u16| (f64::from(widen(half)) - f64::from(value)).abs();
            for other in [found.wrapping_sub(1), found.wrapping_add(1)].into_iter().filter(|other| widen(*other).is_finite()) {
                let is_nearer = distance(found) < distance(other);
                prop_assert!(is_nearer || distance(found) == distance(other) && found.is_multiple_of(2));
            }
        }
        let values = [value; BLOCK];
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            let mut words = [0.0_f32; BLOCK];
            let arrange = rows::ArrangePairs { from: values.as_ptr(), step: 0, rows: 1, count: BLOCK, target: &mut words };
            dispatch(level, arrange);
            prop_assert_eq!(words[WORDS - 1].to_bits(), u32::from(found) << 16 | u32::from(found));
        }
    }
}

#[test]
fn steps_are_those_of_the_manual() {
    // The upper halves come first: 2^30 + 1 is 2^30, and 2^30 - 2^30 + 1 would be 1.
    let large = 2.0_f32.powi(30);
    assert_eq!(dot(-large, word(1.0, large), word(1.0, 1.0)), 1.0);
    assert_eq!(dot(-large, word(large, 1.0), word(1.0, 1.0)), 0.0);
    let small = f32::MIN_POSITIVE;
    assert_eq!(dot(0.0, word(small, 0.0), word(0.5, 0.0)), 0.0);
    assert_eq!(dot(small / 2.0, word(0.0, 0.0), word(0.0, 0.0)), 0.0);
    assert!(dot(0.0, word(f32::INFINITY, 0.0), word(0.0, 0.0)).is_nan());
    assert!(widen(round(f32::from_bits(0x7f80_0001))).is_nan());
    assert_eq!(widen(round(f32::MAX)), f32::INFINITY);
}
