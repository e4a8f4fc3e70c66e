//! Images that are brought to a mean of 0 and a variance of 1, channel by channel or in groups of channels.

#![expect(unsafe_code, reason = "loads and stores through pointers; several threads write one output")]

use std::ops::Range;

use super::{
    BLOCK, Level, Part, Unfit,
    activation::{Activation, apply},
    buffer::Shared,
    convolution::Images,
    isa::{Isa, Task, dispatch},
    planes::Planes,
};

/// A normalization that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Moments<'a> {
    pub level: Level,
    /// The channels of the images.
    pub channels: usize,
    /// The channels that have a mean and a variance together: they divide the channels.
    pub group: usize,
    /// The summand of the variance.
    pub epsilon: f32,
    /// A factor and a summand for each channel, in whole blocks.
    pub factors: &'a [f32],
    pub summands: &'a [f32],
    pub activation: Activation,
    pub input: Images<'a>,
    pub output: Planes,
}

impl Moments<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let (input, own) = (&self.input.planes, &self.output);
        let fits = self.group > 0
            && self.channels.is_multiple_of(self.group)
            && self.channels.div_ceil(BLOCK) == own.blocks
            && self.factors.len() >= own.blocks * BLOCK
            && self.summands.len() >= own.blocks * BLOCK
            && (input.lanes, own.lanes) == (BLOCK, BLOCK)
            && input.blocks == own.blocks
            && input.is_as_large_as(own)
            && self.input.values.len() >= input.len()
            && output.len() >= own.len();
        if !fits {
            return Err(Unfit("a normalization of images"));
        }
        dispatch(self.level, Units { moments: self, output, part });
        Ok(())
    }

    /// The fewest blocks that have whole groups.
    fn unit(&self) -> usize {
        let whole = (1..=BLOCK).find(|count| (count * self.group).is_multiple_of(BLOCK));
        whole.map_or(self.output.blocks, |count| count * self.group / BLOCK).min(self.output.blocks)
    }
}

struct Units<'a> {
    moments: &'a Moments<'a>,
    output: Shared<'a>,
    part: Part,
}

/// The sums of the pixels of a row, or of the squares of their differences from a mean.
#[inline(always)]
fn total<I: Isa>(isa: I, row: &[f32], mean: I::V, of_squares: bool) -> [f32; BLOCK] {
    let mut sums = [isa.splat(0.0); 4];
    for pixels in row.chunks(4 * BLOCK) {
        for (sum, pixel) in sums.iter_mut().zip(pixels.chunks_exact(BLOCK)) {
            // SAFETY: the slice has 16 floats.
            let value = isa.subtract(unsafe { isa.load(pixel.as_ptr()) }, mean);
            *sum = if of_squares { isa.multiply_add(value, value, *sum) } else { isa.add(*sum, value) };
        }
    }
    let mut total = [0.0; BLOCK];
    let sum = isa.add(isa.add(sums[0], sums[1]), isa.add(sums[2], sums[3]));
    // SAFETY: the array has 16 floats.
    unsafe { isa.store(sum, total.as_mut_ptr()) };
    total
}

impl Units<'_> {
    /// A row of a block of the input.
    #[inline(always)]
    fn row(&self, block: usize, image: usize, y: usize) -> &[f32] {
        let Moments { input, output, .. } = self.moments;
        &input.values[input.planes.at(block, image, y, 0)..][..output.width * BLOCK]
    }

    /// The means of the groups of blocks, or those of the squares of the differences from `means`, for each channel.
    #[inline(always)]
    fn means<I: Isa>(&self, isa: I, image: usize, blocks: Range<usize>, means: Option<&[f64]>) -> Vec<f64> {
        let Moments { group, output, .. } = *self.moments;
        let mut sums = vec![0.0_f64; blocks.len() * BLOCK];
        for (number, sums) in sums.chunks_exact_mut(BLOCK).enumerate() {
            let mut middle = [0.0_f32; BLOCK];
            if let Some(means) = means {
                let own = &means[number * BLOCK..][..BLOCK];
                middle.iter_mut().zip(own).for_each(|(to, mean)| *to = *mean as f32);
            }
            // SAFETY: the array has 16 floats.
            let middle = unsafe { isa.load(middle.as_ptr()) };
            for y in 0..output.height {
                let row = self.row(blocks.start + number, image, y);
                for (sum, found) in sums.iter_mut().zip(total(isa, row, middle, means.is_some())) {
                    *sum += f64::from(found);
                }
            }
        }
        let count = (output.height * output.width * group) as f64;
        // No group has channels beyond the last real one together with real ones.
        for sums in sums.chunks_mut(group) {
            let mean = sums.iter().sum::<f64>() / count;
            sums.fill(mean);
        }
        sums
    }
}

