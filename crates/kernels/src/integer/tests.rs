//! Every kernel of bytes against plain loops over `[image][channel][row][column]`, bit for bit, with each set
//! of instructions, over odd shapes.

use proptest::prelude::*;

use super::{
    Images, Instructions,
    convolution::Convolution,
    depthwise::{Depthwise, Windows},
    dynamic::{quantise, range},
    elementwise::{Function, Pair, Tables, look_up},
    filters::{Filters, Reading, Source},
    finish::{Addition, Finish, Reals},
    layout::{Entering, Leaving, copy, enter, fill_border, leave, repeat, widen},
    memory::Bytes,
    pool::{Mean, Pool, Pooling, Scale},
    target::Target,
};
use crate::{
    BLOCK, Part,
    buffer::Shared,
    convolution::Steps,
    layout::Channels,
    planes::{Border, Planes},
};

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // The extremes come often.
        match state >> 60 {
            0 => 0,
            1 => 255,
            2 => 128,
            _ => (state >> 40) as u8,
        }
    })
    .take(count)
    .collect()
}

fn signed(values: &[u8]) -> Vec<i8> {
    values.iter().map(|value| value.cast_signed()).collect()
}

/// Images as a model has them.
#[derive(Clone, Debug)]
struct Plain {
    sizes: [usize; 4],
    values: Vec<u8>,
}

impl Plain {
    fn new(sizes: [usize; 4], seed: u64) -> Self {
        Self { sizes, values: bytes(sizes.iter().product(), seed) }
    }

    /// A byte, or none outside of the image.
    fn at(&self, image: usize, channel: usize, y: isize, x: isize) -> Option<u8> {
        let [_, channels, height, width] = self.sizes;
        let (row, column) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        let is_inside = row < height && column < width;
        is_inside.then(|| self.values[((image * channels + channel) * height + row) * width + column])
    }

    /// The same in a buffer of planes.
    fn entered(&self, border: Border, zero: u8, whole: bool, isa: Instructions) -> (Planes, Bytes) {
        let [images, channels, height, width] = self.sizes;
        let mut planes = Planes::new(channels, images, height, width, border);
        if whole {
            (planes.lanes, planes.blocks) = (channels.next_multiple_of(4), 1);
        }
        let mut buffer = Bytes::zeros(planes.len());
        buffer.fill(77);
        fill_border(planes, zero, &mut buffer).unwrap();
        let entering = Entering::Unsigned(&self.values);
        enter(isa, entering, channels, planes, Shared::new(&mut buffer), Part::WHOLE).unwrap();
        (planes, buffer)
    }
}

fn left(planes: Planes, values: &[u8], channels: usize) -> Vec<u8> {
    let mut found = vec![0; planes.images * channels * planes.height * planes.width];
    let output = Leaving::Unsigned(Shared::new(&mut found));
    leave(Images { planes, values }, channels, output, Part::WHOLE).unwrap();
    found
}

fn available() -> impl Iterator<Item = Instructions> {
    Instructions::ALL.into_iter().filter(|instructions| instructions.is_available())
}

/// The nearest byte, by the standard library.
fn nearest(value: f32, zero: u8) -> u8 {
    let low = -f32::from(zero);
    let clipped = if value > low { value.min(255.0 - f32::from(zero)) } else { low };
    (clipped.round_ties_even() as i32 + i32::from(zero)) as u8
}

fn sum_of(first: u8, second: u8, addition: &Addition) -> u8 {
    let shift = if addition.is_signed { 128 } else { 0 };
    let real = |byte: u8| (i32::from(byte) - shift) as f32;
    let inner = real(second).mul_add(addition.ratios[1], addition.fixed);
    let sum = real(first).mul_add(addition.ratios[0], inner);
    let (low, high) = (-shift as f32, (255 - shift) as f32);
    let clipped = if sum > low { sum.min(high) } else { low };
    (clipped.round_ties_even() as i32 + shift) as u8
}

