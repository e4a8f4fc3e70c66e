//! Weights that follow from a seed.
//!
//! Only integer arithmetic and single IEEE operations are used, no library
//! function that may round differently elsewhere, so a seed gives the same
//! bytes on every machine.

/// How the elements of one tensor come about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fill {
    /// Rows of `row` elements, uniform in `-bound..bound` before the row's mean
    /// is taken away.
    Centred {
        bound: f32,
        /// Elements of a row.
        row: usize,
        /// Seed of this tensor.
        seed: u64,
    },
    /// Nothing but 0.
    Zeros,
}

impl Fill {
    /// Filters of `fan_in` weights after He (arXiv:1502.01852): variance
    /// `gain`² · 2 / `fan_in`, so that activations behind ReLU neither vanish
    /// nor explode. Each filter sums to 0: what all its inputs have in common
    /// drops out. In a random network that common part would otherwise grow
    /// until every image got the same answer.
    pub(super) fn filters(fan_in: usize, gain: f32, seed: u64) -> Self {
        Self::Centred { bound: gain * (6.0 / fan_in as f32).sqrt(), row: fan_in, seed }
    }

    /// `count` elements in order; a last row that is not full is left out.
    pub(super) fn elements(&self, count: usize) -> Box<dyn Iterator<Item = f32> + '_> {
        match *self {
            Self::Centred { bound, row, seed } => {
                let mut state = seed;
                Box::new((0..count / row).flat_map(move |_| {
                    let values: Vec<f32> = (0..row).map(|_| bound * unit(split_mix(&mut state))).collect();
                    let mean = values.iter().sum::<f32>() / row as f32;
                    values.into_iter().map(move |value| value - mean)
                }))
            }
            Self::Zeros => Box::new(std::iter::repeat_n(0.0, count)),
        }
    }
}

/// A seed for each tensor of a model, unrelated to its neighbours'.
pub(super) fn tensor_seed(model_seed: u64, index: usize) -> u64 {
    let mut state = model_seed;
    let mixed = split_mix(&mut state);
    let mut state = mixed ^ index as u64;
    split_mix(&mut state)
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014). Not for secrets.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The upper 24 bits as a number in -1..1: exact in an `f32`.
fn unit(bits: u64) -> f32 {
    let half = 1_i32 << 23;
    ((bits >> 40) as i32 - half) as f32 / half as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_gives_the_published_numbers() {
        // From the reference implementation, seed 1234567.
        let mut state = 1_234_567;
        assert_eq!(split_mix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut state), 3_203_168_211_198_807_973);
    }

    #[test]
    fn filters_sum_to_nothing_with_variance_two_over_fan_in() {
        let values: Vec<f32> = Fill::filters(50, 1.0, tensor_seed(3, 4)).elements(100_000).collect();
        assert_eq!(values.len(), 100_000);
        for filter in values.chunks(50) {
            assert!(filter.iter().sum::<f32>().abs() < 1e-5);
        }
        let variance = values.iter().map(|value| value.powi(2)).sum::<f32>() / values.len() as f32;
        // A 50th of it goes with the mean.
        assert!((variance - 0.04 * 49.0 / 50.0).abs() < 0.001, "{variance}");
    }

    #[test]
    fn tensors_and_seeds_differ() {
        let mut seeds: Vec<u64> =
            (0..10).flat_map(|seed| (0..100).map(move |index| tensor_seed(seed, index))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 1000);
    }
}