impl Task for Units<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Moments { level, epsilon, factors, summands, activation, output, .. } = *self.moments;
        let (count, unit) = (output.width * BLOCK, self.moments.unit());
        let units = output.blocks.div_ceil(unit.max(1));
        for number in self.part.of(output.images * units) {
            let (image, first) = (number / units, number % units * unit);
            let blocks = first..(first + unit).min(output.blocks);
            let means = self.means(isa, image, blocks.clone(), None);
            let variances = self.means(isa, image, blocks.clone(), Some(&means));
            for block in blocks {
                let (place, own) = (block * BLOCK, (block - first) * BLOCK);
                let mut numbers = [[0.0_f32; BLOCK]; 2];
                for lane in 0..BLOCK {
                    let factor = f64::from(factors[place + lane])
                        / (variances[own + lane] + f64::from(epsilon)).sqrt();
                    (numbers[0][lane], numbers[1][lane]) = (means[own + lane] as f32, factor as f32);
                }
                // SAFETY: all have 16 floats.
                let [mean, factor, summand] = unsafe {
                    [
                        isa.load(numbers[0].as_ptr()),
                        isa.load(numbers[1].as_ptr()),
                        isa.load(summands[place..][..BLOCK].as_ptr()),
                    ]
                };
                for y in 0..output.height {
                    let from = self.row(block, image, y);
                    let start = output.at(block, image, y, 0);
                    // SAFETY: this thread alone has this block of this image.
                    let Some(to) = (unsafe { self.output.part(start, count) }) else { continue };
                    for (from, to) in from.chunks_exact(BLOCK).zip(to.chunks_exact_mut(BLOCK)) {
                        // SAFETY: both slices have 16 floats.
                        unsafe {
                            let value = isa.subtract(isa.load(from.as_ptr()), mean);
                            isa.store(isa.multiply_add(value, factor, summand), to.as_mut_ptr());
                        }
                    }
                    if activation != Activation::Identity {
                        // SAFETY: the row has `count` floats, a multiple of 16.
                        unsafe { apply(level, activation, to.as_mut_ptr(), count) };
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
    use crate::{
        buffer::Buffer,
        tests::plain::{Plain, apply, cases, left, levels, numbers, parts},
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 1500 }))]

        #[test]
        fn groups_are_those_of_plain_loops(
            case in cases(),
            group in proptest::sample::select(vec![1_usize, 2, 3, 4, 8, 12, 16, 20, 32, 48]),
            groups in 1_usize..5,
        ) {
            let [height, width] = case.size;
            let channels = group * groups;
            let input = Plain::new([case.images, channels, height, width], 1);
            let (planes, values) = input.entered(case.border(), false);
            let output = Planes::new(channels, case.images, height, width, case.border_of_output());
            let padded = output.blocks * BLOCK;
            let (factors, summands) = (numbers(padded, 2), numbers(padded, 3));
            for level in levels() {
                let job = Moments {
                    level,
                    channels,
                    group,
                    epsilon: 1e-3,
                    factors: &factors,
                    summands: &summands,
                    activation: Activation::Swish(1.0),
                    input: Images { planes, values: &values },
                    output,
                };
                let mut buffer = Buffer::zeros(output.len());
                parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
                let found = left(output, channels, &buffer);
                let size = group * height * width;
                prop_assume!(size > 0);
                for (number, (found, given)) in found.chunks(size).zip(input.values.chunks(size)).enumerate() {
                    let mean = given.iter().map(|value| f64::from(*value)).sum::<f64>() / size as f64;
                    let squares = given.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
                    let root = (squares / size as f64 + 1e-3).sqrt();
                    for (place, (found, value)) in found.iter().zip(given).enumerate() {
                        let channel = (number * group + place / (height * width)) % channels;
                        let value = (f64::from(*value) - mean) / root * f64::from(factors[channel])
                            + f64::from(summands[channel]);
                        let expected = apply(Activation::Swish(1.0), value);
                        prop_assert!((f64::from(*found) - expected).abs() < 2e-5, "{level:?} {found} {expected}");
                    }
                }
                let wrong = Moments { group: channels + 1, ..job };
                prop_assert!(wrong.run(Shared::new(&mut buffer), Part::WHOLE).is_err());
            }
        }
    }
}