fn addition(seed: u64) -> Addition {
    let ratio = |shift: u32| ((seed >> shift) % 400) as f32 / 173.0;
    Addition {
        ratios: [ratio(3), ratio(11)],
        fixed: ratio(20) * 50.0 - 60.0,
        is_first: seed.is_multiple_of(2),
        is_signed: seed.is_multiple_of(3),
    }
}

/// The sizes of a random convolution.
#[derive(Clone, Debug)]
struct Case {
    images: usize,
    inputs: usize,
    outputs: usize,
    groups: usize,
    window: [usize; 2],
    steps: Steps,
    size: [usize; 2],
    seed: u64,
}

impl Case {
    fn places(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let extent = (self.window[axis] - 1) * self.steps.dilations[axis] + 1;
            let padded = self.size[axis] + 2 * self.steps.before[axis];
            padded.checked_sub(extent).map_or(0, |room| room / self.steps.strides[axis] + 1)
        })
    }

    fn border(&self) -> Border {
        let [down, right] = self.steps.before;
        Border { top: down, left: right, bottom: down + 1, right: right + 2 }
    }

    /// The sums of plain loops.
    fn sums(&self, input: &Plain, source: &Source<'_>) -> Vec<i32> {
        let [height, width] = self.places();
        let (inputs, outputs) = (self.inputs / self.groups, self.outputs / self.groups);
        let mut sums = Vec::new();
        for image in 0..self.images {
            for output in 0..self.outputs {
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    let mut sum = i64::from(source.bias.map_or(0, |bias| bias[output]));
                    let taps = self.window[0] * self.window[1];
                    for number in 0..inputs * taps {
                        let (own, tap) = (number / taps, number % taps);
                        let along = |axis: usize, place: usize, step: usize| {
                            let shift = step * self.steps.dilations[axis];
                            (place * self.steps.strides[axis] + shift) as isize
                                - self.steps.before[axis] as isize
                        };
                        let row = along(0, y, tap / self.window[1]);
                        let column = along(1, x, tap % self.window[1]);
                        let channel = output / outputs * inputs + own;
                        let weight = source.weights[output * inputs * taps + number];
                        if let Some(byte) = input.at(image, channel, row, column) {
                            sum += (i64::from(byte) - i64::from(source.zero_point)) * i64::from(weight);
                        }
                    }
                    sums.push(i32::try_from(sum).unwrap());
                }
            }
        }
        sums
    }

    /// The output channel and the added byte of each output.
    fn places_of<'a>(&self, residual: &'a Plain) -> impl Iterator<Item = (usize, u8)> + 'a {
        let [height, width] = self.places();
        let outputs = self.outputs;
        residual.values.iter().enumerate().map(move |(place, byte)| (place / height / width % outputs, *byte))
    }

    /// The bytes of sums.
    fn bytes(&self, sums: &[i32], source: &Source<'_>, finish: Finish, residual: &Plain) -> Vec<u8> {
        let one = |(sum, (output, other)): (&i32, (usize, u8))| {
            let scale = source.scales[output.min(source.scales.len() - 1)];
            let own = nearest(*sum as f32 * scale, finish.zero_point);
            match finish.addition {
                None => own,
                Some(addition) if addition.is_first => sum_of(own, other, &addition),
                Some(addition) => sum_of(other, own, &addition),
            }
        };
        sums.iter().zip(self.places_of(residual)).map(one).collect()
    }

    /// The real numbers of sums, by the scales, a factor and a summand of one channel, and what is added to them.
    fn reals(
        &self,
        sums: &[i32],
        scales: &[f32],
        has_line: bool,
        has_other: bool,
        other: &Plain,
    ) -> Vec<f32> {
        let one = |(sum, (output, other)): (&i32, (usize, u8))| {
            let mut value = *sum as f32 * scales[output];
            if has_line {
                // The factor is 1 or 2: its product is exact.
                value = value * factor(output) + scales[output];
            }
            if has_other {
                value += f32::from(other);
            }
            value.clamp(-40.0, 600.0)
        };
        sums.iter().zip(self.places_of(other)).map(one).collect()
    }
}

