//! Images, cases and convolutions in plain loops over `[image][channel][row][column]` and in doubles.

use proptest::prelude::*;

use super::super::{
    Level, Part,
    activation::Activation,
    buffer::{Buffer, Shared},
    convolution::{Images, Steps},
    layout,
    planes::{Border, Planes},
};

/// Images as a model has them.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) sizes: [usize; 4],
    pub(crate) values: Vec<f32>,
}

impl Plain {
    pub(crate) fn new(sizes: [usize; 4], seed: u64) -> Self {
        Self { sizes, values: numbers(sizes.iter().product(), seed) }
    }

    /// An element, or zero outside of the image.
    pub(crate) fn at(&self, image: usize, channel: usize, y: isize, x: isize) -> f64 {
        let [_, channels, height, width] = self.sizes;
        let (Ok(row), Ok(column)) = (usize::try_from(y), usize::try_from(x)) else { return 0.0 };
        if row >= height || column >= width {
            return 0.0;
        }
        f64::from(self.values[((image * channels + channel) * height + row) * width + column])
    }

    /// The same in a buffer of planes.
    pub(crate) fn entered(&self, border: Border, whole: bool) -> (Planes, Buffer) {
        let [images, channels, height, width] = self.sizes;
        let mut planes = Planes::new(channels, images, height, width, border);
        if whole {
            (planes.lanes, planes.blocks) = (channels, 1);
        }
        let mut buffer = Buffer::zeros(planes.len());
        buffer.fill(f32::NAN);
        layout::clear_border(planes, &mut buffer).unwrap();
        layout::enter(&self.values, channels, planes, Shared::new(&mut buffer), Part::WHOLE).unwrap();
        (planes, buffer)
    }
}

/// Bytes that look random.
pub(crate) fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as u8
    })
    .take(count)
    .collect()
}

pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    })
    .take(count)
    .collect()
}

pub(crate) fn apply(activation: Activation, x: f64) -> f64 {
    let gate = |alpha: f32, beta: f32| (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0);
    match activation {
        Activation::Identity => x,
        Activation::Clip(low, high) => x.max(low.into()).min(high.into()),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Swish(alpha) => x / (1.0 + (-x * f64::from(alpha)).exp()),
        Activation::HardSigmoid(alpha, beta) => gate(alpha, beta),
        Activation::HardSwish(alpha, beta) => x * gate(alpha, beta),
        Activation::LeakyRelu(alpha) => {
            if x < 0.0 {
                x * f64::from(alpha)
            } else {
                x
            }
        }
        Activation::Tanh => x.tanh(),
        Activation::Gelu | Activation::GeluTanh => crate::activation::tests::gate(activation, x),
    }
}

pub(crate) const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::RELU,
    Activation::Clip(-0.5, 0.75),
    Activation::Sigmoid,
    Activation::Swish(1.0),
    Activation::HardSwish(1.0 / 6.0, 0.5),
    Activation::LeakyRelu(0.1),
    Activation::Tanh,
];

pub(crate) fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.is_available())
}

/// Takes images out of their planes.
pub(crate) fn left(planes: Planes, channels: usize, buffer: &[f32]) -> Vec<f32> {
    let mut values = vec![f32::NAN; planes.images * channels * planes.height * planes.width];
    let images = Images { planes, values: buffer };
    layout::leave(images, channels, Shared::new(&mut values), Part::WHOLE).unwrap();
    values
}

