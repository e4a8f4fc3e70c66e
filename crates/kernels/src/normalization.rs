//! Layer normalization: each row is brought to a mean of 0 and a variance of 1, then scaled and moved.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::{
    BLOCK, Level, Part, Unfit,
    buffer::Shared,
    isa::{Isa, Task, dispatch},
};

/// A normalization of rows.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    pub level: Level,
    /// Numbers of a row.
    pub length: usize,
    /// The summand of the variance.
    pub epsilon: f32,
    /// Whether the mean is subtracted. Without it the variance is the mean of the squares.
    pub is_centred: bool,
    /// A factor for each number of a row.
    pub scale: Option<&'a [f32]>,
    /// The summands of a row's numbers.
    pub bias: Option<&'a [f32]>,
}

impl Layer<'_> {
    /// Computes this thread's share of the rows of `values`.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, values: &[f32], output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let fits = self.length > 0
            && values.len() == output.len()
            && values.len().is_multiple_of(self.length)
            && self.scale.is_none_or(|scale| scale.len() == self.length)
            && self.bias.is_none_or(|bias| bias.len() == self.length);
        if !fits {
            return Err(Unfit("a layer normalization"));
        }
        let own = part.of(values.len() / self.length);
        let (start, count) = (own.start * self.length, own.len() * self.length);
        // SAFETY: the shares of threads have no rows in common.
        let target = unsafe { output.part(start, count) }.ok_or(Unfit("a layer normalization"))?;
        dispatch(self.level, Rows { layer: self, values: &values[start..start + count], target });
        Ok(())
    }
}

struct Rows<'a> {
    layer: &'a Layer<'a>,
    values: &'a [f32],
    target: &'a mut [f32],
}

/// The sum of a function of the numbers of a row, in four times 16 lanes.
#[inline(always)]
fn total<I: Isa>(isa: I, row: &[f32], function: impl Fn(I::V) -> I::V, one: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<BLOCK>();
    let mut sums = [isa.splat(0.0); 4];
    let (fours, few) = blocks.as_chunks::<4>();
    for four in fours {
        for (sum, block) in sums.iter_mut().zip(four) {
            // SAFETY: the block has 16 floats.
            *sum = isa.add(*sum, function(unsafe { isa.load(block.as_ptr()) }));
        }
    }
    for (sum, block) in sums.iter_mut().zip(few) {
        // SAFETY: the block has 16 floats.
        *sum = isa.add(*sum, function(unsafe { isa.load(block.as_ptr()) }));
    }
    let mut lanes = [0.0; BLOCK];
    let all = isa.add(isa.add(sums[0], sums[1]), isa.add(sums[2], sums[3]));
    // SAFETY: the array has 16 floats.
    unsafe { isa.store(all, lanes.as_mut_ptr()) };
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    rest.iter().fold(lanes[0], |sum, value| sum + one(*value))
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Layer { length, epsilon, is_centred, scale, bias, .. } = *self.layer;
        let count = length as f32;
        for (row, target) in self.values.chunks_exact(length).zip(self.target.chunks_exact_mut(length)) {
            let mean = if is_centred { total(isa, row, |value| value, |value| value) / count } else { 0.0 };
            let middle = isa.splat(mean);
            let squares = total(
                isa,
                row,
                |value| {
                    let value = isa.subtract(value, middle);
                    isa.multiply(value, value)
                },
                |value| (value - mean) * (value - mean),
            );
            let factor = 1.0 / (squares / count + epsilon).sqrt();
            let wide = isa.splat(factor);
            let whole = length - length % BLOCK;
            for place in (0..whole).step_by(BLOCK) {
                // SAFETY: the row, the target, the scale and the bias have 16 floats more here.
                unsafe {
                    let value = isa.subtract(isa.load(row.as_ptr().add(place)), middle);
                    let mut value = isa.multiply(value, wide);
                    if let Some(scale) = scale {
                        value = isa.multiply(value, isa.load(scale.as_ptr().add(place)));
                    }
                    if let Some(bias) = bias {
                        value = isa.add(value, isa.load(bias.as_ptr().add(place)));
                    }
                    isa.store(value, target.as_mut_ptr().add(place));
                }
            }
            for place in whole..length {
                let value = (row[place] - mean) * factor;
                let value = scale.map_or(value, |scale| value * scale[place]);
                target[place] = bias.map_or(value, |bias| value + bias[place]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_those_of_plain_loops(
            length in 1_usize..150,
            rows in 0_usize..5,
            seed in 1_u32..10_000,
            has_scale in any::<bool>(),
            has_bias in any::<bool>(),
            is_centred in any::<bool>(),
            threads in 1_usize..4,
        ) {
            let numbers = |count: usize, salt: u32| -> Vec<f32> {
                (0..count as u32).map(|place| ((place * 7919 + seed * salt) % 1000) as f32 / 250.0 - 1.0).collect()
            };
            let values = numbers(length * rows, 3);
            let (scale, bias) = (numbers(length, 5), numbers(length, 7));
            for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
                let layer = Layer {
                    level,
                    length,
                    epsilon: 1e-3,
                    is_centred,
                    scale: has_scale.then_some(&scale),
                    bias: has_bias.then_some(&bias),
                };
                let mut output = vec![f32::NAN; values.len()];
                for index in 0..threads {
                    layer.run(&values, Shared::new(&mut output), Part { index, count: threads }).unwrap();
                }
                for (row, found) in values.chunks_exact(length).zip(output.chunks_exact(length)) {
                    let sum = |function: &dyn Fn(f64) -> f64| -> f64 {
                        row.iter().map(|value| function(f64::from(*value))).sum::<f64>() / length as f64
                    };
                    let mean = if is_centred { sum(&|value| value) } else { 0.0 };
                    let variance = sum(&|value| (value - mean).powi(2));
                    for (place, found) in found.iter().enumerate() {
                        let value = (f64::from(row[place]) - mean) / (variance + 1e-3).sqrt();
                        let value = if has_scale { value * f64::from(scale[place]) } else { value };
                        let value = if has_bias { value + f64::from(bias[place]) } else { value };
                        prop_assert!((f64::from(*found) - value).abs() < 3e-5, "{level:?} {found} {value}");
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let layer =
            Layer { level: Level::Plain, length: 3, epsilon: 0.0, is_centred: true, scale: None, bias: None };
        let mut output = [0.0; 6];
        assert!(layer.run(&[0.0; 4], Shared::new(&mut output[..4]), Part::WHOLE).is_err());
        assert!(layer.run(&[0.0; 3], Shared::new(&mut output), Part::WHOLE).is_err());
        let scaled = Layer { scale: Some(&[1.0; 2]), ..layer };
        assert!(scaled.run(&[0.0; 6], Shared::new(&mut output), Part::WHOLE).is_err());
    }
}