fn factor(output: usize) -> f32 {
    if output.is_multiple_of(3) { 2.0 } else { 1.0 }
}

fn case(depthwise: bool) -> impl Strategy<Value = Case> {
    let sizes = (1_usize..3, 1_usize..40, 1_usize..70, 0_usize..4);
    let window = (1_usize..6, 1_usize..6, 1_usize..4, 1_usize..4, 1_usize..3, 1_usize..3);
    let rest = (0_usize..3, 0_usize..3, 1_usize..18, 1_usize..30, any::<u64>());
    (sizes, window, rest).prop_map(move |(sizes, window, rest)| {
        let (images, inputs, outputs, grouped) = sizes;
        let (rows, columns, down, right, over, along) = window;
        let (before, left, height, width, seed) = rest;
        let (inputs, outputs, groups) = if depthwise {
            (inputs, inputs, inputs)
        } else if grouped == 0 {
            (32, 32 + inputs / 20 * 32, 2)
        } else {
            (inputs, outputs, 1)
        };
        // Windows of one pixel, and rows of 7, have kernels of their own.
        let (rows, columns) = if grouped == 1 { (1, 1) } else { (rows, columns) };
        let width = if grouped == 2 { 7 } else { width };
        let steps = Steps {
            strides: if grouped == 3 { [down, right] } else { [1, 1] },
            dilations: [over, along],
            before: if grouped == 1 { [0, 0] } else { [before, left] },
        };
        let window = [rows, columns];
        Case { images, inputs, outputs, groups, window, steps, size: [height, width], seed }
    })
}

