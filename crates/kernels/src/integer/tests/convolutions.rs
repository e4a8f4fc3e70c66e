//! Convolutions of bytes.

use proptest::prelude::*;

use super::{
    super::{
        Images, Instructions, Reading,
        convolution::Convolution,
        depthwise::{Depthwise, Windows},
        filters::{Filters, Source, part},
        finish::{Addition, Finish, Reals},
        memory::Bytes,
        target::Target,
    },
    Plain, addition, available, bytes, left, nearest, signed, sum_of,
};
use crate::{
    BLOCK, Part,
    buffer::Shared,
    convolution::Steps,
    planes::{Border, Planes},
};

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
            let input = Images { planes, values: &values };
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
        let parts = (0..source.passes()).map(|pass| part(weight, pass));
        assert_eq!(parts.map(|part| i16::from(part.cast_signed())).sum::<i16>(), weight);
    }
}
