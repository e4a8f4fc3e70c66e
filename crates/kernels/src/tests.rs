//! Every kernel against plain loops ([`plain`]), at each level of instructions, over odd shapes.

mod moves;
mod narrow;
mod pairs;
pub(crate) mod plain;

use proptest::prelude::*;

use super::{
    Level, Part,
    activation::Activation,
    arena::Arena,
    bfloat::{self, Form},
    buffer::{Buffer, Shared},
    convolution::{Convolution, Images, Spread, Steps},
    depthwise::{Depthwise, Windows},
    elementwise::{Binary, Elementwise, Other},
    filters::{Filters, Reading},
    planes::{Border, Planes},
    pool::{Mean, Pool, Pooling},
    weights::Weights,
    winograd::{Tiles, Winograd, tiles},
};
use plain::{ACTIVATIONS, Case, Plain, apply, assert_near, cases, left, levels, numbers, parts};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 1500 }))]

    #[test]
    fn convolutions_are_right(case in cases()) {
        prop_assume!(case.output().is_some());
        let input = Plain::new([case.images, case.channels, case.size[0], case.size[1]], 1);
        let inputs = case.channels / case.groups;
        let shape = [case.outputs, inputs, case.window[0], case.window[1]];
        let (weights, bias) = (numbers(shape.iter().product(), 2), numbers(case.outputs, 3));
        let (output, added) = case.outputs();
        let added = case.adds.then_some(added);
        let expected = case.expected(&input, &weights, &bias, added.as_ref());
        let whole = case.groups == 1 && case.channels <= 4 && case.dilations[1] == 1;
        let reading = if whole { Reading::Rows } else { Reading::Blocks };
        let (planes, values) = input.entered(case.border(), whole);
        let residual = added.as_ref().map(|added| added.entered(Border::default(), false));
        for level in levels() {
            let filters =
                Filters::new((level, Form::Single), Weights::plain(&weights), shape, case.groups, Some(&bias), reading, &mut Arena::default()).unwrap();
            let job = Convolution {
                filters: &filters,
                steps: case.steps(),
                input: Images { planes, values: &values },
                residual: residual.as_ref().map(|(planes, values)| Images { planes: *planes, values }),
                output,
                activation: ACTIVATIONS[case.functions.0],
                after: ACTIVATIONS[case.functions.1],
            spread: None,
            };
            let mut buffer = Buffer::zeros(output.len());
            buffer.fill(f32::NAN);
            parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
            assert_near(&left(output, case.outputs, &buffer), &expected, 2e-5)?;
        }
    }

    /// Convolutions of 16-bit floats are chains of the instruction's steps, bit for bit, at every level. Those of AMX
    /// have another order.
    #[test]
    fn convolutions_of_pairs_are_chains_of_dots(case in cases(), narrow in any::<[bool; 2]>(), is_tiled in any::<bool>()) {
        let is_tiled = is_tiled && bfloat::is_available(Level::Avx512);
        let form = if is_tiled { Form::Tile } else { Form::Pair };
        let case = Case { channels: case.channels.next_multiple_of(2), ..case };
        prop_assume!(case.output().is_some());
        let input = Plain::new([case.images, case.channels, case.size[0], case.size[1]], 1);
        let shape = [case.outputs, case.channels / case.groups, case.window[0], case.window[1]];
        let (weights, bias) = (numbers(shape.iter().product(), 2), numbers(case.outputs, 3));
        let (output, added) = case.outputs();
        let added = case.adds.then_some(added);
        let after = [Activation::Identity, Activation::RELU, Activation::Swish(1.0)][case.functions.1 % 3];
        let narrow = if after.bounds().is_some() { narrow } else { [false; 2] };
        let output = if narrow[0] { output.narrow() } else { output };
        let expected = pairs::expected(&case, &input, &weights, &bias, (added.as_ref(), narrow[1]), form, after);
        let input = pairs::narrowed(input.entered(case.border(), false), true);
        let residual = added.as_ref().map(|added| pairs::narrowed(added.entered(Border::default(), false), narrow[1]));
        for level in levels().filter(|level| !is_tiled || *level == Level::Avx512) {
            let reading = Reading::Blocks;
            let filters =
                Filters::new((level, form), Weights::plain(&weights), shape, case.groups, Some(&bias), reading, &mut Arena::default()).unwrap();
            let job = Convolution {
                filters: &filters,
                steps: case.steps(),
                input: Images { planes: input.0, values: &input.1 },
                residual: residual.as_ref().map(|(planes, values)| Images { planes: *planes, values }),
                output,
                activation: Activation::Identity,
                after,
                spread: None,
            };
            let mut buffer = Buffer::zeros(output.len());
            buffer.fill(f32::NAN);
            parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
            let (planes, values) = pairs::widened((output, buffer));
            let found = left(planes, case.outputs, &values);
            prop_assert_eq!(found.len(), expected.len());
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let expected = if narrow[0] { bfloat::widen(bfloat::round(*expected)) } else { *expected };
                let is_same = if after.bounds().is_some() { *found == expected } else { (found - expected).abs() < 1e-5 };
                prop_assert!(is_same, "{:?}, element {}: {} and not {}", level, index, found, expected);
            }
        }
    }

    #[test]
    fn convolutions_by_tiles_are_right(case in cases()) {
        let one = [1, 1];
        let case = Case { groups: 1, window: [3, 3], strides: one, dilations: one, extra: case.extra + 2, ..case };
        prop_assume!(case.output().is_some());
        let input = Plain::new([case.images, case.channels, case.size[0], case.size[1]], 1);
        let shape = [case.outputs, case.channels, 3, 3];
        let (weights, bias) = (numbers(shape.iter().product(), 2), numbers(case.outputs, 3));
        let (output, added) = case.outputs();
        let added = case.adds.then_some(added);
        let expected = case.expected(&input, &weights, &bias, added.as_ref());
        let (planes, values) = input.entered(case.border(), false);
        let residual = added.as_ref().map(|added| added.entered(Border::default(), false));
        for level in levels() {
            let winograd = Winograd::new(level, Weights::plain(&weights), shape, Some(&bias), &mut Arena::default()).unwrap();
            let job = Tiles {
                winograd: &winograd,
                before: case.before,
                input: Images { planes, values: &values },
                residual: residual.as_ref().map(|(planes, values)| Images { planes: *planes, values }),
                output,
                activation: ACTIVATIONS[case.functions.0],
                after: ACTIVATIONS[case.functions.1],
            };
            let mut buffer = Buffer::zeros(output.len());
            let mut scratch = Buffer::zeros(winograd.scratch(output.images * tiles(output.height, output.width)) * case.parts);
            parts(case.parts, |part| {
                job.run(Shared::new(&mut buffer), Shared::new(&mut scratch), part).unwrap();
            });
            assert_near(&left(output, case.outputs, &buffer), &expected, 5e-5)?;
        }
    }

    #[test]
    fn spread_convolutions_are_right(case in cases(), clips: bool) {
        let (times, [height, width]) = ([case.window[0].min(2), case.window[1]], [case.size[0], case.size[1].min(17)]);
        let sizes = [case.images, case.channels, height, width];
        let case = Case {
            groups: 1,
            window: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            before: [0, 0],
            after: [0, 0],
            size: [height, width],
            functions: (0, usize::from(clips)),
            ..case
        };
        let input = Plain::new(sizes, 1);
        let bias = numbers(case.outputs, 3);
        let (planes, values) = input.entered(case.border(), false);
        let shape = [case.outputs, case.channels, 1, 1];
        let (tall, wide) = (height * times[0], width * times[1]);
        let output = Planes::new(case.outputs, case.images, tall, wide, case.border_of_output());
        for level in levels() {
            let mut buffer = Buffer::zeros(output.len());
            let mut expected = vec![0.0; case.images * case.outputs * tall * wide];
            for place in 0..times[0] * times[1] {
                let place = [place / times[1], place % times[1]];
                let weights = numbers(shape.iter().product(), 10 + place[0] as u64 * 3 + place[1] as u64);
                let small = case.expected(&input, &weights, &bias, None);
                for (index, value) in small.into_iter().enumerate() {
                    let (plane, y, x) = (index / (height * width), index / width % height, index % width);
                    let row = plane * tall + y * times[0] + place[0];
                    expected[row * wide + x * times[1] + place[1]] = value;
                }
                let filters =
                    Filters::new((level, Form::Single), Weights::plain(&weights), shape, 1, Some(&bias), Reading::Blocks, &mut Arena::default()).unwrap();
                let after = ACTIVATIONS[case.functions.1];
                let job = Convolution {
                    filters: &filters,
                    steps: case.steps(),
                    input: Images { planes, values: &values },
                    residual: None,
                    output,
                    activation: Activation::Identity,
                    after,
                    spread: Some(Spread { times, place }),
                };
                parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
            }
            assert_near(&left(output, case.outputs, &buffer), &expected, 2e-5)?;
        }
    }

    #[test]
    fn convolutions_by_channels_are_right(case in cases()) {
        let case = Case { outputs: case.channels, groups: case.channels, ..case };
        prop_assume!(case.output().is_some());
        let input = Plain::new([case.images, case.channels, case.size[0], case.size[1]], 1);
        let sizes = [case.channels, case.window[0], case.window[1]];
        let (weights, bias) = (numbers(sizes.iter().product(), 2), numbers(case.outputs, 3));
        let (output, added) = case.outputs();
        let added = case.adds.then_some(added);
        let expected = case.expected(&input, &weights, &bias, added.as_ref());
        let (planes, values) = input.entered(case.border(), false);
        let residual = added.as_ref().map(|added| added.entered(Border::default(), false));
        for level in levels() {
            let windows = Windows::new(level, Weights::plain(&weights), sizes, Some(&bias), &mut Arena::default()).unwrap();
            let job = Depthwise {
                windows: &windows,
                steps: case.steps(),
                input: Images { planes, values: &values },
                residual: residual.as_ref().map(|(planes, values)| Images { planes: *planes, values }),
                output,
                activation: ACTIVATIONS[case.functions.0],
                after: ACTIVATIONS[case.functions.1],
            };
            let mut buffer = Buffer::zeros(output.len());
            parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
            assert_near(&left(output, case.outputs, &buffer), &expected, 2e-5)?;
        }
    }

    #[test]
    fn pools_are_right(case in cases(), with_pads: bool) {
        let Some([height, width]) = case.output() else { return Err(TestCaseError::reject("no place")) };
        let input = Plain::new([case.images, case.channels, case.size[0], case.size[1]], 1);
        let (planes, values) = input.entered(case.border(), false);
        let output = Planes::new(case.channels, case.images, height, width, case.border_of_output());
        // What a window covers, at every place.
        let mut covered: Vec<Vec<f64>> = Vec::new();
        for image in 0..case.images {
            for channel in 0..case.channels {
                for y in 0..height {
                    for x in 0..width {
                        let mut found = Vec::new();
                        for row in 0..case.window[0] {
                            for column in 0..case.window[1] {
                                let at = |axis: usize, place: usize, tap: usize| {
                                    (place * case.strides[axis] + tap * case.dilations[axis]) as isize
                                        - case.before[axis] as isize
                                };
                                let (row, column) = (at(0, y, row), at(1, x, column));
                                let is_inside = (0..case.size[0] as isize).contains(&row)
                                    && (0..case.size[1] as isize).contains(&column);
                                if is_inside {
                                    found.push(input.at(image, channel, row, column));
                                }
                            }
                        }
                        covered.push(found);
                    }
                }
            }
        }
        let all = (case.window[0] * case.window[1]) as f64;
        let (rows, columns): (Vec<f32>, Vec<f32>) = if with_pads {
            (vec![case.window[0] as f32; height], vec![case.window[1] as f32; width])
        } else {
            let along = |axis: usize, places: usize| {
                (0..places).map(|place| {
                    (0..case.window[axis])
                        .filter(|tap| {
                            let at = place * case.strides[axis] + tap * case.dilations[axis];
                            at >= case.before[axis] && at < case.before[axis] + case.size[axis]
                        })
                        .count() as f32
                }).collect()
            };
            (along(0, height), along(1, width))
        };
        for level in levels() {
            for is_maximum in [false, true] {
                let pooling = if is_maximum { Pooling::Maximum } else { Pooling::Mean(&rows, &columns) };
                let job = Pool {
                    level,
                    pooling,
                    window: case.window,
                    steps: case.steps(),
                    input: Images { planes, values: &values },
                    output,
                };
                let mut buffer = Buffer::zeros(output.len());
                parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
                let found = left(output, case.channels, &buffer);
                for (found, covered) in found.iter().zip(&covered) {
                    if is_maximum {
                        let expected = covered.iter().fold(f64::NEG_INFINITY, |best, value| best.max(*value));
                        prop_assert_eq!(f64::from(*found), expected);
                    } else if !covered.is_empty() {
                        let count = if with_pads { all } else { covered.len() as f64 };
                        let expected = covered.iter().sum::<f64>() / count;
                        prop_assert!((f64::from(*found) - expected).abs() < 1e-5);
                    }
                }
            }
            let one = Planes::new(case.channels, case.images, 1, 1, Border::default());
            let mut buffer = Buffer::zeros(one.len());
            let job = Mean { level, input: Images { planes, values: &values }, output: one };
            parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
            let pixels = case.size[0] * case.size[1];
            let means: Vec<f64> = input
                .values
                .chunks_exact(pixels)
                .map(|pixels| pixels.iter().map(|value| f64::from(*value)).sum::<f64>() / pixels.len() as f64)
                .collect();
            assert_near(&left(one, case.channels, &buffer), &means, 1e-6)?;
        }
    }

    #[test]
    fn operators_of_each_element_are_right(case in cases(), form in 0_usize..4, kind in 0_usize..4) {
        let sizes = [case.images, case.channels, case.size[0], case.size[1]];
        let input = Plain::new(sizes, 1);
        let binary = [Binary::Add, Binary::Subtract, Binary::Multiply, Binary::Divide][kind];
        let second = match form {
            2 => Plain::new([sizes[0], sizes[1], 1, 1], 2),
            _ => Plain::new(sizes, 2),
        };
        // Nothing is divided by a number near zero.
        let second = Plain { values: second.values.iter().map(|value| value + 2.5).collect(), ..second };
        let activation = ACTIVATIONS[case.functions.0];
        let padded = case.channels.next_multiple_of(16);
        let (factors, summands) = (numbers(padded, 7), numbers(padded, 8));
        let mut expected = Vec::new();
        let pixels = sizes[2] * sizes[3];
        for (index, value) in input.values.iter().enumerate() {
            let channel = index / pixels % case.channels;
            let value = f64::from(*value);
            let other = match form {
                1 => f64::from(second.values[index]),
                2 => f64::from(second.values[index / pixels]),
                _ => 0.0,
            };
            let result = match (form, binary) {
                (0, _) => value,
                (3, _) => value * f64::from(factors[channel]) + f64::from(summands[channel]),
                (_, Binary::Add) => value + other,
                (_, Binary::Subtract) => value - other,
                (_, Binary::Multiply) => value * other,
                (_, Binary::Divide) => value / other,
            };
            expected.push(apply(activation, result));
        }
        let (planes, values) = input.entered(case.border(), false);
        let (other_planes, other_values) = second.entered(Border::default(), false);
        let other = Images { planes: other_planes, values: &other_values };
        let output = Planes::new(sizes[1], sizes[0], sizes[2], sizes[3], case.border_of_output());
        for level in levels() {
            let job = Elementwise {
                level,
                input: Images { planes, values: &values },
                other: match form {
                    0 => Other::None,
                    1 => Other::Image(binary, other),
                    2 => Other::Pixel(binary, other),
                    _ => Other::Channels(&factors, &summands),
                },
                activation,
                output,
            };
            let mut buffer = Buffer::zeros(output.len());
            parts(case.parts, |part| job.run(Shared::new(&mut buffer), part).unwrap());
            assert_near(&left(output, case.channels, &buffer), &expected, 2e-6)?;
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so_through_clips_and_never_wins_a_pool() {
    let planes = Planes::new(16, 1, 1, 2, Border::default());
    let mut values = Buffer::zeros(32);
    values[3] = f32::NAN;
    for level in levels() {
        let mut weights = vec![0.0; 256];
        (0..16).for_each(|channel| weights[channel * 17] = 1.0);
        let filters = Filters::new(
            (level, Form::Single),
            Weights::plain(&weights),
            [16, 16, 1, 1],
            1,
            None,
            Reading::Blocks,
            &mut Arena::default(),
        )
        .unwrap();
        let job = Convolution {
            filters: &filters,
            steps: Steps { strides: [1, 1], dilations: [1, 1], before: [0, 0] },
            input: Images { planes, values: &values },
            residual: None,
            output: planes,
            activation: Activation::Identity,
            after: Activation::Clip(-1.0, 1.0),
            spread: None,
        };
        let mut result = Buffer::zeros(32);
        job.run(Shared::new(&mut result), Part::WHOLE).unwrap();
        assert!(result[..16].iter().all(|value| value.is_nan()), "{level:?}");
        assert!(result[16..].iter().all(|value| *value == 0.0), "{level:?}");
        let one = Planes::new(16, 1, 1, 1, Border::default());
        let job = Pool {
            level,
            pooling: Pooling::Maximum,
            window: [1, 2],
            steps: Steps { strides: [1, 1], dilations: [1, 1], before: [0, 0] },
            input: Images { planes, values: &values },
            output: one,
        };
        let mut result = Buffer::zeros(16);
        job.run(Shared::new(&mut result), Part::WHOLE).unwrap();
        assert_eq!(result[3], 0.0);
    }
}

#[test]
fn functions_of_any_number_of_floats_are_right() {
    for level in levels() {
        for count in [0, 1, 15, 16, 17, 40] {
            let given = numbers(count, 5);
            let mut found = given.clone();
            crate::activation::map(level, Activation::Sigmoid, &mut found);
            for (found, given) in found.iter().zip(given) {
                let expected = 1.0 / (1.0 + (-f64::from(given)).exp());
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{level:?} {given}: {found}");
            }
        }
    }
}

#[test]
fn buffers_that_do_not_fit_are_errors() {
    let planes = Planes::new(16, 1, 4, 4, Border::default());
    let values = Buffer::zeros(planes.len());
    let filters = Filters::new(
        (Level::Plain, Form::Single),
        Weights::plain(&[0.0; 16 * 16 * 9]),
        [16, 16, 3, 3],
        1,
        None,
        Reading::Blocks,
        &mut Arena::default(),
    )
    .unwrap();
    let job = |output: Planes, before: [usize; 2], values: &[f32], buffer: &mut [f32]| {
        let job = Convolution {
            filters: &filters,
            steps: Steps { strides: [1, 1], dilations: [1, 1], before },
            input: Images { planes, values },
            residual: None,
            output,
            activation: Activation::Identity,
            after: Activation::Identity,
            spread: None,
        };
        job.run(Shared::new(buffer), Part::WHOLE)
    };
    let small = Planes::new(16, 1, 2, 2, Border::default());
    let large = Planes::new(16, 1, 3, 2, Border::default());
    let mut buffer = Buffer::zeros(16 * 6);
    assert!(job(small, [0, 0], &values, &mut buffer).is_ok());
    assert!(job(small, [1, 0], &values, &mut buffer).is_err(), "a border that is not there");
    assert!(job(large, [0, 0], &values, &mut buffer).is_err(), "a window beyond the image");
    assert!(job(small, [0, 0], &values[..100], &mut buffer).is_err(), "a short input");
    assert!(job(small, [0, 0], &values, &mut buffer[..32]).is_err(), "a short output");
    assert!(
        Filters::new(
            (Level::Plain, Form::Single),
            Weights::plain(&[0.0; 4]),
            [2, 2, 1, 1],
            2,
            None,
            Reading::Blocks,
            &mut Arena::default()
        )
        .is_none()
    );
    assert!(
        Windows::new(Level::Plain, Weights::plain(&[0.0; 4]), [2, 2, 2], None, &mut Arena::default())
            .is_none()
    );
}