fn run(case: &Case, depthwise: bool) {
    let [height, width] = case.places();
    let (inputs, seed) = (case.inputs / case.groups, case.seed);
    let count = case.outputs * inputs * case.window[0] * case.window[1];
    let weights: Vec<i16> = signed(&bytes(count, seed ^ 1)).into_iter().map(i16::from).collect();
    // Weights of uint8 less any zero point.
    let far = ((seed >> 24) % 257) as i16 - 128;
    let far = if seed % 16 == 3 { 128 } else { far };
    let weights: Vec<i16> = weights
        .into_iter()
        .map(|weight| if seed % 4 == 3 { (weight + far).clamp(-255, 255) } else { weight })
        .collect();
    let bias: Vec<i32> = bytes(case.outputs, seed ^ 2).iter().map(|byte| i32::from(*byte) * 30).collect();
    let scales: Vec<f32> =
        bytes(case.outputs, seed ^ 3).iter().map(|byte| f32::from(*byte) * 1e-5 + 1e-5).collect();
    let source = Source {
        weights: &weights,
        shape: [case.outputs, inputs, case.window[0], case.window[1]],
        groups: case.groups,
        bias: (seed % 5 > 0).then_some(&bias),
        scales: if seed.is_multiple_of(7) { &scales[..1] } else { &scales },
        zero_point: (seed >> 8) as u8,
    };
    let addition = seed.is_multiple_of(2).then(|| addition(seed >> 3));
    let finish = Finish { zero_point: (seed >> 16) as u8, addition };
    let input = Plain::new([case.images, case.inputs, case.size[0], case.size[1]], seed);
    let other = Plain::new([case.images, case.outputs, height, width], seed ^ 4);
    let sums = case.sums(&input, &source);
    let expected = case.bytes(&sums, &source, finish, &other);
    let padded = case.outputs.next_multiple_of(BLOCK);
    let own: Vec<f32> = (0..padded).map(|output| (output + 1) as f32 * 1e-3).collect();
    let factors: Vec<f32> = (0..padded).map(factor).collect();
    let has_line = (seed >> 40).is_multiple_of(2);
    let reals = case.reals(&sums, &own, has_line, finish.addition.is_some(), &other);
    let flat = case.steps.before == [0, 0] && case.window == [1, 1];
    let border = if flat { Border::default() } else { case.border() };
    for instructions in available() {
        for whole in [false, true] {
            if whole && (depthwise || case.groups > 1) {
                continue;
            }
            let (planes, values) = input.entered(border, source.zero_point, whole, instructions);
            let (added_planes, added) = other.entered(Border::default(), 0, false, instructions);
            let residual = Some(Images { planes: added_planes, values: &added });
            let residual = residual.filter(|_| finish.addition.is_some());
            let added_reals: Vec<f32> = added.iter().map(|byte| f32::from(*byte)).collect();
            let output = Planes::new(case.outputs, case.images, height, width, Border::default());
            let (mut result, mut found_sums) = (Bytes::zeros(output.len()), vec![0; output.len()]);
            let mut found_reals = vec![0.0; output.len()];
            let steps = case.steps;
            let windows = depthwise.then(|| Windows::new(instructions, &source).unwrap());
            let reading = if whole { Reading::Whole } else { Reading::Blocks };
            let filters = (!depthwise).then(|| Filters::new(instructions, &source, reading).unwrap());
            let word = filters.as_ref().map_or(1, Filters::word);
            let mut wide = Bytes::zeros(word * values.len());
            if word == 2 {
                for index in 0..2 {
                    widen(&values, Shared::new(&mut wide), Part { index, count: 2 }).unwrap();
                }
            } else {
                wide.copy_from_slice(&values);
            }
            let input = Images { planes, values: &wide };
            // In three parts, as three threads would.
            for index in 0..3 {
                let part = Part { index, count: 3 };
                let reals = Reals {
                    scales: &own,
                    line: has_line.then_some([&factors, &own]),
                    residual: residual
                        .map(|_| crate::convolution::Images { planes: added_planes, values: &added_reals }),
                    bounds: [-40.0, 600.0],
                };
                let targets = [
                    Target::Bytes { output: Shared::new(&mut result), finish, residual },
                    Target::Sums(Shared::new(&mut found_sums)),
                    Target::Reals { output: Shared::new(&mut found_reals), reals },
                ];
                for target in &targets {
                    if let Some(windows) = &windows {
                        Depthwise { windows, steps, input, bias: None, output }.run(target, part).unwrap();
                    } else if let Some(filters) = &filters {
                        Convolution { filters, steps, input, bias: None, output }.run(target, part).unwrap();
                    }
                }
            }
            let found = left(output, &result, case.outputs);
            assert_eq!(found, expected, "{instructions:?} whole {whole} {case:?}");
            let place = |place: usize| {
                let (pixel, plane) = (place % (height * width), place / (height * width));
                let (image, channel) = (plane / case.outputs, plane % case.outputs);
                output.at(channel / BLOCK, image, 0, pixel) + channel % BLOCK
            };
            for (number, (sum, real)) in sums.iter().zip(&reals).enumerate() {
                assert_eq!(found_sums[place(number)], *sum, "{instructions:?} whole {whole} {case:?}");
                assert_eq!(found_reals[place(number)], *real, "{instructions:?} whole {whole} {case:?}");
            }
        }
    }
}

