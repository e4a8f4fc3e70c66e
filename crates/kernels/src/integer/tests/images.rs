//! Images of bytes: pools, functions, and the ways into blocks and out of them.

use proptest::prelude::*;

use super::{
    super::{
        Images, Instructions,
        dynamic::{quantise, range},
        elementwise::{Function, Pair, Tables, look_up},
        layout::{Entering, Leaving, copy, enter, leave, repeat},
        memory::Bytes,
        pool::{Mean, Pool, Pooling, Scale},
    },
    Plain, addition, available, bytes, left, nearest, signed, sum_of,
};
use crate::{
    BLOCK, Part,
    buffer::Shared,
    convolution::Steps,
    layout::Channels,
    planes::{Border, Planes},
};

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
        let window = [rows, columns];
        let places = |axis: usize| {
            let extent = (window[axis] - 1) * steps.dilations[axis] + 1;
            let padded = [height, width][axis] + 2 * before[axis];
            padded.checked_sub(extent).map_or(0, |room| room / steps.strides[axis] + 1)
        };
        let [down, right] = [places(0), places(1)];
        let input = Plain::new([images, channels, height, width], seed);
        let (from, to) = (Scale { scale: 0.37, zero_point: seed as u8 }, Scale { scale: 0.29, zero_point: 9 });
        let (planes, values) = input.entered(Border::default(), 0, false, Instructions::Plain);
        let output = Planes::new(channels, images, down, right, Border::default());
        let mut taken = vec![vec![]; 2];
        for (axis, counts) in taken.iter_mut().enumerate() {
            *counts = (0..places(axis)).map(|place| 1.0 + (place % 3) as f32).collect();
        }
        for is_mean in [false, true] {
            let pooling = if is_mean {
                Pooling::Mean { counts: [&taken[0], &taken[1]], from, to, is_signed: seed % 2 == 0 }
            } else {
                Pooling::Maximum
            };
            let mut result = Bytes::zeros(output.len());
            let pool = Pool { pooling, window, steps, input: Images { planes, values: &values }, output };
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