pub(crate) fn assert_near(found: &[f32], expected: &[f64], bound: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        prop_assert!(
            (f64::from(*found) - expected).abs() <= bound * (1.0 + expected.abs()),
            "element {}: {} and not {}",
            index,
            found,
            expected
        );
    }
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) images: usize,
    pub(crate) channels: usize,
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
    pub(crate) window: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilations: [usize; 2],
    pub(crate) before: [usize; 2],
    pub(crate) after: [usize; 2],
    pub(crate) size: [usize; 2],
    pub(crate) extra: usize,
    pub(crate) adds: bool,
    pub(crate) functions: (usize, usize),
    pub(crate) parts: usize,
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let two = |low: usize, high: usize| [low..high, low..high];
    (
        (1_usize..3, 1_usize..36, 1_usize..52, 1_usize..3),
        (two(1, 4), two(1, 4), two(1, 3), two(0, 3), two(0, 3)),
        ([1_usize..18, 1_usize..33], 0_usize..2, any::<bool>(), (0..8_usize, 0..8_usize), 1_usize..4),
    )
        .prop_map(|((images, channels, outputs, groups), windows, rest)| {
            let (window, strides, dilations, before, after) = windows;
            let (size, extra, adds, functions, parts) = rest;
            // Groups of several channels are whole blocks.
            let (channels, outputs) =
                if groups > 1 { (groups * 16, groups * 16 * (outputs % 3 + 1)) } else { (channels, outputs) };
            Case {
                images,
                channels,
                outputs,
                groups,
                window,
                strides,
                dilations,
                before,
                after,
                size,
                extra,
                adds,
                functions,
                parts,
            }
        })
}

impl Case {
    /// The size of the result; `None` if the window does not fit.
    pub(crate) fn output(&self) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let padded = self.before[axis] + self.size[axis] + self.after[axis];
            let extent = (self.window[axis] - 1) * self.dilations[axis] + 1;
            Some(padded.checked_sub(extent)? / self.strides[axis] + 1)
        };
        Some([along(0)?, along(1)?])
    }

    pub(crate) fn border(&self) -> Border {
        let [top, left] = self.before;
        let [bottom, right] = self.after;
        let extra = self.extra;
        Border { top: top + extra, left: left + extra, bottom: bottom + extra, right: right + extra }
    }

    pub(crate) fn steps(&self) -> Steps {
        Steps { strides: self.strides, dilations: self.dilations, before: self.before }
    }

    pub(crate) fn border_of_output(&self) -> Border {
        let extra = self.extra;
        Border { top: extra, left: 2 * extra, bottom: extra, right: 0 }
    }

    /// The convolution in plain loops. `weights` are `[output][input of the group][row][column]`.
    pub(crate) fn expected(
        &self,
        input: &Plain,
        weights: &[f32],
        bias: &[f32],
        added: Option<&Plain>,
    ) -> Vec<f64> {
        let [height, width] = self.output().unwrap();
        let (inputs, per_group) = (self.channels / self.groups, self.outputs / self.groups);
        let [rows, columns] = self.window;
        let mut result = Vec::new();
        for image in 0..self.images {
            for (output, bias) in bias.iter().enumerate() {
                let group = output / per_group;
                for y in 0..height {
                    for x in 0..width {
                        let mut sum = f64::from(*bias);
                        for channel in 0..inputs {
                            for row in 0..rows {
                                for column in 0..columns {
                                    let at = |axis: usize, place: usize, tap: usize| {
                                        (place * self.strides[axis] + tap * self.dilations[axis]) as isize
                                            - self.before[axis] as isize
                                    };
                                    let value = input.at(
                                        image,
                                        group * inputs + channel,
                                        at(0, y, row),
                                        at(1, x, column),
                                    );
                                    let place = ((output * inputs + channel) * rows + row) * columns + column;
                                    sum += value * f64::from(weights[place]);
                                }
                            }
                        }
                        sum = apply(ACTIVATIONS[self.functions.0], sum);
                        if let Some(added) = added {
                            sum += added.at(image, output, y as isize, x as isize);
                        }
                        result.push(apply(ACTIVATIONS[self.functions.1], sum));
                    }
                }
            }
        }
        result
    }

    /// The output and what is added to it, in planes.
    pub(crate) fn outputs(&self) -> (Planes, Plain) {
        let [height, width] = self.output().unwrap();
        let planes = Planes::new(self.outputs, self.images, height, width, self.border_of_output());
        (planes, Plain::new([self.images, self.outputs, height, width], 5))
    }
}

pub(crate) fn parts(count: usize, mut run: impl FnMut(Part)) {
    (0..count).for_each(|index| run(Part { index, count }));
}