#[test]
fn real_numbers_in_blocks_have_a_range_and_become_bytes() {
    let planes = Planes::new(19, 2, 3, 5, Border { left: 1, ..Border::default() });
    let mut values: Vec<f32> =
        bytes(planes.len(), 7).iter().map(|byte| f32::from(*byte) / 9.0 - 12.0).collect();
    // Lanes without a channel, and the border, count for nothing.
    values[planes.at(1, 1, 2, 3) + 3] = 1e9;
    values[planes.at(0, 0, 0, 0) - 1] = -1e9;
    values[planes.at(1, 0, 1, 1) + 2] = f32::NAN;
    values[planes.at(0, 1, 2, 4) + 15] = 90.0;
    let input = crate::convolution::Images { planes, values: &values };
    let all: Vec<f32> = (0..2 * 19 * 15)
        .map(|place| {
            let (pixel, channel, image) = (place % 15, place / 15 % 19, place / 15 / 19);
            values[planes.at(channel / 16, image, pixel / 5, pixel % 5) + channel % 16]
        })
        .collect();
    let expected = [all.iter().copied().fold(0.0, f32::min), all.iter().copied().fold(0.0, f32::max)];
    assert_eq!(expected[1], 90.0);
    let scale = Scale { scale: (expected[1] - expected[0]) / 255.0, zero_point: 30 };
    let output = Planes::new(19, 2, 3, 5, Border { top: 1, ..Border::default() });
    for instructions in available() {
        let mut found = [0.0_f32; 2];
        let mut result = Bytes::zeros(output.len());
        for index in 0..3 {
            let part = Part { index, count: 3 };
            let range = range(instructions, input, 19, part).unwrap();
            found = [found[0].min(range[0]), found[1].max(range[1])];
            quantise(instructions, input, scale, output, Shared::new(&mut result), part).unwrap();
        }
        assert_eq!(found, expected);
        let bytes: Vec<u8> = all.iter().map(|value| nearest(value / scale.scale, 30)).collect();
        assert_eq!(left(output, &result, 19), bytes);
    }
    let few = crate::convolution::Images { planes, values: &values[1..] };
    assert!(range(Instructions::Plain, few, 19, Part::WHOLE).is_err());
    assert!(range(Instructions::Plain, input, 33, Part::WHOLE).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolutions_are_those_of_plain_loops(case in case(false)) {
        run(&case, false);
    }

    #[test]
    fn convolutions_by_channels_are_those_of_plain_loops(case in case(true)) {
        run(&case, true);
    }

    #[test]
    fn functions_of_two_images_are_those_of_plain_loops(
        sizes in (1_usize..3, 1_usize..40, 1_usize..6, 1_usize..9), pixel in any::<bool>(), seed in any::<u64>(),
    ) {
        let (images, channels, height, width) = sizes;
        let first = Plain::new([images, channels, height, width], seed);
        let second = if pixel { [images, channels, 1, 1] } else { first.sizes };
        let second = Plain::new(second, seed ^ 1);
        let scale = |shift: u32| Scale { scale: ((seed >> shift) % 90 + 1) as f32 / 71.0, zero_point: (seed >> shift) as u8 };
        let functions =
            [Function::Add(addition(seed)), Function::Multiply([scale(5), scale(17)], scale(29))];
        for (instructions, function) in available().flat_map(|set| functions.map(|function| (set, function))) {
            let border = Border { top: 1, left: 2, bottom: 0, right: 1 };
            let (planes, values) = first.entered(border, 0, false, instructions);
            let (other_planes, other) = second.entered(Border::default(), 0, false, instructions);
            let output = Planes::new(channels, images, height, width, Border::default());
            let mut result = Bytes::zeros(output.len());
            let pair = Pair {
                instructions,
                function,
                first: Images { planes, values: &values },
                second: Images { planes: other_planes, values: &other },
                output,
            };
            for index in 0..2 {
                pair.run(Shared::new(&mut result), Part { index, count: 2 }).unwrap();
            }
            let found = left(output, &result, channels);
            for (place, found) in found.into_iter().enumerate() {
                let a = first.values[place];
                let b = second.values[if pixel { place / height / width } else { place }];
                let expected = match function {
                    Function::Add(addition) => sum_of(a, b, &addition),
                    Function::Multiply([left, right], to) => {
                        nearest(left.real(a) * right.real(b) / to.scale, to.zero_point)
                    }
                };
                prop_assert_eq!(found, expected, "{:?} {:?} {} {}", instructions, function, a, b);
            }
        }
    }

    #[test]
    fn pools_are_those_of_plain_loops(
        sizes in (1_usize..3, 1_usize..20, 1_usize..9, 1_usize..9),
        window in (1_usize..4, 1_usize..4, 1_usize..3, 1_usize..3),
        seed in any::<u64>(),
    ) {
        let (images, channels, height, width) = sizes;
        let (rows, columns, stride, dilation) = window;
        let before = [(seed % 2) as usize % rows, (seed / 2 % 2) as usize % columns];
        let steps = Steps { strides: [stride, 1], dilations: [1, dilation], before };
        let case = Case {
            images, inputs: channels, outputs: channels, groups: 1, window: [rows, columns], steps,
            size: [height, width], seed,
        };
        let [down, right] = case.places();
        let input = Plain::new([images, channels, height, width], seed);
        let (from, to) = (Scale { scale: 0.37, zero_point: seed as u8 }, Scale { scale: 0.29, zero_point: 9 });
        let (planes, values) = input.entered(Border::default(), 0, false, Instructions::Plain);
        let output = Planes::new(channels, images, down, right, Border::default());
        let mut taken = vec![vec![]; 2];
        for (axis, counts) in taken.iter_mut().enumerate() {
            *counts = (0..case.places()[axis]).map(|place| 1.0 + (place % 3) as f32).collect();
        }
        for is_mean in [false, true] {
            let pooling = if is_mean {
                Pooling::Mean { counts: [&taken[0], &taken[1]], from, to, is_signed: seed % 2 == 0 }
            } else {
                Pooling::Maximum
            };
            let mut result = Bytes::zeros(output.len());
            let pool = Pool { pooling, window: case.window, steps, input: Images { planes, values: &values }, output };
            for index in 0..2 {
                pool.run(Shared::new(&mut result), Part { index, count: 2 }).unwrap();
            }
            for (place, found) in left(output, &result, channels).into_iter().enumerate() {
                let (x, y) = (place % right, place / right % down);
                let (channel, image) = (place / right / down % channels, place / right / down / channels);
                let under = (0..rows * columns).filter_map(|tap| {
                    let row = (y * stride + tap / columns) as isize - before[0] as isize;
                    let column = (x + tap % columns * dilation) as isize - before[1] as isize;
                    input.at(image, channel, row, column)
                });
                let expected = if is_mean {
                    let sum = under.fold(0.0, |sum, byte| sum + from.real(byte));
                    let shift = if seed % 2 == 0 { 128 } else { 0 };
                    let value = sum / (taken[0][y] * taken[1][x]) / to.scale + (9 - shift) as f32;
                    let clipped = value.clamp(-shift as f32, (255 - shift) as f32);
                    (clipped.round_ties_even() as i32 + shift) as u8
                } else {
                    under.max().unwrap_or(0)
                };
                prop_assert_eq!(found, expected);
            }
        }
        let output = Planes::new(channels, images, 1, 1, Border::default());
        let mut result = Bytes::zeros(output.len());
        let mean = Mean { input: Images { planes, values: &values }, output, from, to };
        mean.run(Shared::new(&mut result), Part::WHOLE).unwrap();
        let means = left(output, &result, channels);
        for (values, found) in input.values.chunks_exact(height * width).zip(means) {
            let sum: i32 = values.iter().map(|byte| i32::from(*byte) - i32::from(from.zero_point)).sum();
            let scale = from.scale / (to.scale * (height * width) as f32);
            prop_assert_eq!(found, nearest(sum as f32 * scale, 9));
        }
    }

    #[test]
    fn real_numbers_become_the_nearest_bytes(
        values in proptest::collection::vec(
            prop_oneof![8 => -9.0_f32..9.0, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY), 1 => Just(-1e30_f32)],
            1..70,
        ),
        zero_point in any::<u8>(),
    ) {
        let scale = Scale { scale: 0.03, zero_point };
        for instructions in available() {
            let planes = Planes::new(3, 1, 1, values.len(), Border::default());
            let mut buffer = Bytes::zeros(planes.len());
            let three = [values.clone(), values.clone(), values.clone()].concat();
            let entering = Entering::Floats(&three, scale);
            enter(instructions, entering, 3, planes, Shared::new(&mut buffer), Part::WHOLE).unwrap();
            for (pixel, value) in buffer.chunks_exact(BLOCK).zip(&values) {
                prop_assert_eq!(&pixel[..3], &[nearest(value / 0.03, zero_point); 3]);
                prop_assert_eq!(scale.byte(value / 0.03), nearest(value / 0.03, zero_point));
            }
            // The same with the channels of a pixel next to each other.
            let together = Planes { lanes: 4, ..planes };
            let mut few = Bytes::zeros(together.len());
            enter(instructions, entering, 3, together, Shared::new(&mut few), Part::WHOLE).unwrap();
            for (pixel, value) in few.chunks_exact(4).zip(&values) {
                prop_assert_eq!(&pixel[..3], &[nearest(value / 0.03, zero_point); 3]);
            }
            let mut real = vec![0.0; three.len()];
            let output = Leaving::Floats(Shared::new(&mut real), scale);
            leave(Images { planes, values: &buffer }, 3, output, Part::WHOLE).unwrap();
            for (real, value) in real.iter().zip(&three) {
                let expected = i32::from(nearest(value / 0.03, zero_point)) - i32::from(zero_point);
                prop_assert_eq!(*real, expected as f32 * 0.03);
            }
        }
    }
}

#[test]
fn numbers_of_int8_keep_their_values() {
    let values = signed(&bytes(5 * 21, 9));
    let planes = Planes::new(21, 1, 1, 5, Border::default());
    let mut buffer = Bytes::zeros(planes.len());
    let (set, entering) = (Instructions::Plain, Entering::Signed(&values));
    enter(set, entering, 21, planes, Shared::new(&mut buffer), Part::WHOLE).unwrap();
    assert_eq!(i32::from(buffer[0]), i32::from(values[0]) + 128);
    let mut found = vec![0; values.len()];
    let output = Leaving::Signed(Shared::new(&mut found));
    leave(Images { planes, values: &buffer }, 21, output, Part::WHOLE).unwrap();
    assert_eq!(found, values);
}

#[test]
fn channels_are_copied_through_a_table_and_pixels_repeated() {
    let input = Plain::new([2, 21, 3, 4], 5);
    let (planes, values) = input.entered(Border::default(), 0, false, Instructions::Plain);
    let images = Images { planes, values: &values };
    let table: [u8; 256] = std::array::from_fn(|byte| 255 - byte as u8);
    let output = Planes::new(40, 2, 3, 4, Border { top: 1, ..Border::default() });
    let mut result = Bytes::zeros(output.len());
    let runs = [Channels { from: 2, to: 19, count: 19 }, Channels { from: 0, to: 0, count: 19 }];
    copy(images, &runs, Some(&table), output, Shared::new(&mut result), Part::WHOLE).unwrap();
    let found = left(output, &result, 40);
    let at = |image: usize, channel: usize, channels: usize, place: usize| {
        (image * channels + channel) * 12 + place
    };
    for (image, place) in [(0, 0), (1, 11), (1, 5)] {
        for channel in 0..38 {
            let from = if channel < 19 { channel } else { channel - 17 };
            let expected = 255 - input.values[at(image, from, 21, place)];
            assert_eq!(found[at(image, channel, 40, place)], expected);
        }
    }
    let same = Planes::new(21, 2, 3, 4, Border::default());
    let mut result = Bytes::zeros(same.len());
    look_up(Tables::One(&table), images, same, Shared::new(&mut result), Part::WHOLE).unwrap();
    let expected: Vec<u8> = input.values.iter().map(|byte| 255 - byte).collect();
    assert_eq!(left(same, &result, 21), expected);
    let each: Vec<[u8; 256]> =
        (0..32).map(|channel| std::array::from_fn(|byte| (byte * (2 * channel + 1)) as u8)).collect();
    let mut result = Bytes::zeros(same.len());
    for index in 0..3 {
        let part = Part { index, count: 3 };
        look_up(Tables::Each(&each), images, same, Shared::new(&mut result), part).unwrap();
    }
    for (place, found) in left(same, &result, 21).into_iter().enumerate() {
        let channel = place / 12 % 21;
        assert_eq!(found, (usize::from(input.values[place]) * (2 * channel + 1)) as u8);
    }
    for few in [&each[..16], &each[..31]] {
        assert!(look_up(Tables::Each(few), images, same, Shared::new(&mut result), Part::WHOLE).is_err());
    }
    let large = Planes::new(21, 2, 6, 12, Border::default());
    let mut result = Bytes::zeros(large.len());
    repeat(images, [2, 3], large, Shared::new(&mut result), Part::WHOLE).unwrap();
    for (place, found) in left(large, &result, 21).into_iter().enumerate() {
        let (x, y, plane) = (place % 12, place / 12 % 6, place / 72);
        assert_eq!(found, input.values[plane * 12 + y / 2 * 4 + x / 3]);
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let weights = [1_i16; 16 * 9];
    let source = Source {
        weights: &weights,
        shape: [1, 16, 3, 3],
        groups: 1,
        bias: None,
        scales: &[1.0],
        zero_point: 3,
    };
    assert!(Filters::new(Instructions::Plain, &Source { scales: &[], ..source }, Reading::Blocks).is_none());
    assert!(Filters::new(Instructions::Plain, &Source { groups: 0, ..source }, Reading::Blocks).is_none());
    let filters = Filters::new(Instructions::Plain, &source, Reading::Blocks).unwrap();
    let input = Plain::new([1, 16, 4, 4], 1);
    let (planes, values) = input.entered(Border::default(), 3, false, Instructions::Plain);
    let output = Planes::new(1, 1, 4, 4, Border::default());
    let mut result = Bytes::zeros(output.len());
    let job = Convolution {
        filters: &filters,
        steps: Steps { strides: [1, 1], dilations: [1, 1], before: [1, 1] },
        input: Images { planes, values: &values },
        bias: None,
        output,
    };
    let run = |job: Convolution<'_>, output: &mut [u8], addition: Option<Addition>| {
        let finish = Finish { zero_point: 0, addition };
        job.run(&Target::Bytes { output: Shared::new(output), finish, residual: None }, Part::WHOLE)
    };
    // The window reaches a border that is not there.
    assert!(run(job, &mut result, None).is_err());
    let inner = Planes::new(1, 1, 2, 2, Border::default());
    let steps = Steps { before: [0, 0], ..job.steps };
    let fits = Convolution { output: inner, steps, ..job };
    assert!(run(fits, &mut result[..inner.len()], None).is_ok());
    assert!(run(fits, &mut result[..inner.len() - 1], None).is_err());
    let cut = Images { planes, values: &values[..values.len() - 1] };
    assert!(run(Convolution { input: cut, ..fits }, &mut result, None).is_err());
    assert!(run(fits, &mut result, Some(addition(1))).is_err());
    assert!(run(Convolution { bias: Some(&[1; 15]), ..fits }, &mut result, None).is_err());
    let mut real = vec![0.0; inner.len()];
    let mut run = |scales: &[f32], line: Option<[&[f32]; 2]>| {
        let reals = Reals { scales, line, residual: None, bounds: [0.0, 1.0] };
        fits.run(&Target::Reals { output: Shared::new(&mut real), reals }, Part::WHOLE)
    };
    assert!(run(&[1.0; 16], Some([&[1.0; 16], &[1.0; 16]])).is_ok());
    assert!(run(&[1.0; 15], None).is_err());
    assert!(run(&[1.0; 16], Some([&[1.0; 16], &[1.0; 15]])).is_err());
    assert!(widen(&[1, 2], Shared::new(&mut result[..3]), Part::WHOLE).is_err());
}

#[test]
fn weights_are_the_sums_of_their_parts() {
    for weight in -255..=255_i16 {
        let source = Source {
            weights: &[weight],
            shape: [1, 1, 1, 1],
            groups: 1,
            bias: None,
            scales: &[1.0],
            zero_point: 0,
        };
        let parts = (0..source.passes()).map(|pass| super::filters::part(weight, pass));
        assert_eq!(parts.map(|part| i16::from(part.cast_signed())).sum::<i16>(), weight);
    }
}
